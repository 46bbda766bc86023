//! What an attempt needs of the checkpoint storage before it begins or is taken over: the checkpoint to go on from, and the ids of its
//! own ones.
//!
//! It is looked for on a thread, since a storage may take its time or be away: the JobManager hears of everything else meanwhile. One that
//! does not answer is asked again, later and later, for as long as the attempt is wanted.
//!
//! Invariants:
//! * a storage that does not answer is never taken for an empty one: the job's folder is created only before the first attempt of a
//!   cluster, and one that is missing later is waited for;
//! * nothing waits for a name that may be wrong: who starts a job hears at once that what it is to begin with cannot be read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use highwater_checkpoint::recovery::Damaged;
use highwater_core::{CheckpointId, Error, ErrorKind, JobName, Result};
use highwater_jobmaster::Deployment;
use highwater_storage::{CheckpointStorage, JobStore};

use crate::cluster::Ledger;
use crate::control::Signal;
use crate::recovery::{self, Found, Known, StartFrom};

/// Between two tries: twice as long each time.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A storage that has answered nothing for so long counts as away, whatever it will say.
const SILENT: Duration = Duration::from_secs(10);

/// Tells preparations apart, also of the same attempt: this process may begin to take it over again when it leads again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PreparationId(u64);

impl PreparationId {
    fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        PreparationId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// An attempt whose checkpoint is being looked for. Dropped, nobody wants to know any more.
pub(super) struct Preparation {
    pub id: PreparationId,
    pub deployment: Deployment,
    pub then: Then,
    /// How often a stop was asked for, which the attempt has to hear.
    pub stops: u32,
    since: Duration,
    /// What the storage has answered last, if that was an error.
    trouble: Option<String>,
    _wanted: Sender<()>,
}

/// What happens to the attempt once it is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is started.
    Deploy,
    /// It is taken over, as it runs.
    Attach,
}

/// What an attempt begins with.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub found: Found,
    /// What it restores, if the job was not told what but has chosen it among its own.
    pub chosen: Option<CheckpointId>,
}

/// Why an attempt does not begin.
#[derive(Debug)]
pub(crate) enum NotPrepared {
    /// It has failed.
    Failed(Error),
    /// This process leads no longer.
    Fenced(String),
}

/// What is known before the storage is asked.
pub(super) struct Search {
    pub store: Option<Arc<JobStore>>,
    pub storage: Option<Arc<dyn CheckpointStorage>>,
    pub ledger: Option<Arc<Ledger>>,
    pub job: JobName,
    /// What the job was told to start from.
    pub start_from: StartFrom,
    /// The first checkpoint that the job has taken in this cluster, or would have.
    pub first_own: Option<CheckpointId>,
    /// No id below this one is used.
    pub next_id: CheckpointId,
    /// See [`Known::damaged`].
    pub damaged: Damaged,
}

impl Preparation {
    /// Begins to look. The outcome goes to `signals`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        search: Search,
        (deployment, then): (&Deployment, Then),
        signals: Sender<Signal>,
        now: Duration,
    ) -> Result<Self> {
        let (wanted, is_wanted) = channel();
        let id = PreparationId::next();
        let thread = std::thread::Builder::new().name("highwater-recovery".into());
        let thread = thread.spawn(move || search.run(id, &signals, &is_wanted));
        thread.map_err(|error| Error::internal("cannot start the recovery thread").with_source(error))?;
        let (deployment, trouble) = (deployment.clone(), None);
        Ok(Preparation { id, deployment, then, stops: 0, since: now, trouble, _wanted: wanted })
    }

    /// The storage has answered with an error, and is asked again.
    pub fn trouble(&mut self, why: String) {
        self.trouble = Some(why);
    }

    /// Why the storage counts as away, if it does.
    pub fn is_away(&self, now: Duration) -> Option<String> {
        let waited = now.saturating_sub(self.since);
        let silent = || (waited >= SILENT).then(|| format!("no answer for {waited:.0?}"));
        self.trouble.clone().or_else(silent)
    }
}

impl Search {
    fn run(self, id: PreparationId, signals: &Sender<Signal>, wanted: &Receiver<()>) {
        let mut pause = FIRST_PAUSE;
        let result = loop {
            match self.prepare() {
                Err(NotPrepared::Failed(error)) if self.waits_after(&error) => {
                    let _ = signals.send(Signal::StorageAway { id, why: error.to_string() });
                    if wanted.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
                        return;
                    }
                    pause = (pause * 2).min(LONGEST_PAUSE);
                }
                result => break result,
            }
        };
        // Nobody listens once the process leads no longer.
        let _ = signals.send(Signal::Prepared { id, result });
    }

    /// Whether the attempt waits for the storage, rather than fails.
    fn waits_after(&self, error: &Error) -> bool {
        let is_named = matches!(self.start_from, StartFrom::Path(_));
        // The process has opened it at its start; and what was read once is not misspelt.
        let is_known = !self.is_first() || (self.ledger.is_some() && !is_named);
        error.kind() == ErrorKind::Storage && is_known
    }

    /// Whether no attempt was prepared before.
    fn is_first(&self) -> bool {
        self.first_own.is_none()
    }

    fn prepare(&self) -> Result<Prepared, NotPrepared> {
        let Some((store, storage)) = self.store.as_ref().zip(self.storage.as_ref()) else {
            let (found, chosen) = (self.without_store()?, None);
            return Ok(Prepared { found, chosen });
        };
        if self.is_first() {
            store.create().map_err(Error::from)?;
        }
        let start_from = self.restart_from(store)?;
        // Once it has checkpoints of its own, a job that was told what to start from goes back to no other.
        let own = match (&self.start_from, self.first_own) {
            (StartFrom::Fresh | StartFrom::Path(_), Some(first_own)) => first_own,
            (StartFrom::Latest, _) | (_, None) => CheckpointId(0),
        };
        let known = Known { own, counts: &|id| self.counts(id), damaged: &self.damaged };
        let mut found = recovery::find(store, storage, &self.job, &start_from, &known)?;
        found.next_id = found.next_id.max(self.next_id);
        if let Some(Err(error)) = self.ledger.as_ref().map(|ledger| ledger.reserve(found.next_id)) {
            return Err(NotPrepared::Fenced(error.to_string()));
        }
        // The folder of the first id pins it: were the garbage gone first, a crash in between could lead to an id used before.
        store.locate(found.next_id).map_err(Error::from)?;
        let restored = found.restored.as_ref().filter(|_| start_from == StartFrom::Latest);
        let chosen = restored.map(|restored| restored.id());
        Ok(Prepared { found, chosen })
    }

    /// Of a job without checkpoints.
    fn without_store(&self) -> Result<Found> {
        let restored = match &self.start_from {
            StartFrom::Path(path) => Some(Arc::new(recovery::at_path(path)?)),
            StartFrom::Latest | StartFrom::Fresh => None,
        };
        let next_id = restored.as_ref().map_or(CheckpointId(1), |restored| restored.id().next());
        let (completed, superseded, garbage) = (Vec::new(), Vec::new(), Vec::new());
        Ok(Found { restored, completed, superseded, garbage, next_id })
    }

    /// A restart goes on from the newest checkpoint, also after a fresh start or one from a given path; without any newer one it
    /// begins as the first attempt did.
    fn restart_from(&self, store: &JobStore) -> Result<StartFrom> {
        let Some(first_own) = self.first_own else { return Ok(self.start_from.clone()) };
        let mut checkpoints = store.checkpoints()?.into_iter();
        let own = checkpoints.any(|dir| dir.is_completed() && dir.id >= first_own && self.counts(dir.id));
        Ok(if own { StartFrom::Latest } else { self.start_from.clone() })
    }

    /// Whether a checkpoint in the storage is the job's; see [`Ledger::counts`].
    fn counts(&self, id: CheckpointId) -> bool {
        self.ledger.as_ref().is_none_or(|ledger| ledger.counts(id))
    }
}

impl From<Error> for NotPrepared {
    fn from(error: Error) -> Self {
        NotPrepared::Failed(error)
    }
}
