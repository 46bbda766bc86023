//! What the processes of a job say to each other, and how it is written to a socket.
//!
//! A connection opens with a [`Hello`]; then each side sends messages, each a frame (magic `HWCT`) around its postcard encoding.
//! The leader sends [`Order`]s, the others [`Notice`]s.

use std::io::{Read, Write};

use highwater_core::frame::{self, HEADER_LEN, Kind};
use highwater_core::{CheckpointId, Error, ErrorKind, MaxParallelism, Parallelism, Result};
use highwater_jobmaster::{AttemptToken, TaskManagerId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::control::{Control, Signal, TaskEvent, Trigger};
use crate::graph::Splits;
use crate::job::JobEnd;
use crate::restore::SnapshotLocation;

const MESSAGE: Kind = Kind { magic: *b"HWCT", version: 1, name: "control message" };

/// No honest message is longer: a longer one is something else that talks to this port.
const LONGEST_MESSAGE: u64 = 1 << 30;

/// What a connection is for, and who opens it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub purpose: Purpose,
    /// Digest of the job's name and graph.
    pub job: u64,
    /// Index of the process that connects.
    pub process: u32,
    /// Workers in each process.
    pub workers: u32,
}

/// What a connection is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Purpose {
    /// Orders and notices.
    Control,
    /// The batches of one attempt.
    Data {
        /// See [`Start::token`].
        token: AttemptToken,
        /// See [`Start::cluster`].
        cluster: String,
    },
}

/// What the leader says.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Order {
    /// Begin an attempt.
    Start {
        /// What all processes of it have in common.
        start: Start,
        /// Which of them this one is.
        process: u32,
    },
    /// A new leader takes the attempt over as it runs.
    Attach {
        /// The newest checkpoint that counts, which the old leader may not have told.
        completed: Option<CheckpointId>,
        /// The new leader's first: what was triggered before and does not count is given up.
        next: CheckpointId,
    },
    /// See [`Control::restored`].
    Restored,
    /// See [`Control::trigger`].
    Trigger(Trigger),
    /// See [`Control::resume`].
    Resume,
    /// See [`Control::complete`].
    Complete { id: CheckpointId },
    /// See [`Control::give_up`].
    GiveUp { id: CheckpointId },
    /// See [`Control::finish`].
    Finish { ended: bool },
    /// See [`Control::abort`].
    Abort { token: AttemptToken, reason: String },
    /// The job is over.
    End {
        /// How, or the kind of its error and what it says.
        result: std::result::Result<JobEnd, (ErrorKind, String)>,
    },
}

/// An attempt, as all of its processes have to know it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Start {
    pub token: AttemptToken,
    /// The cluster that it is an attempt of; empty for one without a cluster.
    pub cluster: String,
    /// Where each process takes data connections, by its index; empty for one that is alone.
    pub hosts: Vec<String>,
    /// Worker threads in each process.
    pub workers: u32,
    pub max_parallelism: MaxParallelism,
    pub first_epoch: CheckpointId,
    /// The checkpoint to restore.
    pub restore: Option<SnapshotLocation>,
    pub splits: Splits,
}

impl Start {
    /// What its data connections are for.
    pub fn data_purpose(&self) -> Purpose {
        Purpose::Data { token: self.token, cluster: self.cluster.clone() }
    }

    /// How many processes take part.
    pub fn processes(&self) -> u32 {
        (self.hosts.len() as u32).max(1)
    }

    /// How many subtasks each operator has.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism::new(self.workers * self.processes()).expect("at least one worker in at least one process")
    }

    /// The workers of a process, by their index in the job.
    pub fn workers_of(&self, process: u32) -> std::ops::Range<u32> {
        process * self.workers..(process + 1) * self.workers
    }
}

/// What the processes that have workers say.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) enum Notice {
    /// Something about the attempt `token`.
    Task { token: AttemptToken, event: TaskEvent },
    /// This process has nothing more of the attempt `token`.
    Released { token: AttemptToken },
    /// Someone asks this process to stop the job.
    Stop,
}

impl Notice {
    /// What the JobManager hears when process `id` says this.
    pub fn into_signal(self, id: TaskManagerId) -> Signal {
        match self {
            Notice::Task { token, event } => Signal::Task { id, token, event },
            Notice::Released { token } => Signal::Released { id, token },
            Notice::Stop => Signal::Stop,
        }
    }
}

impl Order {
    /// Passes the order on to the tasks of this process.
    pub fn apply(&self, control: &Control) {
        match self {
            Order::Restored => control.restored(),
            Order::Trigger(trigger) => control.trigger(trigger),
            Order::Resume => control.resume(),
            Order::Complete { id } => control.complete(*id),
            Order::GiveUp { id } => control.give_up(*id),
            Order::Finish { ended } => control.finish(*ended),
            Order::Abort { .. } => control.abort(),
            Order::Start { .. } | Order::Attach { .. } | Order::End { .. } => {}
        }
    }
}

/// Writes a message.
pub(crate) fn write<M: Serialize>(stream: &mut impl Write, message: &M) -> Result<()> {
    let payload = postcard::to_stdvec(message)
        .map_err(|error| Error::internal("a control message cannot be encoded").with_source(error))?;
    let mut bytes = Vec::new();
    frame::seal(MESSAGE, &payload, &mut bytes);
    stream.write_all(&bytes).and_then(|()| stream.flush()).map_err(|error| lost("cannot write", error))
}

/// Reads a message, waiting for it.
pub(crate) fn read<M: DeserializeOwned>(stream: &mut impl Read) -> Result<M> {
    let mut bytes = vec![0; HEADER_LEN];
    stream.read_exact(&mut bytes).map_err(|error| lost("cannot read", error))?;
    let len = u64::from_le_bytes(bytes[8..16].try_into().expect("eight bytes"));
    if bytes[..4] != MESSAGE.magic || len > LONGEST_MESSAGE {
        return Err(Error::new(ErrorKind::Cluster, "the other side does not speak Highwater's protocol"));
    }
    // Read as it comes, so that a length that lies costs no memory.
    stream.take(len).read_to_end(&mut bytes).map_err(|error| lost("cannot read", error))?;
    let opened = frame::open(MESSAGE, &bytes, "message from another process")?;
    postcard::from_bytes(opened.payload)
        .map_err(|error| Error::new(ErrorKind::Cluster, "a control message does not decode").with_source(error))
}

fn lost(what: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::new(ErrorKind::Cluster, "the other process closed the connection");
    }
    Error::new(ErrorKind::Cluster, format!("{what} on the connection to another process")).with_source(error)
}

#[cfg(test)]
mod tests {
    use highwater_checkpoint::SavepointLocation;

    use super::*;
    use crate::control::Ending;

    #[test]
    fn messages_survive_the_way_and_anything_else_is_refused() {
        let mut bytes = Vec::new();
        let location = SavepointLocation { storage: "file:///savepoints".into(), folder: "savepoint-job-7-1".into() };
        let trigger = Trigger { id: CheckpointId(7), last: Some(Ending::Drain), savepoint: Some(location) };
        write(&mut bytes, &Order::Trigger(trigger.clone())).unwrap();
        let back: Order = read(&mut bytes.as_slice()).unwrap();
        assert!(matches!(back, Order::Trigger(same) if same == trigger));
        let error = read::<Order>(&mut &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]).unwrap_err();
        assert!(error.to_string().contains("does not speak"), "{error}");
        assert_eq!(read::<Order>(&mut &bytes[..9]).unwrap_err().kind(), ErrorKind::Cluster);
    }
}
