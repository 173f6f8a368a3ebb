//! Chance that repeats itself.

use std::time::Duration;

/// Random numbers from a seed (splitmix64, Steele and others 2014).
#[derive(Debug, Clone)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `bound`, which is more than nothing.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// One time in this many.
    pub(crate) fn one_in(&mut self, many: u64) -> bool {
        self.below(many) == 0
    }

    /// From 0 up to 1, neither of them.
    pub(crate) fn fraction(&mut self) -> f64 {
        let mantissa = u32::try_from(self.next() >> 32).unwrap_or(u32::MAX);
        (f64::from(mantissa) + 0.5) / (f64::from(u32::MAX) + 1.0)
    }

    /// A time without memory.
    pub(crate) fn exponential(&mut self, mean: Duration) -> Duration {
        mean.mul_f64(-self.fraction().ln())
    }
}
