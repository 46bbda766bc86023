//! What the coordinator commands and only storage can do, on a thread of its own: the driver never waits for a disk.

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
                for work in todo {
                    if let Some(event) = carry_out(&store, &*clock, work) {
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

fn carry_out(store: &JobStore, clock: &dyn Clock, work: Work) -> Option<Event> {
    match work {
        Work::Locate(id) => Some(match store.locate(id) {
            Ok(()) => Event::Located { id, created_unix_ms: clock.unix_ms() },
            Err(error) => Event::LocateFailed { id, error: error.to_string() },
        }),
        Work::Publish(metadata) => {
            let id = metadata.id;
            Some(match store.publish_metadata(id, &metadata.encode()) {
                Ok(()) => Event::Published { id },
                Err(error) => Event::PublishFailed {
                    id,
                    may_have_happened: error.outcome() == Outcome::MayHaveHappened,
                    error: error.to_string(),
                },
            })
        }
        Work::Discard(id) => {
            if let Err(error) = store.discard(id) {
                // Left over files cost space and nothing else; the next start tries again.
                tracing::warn!(checkpoint = %id, %error, "cannot discard the checkpoint");
            }
            None
        }
    }
}
