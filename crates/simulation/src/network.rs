//! Connections between processes: each keeps its order, and nothing else is in any order. A cut link says nothing and keeps what was
//! sent, as TCP does, until it is mended or one of the ends gives up.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

use highwater_checkpoint::FileDigest;
use highwater_checkpoint::TaskSnapshot;
use highwater_core::{CheckpointId, ErrorKind, TaskId};
use highwater_jobmaster::{AttemptToken, Deployment, TaskManagerId};

use crate::job::Payload;

/// A process: which one, and which of its lives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Process {
    pub role: Role,
    pub index: usize,
    pub life: u32,
}

impl fmt::Debug for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {}.{}", self.role, self.index, self.life)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    JobManager,
    TaskManager,
}

/// What a TaskManager has of an attempt, as it tells its leader.
#[derive(Clone, Debug)]
pub struct Status {
    pub token: AttemptToken,
    pub started: bool,
    pub done: bool,
    /// Sources that have read everything.
    pub ended: BTreeSet<u32>,
    /// The highest epoch that any task is in.
    pub epoch: u64,
    /// Whether sources read nothing more after the newest checkpoint.
    pub is_last: bool,
}

/// From a TaskManager to its leader.
#[derive(Clone, Debug)]
pub enum Notice {
    Register { id: TaskManagerId, slots: u32, holds: Option<Status> },
    Heartbeat,
    Leaving,
    Started { token: AttemptToken },
    Failed { token: AttemptToken, kind: ErrorKind, unreachable: Vec<(TaskManagerId, TaskManagerId)> },
    Released { token: AttemptToken },
    Acknowledged { token: AttemptToken, id: CheckpointId, task: TaskId, snapshot: TaskSnapshot, files: Vec<FileDigest> },
    Declined { token: AttemptToken, id: CheckpointId, task: TaskId },
    SourceEnded { token: AttemptToken, subtask: u32 },
    Done { token: AttemptToken },
}

/// From a leader to a TaskManager.
#[derive(Clone, Debug)]
pub enum Order {
    Registered { leader: u64 },
    Heartbeat,
    Start { deployment: Deployment, first_epoch: CheckpointId, restore: Option<CheckpointId> },
    Trigger { token: AttemptToken, id: CheckpointId, is_last: bool },
    Resume { token: AttemptToken },
    Complete { token: AttemptToken, id: CheckpointId },
    Finish { token: AttemptToken },
    Abort { token: AttemptToken },
}

/// A connection of a TaskManager to a JobManager.
#[derive(Debug)]
pub struct Connection {
    pub task_manager: Process,
    pub job_manager: Process,
    /// Whether the end at the TaskManager is open, and the one at the JobManager.
    pub open: (bool, bool),
    pub notices: VecDeque<Notice>,
    pub orders: VecDeque<Order>,
}

/// What goes from worker to worker.
#[derive(Clone, Copy, Debug)]
pub struct Data {
    pub token: AttemptToken,
    pub from: u32,
    pub to: u32,
    pub what: Payload,
}

/// A machine: whatever life its process is in.
pub type End = (Role, usize);

#[derive(Debug, Default)]
pub struct Network {
    pub connections: Vec<Connection>,
    pub channels: BTreeMap<(Process, Process), VecDeque<Data>>,
    /// How often each link is cut, by its ends, the lesser first.
    cut: BTreeMap<(End, End), u32>,
}

impl Network {
    pub fn cut(&mut self, a: End, b: End) {
        *self.cut.entry((a.min(b), a.max(b))).or_default() += 1;
    }

    pub fn mend(&mut self, a: End, b: End) {
        if let Some(cuts) = self.cut.get_mut(&(a.min(b), a.max(b))) {
            *cuts = cuts.saturating_sub(1);
        }
    }

    pub fn is_cut(&self, a: Process, b: Process) -> bool {
        let (a, b) = ((a.role, a.index), (b.role, b.index));
        self.cut.get(&(a.min(b), a.max(b))).is_some_and(|cuts| *cuts > 0)
    }
}
