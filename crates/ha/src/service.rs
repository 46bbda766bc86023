//! The election of a JobManager on threads, with a real store.
//!
//! Two threads: `highwater-ha` decides, `highwater-ha-io` asks the store. A store that does not answer so never keeps a
//! leader from noticing that its time is over.
//!
//! Invariants:
//! * every append is answered, also when the service ends first;
//! * who holds a [`Leadership`] can record only under the token it was granted with, whatever has happened since.

mod driver;

use std::fmt;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::{self, JoinHandle};

use highwater_core::{CheckpointId, Clock, Error, ErrorKind, JobName, Result};
use highwater_storage::random::draw;

use crate::election::{Append, Contender};
use crate::entry::{JobState, Token};
use crate::log::Log;
use crate::not_recorded::NotRecorded;
use crate::store::HaStore;
use driver::{Driver, Input, Reply};

/// A JobManager's part in the election, for as long as it lives. Dropped, it resigns: another can lead at once.
pub struct HaService {
    inbox: Sender<Input>,
    thread: Option<JoinHandle<()>>,
}

/// What has changed for a JobManager.
#[derive(Debug)]
pub enum LeadershipEvent {
    /// It leads.
    Granted {
        /// With what it records.
        leadership: Leadership,
        /// What is known of the job. Its `attempt` may still be running.
        state: JobState,
    },
    /// It leads no longer, and must not command anybody; what runs goes on running. It will try to lead again.
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
    /// The store answers no longer as it should, or does again. Who leads may be out of date until it does.
    Store {
        /// Whether it does.
        answers: bool,
    },
    /// The job is over, with this result, and must not be run again. The last event.
    Ended {
        /// What the leader has recorded.
        result: Vec<u8>,
    },
    /// It can neither lead nor stand in. The last event.
    Failed(Error),
}

impl HaService {
    /// Enters the election for a job, which `contender` names. The `writer` of `contender` is drawn here.
    ///
    /// # Errors
    /// [`Settings`](ErrorKind::Settings) if the contender is not usable.
    pub fn start(
        store: Arc<dyn HaStore>,
        contender: Contender,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Receiver<LeadershipEvent>)> {
        let contender = Contender { writer: draw(), ..contender };
        contender.check()?;
        let log = Log::new(store, contender.job.clone());
        let (inbox, inputs) = mpsc::channel();
        let (events, received) = mpsc::channel();
        let driver = Driver::new(log, contender, clock, inbox.clone(), events)?;
        let thread = thread::Builder::new().name("highwater-ha".to_owned()).spawn(move || driver.run(&inputs));
        let thread = thread.map_err(unable)?;
        Ok((HaService { inbox, thread: Some(thread) }, received))
    }
}

impl Drop for HaService {
    fn drop(&mut self) {
        // Fails if it has ended by itself.
        let _ = self.inbox.send(Input::Resign);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for HaService {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HaService").finish_non_exhaustive()
    }
}

/// The right to record, of one leader under one token. A clone is another handle to the same.
#[derive(Clone)]
pub struct Leadership {
    token: Token,
    job: JobName,
    inbox: Sender<Input>,
}

impl Leadership {
    /// What tells this leader from those before it.
    pub fn token(&self) -> Token {
        self.token
    }

    /// Which job it leads.
    pub fn job(&self) -> &JobName {
        &self.job
    }

    /// Records what was deployed, for the next leader to attach to it.
    ///
    /// # Errors
    /// If it is not known to count.
    pub fn record_attempt(&self, content: Vec<u8>) -> Result<(), NotRecorded> {
        self.record(Append::Attempt(content))
    }

    /// Records that a checkpoint has completed: with Ok it counts. Its `_metadata` must be published before. To record what
    /// is on record is Ok.
    ///
    /// # Errors
    /// If it is not known to count. After [`MayHaveHappened`](highwater_storage::Outcome::MayHaveHappened) the checkpoint
    /// must be kept, and nothing be committed: the next leader, who may be this one, finds it in its state or does not.
    pub fn record_completed(&self, id: CheckpointId) -> Result<(), NotRecorded> {
        self.record(Append::Completed(id))
    }

    /// Records how the job has ended, after which nobody leads it any more.
    ///
    /// # Errors
    /// If it is not known to count.
    pub fn record_end(&self, result: Vec<u8>) -> Result<(), NotRecorded> {
        self.record(Append::Ended(result))
    }

    /// Records something, and calls `then` with what became of it, on the thread of the service: for who must not wait.
    pub fn append(&self, append: Append, then: impl FnOnce(Result<(), NotRecorded>) + Send + 'static) {
        // What cannot be sent is dropped, which answers it.
        let _ = self.inbox.send(Input::Append { token: self.token, append, reply: Reply::new(then) });
    }

    fn record(&self, append: Append) -> Result<(), NotRecorded> {
        let (answer, answered) = mpsc::sync_channel(1);
        // It is received below.
        self.append(append, move |result| drop(answer.send(result)));
        answered.recv().unwrap_or_else(|_| Err(driver::ended()))
    }
}

impl fmt::Debug for Leadership {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leadership").field("job", &self.job).field("token", &self.token).finish_non_exhaustive()
    }
}

fn unable(source: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, "cannot start a thread for the leader election").with_source(source)
}
