//! Splits of a source whose records are numbered.
//!
//! With n splits, split s holds the indexes s, s + n, s + 2n, .. : so every split has its share of a bounded source, and an
//! endless one needs no bound. n is fixed when the splits are made, whatever the parallelism is later.

use highwater_runtime::source::SourceOutput;
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
    /// Whether the output knows the splits.
    named: bool,
}

impl Turns {
    pub(super) fn new(mut splits: Vec<IndexSplit>, limit: u64) -> Self {
        splits.sort_by_key(|split| split.next);
        Turns { splits, turn: 0, limit, named: false }
    }

    /// Whether every split has reached the limit.
    pub(super) fn at_end(&self) -> bool {
        self.splits.iter().all(|split| split.next >= self.limit)
    }

    /// Emits what `make` returns for each of the next indexes, up to `count` of them; false if there are none left. Each split has a
    /// watermark of its own, since after a restore one may be far ahead of another.
    pub(super) fn emit<T>(&mut self, count: usize, output: &mut SourceOutput<T>, make: impl Fn(u64) -> T) -> bool {
        if let [split] = &mut self.splits[..] {
            for _ in 0..count {
                if split.next >= self.limit {
                    return false;
                }
                output.emit(make(split.next));
                split.next = split.next.saturating_add(split.stride);
            }
            return !self.at_end();
        }
        if !self.named {
            self.named = true;
            let unread = (0u32..).zip(&self.splits).filter(|(_, split)| split.next < self.limit);
            unread.for_each(|(number, _)| output.split(number));
        }
        for _ in 0..count {
            let Some(turn) = self.next_turn() else { return false };
            let split = &mut self.splits[turn];
            output.split(turn as u32);
            output.emit(make(split.next));
            split.next = split.next.saturating_add(split.stride);
            if split.next >= self.limit {
                output.finish_split(turn as u32);
            }
        }
        !self.at_end()
    }

    /// Whose turn it is.
    fn next_turn(&mut self) -> Option<usize> {
        let count = self.splits.len();
        for _ in 0..count {
            let turn = self.turn;
            self.turn = if turn + 1 == count { 0 } else { turn + 1 };
            if self.splits[turn].next < self.limit {
                return Some(turn);
            }
        }
        None
    }

    pub(super) fn splits(&self) -> &[IndexSplit] {
        &self.splits
    }
}
