//! The rows as they come due, without an end: first every key once, as fast as they are taken, then so many a second from each split.
//!
//! A row says how often its key has come, itself included, so that whoever counts can be checked: row i has the key of row i mod keys,
//! and is its occurrence i / keys + 1.
//!
//! There are as many splits as the job has workers at its start, whatever their number later. A split that is read anew, after a failure
//! or with another parallelism, goes on at its rate from that moment: it does not make up for the time that was lost.

use std::time::Duration;

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::state::Data;

use super::signal::monotonic_ns;
use crate::rows::{share, splitmix64};

/// Splits, and workers that a job begins with.
pub const SPLITS: u32 = 2;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);

/// Key, and how often it has come.
pub type Occurrence = (u64, u64);

/// The rows.
#[derive(Clone, Debug)]
pub struct PacedRows {
    pub keys: u64,
    /// Rows a second of each split.
    pub rate: u64,
}

/// Every [`SPLITS`]-th row from `offset` on, of which `done` have been emitted.
#[derive(Clone, Debug, Data)]
pub struct PacedSplit {
    offset: u64,
    done: u64,
}

impl Source for PacedRows {
    type Record = Occurrence;
    type Split = PacedSplit;
    type Reader = PacedReader;

    fn discover(&self, _: u32) -> highwater::Result<Vec<PacedSplit>> {
        Ok((0..u64::from(SPLITS)).map(|offset| PacedSplit { offset, done: 0 }).collect())
    }

    fn reader(&self, splits: Vec<PacedSplit>) -> highwater::Result<PacedReader> {
        let part = |split: PacedSplit| Part {
            keys: self.keys,
            fill: share(self.keys, split.offset, u64::from(SPLITS)),
            rate: self.rate,
            paced: None,
            split,
        };
        Ok(PacedReader { parts: splits.into_iter().map(part).collect() })
    }
}

/// A split being read.
struct Part {
    split: PacedSplit,
    keys: u64,
    /// How many rows have every key once.
    fill: u64,
    rate: u64,
    /// Since when rows come due, and how many had been emitted before.
    paced: Option<(u64, u64)>,
}

impl Part {
    /// How many of its rows are due in all.
    fn due(&mut self, now_ns: u64) -> u64 {
        if self.split.done < self.fill {
            return self.fill;
        }
        let (since_ns, before) = *self.paced.get_or_insert((now_ns, self.split.done));
        let came = u128::from(now_ns.saturating_sub(since_ns)) * u128::from(self.rate) / 1_000_000_000;
        before.saturating_add(came as u64)
    }

    fn next_row(&mut self) -> Occurrence {
        let index = self.split.offset + self.split.done * u64::from(SPLITS);
        self.split.done += 1;
        (splitmix64(index % self.keys), index / self.keys + 1)
    }

    /// Emits what is due, and says whether more is.
    fn poll(&mut self, now_ns: u64, output: &mut SourceOutput<Occurrence>) -> bool {
        let due = self.due(now_ns);
        let count = due.saturating_sub(self.split.done).min(output.room() as u64);
        for _ in 0..count {
            output.emit(self.next_row());
        }
        due > self.split.done
    }
}

/// Reads the splits of one subtask.
pub struct PacedReader {
    parts: Vec<Part>,
}

impl SourceReader for PacedReader {
    type Record = Occurrence;
    type Split = PacedSplit;

    fn poll(&mut self, output: &mut SourceOutput<Occurrence>) -> highwater::Result<SourceStatus> {
        let now_ns = monotonic_ns();
        let mut status = SourceStatus::Idle(TICK);
        for part in &mut self.parts {
            if part.poll(now_ns, output) {
                status = SourceStatus::More;
            }
        }
        Ok(status)
    }

    fn snapshot(&self) -> Vec<PacedSplit> {
        self.parts.iter().map(|part| part.split.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn part(offset: u64, done: u64) -> Part {
        let source = PacedRows { keys: 11, rate: 100 };
        source.reader(vec![PacedSplit { offset, done }]).unwrap().parts.remove(0)
    }

    #[test]
    fn every_key_comes_at_once_and_the_rest_at_its_rate() {
        let mut part = part(0, 0);
        assert_eq!(part.due(SECOND), 6, "half of the keys");
        part.split.done = 6;
        assert_eq!([SECOND, 2 * SECOND, 2 * SECOND + SECOND / 2].map(|now| part.due(now)), [6, 106, 156]);
    }

    #[test]
    fn a_split_that_is_read_anew_makes_up_for_nothing() {
        assert_eq!(part(0, 1_000).due(50 * SECOND), 1_000);
    }

    #[test]
    fn a_row_says_how_often_its_key_has_come() {
        let (mut even, mut odd, mut counts) = (part(0, 0), part(1, 0), HashMap::new());
        for _ in 0..100 {
            for (key, occurrence) in [even.next_row(), odd.next_row()] {
                let count = counts.entry(key).or_insert(0);
                *count += 1;
                assert_eq!(*count, occurrence);
            }
        }
        assert_eq!(counts.len(), 11);
    }
}
