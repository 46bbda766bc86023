//! What can be seen of a job from outside while it runs, and what is left when it has ended.

use std::collections::VecDeque;
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use highwater_checkpoint::{CheckpointReport, Outcome};
use highwater_core::CheckpointId;

use crate::control::lock;
use crate::metrics::RecordsRead;

/// Reports that are kept, newest last.
const HISTORY: usize = 10_000;

/// What a job is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum JobPhase {
    /// Not all tasks of its first attempt run yet.
    #[default]
    Starting,
    /// All tasks run.
    Running,
    /// An attempt failed, and not all tasks of the next run yet.
    Restarting,
    /// It was asked to stop.
    Stopping,
    /// It is over.
    Ended,
}

impl fmt::Display for JobPhase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            JobPhase::Starting => "starting",
            JobPhase::Running => "running",
            JobPhase::Restarting => "restarting",
            JobPhase::Stopping => "stopping",
            JobPhase::Ended => "ended",
        })
    }
}

/// A running job's numbers, shared with whoever shows them.
#[derive(Debug, Default)]
pub struct JobStatus {
    /// Records emitted by the sources of this process.
    pub records_read: RecordsRead,
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    attempts: u64,
    completed: u64,
    failed: u64,
    savepoints: u64,
    phase: JobPhase,
    last_completed: Option<CheckpointReport>,
    restored: Option<(CheckpointId, String)>,
    history: VecDeque<CheckpointReport>,
    pauses: VecDeque<Duration>,
}

/// The numbers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Records emitted by the sources of this process, in all attempts.
    pub records: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// What the job is doing.
    pub phase: JobPhase,
    /// Checkpoints completed.
    pub completed: u64,
    /// Checkpoints failed.
    pub failed: u64,
    /// Savepoints completed, which are not among the checkpoints.
    pub savepoints: u64,
    /// The newest completed checkpoint.
    pub last_completed: Option<CheckpointReport>,
    /// The checkpoint that the current attempt restored, and where it is.
    pub restored: Option<(CheckpointId, String)>,
}

impl JobStatus {
    /// The numbers now.
    pub fn snapshot(&self) -> Snapshot {
        let inner = lock(&self.inner);
        Snapshot {
            records: self.records_read.count(),
            attempts: inner.attempts,
            phase: inner.phase,
            completed: inner.completed,
            failed: inner.failed,
            savepoints: inner.savepoints,
            last_completed: inner.last_completed.clone(),
            restored: inner.restored.clone(),
        }
    }

    /// What the job is doing.
    pub fn phase(&self) -> JobPhase {
        lock(&self.inner).phase
    }

    /// How the newest checkpoints and savepoints ended, oldest first.
    pub fn history(&self) -> Vec<CheckpointReport> {
        lock(&self.inner).history.iter().cloned().collect()
    }

    /// For each snapshot of a task the longest time at one stretch that it kept the task from its records, oldest first.
    pub fn pauses(&self) -> Vec<Duration> {
        lock(&self.inner).pauses.iter().copied().collect()
    }

    pub(crate) fn attempt(&self, restored: Option<(CheckpointId, String)>) {
        let mut inner = lock(&self.inner);
        inner.attempts += 1;
        inner.restored = restored;
    }

    pub(crate) fn enter(&self, phase: JobPhase) {
        lock(&self.inner).phase = phase;
    }

    pub(crate) fn paused(&self, pause: Duration) {
        let mut inner = lock(&self.inner);
        keep(&mut inner.pauses, pause);
    }

    pub(crate) fn checkpoint(&self, report: CheckpointReport) {
        let mut inner = lock(&self.inner);
        match report.outcome {
            Outcome::Completed if report.kind.is_savepoint() => inner.savepoints += 1,
            // That a savepoint failed says nothing about checkpoints.
            Outcome::Failed(_) | Outcome::InDoubt { .. } if report.kind.is_savepoint() => {}
            Outcome::Completed => {
                inner.completed += 1;
                metrics::counter!("highwater_checkpoints_completed").increment(1);
                metrics::histogram!("highwater_checkpoint_seconds").record(report.times.total());
                metrics::gauge!("highwater_checkpoint_bytes").set(report.bytes as f64);
                inner.last_completed = Some(report.clone());
            }
            Outcome::Failed(ref reason) if !reason.counts() => {}
            Outcome::Failed(_) | Outcome::InDoubt { .. } => {
                inner.failed += 1;
                metrics::counter!("highwater_checkpoints_failed").increment(1);
            }
        }
        keep(&mut inner.history, report);
    }
}

fn keep<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == HISTORY {
        list.pop_front();
    }
    list.push_back(item);
}
