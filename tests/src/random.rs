//! Numbers that look random and are the same every time, on every machine.

/// A stream of numbers that its seed decides: SplitMix64 (Steele, Lea and Flood 2014,
/// "Fast splittable pseudorandom number generators").
#[derive(Debug, Clone)]
pub struct Random(u64);

impl Random {
    /// The stream of `seed`.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// The next 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    /// Uniform within `0..bound`; the bias is below `bound` in 2⁶⁴.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.bits() % bound as u64).expect("below a usize")
    }

    /// Uniform within `low..high`, in steps of 2⁻²⁴ of its length.
    pub fn within(&mut self, low: f32, high: f32) -> f32 {
        // 24 bits are what an f32 holds; no rounding but the last.
        let unit = (self.bits() >> 40) as f32 / (1_u32 << 24) as f32;
        low + (high - low) * unit
    }

    /// Uniform around zero with variance 1: within ±√3.
    // Not normal: a logarithm or cosine may differ in the last bit between machines.
    pub fn unit_variance(&mut self) -> f32 {
        let edge = 3.0_f32.sqrt();
        self.within(-edge, edge)
    }
}
