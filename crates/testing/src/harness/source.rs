//! Sources that end their run after a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{Error, ErrorKind, JobStatus, Record, Result, StopHandle};

use super::Interruption;

const CRASH: &str = "interrupted by the harness";

/// How often a source that waits looks again.
const LOOK: Duration = Duration::from_millis(1);

/// Whether a run failed because it was to be interrupted.
pub fn is_interruption(error: &Error) -> bool {
    error.to_string().contains(CRASH)
}

/// Ends one run: shared by all its sources, of which one may emit once.
#[derive(Clone)]
pub(super) struct Break {
    interruption: Interruption,
    stop: StopHandle,
    status: Arc<JobStatus>,
    /// Whether some source has taken its turn.
    taken: Arc<AtomicBool>,
}

impl Break {
    pub(super) fn new(interruption: Interruption, stop: StopHandle, status: Arc<JobStatus>) -> Self {
        Break { interruption, stop, status, taken: Arc::default() }
    }

    fn completed(&self) -> u64 {
        self.status.snapshot().completed
    }
}

/// A source of which each run sees one poll that emits.
pub(super) struct Interrupted<S> {
    source: S,
    interruption: Option<Break>,
}

impl<S> Interrupted<S> {
    pub(super) fn new(source: S, interruption: Option<Break>) -> Self {
        Interrupted { source, interruption }
    }
}

impl<S: Source> Source for Interrupted<S> {
    type Record = S::Record;
    type Split = S::Split;
    type Reader = InterruptedReader<S::Reader>;

    fn discover(&self, parallelism: u32) -> Result<Vec<S::Split>> {
        self.source.discover(parallelism)
    }

    fn reader(&self, splits: Vec<S::Split>) -> Result<Self::Reader> {
        Ok(InterruptedReader {
            reader: self.source.reader(splits)?,
            interruption: self.interruption.clone(),
            crash_at: None,
        })
    }
}

pub(super) struct InterruptedReader<R> {
    reader: R,
    interruption: Option<Break>,
    /// This reader has emitted; the run crashes when so many checkpoints have completed.
    crash_at: Option<u64>,
}

impl<R: SourceReader> SourceReader for InterruptedReader<R> {
    type Record = R::Record;
    type Split = R::Split;

    fn poll(&mut self, output: &mut SourceOutput<R::Record>) -> Result<SourceStatus> {
        let Some(interruption) = &self.interruption else { return self.reader.poll(output) };
        if self.crash_at.is_some_and(|completed| interruption.completed() >= completed) {
            return Err(Error::new(ErrorKind::Input, CRASH));
        }
        if interruption.taken.swap(true, Ordering::SeqCst) {
            return Ok(SourceStatus::Idle(LOOK));
        }
        let room = output.room();
        let status = self.reader.poll(output)?;
        if output.room() == room {
            interruption.taken.store(false, Ordering::SeqCst);
            return Ok(status);
        }
        match interruption.interruption {
            Interruption::Stop => interruption.stop.stop(),
            // The one that may be under way already has the position before; the next one has that after.
            Interruption::Crash => self.crash_at = Some(interruption.completed() + 2),
        }
        Ok(SourceStatus::Idle(LOOK))
    }

    fn snapshot(&self) -> Vec<R::Split> {
        self.reader.snapshot()
    }
}

/// Emits records one a poll, in their order, from a single split.
#[derive(Clone, Debug)]
pub struct OneByOne<T> {
    records: Arc<Vec<T>>,
}

impl<T> OneByOne<T> {
    /// A source of `records`, which a restored job must be given again.
    pub fn new(records: Vec<T>) -> Self {
        OneByOne { records: Arc::new(records) }
    }
}

impl<T: Record + Sync> Source for OneByOne<T> {
    type Record = T;
    /// How many records have been emitted.
    type Split = u64;
    type Reader = OneByOneReader<T>;

    fn discover(&self, _parallelism: u32) -> Result<Vec<u64>> {
        Ok(vec![0])
    }

    fn reader(&self, splits: Vec<u64>) -> Result<OneByOneReader<T>> {
        Ok(OneByOneReader { records: Arc::clone(&self.records), splits })
    }
}

/// Reads a [`OneByOne`]: in one of the subtasks, the others have no split.
#[derive(Debug)]
pub struct OneByOneReader<T> {
    records: Arc<Vec<T>>,
    splits: Vec<u64>,
}

impl<T: Record + Sync> SourceReader for OneByOneReader<T> {
    type Record = T;
    type Split = u64;

    fn poll(&mut self, output: &mut SourceOutput<T>) -> Result<SourceStatus> {
        let next = |split: &u64| self.records.get(*split as usize).cloned();
        let Some((split, record)) = self.splits.first_mut().and_then(|split| next(split).map(|record| (split, record)))
        else {
            return Ok(SourceStatus::End);
        };
        output.emit(record);
        *split += 1;
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<u64> {
        self.splits.clone()
    }
}
