//! Numbers without a pattern, the same for the same seed on every machine.

/// A stream of pseudo-random numbers (SplitMix64, Steele et al. 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// In `0..1`, of 24 bits.
    pub(crate) fn uniform(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1_u32 << 24) as f32
    }

    /// In `low..high`.
    pub(crate) fn between(&mut self, low: f32, high: f32) -> f32 {
        low + (high - low) * self.uniform()
    }

    /// In `0..n`.
    pub(crate) fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    /// Of mean 0 and deviation 1, as the sum of twelve uniform numbers, which
    /// is the same on every machine because it calls no library function.
    pub(crate) fn normal(&mut self) -> f32 {
        let mut sum = -6.0;
        for _ in 0..3 {
            let bits = self.next();
            for part in 0..4 {
                sum += ((bits >> (16 * part)) & 0xFFFF) as f32 / 65_536.0;
            }
        }
        sum + 12.0 / 131_072.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn normal_numbers_have_mean_0_and_deviation_1() {
        let mut chance = Chance::new(1);
        let all: Vec<f64> = (0..20_000).map(|_| f64::from(chance.normal())).collect();
        let mean = all.iter().sum::<f64>() / 20_000.0;
        let square = all.iter().map(|x| x * x).sum::<f64>() / 20_000.0;
        assert!(
            mean.abs() < 0.03 && (square - 1.0).abs() < 0.03,
            "{mean} {square}"
        );
    }
}
