//! What the coordinator commands and only storage can do, on a thread of its own: the driver never waits for a disk.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;

use highwater_checkpoint::{Event, Metadata};
use highwater_core::{CheckpointId, Clock, Error, Result};
use highwater_storage::{JobStore, Outcome};

use crate::control::Signal;

/// One piece of work, done in the order given.
pub(crate) enum Work {
    Locate(CheckpointId),
    Publish(Box<Metadata>),
    Discard(CheckpointId),
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
}

impl CheckpointIo {
    /// Starts the thread; outcomes go to `signals`.
    ///
    /// # Errors
    /// If no thread can be started.
    pub fn start(store: Arc<JobStore>, clock: Arc<dyn Clock>, signals: Sender<Signal>) -> Result<Self> {
        let (work, todo) = channel::<Work>();
        let thread = std::thread::Builder::new()
            .name("highwater-checkpoints".into())
            .spawn(move || {
                let mut io = Io { store, clock, undiscarded: false };
                for work in todo {
                    if let Some(event) = io.carry_out(work) {
                        // The driver may have ended the attempt meanwhile.
                        let _ = signals.send(Signal::Storage(event));
                    }
                }
            })
            .map_err(|error| Error::internal("cannot start the checkpoint thread").with_source(error))?;
        Ok(CheckpointIo { work: Some(work), thread: Some(thread) })
    }

    /// Has `work` done.
    pub fn ask(&self, work: Work) {
        if let Some(sender) = &self.work {
            // The thread ends only when this sender is dropped.
            let _ = sender.send(work);
        }
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
    store: Arc<JobStore>,
    clock: Arc<dyn Clock>,
    /// Whether a checkpoint that should be gone may still be there.
    undiscarded: bool,
}

impl Io {
    fn carry_out(&mut self, work: Work) -> Option<Event> {
        match work {
            Work::Locate(id) => Some(match self.store.locate(id) {
                Ok(()) => Event::Located { id, created_unix_ms: self.clock.unix_ms() },
                Err(error) => Event::LocateFailed { id, error: error.to_string() },
            }),
            Work::Publish(metadata) => {
                let id = metadata.id;
                Some(match self.store.publish_metadata(id, &metadata.encode()) {
                    Ok(()) => Event::Published { id },
                    Err(error) => Event::PublishFailed {
                        id,
                        may_have_happened: error.outcome() == Outcome::MayHaveHappened,
                        error: error.to_string(),
                    },
                })
            }
            Work::Discard(id) => {
                if let Err(error) = self.store.discard(id) {
                    // Left over files cost space and nothing else; the next start tries again.
                    tracing::warn!(checkpoint = %id, %error, "cannot discard the checkpoint");
                    self.undiscarded = true;
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
