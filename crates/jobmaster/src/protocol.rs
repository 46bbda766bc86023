//! What the JobMaster is told, and what it answers.
//!
//! [`Event`]s are facts that the JobManager observed; [`Command`]s are what it has to do next, in the order given. A fact may come
//! late, twice or never: the JobMaster ignores what no longer matters.

use std::fmt;
use std::time::Duration;

use highwater_checkpoint::RequestId;
use highwater_core::{Error, Parallelism, ProcessIndex, Result};
use serde::{Deserialize, Serialize};

use crate::id::{AttemptToken, TaskManagerId};

/// A process of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// Which TaskManager.
    pub id: TaskManagerId,
    /// Where the others reach it.
    pub address: String,
}

/// An attempt: who takes part, and with how many workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Deployment {
    /// Its name.
    pub token: AttemptToken,
    /// Its processes: the place in the list is the process index.
    pub members: Vec<Member>,
    /// How many workers each process has: timely wants the same number in all of them.
    pub workers: u32,
}

impl Deployment {
    /// How many workers the attempt has.
    pub fn parallelism(&self) -> u32 {
        self.workers.saturating_mul(u32::try_from(self.members.len()).unwrap_or(u32::MAX))
    }

    /// Which process of the attempt a TaskManager is, if any.
    pub fn process(&self, id: TaskManagerId) -> Option<ProcessIndex> {
        let index = self.members.iter().position(|member| member.id == id)?;
        u32::try_from(index).ok().map(ProcessIndex)
    }
}

/// What the next leader has to know.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobRecord {
    /// The newest attempt.
    pub deployment: Deployment,
    /// What the job was rescaled to, if it was.
    pub rescaled_to: Option<Parallelism>,
}

/// How a job ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum JobEnd {
    /// All input was read and all output committed.
    Finished,
    /// It was stopped, with a last checkpoint to go on from.
    Stopped,
    /// It was cancelled: it goes on from the newest checkpoint, if it is started again.
    Cancelled,
}

/// A fact.
#[derive(Debug)]
pub enum Event {
    /// Time has passed, see [`JobMaster::next_wake`](crate::JobMaster::next_wake).
    Tick,
    /// A TaskManager has connected, and fits to the job.
    Registered {
        /// Which one. If it was registered already, its old connection counts as lost.
        id: TaskManagerId,
        /// Where other processes reach it.
        address: String,
        /// How many workers it can have.
        slots: u32,
        /// The attempt it still has a part of.
        holds: Option<AttemptToken>,
    },
    /// A TaskManager says that it lives.
    Heartbeat {
        /// Which one.
        id: TaskManagerId,
    },
    /// A TaskManager that has a part of an attempt wants to leave the job, and waits for a while that the attempt is ended for that.
    Leaving {
        /// Which one.
        id: TaskManagerId,
    },
    /// The connection to a TaskManager is lost.
    Disconnected {
        /// Which one.
        id: TaskManagerId,
        /// What the connection said.
        why: String,
    },
    /// A TaskManager has dropped its part of an attempt: nothing of it runs there any more.
    Released {
        /// Which one.
        id: TaskManagerId,
        /// Which attempt.
        token: AttemptToken,
    },
    /// All tasks of the attempt run.
    Running {
        /// Which attempt.
        token: AttemptToken,
    },
    /// The attempt has failed, or could not be started.
    Failed {
        /// Which attempt.
        token: AttemptToken,
        /// Why.
        error: Error,
        /// Connections between its processes that could not be made: from whom to whom.
        unreachable: Vec<(TaskManagerId, TaskManagerId)>,
    },
    /// What the attempt was to restore does not verify: it is tried again, or an older checkpoint is. Nobody has seen anything of the
    /// attempt, so this is no failure of it.
    PassedOver {
        /// Which attempt.
        token: AttemptToken,
        /// What is damaged.
        error: Error,
    },
    /// The attempt has come to its end, and all it has put out is committed.
    Ended {
        /// Which attempt.
        token: AttemptToken,
        /// How.
        end: JobEnd,
    },
    /// The JobManager's own part of an attempt is over: nothing of it is written any more, and a publish that was under way has been
    /// seen through. Comes once for each [`Command::Deploy`] and [`Command::Attach`].
    Concluded {
        /// Which attempt.
        token: AttemptToken,
    },
    /// How the checkpoint went that [`Command::TakeCheckpoint`] asked for.
    CheckpointTaken {
        /// Which attempt.
        token: AttemptToken,
        /// Why there is none, for people.
        result: Result<(), String>,
    },
    /// Somebody asks for another parallelism.
    Rescale {
        /// Names the request in its answer.
        request: RequestId,
        /// How many workers.
        parallelism: Parallelism,
    },
    /// The job is to stop. While an attempt runs, its driver stops it; what is decided here is that no other follows.
    Stop,
    /// The job is to end now, without a last checkpoint.
    Cancel,
}

/// What the JobManager has to do.
#[derive(Debug)]
pub enum Command {
    /// Make this durable, for the leader that comes next, before anything else is carried out.
    Record(JobRecord),
    /// Start this attempt on its members, from the newest checkpoint.
    Deploy(Deployment),
    /// Take this attempt over, which runs already: each of its members has registered with it.
    Attach(Deployment),
    /// End an attempt: tell these TaskManagers, which answer [`Event::Released`]; and end this JobManager's own part of it, if there is
    /// one, with [`Event::Concluded`]. Comes again for a TaskManager that connects again with a part of it.
    Abort {
        /// Which attempt.
        token: AttemptToken,
        /// Who is to be told.
        members: Vec<TaskManagerId>,
        /// Why, for people.
        why: String,
    },
    /// Take a checkpoint of this attempt now, and answer [`Event::CheckpointTaken`]: another deployment is to go on from it.
    TakeCheckpoint {
        /// Which attempt.
        token: AttemptToken,
        /// What for, for people.
        why: String,
    },
    /// Turn a TaskManager away that has just registered, and close its connection.
    Refuse {
        /// Which one.
        id: TaskManagerId,
        /// Why, and what to do.
        why: String,
    },
    /// Close the connection to a TaskManager. It is no longer counted on, and may register again.
    Drop {
        /// Which one.
        id: TaskManagerId,
        /// Why, for people.
        why: String,
    },
    /// Answer a request for another parallelism.
    Answer {
        /// Which one.
        request: RequestId,
        /// The parallelism that the job now runs with; or why not, for people.
        result: Result<Parallelism, String>,
    },
    /// Tell people.
    Tell(Notice),
    /// The job is over. Comes once, and nothing after it but refusals.
    EndJob {
        /// How.
        result: Result<JobEnd>,
    },
}

/// What people should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// There are not enough slots to go on. Said again every so often.
    WaitingForSlots {
        /// How much parallelism there could be now.
        possible: u32,
        /// How much the job waits for.
        wanted: Option<u32>,
        /// With how much it goes on when it has waited long enough.
        min: u32,
    },
    /// The job goes on with fewer workers than before or wanted.
    FewerWorkers {
        /// With so many.
        parallelism: u32,
        /// Instead of so many.
        wanted: u32,
    },
    /// Slots are of no use, since all processes of an attempt have the same number of workers.
    UnusedSlots {
        /// How many, of the TaskManagers that the job may use.
        unused: u32,
        /// How many workers each process has.
        workers: u32,
    },
    /// TaskManagers are left out, since they and others do not reach each other.
    KeptApart {
        /// Who is left out.
        left_out: Vec<String>,
    },
    /// The attempt ended, and another follows.
    Restarting {
        /// Why.
        why: String,
        /// Not before this long.
        after: Duration,
    },
    /// The checkpoint failed that was to be taken before TaskManagers leave. As long as they are there it is tried again.
    LeaveFailed {
        /// What was said about it.
        why: String,
    },
    /// A checkpoint that was to precede a change of parallelism failed. The change is tried again later.
    ScaleUpFailed {
        /// What was said about it.
        why: String,
    },
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Notice::WaitingForSlots { possible, wanted, min } => {
                write!(f, "waiting for slots: there could be {possible} workers now, at least {min} are needed")?;
                if let Some(wanted) = wanted {
                    write!(f, " and {wanted} wanted")?;
                }
                f.write_str("; start more TaskManagers")
            }
            Notice::FewerWorkers { parallelism, wanted } => {
                write!(f, "going on with {parallelism} workers instead of {wanted}, until there are more slots")
            }
            Notice::UnusedSlots { unused, workers } => write!(
                f,
                "{unused} slots are not used, since every process of a job has the same number of workers, now {workers}; \
                 give all TaskManagers the same number of slots"
            ),
            Notice::KeptApart { left_out } => write!(
                f,
                "going on without {}, which other TaskManagers could not reach; look at the network between them",
                left_out.join(", ")
            ),
            Notice::Restarting { why, after } => write!(f, "the attempt ended, the next starts in {after:?}: {why}"),
            Notice::LeaveFailed { why } => {
                write!(f, "the checkpoint failed that a leaving TaskManager waits for, and is tried again: {why}")
            }
            Notice::ScaleUpFailed { why } => {
                write!(f, "new slots are not used yet, since the checkpoint to go on from failed: {why}")
            }
        }
    }
}
