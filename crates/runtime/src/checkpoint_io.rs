//! What the coordinator commands and only storage can do, on a thread of its own: the driver never waits for a disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use highwater_checkpoint::{Event, Metadata, SnapshotKind};
use highwater_core::{CheckpointId, Clock, Error, JobName, Result};
use highwater_ha::NotRecorded;
use highwater_storage::layout::savepoint_name;
use highwater_storage::{JobStore, Outcome, SnapshotDir};

use crate::cluster::Ledger;
use crate::control::{Signal, lock};
use crate::savepoint::{location_of, open_target};

/// One piece of work, done in the order given.
pub(crate) enum Work {
    Locate(CheckpointId),
    /// Creates the folder of a savepoint in the storage `target`.
    LocateSavepoint {
        id: CheckpointId,
        target: String,
    },
    Publish {
        metadata: Box<Metadata>,
        /// Whether it is a savepoint that the job is to end with: then the job's own folder has to say so as well.
        ends_job: bool,
    },
    Discard(CheckpointId),
    /// Deletes the snapshot that was restored.
    DiscardClaimed(SnapshotDir),
    /// Deletes shared files that no checkpoint refers to.
    DeleteShared(Vec<String>),
    /// Deletes every shared file that a checkpoint before this one wrote and to which none refers.
    SweepShared {
        before: CheckpointId,
    },
}

/// The thread, and the way to it.
pub(crate) struct CheckpointIo {
    work: Option<Sender<Work>>,
    thread: Option<JoinHandle<()>>,
    signals: Signals,
}

/// Where outcomes go, for as long as somebody wants them.
type Signals = Arc<Mutex<Option<Sender<Signal>>>>;

impl CheckpointIo {
    /// Starts the thread; outcomes go to `signals`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(
        job: JobName,
        store: Arc<JobStore>,
        ledger: Option<Arc<Ledger>>,
        clock: Arc<dyn Clock>,
        signals: Sender<Signal>,
    ) -> Result<Self> {
        let (work, todo) = channel::<Work>();
        let signals = Arc::new(Mutex::new(Some(signals)));
        let listener = Arc::clone(&signals);
        let thread = std::thread::Builder::new()
            .name("highwater-checkpoints".into())
            .spawn(move || {
                let savepoints = BTreeMap::new();
                let mut io = Io {
                    job,
                    store,
                    ledger,
                    clock,
                    signals: listener,
                    savepoints,
                    pins: Vec::new(),
                    undiscarded: false,
                };
                for work in todo {
                    if let Some(event) = io.carry_out(work) {
                        io.tell(Signal::Storage(event));
                    }
                }
            })
            .map_err(|error| Error::internal("cannot start the checkpoint thread").with_source(error))?;
        Ok(CheckpointIo { work: Some(work), thread: Some(thread), signals })
    }

    /// Has `work` done.
    pub fn ask(&self, work: Work) {
        if let Some(sender) = &self.work {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(work);
        }
    }

    /// What was asked for is still done, and nobody waits for it or hears of it: for who leads no longer, perhaps because the storage
    /// does not answer. Others may lead meanwhile, so that it does no harm however late it is done.
    pub fn let_go(&mut self) {
        *lock(&self.signals) = None;
        self.work = None;
        self.thread = None;
    }
}

impl Drop for CheckpointIo {
    /// Waits until everything that was asked for is done: a publish under way decides which checkpoint is the newest.
    fn drop(&mut self) {
        self.work = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

struct Io {
    job: JobName,
    store: Arc<JobStore>,
    /// Where it is made known what counts, if others may lead after this process.
    ledger: Option<Arc<Ledger>>,
    clock: Arc<dyn Clock>,
    signals: Signals,
    /// The folders of the savepoints of this attempt.
    savepoints: BTreeMap<CheckpointId, SnapshotDir>,
    /// Folders of checkpoints that hold nothing but the ids of savepoints.
    pins: Vec<CheckpointId>,
    /// Whether a checkpoint that should be gone may still be there.
    undiscarded: bool,
}

impl Io {
    fn carry_out(&mut self, work: Work) -> Option<Event> {
        match work {
            Work::Locate(id) => self.reserved(id).then(|| match self.store.locate(id) {
                Ok(()) => Event::Located { id, created_unix_ms: self.clock.unix_ms() },
                Err(error) => Event::LocateFailed { id, error: error.to_string() },
            }),
            Work::LocateSavepoint { id, target } => self.reserved(id).then(|| self.locate_savepoint(id, &target)),
            Work::Publish { metadata, ends_job } => self.publish(&metadata, ends_job),
            Work::Discard(id) => {
                self.discard(id);
                None
            }
            Work::DiscardClaimed(snapshot) => {
                let path = snapshot.path();
                match snapshot.discard() {
                    Ok(()) => {
                        tracing::info!(path, "the claimed snapshot is deleted: the job has a checkpoint of its own")
                    }
                    Err(error) => tracing::warn!(path, %error, "cannot delete the claimed snapshot: remove it by hand"),
                }
                None
            }
            Work::DeleteShared(names) => {
                // A checkpoint that could not be discarded may refer to them (I3): left to the sweep of a later attempt.
                if !self.undiscarded {
                    names.iter().for_each(|name| self.delete_shared(name));
                }
                None
            }
            Work::SweepShared { before } => {
                if let Err(error) = self.sweep_shared(before) {
                    tracing::warn!(%error, "files that no checkpoint refers to may be left in the shared folder");
                }
                None
            }
        }
    }

    fn tell(&self, signal: Signal) {
        if let Some(signals) = &*lock(&self.signals) {
            // The driver may have ended the attempt meanwhile.
            let _ = signals.send(signal);
        }
    }

    /// Whether no other leader uses the id of a checkpoint.
    fn reserved(&self, id: CheckpointId) -> bool {
        self.recorded(|ledger| ledger.reserve(id))
    }

    /// Makes something known to those who may lead after this process. If that fails it leads no longer, which is no failure of a
    /// checkpoint: what runs goes on under the next leader.
    fn recorded(&self, record: impl FnOnce(&Ledger) -> std::result::Result<(), NotRecorded>) -> bool {
        let Some(ledger) = &self.ledger else { return true };
        let recorded = record(ledger);
        if let Err(error) = &recorded {
            self.tell(Signal::Fenced { token: ledger.token(), why: error.to_string() });
        }
        recorded.is_ok()
    }

    fn locate_savepoint(&mut self, id: CheckpointId, target: &str) -> Event {
        let created_unix_ms = self.clock.unix_ms();
        let mut create = || {
            // The folder in the job's own storage is what remembers the id.
            self.store.locate(id)?;
            self.pins.push(id);
            let storage = open_target(target, self.store.storage())
                .map_err(|error| error.context(format!("{target} cannot take a savepoint")))?;
            let folder = savepoint_name(&self.job, id, created_unix_ms);
            let dir = SnapshotDir::new(storage, folder);
            self.savepoints.insert(id, dir.clone());
            dir.create()?;
            Ok(location_of(&dir))
        };
        match create() {
            Ok(location) => {
                self.tell(Signal::SavepointLocated { id, location });
                Event::Located { id, created_unix_ms }
            }
            Err::<_, Error>(error) => Event::LocateFailed { id, error: error.to_string() },
        }
    }

    /// Nothing, if this process leads no longer.
    fn publish(&mut self, metadata: &Metadata, ends_job: bool) -> Option<Event> {
        let (id, bytes) = (metadata.id, metadata.encode());
        let published = match self.savepoints.get(&id) {
            Some(savepoint) => savepoint.publish_metadata(&bytes).and_then(|()| match ends_job {
                // Before sinks commit what it holds: from here on the job recovers from nothing older.
                true => self.store.publish_savepoint(id, &location_of(savepoint).encode()),
                false => Ok(()),
            }),
            None => self.store.publish_metadata(id, &bytes),
        };
        Some(match published {
            Ok(()) => {
                let is_recovered_from = ends_job || !self.savepoints.contains_key(&id);
                if is_recovered_from && !self.recorded(|ledger| ledger.complete(id)) {
                    return None;
                }
                if metadata.kind == SnapshotKind::Checkpoint {
                    // Its own id is higher than these.
                    let (older, pins) = std::mem::take(&mut self.pins).into_iter().partition(|pin| *pin < id);
                    self.pins = pins;
                    Vec::into_iter(older).for_each(|pin| self.discard_checkpoint(pin));
                }
                Event::Published { id }
            }
            Err(error) => Event::PublishFailed {
                id,
                may_have_happened: error.outcome() == Outcome::MayHaveHappened,
                error: error.to_string(),
            },
        })
    }

    fn discard(&mut self, id: CheckpointId) {
        let Some(savepoint) = self.savepoints.get(&id) else { return self.discard_checkpoint(id) };
        if let Err(error) = savepoint.discard() {
            let path = savepoint.path();
            tracing::warn!(path, %error, "cannot remove what is left of a savepoint that failed: remove it by hand");
        }
    }

    fn discard_checkpoint(&mut self, id: CheckpointId) {
        if let Err(error) = self.store.discard(id) {
            // Left over files cost space and nothing else; the next start tries again.
            tracing::warn!(checkpoint = %id, %error, "cannot discard the checkpoint");
            self.undiscarded = true;
        }
    }

    fn delete_shared(&self, name: &str) {
        if let Err(error) = self.store.delete_shared(name) {
            tracing::warn!(file = name, %error, "cannot delete a file that no checkpoint refers to");
        }
    }

    /// What is there decides, not what this attempt knows of: also a checkpoint that was passed over keeps its files.
    fn sweep_shared(&self, before: CheckpointId) -> Result<()> {
        let mut used = BTreeSet::new();
        for checkpoint in self.store.checkpoints()?.into_iter().filter(|checkpoint| checkpoint.has_metadata) {
            let bytes = self.store.read_metadata(checkpoint.id)?;
            let metadata = Metadata::decode(&bytes, &self.store.path_of(checkpoint.id))?;
            used.extend(metadata.shared_files().map(|(name, _)| name.to_owned()));
        }
        let files = self.store.shared_files()?.into_iter();
        let garbage = files.filter(|(name, by)| *by < before && !used.contains(name));
        garbage.for_each(|(name, _)| self.delete_shared(&name));
        Ok(())
    }
}
