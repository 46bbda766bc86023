//! The rows as a source: each split is every n-th row, its position the next one.

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::state::Data;

use crate::probe::Probe;
use crate::rows::{Rows, share};

/// `rows` rows with `keys` keys.
pub struct RowSource {
    pub rows: u64,
    pub keys: u64,
    pub probe: Probe,
}

/// Every `stride`-th row from `offset` on, of which `done` have been emitted.
#[derive(Clone, Debug, Data)]
pub struct RowSplit {
    offset: u64,
    stride: u64,
    done: u64,
}

impl Source for RowSource {
    type Record = u64;
    type Split = RowSplit;
    type Reader = RowReader;

    fn discover(&self, parallelism: u32) -> highwater::Result<Vec<RowSplit>> {
        let stride = u64::from(parallelism);
        Ok((0..stride).map(|offset| RowSplit { offset, stride, done: 0 }).collect())
    }

    fn reader(&self, splits: Vec<RowSplit>) -> highwater::Result<RowReader> {
        let part = |split: RowSplit| Part {
            left: share(self.rows, split.offset, split.stride) - split.done,
            rows: Rows::new(split.offset + split.done * split.stride, split.stride, self.keys),
            split,
        };
        Ok(RowReader { parts: splits.into_iter().map(part).collect(), probe: Some(self.probe.clone()) })
    }
}

/// A split being read.
struct Part {
    split: RowSplit,
    rows: Rows,
    left: u64,
}

/// Reads the splits of one subtask, one after the other.
pub struct RowReader {
    parts: Vec<Part>,
    /// Until the first row.
    probe: Option<Probe>,
}

impl SourceReader for RowReader {
    type Record = u64;
    type Split = RowSplit;

    fn poll(&mut self, output: &mut SourceOutput<u64>) -> highwater::Result<SourceStatus> {
        if let Some(probe) = self.probe.take() {
            probe.begin();
        }
        let Some(part) = self.parts.iter_mut().find(|part| part.left > 0) else { return Ok(SourceStatus::End) };
        let count = part.left.min(output.room() as u64);
        for _ in 0..count {
            output.emit(part.rows.next_key());
        }
        part.left -= count;
        part.split.done += count;
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<RowSplit> {
        self.parts.iter().map(|part| part.split.clone()).collect()
    }
}
