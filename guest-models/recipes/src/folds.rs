//! Which rows are tried on a model that has not seen them.
//!
//! Pure: a cluster's name decides its fold, so that a row's fold changes
//! neither with the order of the rows nor with rows added later.

/// Number of folds of every cross-validation.
pub(crate) const N_FOLDS: usize = 5;

/// Fixed so that figures of different runs can be compared.
pub(crate) const SALT: &str = "trommel-folds-v1|";

/// The fold of every row of `cluster`, below [`N_FOLDS`].
pub(crate) fn fold(cluster: &str) -> usize {
    let hash = SALT
        .bytes()
        .chain(cluster.bytes())
        .fold(0xcbf2_9ce4_8422_2325, fnv1a);
    (mix(hash) % N_FOLDS as u64) as usize
}

fn fnv1a(hash: u64, byte: u8) -> u64 {
    (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
}

/// The finaliser of SplitMix64, after Steele, Lea & Flood 2014,
/// doi:10.1145/2660193.2660195.
pub(crate) fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ (bits >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cluster_always_lands_in_the_same_fold() {
        assert_eq!(fold("c0123456789"), fold("c0123456789"));
    }

    #[test]
    fn folds_are_of_about_equal_size() {
        let mut sizes = [0; N_FOLDS];
        for cluster in 0..10_000 {
            sizes[fold(&format!("c{cluster}"))] += 1;
        }
        assert!(
            sizes.iter().all(|size| (1_850..2_150).contains(size)),
            "{sizes:?}"
        );
    }
}
