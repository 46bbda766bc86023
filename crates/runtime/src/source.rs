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
#[derive(Debug)]
pub struct SourceOutput<T> {
    batch: Batch<T>,
}

impl<T> Default for SourceOutput<T> {
    fn default() -> Self {
        SourceOutput { batch: Batch::default() }
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

    /// Takes what has been emitted.
    pub fn take(&mut self) -> Batch<T> {
        std::mem::take(&mut self.batch)
    }
}
