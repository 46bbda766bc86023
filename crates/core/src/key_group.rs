//! Key groups: the unit in which keyed state is stored, moved and owned.
//!
//! A key belongs to a key group for ever: `hash(key)` over its canonical encoding, then [`KeyHash::key_group`]. A subtask owns a
//! contiguous range of key groups, by Flink's formulas. So changing the parallelism moves whole key groups and never splits one.
//!
//! Invariant I2: the key group of a key does not depend on the parallelism, and the ranges of all subtasks cover
//! `0..max_parallelism` with no gap and no overlap.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::id::{Parallelism, SubtaskIndex};

/// Number of one key group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyGroup(pub u16);

/// The 64-bit hash of a key: XXH3-64 with seed 0 over the key's canonical encoding. Part of the stored format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct KeyHash(pub u64);

impl KeyHash {
    /// The hash of a canonical encoding.
    #[inline]
    pub fn of(encoding: &[u8]) -> Self {
        KeyHash(xxhash_rust::xxh3::xxh3_64(encoding))
    }

    /// The key group: the upper 32 bits of the hash, scaled to `0..max_parallelism`.
    ///
    /// The lower bits stay free for the table within a key group.
    #[inline]
    pub fn key_group(self, max: MaxParallelism) -> KeyGroup {
        KeyGroup((((self.0 >> 32) * u64::from(max.0)) >> 32) as u16)
    }
}

/// The number of key groups: an upper bound on the parallelism that can never change while state is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MaxParallelism(u32);

impl MaxParallelism {
    /// The largest number of key groups, as in Flink.
    pub const UPPER_BOUND: u32 = 1 << 15;

    /// `count` key groups, from 1 to [`UPPER_BOUND`](Self::UPPER_BOUND).
    ///
    /// # Errors
    /// If it is out of those bounds.
    pub fn new(count: u32) -> Result<Self> {
        if (1..=Self::UPPER_BOUND).contains(&count) {
            Ok(MaxParallelism(count))
        } else {
            Err(Error::settings(format!("max parallelism is {count}: give 1 to {}", Self::UPPER_BOUND)))
        }
    }

    /// Flink's default: `min(max(round_up_to_power_of_2(1.5 * parallelism), 128), 32768)`.
    pub fn default_for(parallelism: Parallelism) -> Self {
        let p = u64::from(parallelism.count());
        let rounded = (p + p / 2).next_power_of_two();
        MaxParallelism(rounded.clamp(128, u64::from(Self::UPPER_BOUND)) as u32)
    }

    /// The number of key groups.
    pub fn count(self) -> u32 {
        self.0
    }

    /// All key groups.
    pub fn all(self) -> KeyGroupRange {
        KeyGroupRange { start: 0, end: self.0 }
    }

    /// Which subtask owns `group` at this `parallelism`: Flink's `group * parallelism / max_parallelism`.
    pub fn owner(self, group: KeyGroup, parallelism: Parallelism) -> SubtaskIndex {
        SubtaskIndex((u64::from(group.0) * u64::from(parallelism.count()) / u64::from(self.0)) as u32)
    }

    /// The key groups that `subtask` owns: Flink's `ceil(i * max / p) ..= ((i + 1) * max - 1) / p`.
    pub fn range_of(self, subtask: SubtaskIndex, parallelism: Parallelism) -> KeyGroupRange {
        let (i, max, p) = (u64::from(subtask.0), u64::from(self.0), u64::from(parallelism.count()));
        KeyGroupRange { start: (i * max).div_ceil(p) as u32, end: (((i + 1) * max - 1) / p + 1) as u32 }
    }
}

impl fmt::Display for MaxParallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// A contiguous range of key groups, half open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct KeyGroupRange {
    start: u32,
    end: u32,
}

impl KeyGroupRange {
    /// The range `start..end`; empty where `end <= start`.
    pub fn new(range: Range<u32>) -> Self {
        KeyGroupRange { start: range.start, end: range.end.max(range.start) }
    }

    /// The first key group.
    pub fn start(self) -> u32 {
        self.start
    }

    /// One past the last key group.
    pub fn end(self) -> u32 {
        self.end
    }

    /// How many key groups.
    pub fn count(self) -> usize {
        (self.end - self.start) as usize
    }

    /// Whether `group` is in the range.
    pub fn contains(self, group: KeyGroup) -> bool {
        (self.start..self.end).contains(&u32::from(group.0))
    }

    /// The position of `group` within the range.
    ///
    /// # Panics
    /// If it is not in the range: a record was routed to a subtask that does not own its key group (I2).
    pub fn index_of(self, group: KeyGroup) -> usize {
        assert!(self.contains(group), "key group {} is not in {self}", group.0);
        (u32::from(group.0) - self.start) as usize
    }

    /// The key groups in order.
    pub fn iter(self) -> impl Iterator<Item = KeyGroup> {
        (self.start..self.end).map(|group| KeyGroup(group as u16))
    }
}

impl fmt::Display for KeyGroupRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "key groups {}..{}", self.start, self.end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn p(count: u32) -> Parallelism {
        Parallelism::new(count).unwrap()
    }

    #[test]
    fn default_max_parallelism_is_flinks() {
        for (parallelism, expected) in
            [(1, 128), (85, 128), (86, 256), (170, 256), (172, 512), (1000, 2048), (60_000, 32768)]
        {
            assert_eq!(MaxParallelism::default_for(p(parallelism)).count(), expected, "{parallelism}");
        }
    }

    #[test]
    fn ranges_are_flinks() {
        let max = MaxParallelism::new(128).unwrap();
        let ranges: Vec<_> = (0..3).map(|i| max.range_of(SubtaskIndex(i), p(3))).map(|r| (r.start, r.end)).collect();
        assert_eq!(ranges, [(0, 43), (43, 86), (86, 128)]);
    }

    #[test]
    fn every_key_group_has_exactly_one_owner_at_every_parallelism() {
        for max in [1, 2, 7, 127, 128, 4096] {
            let max = MaxParallelism::new(max).unwrap();
            for parallelism in 1..=max.count().min(130) {
                let mut next = 0;
                for subtask in 0..parallelism {
                    let range = max.range_of(SubtaskIndex(subtask), p(parallelism));
                    assert_eq!(range.start, next, "gap or overlap at {subtask} of {parallelism}");
                    assert!(range.iter().all(|group| max.owner(group, p(parallelism)) == SubtaskIndex(subtask)));
                    next = range.end;
                }
                assert_eq!(next, max.count());
            }
        }
    }

    #[test]
    fn the_key_group_of_a_hash_is_fixed() {
        let max = MaxParallelism::new(128).unwrap();
        for (hash, group) in [(0, 0), (u64::MAX, 127), (1 << 63, 64), (0x0200_0000_0000_0000, 1)] {
            assert_eq!(KeyHash(hash).key_group(max), KeyGroup(group));
        }
        // XXH3-64 of the eight bytes of 42u64, little endian: pinned, because it decides where stored keys belong.
        assert_eq!(KeyHash::of(&42u64.to_le_bytes()), KeyHash(xxhash_rust::xxh3::xxh3_64(&[42, 0, 0, 0, 0, 0, 0, 0])));
    }
}
