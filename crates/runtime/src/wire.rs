//! What the JobManager and the processes that have workers say to each other, [`Order`]s and [`Notice`]s; and what opens a data connection,
//! a [`Hello`] and the answer to it, each a frame (magic `HWCT`) around its postcard encoding.

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

const MESSAGE: Kind = Kind { magic: *b"HWCT", version: 2, name: "greeting of a data connection" };

/// No honest message is longer: a longer one is something else that talks to this port.
const LONGEST_MESSAGE: u64 = 1 << 16;

/// Which connection of which attempt this is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    /// Digest of the job's name and graph.
    pub job: u64,
    /// See [`Start::cluster`].
    pub cluster: String,
    /// See [`Start::token`].
    pub token: AttemptToken,
    /// Index in the attempt of the process that connects.
    pub process: u32,
}

/// What the JobManager says.
#[derive(Clone, Debug)]
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
#[derive(Clone, Debug)]
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
#[derive(Debug)]
pub(crate) enum Notice {
    /// Something about the attempt `token`.
    Task { token: AttemptToken, event: TaskEvent },
    /// This process has nothing more of the attempt `token`.
    Released { token: AttemptToken },
    /// This process wants to leave the job, and waits for a while that its part of an attempt is ended for that.
    Leaving,
}

impl Notice {
    /// What the JobManager hears when process `id` says this.
    pub fn into_signal(self, id: TaskManagerId) -> Signal {
        match self {
            Notice::Task { token, event } => Signal::Task { id, token, event },
            Notice::Released { token } => Signal::Released { id, token },
            Notice::Leaving => Signal::Leaving { id },
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
        .map_err(|error| Error::internal("a message cannot be encoded").with_source(error))?;
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
        .map_err(|error| Error::new(ErrorKind::Cluster, "a message does not decode").with_source(error))
}

fn lost(what: &str, error: std::io::Error) -> Error {
    if error.kind() == std::io::ErrorKind::UnexpectedEof {
        return Error::new(ErrorKind::Cluster, "the other process closed the connection");
    }
    Error::new(ErrorKind::Cluster, format!("{what} on the connection to another process")).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_the_way_and_anything_else_is_refused() {
        let mut bytes = Vec::new();
        let hello = Hello { job: 7, cluster: "blue".into(), token: AttemptToken(3), process: 1 };
        write(&mut bytes, &hello).unwrap();
        assert_eq!(read::<Hello>(&mut bytes.as_slice()).unwrap(), hello);
        let error = read::<Hello>(&mut &b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"[..]).unwrap_err();
        assert!(error.to_string().contains("does not speak"), "{error}");
        assert_eq!(read::<Hello>(&mut &bytes[..9]).unwrap_err().kind(), ErrorKind::Cluster);
    }
}
