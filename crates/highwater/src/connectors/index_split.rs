//! Splits of a source whose records are numbered.
//!
//! With n splits, split s holds the indexes s, s + n, s + 2n, .. : so every split has its share of a bounded source, and an
//! endless one needs no bound. n is fixed when the splits are made, whatever the parallelism is later.

use highwater_state::Data;

/// Every `stride`-th index from `next` on.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct IndexSplit {
    next: u64,
    stride: u64,
}

impl IndexSplit {
    /// The splits of all indexes, one for each of `parallelism` subtasks.
    pub(super) fn deal(parallelism: u32) -> Vec<IndexSplit> {
        let stride = u64::from(parallelism.max(1));
        (0..stride).map(|next| IndexSplit { next, stride }).collect()
    }

    /// The next index that has not been emitted.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many splits there are in all.
    pub fn stride(&self) -> u64 {
        self.stride
    }
}

/// The indexes below a limit of several splits that take turns, the one that is furthest behind first.
#[derive(Debug)]
pub(super) struct Turns {
    splits: Vec<IndexSplit>,
    turn: usize,
    limit: u64,
}

impl Turns {
    pub(super) fn new(mut splits: Vec<IndexSplit>, limit: u64) -> Self {
        splits.sort_by_key(|split| split.next);
        Turns { splits, turn: 0, limit }
    }

    /// Whether every split has reached the limit.
    pub(super) fn at_end(&self) -> bool {
        self.splits.iter().all(|split| split.next >= self.limit)
    }

    pub(super) fn splits(&self) -> &[IndexSplit] {
        &self.splits
    }
}

impl Iterator for Turns {
    type Item = u64;

    #[inline]
    fn next(&mut self) -> Option<u64> {
        let count = self.splits.len();
        for _ in 0..count {
            let split = &mut self.splits[self.turn];
            self.turn = if self.turn + 1 == count { 0 } else { self.turn + 1 };
            if split.next < self.limit {
                let index = split.next;
                split.next = index.saturating_add(split.stride);
                return Some(index);
            }
        }
        None
    }
}
