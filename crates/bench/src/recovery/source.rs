//! The rows as they come due: first every key once, as fast as they are taken, then so many a second from each split.
//!
//! There are as many splits as the job has workers at its start, whatever their number later. A split that is read anew, after a failure
//! or with another parallelism, goes on at its rate from that moment: it does not make up for the time that was lost.

use std::time::Duration;

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::state::Data;

use super::signal::monotonic_ns;
use crate::rows::{Rows, share};

/// Splits, and workers that a job begins with.
pub const SPLITS: u32 = 2;

/// Between two looks at the clock.
const TICK: Duration = Duration::from_millis(1);

/// The rows, endless without `rows`, and as fast as they are taken without `rate`.
#[derive(Clone, Debug)]
pub struct PacedRows {
    pub keys: u64,
    /// Rows a second of each split.
    pub rate: Option<u64>,
    /// Of all splits.
    pub rows: Option<u64>,
}

/// Every [`SPLITS`]-th row from `offset` on, of which `done` have been emitted.
#[derive(Clone, Debug, Data)]
pub struct PacedSplit {
    offset: u64,
    done: u64,
}

impl Source for PacedRows {
    type Record = u64;
    type Split = PacedSplit;
    type Reader = PacedReader;

    fn discover(&self, _: u32) -> highwater::Result<Vec<PacedSplit>> {
        Ok((0..u64::from(SPLITS)).map(|offset| PacedSplit { offset, done: 0 }).collect())
    }

    fn reader(&self, splits: Vec<PacedSplit>) -> highwater::Result<PacedReader> {
        let stride = u64::from(SPLITS);
        let part = |split: PacedSplit| Part {
            total: self.rows.map_or(u64::MAX, |rows| share(rows, split.offset, stride)),
            fill: share(self.keys, split.offset, stride),
            rows: Rows::new(split.offset + split.done * stride, stride, self.keys),
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
    rows: Rows,
    /// How many rows have every key once.
    fill: u64,
    total: u64,
    rate: Option<u64>,
    /// Since when rows come due, and how many had been emitted before.
    paced: Option<(u64, u64)>,
}

impl Part {
    /// How many of its rows are due in all.
    fn due(&mut self, now_ns: u64) -> u64 {
        let Some(rate) = self.rate else { return self.total };
        if self.split.done < self.fill {
            return self.fill.min(self.total);
        }
        let (since_ns, before) = *self.paced.get_or_insert((now_ns, self.split.done));
        let came = u128::from(now_ns.saturating_sub(since_ns)) * u128::from(rate) / 1_000_000_000;
        self.total.min(before.saturating_add(came as u64))
    }

    fn poll(&mut self, now_ns: u64, output: &mut SourceOutput<u64>) -> SourceStatus {
        let count = self.due(now_ns).saturating_sub(self.split.done).min(output.room() as u64);
        for _ in 0..count {
            output.emit(self.rows.next_key());
        }
        self.split.done += count;
        if self.split.done == self.total {
            SourceStatus::End
        } else if self.due(now_ns) > self.split.done {
            SourceStatus::More
        } else {
            SourceStatus::Idle(TICK)
        }
    }
}

/// Reads the splits of one subtask.
pub struct PacedReader {
    parts: Vec<Part>,
}

impl SourceReader for PacedReader {
    type Record = u64;
    type Split = PacedSplit;

    fn poll(&mut self, output: &mut SourceOutput<u64>) -> highwater::Result<SourceStatus> {
        let now_ns = monotonic_ns();
        let statuses: Vec<SourceStatus> = self.parts.iter_mut().map(|part| part.poll(now_ns, output)).collect();
        Ok(if statuses.contains(&SourceStatus::More) {
            SourceStatus::More
        } else if statuses.iter().all(|status| *status == SourceStatus::End) {
            SourceStatus::End
        } else {
            SourceStatus::Idle(TICK)
        })
    }

    fn snapshot(&self) -> Vec<PacedSplit> {
        self.parts.iter().map(|part| part.split.clone()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn part(rate: Option<u64>, rows: Option<u64>, done: u64) -> Part {
        let source = PacedRows { keys: 10, rate, rows };
        source.reader(vec![PacedSplit { offset: 0, done }]).unwrap().parts.remove(0)
    }

    #[test]
    fn every_key_comes_at_once_and_the_rest_at_its_rate() {
        let mut part = part(Some(100), None, 0);
        assert_eq!(part.due(SECOND), 5, "half of the keys");
        part.split.done = 5;
        assert_eq!([SECOND, 2 * SECOND, 2 * SECOND + SECOND / 2].map(|now| part.due(now)), [5, 105, 155]);
    }

    #[test]
    fn a_split_that_is_read_anew_makes_up_for_nothing() {
        assert_eq!(part(Some(100), None, 1_000).due(50 * SECOND), 1_000);
    }

    #[test]
    fn without_a_rate_all_rows_are_due() {
        assert_eq!(part(None, Some(101), 0).due(0), 51);
        assert_eq!(part(Some(100), Some(4), 0).due(0), 2, "fewer than the keys");
    }
}
