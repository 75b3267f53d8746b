//! Chance that comes out the same each time.

/// A small generator of numbers: SplitMix64 (Steele, Lea, Flood 2014, "Fast
/// splittable pseudorandom number generators"). Good enough to vary an attack
/// with, and never for secrets.
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The same seed gives the same numbers, on every machine.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Sixty-four bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number in `0..n`. The bias of the remainder is below `n / 2^64`.
    ///
    /// # Panics
    ///
    /// When `n` is 0.
    pub fn below(&mut self, n: usize) -> usize {
        let n = u64::try_from(n).expect("a count fits 64 bits");
        usize::try_from(self.bits() % n).expect("below a count")
    }

    /// Whether something happens that does so in `percent` of a hundred cases.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A whole number in `least..=most`.
    ///
    /// # Panics
    ///
    /// When `least` is above `most`.
    pub fn between(&mut self, least: usize, most: usize) -> usize {
        assert!(least <= most, "a range of {least} to {most} is empty");
        least + self.below(most - least + 1)
    }

    /// One of `choices`.
    ///
    /// # Panics
    ///
    /// When there are none.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        &choices[self.below(choices.len())]
    }
}
