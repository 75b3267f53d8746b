//! Numbers of texts: what is read is hashed into buckets, and buckets are counted.
//!
//! Each detector says what it hashes and into which ranges; how is the same, so that one
//! mistake is mended once. It knows no model, and never decides what a bucket is worth.

use std::ops::Range;

/// What a hash begins with.
pub const HASH_START: u32 = 0x811c_9dc5;

/// One step of FNV-1a, taking a whole character where the original takes a byte.
///
/// Fowler, Noll, Vo: The FNV Non-Cryptographic Hash Algorithm
/// (draft-eastlake-fnv).
pub fn hash_step(hash: u32, word: u32) -> u32 {
    (hash ^ word).wrapping_mul(0x0100_0193)
}

/// The hash of two words that follow one another, by the hash of each.
// Turned, so that `a b` is not `b a`.
pub fn hash_pair(before: u32, hash: u32) -> u32 {
    hash_step(before.rotate_left(5), hash)
}

/// Spreads a hash over a range of buckets.
// FNV mixes its high bits badly, and the multiplication below reads just
// those; the finaliser of MurmurHash3 (Appleby, fmix32) mends that first.
pub fn bucket(mut hash: u32, range: &Range<u32>) -> u32 {
    hash = (hash ^ (hash >> 16)).wrapping_mul(0x85eb_ca6b);
    hash = (hash ^ (hash >> 13)).wrapping_mul(0xc2b2_ae35);
    hash ^= hash >> 16;
    let width = u64::from(range.end - range.start);
    range.start + ((u64::from(hash) * width) >> 32) as u32
}

/// The features of one item, ready to be a row of a model's inputs.
///
/// `ids`: distinct buckets, ascending. `values`: as many, each `1 + ln(tf)`
/// with `tf` the number of occurrences, divided by what [`Features::count`] was told.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Features {
    /// Distinct buckets, ascending.
    pub ids: Vec<u32>,
    /// One value per id.
    pub values: Vec<f32>,
}

impl Features {
    /// Counts the buckets of an item, in any order.
    ///
    /// The values of each of `families`, which are ranges of buckets, are divided by what
    /// `divisor` makes of the sum of their squares; one without values is not asked about.
    pub fn count(
        mut buckets: Vec<u32>,
        families: &[Range<u32>],
        divisor: impl Fn(f32) -> f32,
    ) -> Self {
        buckets.sort_unstable();
        let mut features = Self {
            ids: Vec::with_capacity(buckets.len()),
            values: Vec::with_capacity(buckets.len()),
        };
        for run in buckets.chunk_by(|a, b| a == b) {
            features.ids.push(run[0]);
            let value = if run.len() == 1 {
                1.0
            } else {
                1.0 + (run.len() as f32).ln()
            };
            features.values.push(value);
        }
        for family in families {
            let bound = |bucket| features.ids.partition_point(|&id| id < bucket);
            let values = bound(family.start)..bound(family.end);
            let values = &mut features.values[values];
            let square: f32 = values.iter().map(|value| value * value).sum();
            if square > 0.0 {
                let divisor = divisor(square);
                values.iter_mut().for_each(|value| *value /= divisor);
            }
        }
        features
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_lie_in_their_range() {
        for range in [0..1, 5..7, 0..1 << 18, 6 << 16..1 << 19] {
            for hash in (0..10_000).map(|n| hash_step(HASH_START, n)) {
                assert!(range.contains(&bucket(hash, &range)), "{hash} {range:?}");
            }
        }
    }

    #[test]
    fn hashes_that_differ_little_spread_evenly() {
        let mut counts = [0_u32; 16];
        for n in 0..16_000 {
            counts[bucket(hash_step(HASH_START, n), &(0..16)) as usize] += 1;
        }
        assert!(
            counts.iter().all(|n| (850..1_150).contains(n)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_order_of_a_pair_matters() {
        let [a, b] = ['a', 'b'].map(|c| hash_step(HASH_START, c.into()));
        assert_ne!(hash_pair(a, b), hash_pair(b, a));
    }

    #[test]
    fn each_family_is_divided_by_its_own_length() {
        let features = Features::count(vec![7, 2, 7, 1], &[0..5, 5..10, 10..15], f32::sqrt);
        assert_eq!(features.ids, [1, 2, 7]);
        let half = 0.5_f32.sqrt();
        assert_eq!(features.values, [half, half, 1.0]);
    }
}
