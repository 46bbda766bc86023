//! What goes into an election and what comes out.

use highwater_core::{CheckpointId, Error, Result};
use highwater_storage::Outcome;

use crate::entry::{Ended, Entry, JobState, Token};
use crate::log::Found;
use crate::not_recorded::NotRecorded;
use crate::store::Put;

/// What has happened.
#[derive(Debug)]
pub enum Event {
    /// Time has passed.
    Wake,
    /// The answer to [`Command::Look`].
    Looked(Result<Found>),
    /// The answer to [`Command::Read`].
    Read(Result<Option<Entry>>),
    /// The answer to [`Command::Put`].
    Put(PutAnswer),
    /// The leader with this token wants something recorded.
    Append {
        /// What the answer is given to.
        request: RequestId,
        /// Whose leadership it belongs to.
        token: Token,
        /// What.
        append: Append,
    },
    /// This JobManager ends, and lets another lead at once.
    Resign,
}

/// What became of a put, or whether it may have happened all the same, and why it failed.
pub type PutAnswer = Result<Put, (Outcome, String)>;

/// Tells one [`Event::Append`] from others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// What a leader records.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Append {
    /// What it has deployed, for the next leader to find it.
    Attempt(Vec<u8>),
    /// A checkpoint that has completed.
    Completed(CheckpointId),
    /// How the job has ended.
    Ended(Vec<u8>),
}

/// What is to be done.
#[derive(Debug)]
pub enum Command {
    /// Look which entries there are, and read the newest unless its number is `known`: [`Event::Looked`].
    Look {
        /// The number of the newest entry that is known; 0 for none.
        known: u64,
    },
    /// Read an entry, if there is one: [`Event::Read`].
    Read {
        /// Which.
        number: u64,
    },
    /// Create an entry unless there is one of its number: [`Event::Put`].
    Put(Entry),
    /// Remove entries that nobody needs. Nothing is answered.
    Remove(Vec<u64>),
    /// Tell an append what became of it.
    Answer {
        /// Which.
        request: RequestId,
        /// Ok only if it counts.
        result: Result<(), NotRecorded>,
    },
    /// Tell the JobManager what has changed.
    Tell(Notice),
}

/// What has changed for a JobManager.
#[derive(Debug)]
pub enum Notice {
    /// It leads.
    Granted {
        /// Its token.
        token: Token,
        /// What is known of the job.
        state: JobState,
    },
    /// It leads no longer.
    Revoked {
        /// For people.
        why: String,
    },
    /// Another leads.
    LeaderIs {
        /// Its token.
        token: Token,
        /// Where it listens.
        address: String,
    },
    /// The job is over, and must not be run again.
    Ended(Ended),
    /// This JobManager cannot go on: the log belongs to another program, or does not verify.
    Failed(Error),
}
