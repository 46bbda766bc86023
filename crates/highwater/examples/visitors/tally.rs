//! What a run has read, and the summary it ends with.
//!
//! Each subtask counts in a [`Tally`] of its own, since a counter that all of them share would cost more than reading a line. It
//! is added to the [`Totals`] when the subtask's dataflow ends, before `execute` returns.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::JobResult;

/// What all subtasks of this process have read, in all attempts.
#[derive(Debug, Default)]
pub struct Totals {
    accepted: AtomicU64,
    rejected: AtomicU64,
    bytes: AtomicU64,
}

/// What one subtask has read. A clone counts from 0.
#[derive(Debug)]
pub struct Tally {
    accepted: u64,
    rejected: u64,
    bytes: u64,
    totals: Arc<Totals>,
}

impl Tally {
    /// A tally that will be added to `totals`.
    pub fn of(totals: &Arc<Totals>) -> Self {
        Tally { accepted: 0, rejected: 0, bytes: 0, totals: Arc::clone(totals) }
    }

    /// Counts a line that fits the format. Its length is that in the file, with its ending.
    pub fn accept(&mut self, line_bytes: usize) {
        self.accepted += 1;
        self.bytes += line_bytes as u64;
    }

    /// Counts a line that does not.
    pub fn reject(&mut self, line_bytes: usize) {
        self.rejected += 1;
        self.bytes += line_bytes as u64;
    }
}

impl Clone for Tally {
    fn clone(&self) -> Self {
        Tally::of(&self.totals)
    }
}

impl Drop for Tally {
    fn drop(&mut self) {
        self.totals.accepted.fetch_add(self.accepted, Ordering::Relaxed);
        self.totals.rejected.fetch_add(self.rejected, Ordering::Relaxed);
        self.totals.bytes.fetch_add(self.bytes, Ordering::Relaxed);
    }
}

/// How a run went, for people.
#[derive(Debug)]
pub struct Summary<'a> {
    pub totals: &'a Totals,
    pub job: &'a JobResult,
    pub output: &'a Path,
    /// Whether this process can have read anything.
    pub has_workers: bool,
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Summary { totals, job, output, has_workers } = self;
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let seconds = job.duration.as_secs_f64();
        let megabytes = load(&totals.bytes) as f64 / 1e6;
        let (accepted, rejected) = (load(&totals.accepted), load(&totals.rejected));
        writeln!(f, "records      {} ({accepted} accepted, {rejected} rejected)", accepted + rejected)?;
        writeln!(f, "time         {seconds:.2} s, {:.1} MB/s", megabytes / seconds.max(f64::MIN_POSITIVE))?;
        write!(f, "checkpoints  {} completed, {} failed", job.checkpoints_completed, job.checkpoints_failed)?;
        if let Some(last) = &job.last_checkpoint {
            write!(f, ", the last is {}", last.id)?;
        }
        writeln!(f)?;
        write!(f, "output       {}, rejected lines in {}", output.display(), output.join(super::REJECTED).display())?;
        if accepted + rejected == 0 && *has_workers {
            write!(
                f,
                "\n\nThere was nothing to read: earlier runs had read everything up to the restored checkpoint."
            )?;
        }
        Ok(())
    }
}
