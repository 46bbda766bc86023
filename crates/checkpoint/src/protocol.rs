//! What the coordinator is told, and what it answers.
//!
//! [`Event`]s are facts that the driver observed; [`Command`]s are what it has to do next, in the order given. The driver
//! answers [`Command::Locate`] and [`Command::Publish`] with one event each, and passes on what tasks say. A fact may come
//! late, twice or never: the coordinator ignores what no longer matters, and cleans up where files may have been left.

use std::fmt;
use std::time::Duration;

use highwater_core::{CheckpointId, Error, TaskId};

use crate::metadata::{FileDigest, Metadata, TaskSnapshot};
use crate::times::CheckpointTimes;

/// Names a request, so that whoever made it can be told what came of it. The driver gives each a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RequestId(pub u64);

/// Somebody asks for a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    /// Its name, which comes back in the [report](CheckpointReport::requests) of what answers it.
    pub id: RequestId,
    /// What is asked for.
    pub kind: RequestKind,
}

/// What a user or the end of a job can ask for. All of it goes regardless of interval and minimum pause, one after the other in
/// the order of the requests; while a savepoint is under way, other requests wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RequestKind {
    /// One checkpoint now. Requests that wait together get one checkpoint.
    Manual,
    /// A savepoint, each request one of its own.
    Savepoint,
    /// The last checkpoint, at the end of input or a stop. No periodic checkpoint starts from now on, and none at all once it has
    /// completed. Stands in for a waiting manual one. If it fails it is tried again, as often as failures are tolerated.
    Final,
    /// The same, as a savepoint. If it fails the job goes on as before, unless the last checkpoint is asked for too.
    FinalSavepoint,
}

/// Why a checkpoint was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointKind {
    /// The interval had passed.
    Periodic,
    /// [`RequestKind::Manual`].
    Manual,
    /// [`RequestKind::Savepoint`]: the job goes on after it, and commits nothing for it.
    Savepoint,
    /// [`RequestKind::Final`]: when it completes, the job is done.
    Final,
    /// [`RequestKind::FinalSavepoint`]: when it completes, the job is done.
    FinalSavepoint,
}

impl CheckpointKind {
    /// Whether it is for its user: complete in a folder of its own, and never deleted once it exists.
    pub fn is_savepoint(self) -> bool {
        match self {
            CheckpointKind::Savepoint | CheckpointKind::FinalSavepoint => true,
            CheckpointKind::Periodic | CheckpointKind::Manual | CheckpointKind::Final => false,
        }
    }

    /// Whether the job is done when it completes.
    pub fn is_final(self) -> bool {
        match self {
            CheckpointKind::Final | CheckpointKind::FinalSavepoint => true,
            CheckpointKind::Periodic | CheckpointKind::Manual | CheckpointKind::Savepoint => false,
        }
    }
}

impl From<RequestKind> for CheckpointKind {
    fn from(request: RequestKind) -> Self {
        match request {
            RequestKind::Manual => CheckpointKind::Manual,
            RequestKind::Savepoint => CheckpointKind::Savepoint,
            RequestKind::Final => CheckpointKind::Final,
            RequestKind::FinalSavepoint => CheckpointKind::FinalSavepoint,
        }
    }
}

/// A fact.
#[derive(Clone, Debug)]
pub enum Event {
    /// All tasks run: checkpoints can start.
    Running,
    /// Time has passed, see [`Coordinator::next_wake`](crate::Coordinator::next_wake).
    Tick,
    /// Someone asks for a checkpoint.
    Request(Request),
    /// The location of the checkpoint is fixed, and tasks may write to it.
    Located {
        /// Which checkpoint.
        id: CheckpointId,
        /// The wall clock at that moment, in milliseconds since the Unix epoch.
        created_unix_ms: i64,
    },
    /// The location of the checkpoint could not be fixed.
    LocateFailed {
        /// Which checkpoint.
        id: CheckpointId,
        /// What the storage said.
        error: String,
    },
    /// A task has taken the synchronous part of its snapshot, and processes on.
    Prepared {
        /// Which checkpoint.
        id: CheckpointId,
        /// Which task.
        task: TaskId,
    },
    /// A task's part of the checkpoint is durable. Implies [`Event::Prepared`].
    Acknowledged {
        /// Which checkpoint.
        id: CheckpointId,
        /// Which task.
        task: TaskId,
        /// Handles to its state.
        snapshot: TaskSnapshot,
        /// The files that hold it.
        files: Vec<FileDigest>,
        /// How much it wrote.
        bytes: u64,
    },
    /// A task cannot take its part.
    Declined {
        /// Which checkpoint.
        id: CheckpointId,
        /// Which task.
        task: TaskId,
        /// Why, for people.
        reason: String,
    },
    /// `_metadata` is durable: the checkpoint exists.
    Published {
        /// Which checkpoint.
        id: CheckpointId,
    },
    /// `_metadata` could not be written.
    PublishFailed {
        /// Which checkpoint.
        id: CheckpointId,
        /// What the storage said.
        error: String,
        /// Whether it may exist nevertheless, e.g. after a timeout.
        may_have_happened: bool,
    },
    /// The attempt ends. Nothing starts from now on; a publish under way is still seen through if its end is reported.
    Shutdown,
}

/// What the driver has to do.
#[derive(Debug)]
pub enum Command {
    /// Fix the location of the checkpoint; answer [`Event::Located`] or [`Event::LocateFailed`].
    Locate {
        /// Which checkpoint.
        id: CheckpointId,
        /// For a savepoint the request, which says where it goes.
        savepoint: Option<RequestId>,
    },
    /// Raise the target epoch past `id`.
    Trigger {
        /// Which checkpoint.
        id: CheckpointId,
        /// Why it was started.
        kind: CheckpointKind,
    },
    /// Write `_metadata`; answer [`Event::Published`] or [`Event::PublishFailed`]. There is one publish at a time.
    Publish {
        /// What to write.
        metadata: Box<Metadata>,
        /// Why it was started. What the job ends with is, from this moment on, what it recovers from.
        kind: CheckpointKind,
    },
    /// Tell every task that the checkpoint has completed.
    NotifyComplete {
        /// Which checkpoint.
        id: CheckpointId,
    },
    /// Tell every task that the checkpoint will never complete.
    NotifyAborted {
        /// Which checkpoint.
        id: CheckpointId,
        /// Why.
        reason: FailureReason,
    },
    /// Delete the folder of the checkpoint or savepoint, which may be gone already or never have been.
    Discard {
        /// Which checkpoint.
        id: CheckpointId,
    },
    /// Delete files of the job's shared folder, which may be gone already; not before the checkpoints to discard are gone.
    DeleteShared {
        /// Their names.
        names: Vec<String>,
    },
    /// Tell people how a checkpoint ended: exactly one for each id that was located.
    Report(CheckpointReport),
    /// Tell whoever asked that there will be no such checkpoint.
    Refuse {
        /// What was asked for.
        request: Request,
        /// Why not, for people.
        why: &'static str,
    },
    /// End the attempt; at most once, and nothing starts after it.
    FailJob {
        /// Of kind [`Checkpoint`](highwater_core::ErrorKind::Checkpoint).
        error: Error,
    },
}

/// How a checkpoint ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointReport {
    /// Which checkpoint.
    pub id: CheckpointId,
    /// Why it was started.
    pub kind: CheckpointKind,
    /// How it ended.
    pub outcome: Outcome,
    /// The four phases, up to its end.
    pub times: CheckpointTimes,
    /// How much the tasks wrote that had acknowledged.
    pub bytes: u64,
    /// How many tasks had acknowledged.
    pub acknowledged: usize,
    /// How many tasks had to.
    pub tasks: usize,
    /// The requests that this answers: none if it is tried again for them.
    pub requests: Vec<RequestId>,
}

/// How a checkpoint ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It exists, and tasks were notified.
    Completed,
    /// It does not exist, and its folder was discarded.
    Failed(FailureReason),
    /// It may or may not exist (I3). Its folder is kept until as many newer checkpoints have completed as are retained, that of a
    /// savepoint for ever; tasks are told neither that it completed nor that it was aborted. Counts as a failure.
    InDoubt {
        /// What the storage said.
        error: String,
    },
}

/// Why a checkpoint does not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FailureReason {
    /// Its location could not be fixed.
    LocateFailed {
        /// What the storage said.
        error: String,
    },
    /// A task could not take its part.
    Declined {
        /// Which task.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// Not every task acknowledged in time.
    Expired {
        /// The time there was.
        timeout: Duration,
        /// Who had not acknowledged.
        missing: Vec<TaskId>,
    },
    /// What the tasks acknowledged makes no checkpoint.
    Inconsistent {
        /// What does not fit.
        error: String,
    },
    /// `_metadata` could not be written, and was not.
    PublishFailed {
        /// What the storage said.
        error: String,
    },
    /// A newer checkpoint completed first.
    Subsumed {
        /// The newer one.
        by: CheckpointId,
    },
    /// The attempt ended.
    Shutdown,
}

impl FailureReason {
    /// Whether this counts against the number of tolerable failures, unless it is that of a savepoint. Only what says something is wrong with taking
    /// checkpoints does: neither being overtaken nor the end of the attempt.
    pub fn counts(&self) -> bool {
        match self {
            FailureReason::LocateFailed { .. }
            | FailureReason::Declined { .. }
            | FailureReason::Expired { .. }
            | FailureReason::Inconsistent { .. }
            | FailureReason::PublishFailed { .. } => true,
            FailureReason::Subsumed { .. } | FailureReason::Shutdown => false,
        }
    }
}

impl fmt::Display for FailureReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FailureReason::LocateFailed { error } => write!(f, "its location could not be fixed: {error}"),
            FailureReason::Declined { task, reason } => write!(f, "declined by {task}: {reason}"),
            FailureReason::Expired { timeout, missing } => {
                write!(f, "expired after {timeout:?}: no acknowledgement from ")?;
                write_some(missing, f)
            }
            FailureReason::Inconsistent { error } => write!(f, "the tasks' snapshots do not fit together: {error}"),
            FailureReason::PublishFailed { error } => write!(f, "its metadata could not be written: {error}"),
            FailureReason::Subsumed { by } => write!(f, "subsumed by checkpoint {by}"),
            FailureReason::Shutdown => f.write_str("the attempt ended"),
        }
    }
}

/// Names the first few: a job may have thousands of tasks.
fn write_some(tasks: &[TaskId], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    const SHOWN: usize = 3;
    let shown: Vec<String> = tasks.iter().take(SHOWN).map(TaskId::to_string).collect();
    f.write_str(&shown.join(", "))?;
    match tasks.len().saturating_sub(SHOWN) {
        0 => Ok(()),
        more => write!(f, " and {more} more"),
    }
}
