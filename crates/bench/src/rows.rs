//! The rows that every subject of a benchmark processes, and the result they must give.
//!
//! Row i is a `u64`, its own key: `splitmix64(i mod keys)`. So all keys are there after the first `keys` rows, every key comes
//! up equally often, and two rows of a key are as far apart as can be: the hardest case for a cache.

/// Sebastiano Vigna's [splitmix64](https://prng.di.unimi.it/splitmix64.c): one to one, so different inputs are different keys.
#[inline(always)]
pub fn splitmix64(index: u64) -> u64 {
    let mut z = index.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// The keys of every `stride`-th row. `i mod keys` goes without a division, which would cost more than the rest of a row.
#[derive(Clone, Debug)]
pub struct Rows {
    residue: u64,
    step: u64,
    keys: u64,
}

impl Rows {
    /// Rows `next`, `next + stride`, ..
    pub fn new(next: u64, stride: u64, keys: u64) -> Self {
        Rows { residue: next % keys, step: stride % keys, keys }
    }

    /// The key of the next row.
    #[inline(always)]
    pub fn next_key(&mut self) -> u64 {
        let key = splitmix64(self.residue);
        self.residue += self.step;
        if self.residue >= self.keys {
            self.residue -= self.keys;
        }
        key
    }
}

/// How many of `rows` rows are in the share of subtask `subtask` of `workers`.
pub fn share(rows: u64, subtask: u64, workers: u64) -> u64 {
    rows.saturating_sub(subtask).div_ceil(workers)
}

/// The sum over all rows of the count of the row's key up to it, modulo 2^64: for each key 1 + 2 + .. + n.
pub fn sum_of_counts(rows: u64, keys: u64) -> u64 {
    let (fewer, keys_with_one_more) = (u128::from(rows / keys), u128::from(rows % keys));
    let triangle = |n: u128| n * (n + 1) / 2;
    let more = triangle(fewer + 1).wrapping_mul(keys_with_one_more);
    let rest = triangle(fewer).wrapping_mul(u128::from(keys) - keys_with_one_more);
    more.wrapping_add(rest) as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashMap;

    #[test]
    fn the_sum_is_that_of_counting() {
        for (rows, keys) in [(1, 1), (10, 3), (12, 3), (5, 8), (1000, 7)] {
            let mut counts = HashMap::new();
            let count = |row: u64| {
                let count = counts.entry(splitmix64(row % keys)).or_insert(0u64);
                *count += 1;
                *count
            };
            assert_eq!((0..rows).map(count).sum::<u64>(), sum_of_counts(rows, keys), "{rows} rows, {keys} keys");
        }
    }

    #[test]
    fn the_shares_are_all_rows_once() {
        for (rows, keys, workers) in [(10, 3, 1), (10, 3, 4), (2, 5, 3), (100, 1, 7)] {
            let mut expected: Vec<u64> = (0..rows).map(|row| splitmix64(row % keys)).collect();
            let mut found = Vec::new();
            for subtask in 0..workers {
                let mut share_rows = Rows::new(subtask, workers, keys);
                found.extend((0..share(rows, subtask, workers)).map(|_| share_rows.next_key()));
            }
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected, "{rows} rows, {keys} keys, {workers} workers");
        }
    }
}
