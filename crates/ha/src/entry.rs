//! What the log of a job holds.
//!
//! An entry is one frame (magic `HWHA`, version 1) around the [postcard] encoding of [`Entry`]: the order and types of
//! the fields below *are* the format. Each entry repeats the whole state of the job, so the newest is all there is to
//! read, and older ones can be removed.
//!
//! Invariants, checked before writing and after reading:
//! * the number in an entry is the number in its name, from 1 up;
//! * the token of a leader is the number of the entry with which it began to lead, so tokens grow;
//! * ids of completed checkpoints grow, and the tokens of those who completed them never go back.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use std::fmt;
use std::time::Duration;

use highwater_core::frame::{self, Kind};
use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use serde::{Deserialize, Serialize};

/// The frame around an [`Entry`].
const ENTRY: Kind = Kind { magic: *b"HWHA", version: 1, name: "entry of the log of leaders" };

/// What tells a leader from those before it: grows from leader to leader. The number of the entry it began to lead with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Token(pub u64);

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// An entry of the log.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Entry {
    /// Its place in the log, from 1.
    pub number: u64,
    /// Who wrote it: a number that each process draws when it starts, and that comes once.
    pub writer: u128,
    /// Which of the entries that its writer has tried to append. With the writer it comes once.
    pub sequence: u64,
    /// What is new in it.
    pub change: Change,
    /// The job after it.
    pub state: JobState,
}

/// What is new in an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Change {
    /// A new leader.
    Leads,
    /// Its leader lives.
    Renews,
    /// Its leader has deployed an attempt.
    Attempt,
    /// A checkpoint has completed: it counts from here on.
    Completed,
    /// The job is over.
    Ended,
    /// Its leader leads no longer: another need not wait.
    Resigns,
}

/// What is known of a job.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct JobState {
    /// Who leads, or led last.
    pub leader: Leader,
    /// What was deployed last; `None` if nothing was, or by another program or cluster.
    pub attempt: Option<Attempt>,
    /// The newest completed checkpoints, oldest first. What is not here, and newer than the oldest here, does not count.
    pub completed: Vec<Completed>,
    /// With what the job has ended; `None` while it has not.
    pub ended: Option<Ended>,
}

/// A JobManager that leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Leader {
    /// Greater than those of all leaders before.
    pub token: Token,
    /// Whose JobManager it is. Those of one cluster stand in for each other; of another, the job runs anew once it has ended.
    pub cluster: String,
    /// The digest of the program's graph: another program must not stand in.
    pub program: String,
    /// Where it listens.
    pub address: String,
    /// How long it leads without another entry, in ms; 0 once it has resigned.
    pub holds_ms: u64,
}

/// What a leader has deployed, for the next one to find it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attempt {
    /// Whose leader deployed it.
    pub token: Token,
    /// What the JobManager needs in order to attach to it.
    pub content: Vec<u8>,
}

/// A completed checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Completed {
    /// Which.
    pub id: CheckpointId,
    /// Which leader recorded it.
    pub token: Token,
}

/// How a job has ended. Outlives its processes, so that it is not run again.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Ended {
    /// Which leader recorded it.
    pub token: Token,
    /// What the JobManager tells of it.
    pub result: Vec<u8>,
}

impl Leader {
    /// How long it leads without another entry; nothing once it has resigned.
    pub fn holds_for(&self) -> Duration {
        Duration::from_millis(self.holds_ms)
    }

    /// Whether it has said that it leads no longer.
    pub fn has_resigned(&self) -> bool {
        self.holds_ms == 0
    }
}

impl JobState {
    /// The newest completed checkpoint.
    pub fn newest_completed(&self) -> Option<CheckpointId> {
        self.completed.last().map(|completed| completed.id)
    }

    /// Whether checkpoint `id` is on record.
    pub fn has_completed(&self, id: CheckpointId) -> bool {
        self.completed.iter().any(|completed| completed.id == id)
    }
}

impl Entry {
    /// The bytes that are stored.
    ///
    /// # Panics
    /// If an invariant of the log is broken: nothing that breaks one is ever written.
    pub fn encode(&self) -> Vec<u8> {
        if let Err(what) = self.check() {
            panic!("entry {} is not fit to be written: {what}", self.number);
        }
        let payload = postcard::to_stdvec(self).expect("postcard writes every entry to memory");
        let mut bytes = Vec::new();
        frame::seal(ENTRY, &payload, &mut bytes);
        bytes
    }

    /// Reads entry `number`; `place` names the file for the error.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if it does not verify, [`ErrorKind::Incompatible`] if a newer version wrote it.
    pub fn decode(bytes: &[u8], number: u64, place: &str) -> Result<Self> {
        let damaged = |what: &str| {
            Error::new(
                ErrorKind::Corrupt,
                format!(
                    "{what}; stop the JobManagers of this job and remove the file: the entry before it counts again"
                ),
            )
        };
        let damaged_here = |what: String| damaged(&format!("{place}: {what}"));
        let opened = frame::open(ENTRY, bytes, place).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => damaged(error.message()),
            _ => error,
        })?;
        if opened.len != bytes.len() {
            return Err(damaged_here(format!("{} bytes follow the entry", bytes.len() - opened.len)));
        }
        let (entry, rest) = postcard::take_from_bytes::<Entry>(opened.payload)
            .map_err(|source| damaged_here(format!("not an entry: {source}")))?;
        if !rest.is_empty() {
            return Err(damaged_here(format!("{} bytes follow within the entry", rest.len())));
        }
        if entry.number != number {
            return Err(damaged_here(format!("it is entry {}, not {number}", entry.number)));
        }
        entry.check().map_err(damaged_here)?;
        Ok(entry)
    }

    /// Whether it is the very entry that `other` is, rather than another's in its place.
    pub fn is_same(&self, other: &Entry) -> bool {
        (self.number, self.writer, self.sequence) == (other.number, other.writer, other.sequence)
    }

    fn check(&self) -> Result<(), String> {
        let token = self.state.leader.token;
        let begins = self.change == Change::Leads;
        if token.0 == 0 || if begins { token.0 != self.number } else { token.0 >= self.number } {
            return Err(format!("token {token} does not fit {:?} at {}", self.change, self.number));
        }
        if self.state.leader.has_resigned() != (self.change == Change::Resigns) {
            return Err(format!("{:?} with a leader that holds for {} ms", self.change, self.state.leader.holds_ms));
        }
        let completed = &self.state.completed;
        if let Some(pair) = completed.windows(2).find(|pair| pair[0].id >= pair[1].id || pair[0].token > pair[1].token)
        {
            return Err(format!("checkpoint {} goes back behind {}", pair[1].id, pair[0].id));
        }
        let tokens = [
            completed.last().map(|completed| completed.token),
            self.state.attempt.as_ref().map(|attempt| attempt.token),
            self.state.ended.as_ref().map(|ended| ended.token),
        ];
        match tokens.into_iter().flatten().find(|later| *later > token) {
            Some(later) => Err(format!("token {later} is later than the leader's, {token}")),
            None => Ok(()),
        }
    }
}
