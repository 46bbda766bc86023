//! What can be seen of a job from outside while it runs, and what is left when it has ended.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Mutex;
use std::time::Duration;

use highwater_checkpoint::{CheckpointReport, Outcome};
use highwater_core::CheckpointId;
use highwater_jobmaster::Deployment;

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
    /// It waits for TaskManagers, or for its checkpoint storage.
    Waiting,
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
            JobPhase::Waiting => "waiting",
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
    deployment: Deployed,
    reason: String,
    restarts: u64,
    completed: u64,
    failed: u64,
    savepoints: u64,
    phase: JobPhase,
    last_completed: Option<CheckpointReport>,
    restored: Option<(CheckpointId, String)>,
    history: VecDeque<CheckpointReport>,
    pauses: VecDeque<Duration>,
}

/// An attempt, and who has how many of its workers.
#[derive(Clone, Debug, Default)]
struct Deployed {
    token: u64,
    members: BTreeMap<u128, u32>,
}

/// The numbers at one moment.
#[derive(Clone, Debug, Default)]
pub struct Snapshot {
    /// Records emitted by the sources of this process, in all attempts.
    pub records: u64,
    /// Attempts begun.
    pub attempts: u64,
    /// The token of the attempt; 0 if there is none.
    pub attempt: u64,
    /// Its workers; 0 if there is none.
    pub parallelism: u32,
    /// How many of them each TaskManager has, by its id.
    pub members: BTreeMap<u128, u32>,
    /// Restarts after a failure.
    pub restarts: u64,
    /// What the job waits for, or what ended the attempt before, for people.
    pub reason: String,
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
            attempt: inner.deployment.token,
            parallelism: inner.deployment.members.values().sum(),
            members: inner.deployment.members.clone(),
            restarts: inner.restarts,
            reason: inner.reason.clone(),
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
        let mut inner = lock(&self.inner);
        if phase == JobPhase::Running {
            inner.reason.clear();
        }
        inner.phase = phase;
    }

    /// Who has how many workers of which attempt.
    pub(crate) fn deployed(&self, deployment: Option<&Deployment>) {
        let members = deployment
            .iter()
            .flat_map(|deployment| deployment.members.iter().map(|member| (member.id.0, deployment.workers)));
        let (token, members) = (deployment.map_or(0, |deployment| deployment.token.0), members.collect());
        lock(&self.inner).deployment = Deployed { token, members };
    }

    /// The attempt has ended, and another follows.
    pub(crate) fn restarting(&self, why: &str) {
        let mut inner = lock(&self.inner);
        (inner.phase, inner.reason) = (JobPhase::Restarting, why.to_owned());
        inner.restarts += 1;
    }

    /// There are not enough slots, or the checkpoint storage is away.
    pub(crate) fn waiting(&self, why: &str) {
        let mut inner = lock(&self.inner);
        (inner.phase, inner.reason) = (JobPhase::Waiting, why.to_owned());
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
