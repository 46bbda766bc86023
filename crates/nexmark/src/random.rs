//! The random numbers of the reference: Java's `SplittableRandom` with an explicit seed.

use highwater::state::Data;

/// A SplitMix64 whose every draw is one step, whatever it is for.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub(crate) struct Random {
    state: u64,
}

impl Random {
    pub fn new(seed: u64) -> Self {
        Random { state: seed }
    }

    #[inline]
    fn step(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        self.state
    }

    #[inline]
    pub fn next_i32(&mut self) -> i32 {
        let mut z = self.step();
        z = (z ^ (z >> 33)).wrapping_mul(0x62A9_D9ED_7997_05F5);
        z = (z ^ (z >> 28)).wrapping_mul(0xCB24_D0A5_C88C_35B3);
        (z >> 32) as i32
    }

    #[inline]
    fn next_u64(&mut self) -> u64 {
        let mut z = self.step();
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Evenly from `0..n`; a number is drawn for `n` = 1 too.
    #[inline]
    pub fn below(&mut self, n: u32) -> u32 {
        let drawn = self.next_i32() as u32;
        if n.is_power_of_two() {
            return drawn & (n - 1);
        }
        let mut candidate = drawn >> 1;
        loop {
            let result = candidate % n;
            // Numbers beyond the last whole multiple of n below 2^31 would make the small results likelier.
            if candidate + (n - 1) - result < 1 << 31 {
                return result;
            }
            candidate = self.next_i32() as u32 >> 1;
        }
    }

    /// Evenly from 0 up to, but not including, 1.
    #[inline]
    pub fn unit(&mut self) -> f64 {
        const STEP: f64 = 1.0 / (1u64 << 53) as f64;
        (self.next_u64() >> 11) as f64 * STEP
    }
}
