//! What a source is: splits with positions, and readers that emit records.
//!
//! A source's input is divided into *splits* (a byte range of a file, a partition of a log). The splits are discovered once for
//! a job that starts fresh; from then on they live in checkpoints, each with the position that has been read, and are dealt out
//! anew to the subtasks whenever a job is restored. So a reader must be able to go on from a split alone, and after a restore it
//! must emit exactly what an uninterrupted reader would have emitted after that position.

use std::time::Duration;

use highwater_core::Result;
use highwater_state::Data;

use crate::batch::{BATCH_ROWS, Batch, NO_TIME, Record};

/// A replayable input: a description that all subtasks share.
pub trait Source: Send + Sync + 'static {
    /// What it emits.
    type Record: Record;
    /// A part of the input with the position up to which it has been read.
    type Split: Data;
    /// What reads the splits of one subtask.
    type Reader: SourceReader<Record = Self::Record, Split = Self::Split>;

    /// All splits of the input, unread, for `parallelism` subtasks. Called once for a job that starts fresh, before any reader.
    ///
    /// # Errors
    /// If the input is missing or unreadable, with the way out.
    fn discover(&self, parallelism: u32) -> Result<Vec<Self::Split>>;

    /// A reader that goes on with `splits` from their positions. A subtask may have none.
    ///
    /// # Errors
    /// If the input is missing, unreadable, or no longer the one that was read up to these positions.
    fn reader(&self, splits: Vec<Self::Split>) -> Result<Self::Reader>;
}

/// Reads the splits of one subtask.
pub trait SourceReader: 'static {
    /// What it emits.
    type Record: Record;
    /// The split of its source.
    type Split: Data;

    /// Emits records until the output is full or nothing is at hand. Must not block for longer than a few milliseconds.
    ///
    /// # Errors
    /// Ends the attempt.
    fn poll(&mut self, output: &mut SourceOutput<Self::Record>) -> Result<SourceStatus>;

    /// The splits with the positions up to which records have been emitted: all that were given, also those read to the end.
    fn snapshot(&self) -> Vec<Self::Split>;
}

/// What a reader has to say after [`SourceReader::poll`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceStatus {
    /// More is at hand: poll again as soon as there is room.
    More,
    /// Nothing at hand: poll again after this time.
    Idle(Duration),
    /// Every split is read to its end, and none will ever grow.
    End,
}

/// Where a reader puts its records.
///
/// A reader of several splits says which one its records are of ([`split`](Self::split)), so that each has a watermark of its own
/// and the slowest counts. One that does not has a single watermark for all its records.
#[derive(Debug)]
pub struct SourceOutput<T> {
    batch: Batch<T>,
    events: Vec<SplitEvent>,
    split: Option<u32>,
}

/// What a reader has said of its splits, and before which row of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SplitEvent {
    Selected { split: u32, row: usize },
    Finished { split: u32, row: usize },
}

impl<T> Default for SourceOutput<T> {
    fn default() -> Self {
        SourceOutput { batch: Batch::default(), events: Vec::new(), split: None }
    }
}

impl<T> SourceOutput<T> {
    /// How many records fit before the reader should return.
    #[inline]
    pub fn room(&self) -> usize {
        BATCH_ROWS.saturating_sub(self.batch.len())
    }

    /// Emits a record without event time.
    #[inline]
    pub fn emit(&mut self, record: T) {
        self.batch.push(record, NO_TIME);
    }

    /// Emits a record with its event time in ms since the Unix epoch.
    #[inline]
    pub fn emit_at(&mut self, record: T, time_ms: i64) {
        self.batch.push(record, time_ms);
    }

    /// What is emitted from now on is of `split`, a number that the reader chooses. From the first time on that it is named, with or
    /// without records, the split holds the source's watermark back: so a reader names the splits that it reads side by side before
    /// the first record, and of those that it reads one after the other each when its turn comes.
    #[inline]
    pub fn split(&mut self, split: u32) {
        if self.split != Some(split) {
            self.split = Some(split);
            self.events.push(SplitEvent::Selected { split, row: self.batch.len() });
        }
    }

    /// `split` is read to its end, and holds the watermark back no longer.
    pub fn finish_split(&mut self, split: u32) {
        self.split = self.split.filter(|current| *current != split);
        self.events.push(SplitEvent::Finished { split, row: self.batch.len() });
    }

    /// Emits a batch as it is.
    ///
    /// # Panics
    /// If something was emitted before.
    pub(crate) fn put(&mut self, batch: Batch<T>) {
        assert!(self.batch.is_empty(), "records were emitted and not taken");
        self.batch = batch;
    }

    /// Takes the records that have been emitted.
    pub fn take(&mut self) -> Batch<T> {
        std::mem::take(&mut self.batch)
    }

    /// Takes what was said of splits, for the records that were taken last.
    pub(crate) fn take_events(&mut self) -> Vec<SplitEvent> {
        std::mem::take(&mut self.events)
    }
}
