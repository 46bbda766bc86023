//! A process that has workers, and follows the orders of the JobManager.
//!
//! It starts an attempt when it is told to, passes on what its tasks say, ends the attempt when it is told to, says so, and waits for
//! the next. The JobManager is in the same process, or at the other end of an [`Uplink`]. What the loss of the JobManager means is
//! the uplink's to say: in a cluster the attempt goes on without one, until another takes it over.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_jobmaster::TaskManagerId;
use highwater_snapshot::Snapshot;
use highwater_storage::{CheckpointStorage, JobStore, open_uri};

use crate::cluster::Connection;
use crate::control::{Control, Held, Incoming, Signal, TaskEvent};
use crate::copies::Copies;
use crate::deployed::Deployed;
use crate::job::{JobEnd, Process};
use crate::mesh::{Mesh, NotConnected};
use crate::restore::{Restored, SnapshotLocation};
use crate::wire::{Notice, Order, Start};

/// What comes in: from the leader and from this process's own tasks. Nothing of it is lost between two attempts: the order to start
/// the next one may come while this one is still ending.
pub(crate) struct Inbox {
    sender: Sender<Incoming>,
    receiver: Receiver<Incoming>,
    /// What came while only some of it was wanted, oldest first.
    kept: RefCell<VecDeque<Incoming>>,
}

impl Inbox {
    pub fn new(sender: Sender<Incoming>, receiver: Receiver<Incoming>) -> Self {
        Inbox { sender, receiver, kept: RefCell::default() }
    }

    fn next(&self) -> Incoming {
        let kept = self.kept.borrow_mut().pop_front();
        // The inbox has a sender of its own, so the channel is never closed.
        kept.unwrap_or_else(|| self.receiver.recv().expect("a sender is there"))
    }

    /// Whether something has come that ends an attempt before it has begun.
    fn is_over(&self, ends: impl Fn(&Incoming) -> bool) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.extend(self.receiver.try_iter());
        kept.iter().any(ends)
    }

    fn keep(&self, incoming: Incoming) {
        self.kept.borrow_mut().push_back(incoming);
    }
}

/// Why a process stopped to follow its leader without the job having ended well.
pub(crate) enum Left {
    JobFailed(Error),
    /// It was asked to leave; the job goes on.
    OnRequest,
}

/// This process's way to whoever leads.
pub(crate) trait Uplink {
    /// Whether an attempt goes on while there is no leader.
    const OUTLIVES_LEADERS: bool;

    /// Tells the leader.
    fn tell(&mut self, notice: Notice) -> std::result::Result<(), Left>;

    /// The leader is lost; this is how far this process's part of an attempt is.
    fn lost(&mut self, error: Error, held: Option<&Held>) -> std::result::Result<(), Left>;

    /// A leader has taken this process in.
    fn connected(&mut self, connection: Connection) -> std::result::Result<(), Left>;

    /// Someone asks this process to stop, which has a part of an attempt or none.
    fn stop(&mut self, has_part: bool) -> std::result::Result<(), Left>;
}

/// To the JobManager in this process, which hears of a stop by itself.
struct LocalUplink<'a> {
    id: TaskManagerId,
    signals: &'a Sender<Signal>,
}

impl Uplink for LocalUplink<'_> {
    const OUTLIVES_LEADERS: bool = false;

    fn tell(&mut self, notice: Notice) -> std::result::Result<(), Left> {
        // It ends before this.
        let _ = self.signals.send(notice.into_signal(self.id));
        Ok(())
    }

    fn lost(&mut self, error: Error, _: Option<&Held>) -> std::result::Result<(), Left> {
        Err(Left::JobFailed(error))
    }

    fn connected(&mut self, _: Connection) -> std::result::Result<(), Left> {
        Ok(())
    }

    fn stop(&mut self, _: bool) -> std::result::Result<(), Left> {
        Ok(())
    }
}

/// What a process does about user code that blocks a worker for good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blocked {
    /// It goes on without the thread.
    LeaveBehind,
    /// It ends: whoever started it starts it again.
    End,
}

/// This process's part in a job.
pub(crate) struct TaskManager<'a> {
    process: &'a Process,
    mesh: Option<&'a Mesh>,
    store: Option<Arc<JobStore>>,
    inbox: Inbox,
    blocked: Blocked,
}

impl<'a> TaskManager<'a> {
    /// What comes into `inbox` is for this process, which others reach through `mesh`.
    pub fn new(
        process: &'a Process,
        mesh: Option<&'a Mesh>,
        store: Option<Arc<JobStore>>,
        inbox: Inbox,
        blocked: Blocked,
    ) -> Self {
        TaskManager { process, mesh, store, inbox, blocked }
    }

    /// Carries out the orders of the leader in this process, until it says that the job is over or is gone.
    pub fn serve_here(&self, id: TaskManagerId, signals: &Sender<Signal>) {
        if let Err(Left::JobFailed(error)) = self.serve(&mut LocalUplink { id, signals }) {
            tracing::debug!(%error, "the workers' thread ends with the job");
        }
    }

    /// Carries out orders until the job ends, or the uplink says that this process leaves it.
    pub fn serve<U: Uplink>(&self, uplink: &mut U) -> std::result::Result<JobEnd, Left> {
        loop {
            match self.inbox.next() {
                Incoming::Order { order: Order::Start { start, process }, .. } => {
                    self.attempt(&start, process, uplink)?;
                }
                Incoming::Order { order: Order::End { result }, .. } => return result.map_err(job_failed),
                Incoming::Stop => uplink.stop(false)?,
                Incoming::Lost(error) => uplink.lost(error, None)?,
                Incoming::Connected(connection) => uplink.connected(connection)?,
                Incoming::Refused(error) => return Err(Left::JobFailed(error)),
                // Late words of an attempt that is over.
                Incoming::Order { .. } | Incoming::Task(_) | Incoming::Alone => {}
            }
        }
    }

    fn attempt<U: Uplink>(&self, start: &Start, process: u32, uplink: &mut U) -> std::result::Result<(), Left> {
        let token = start.token;
        match self.start::<U>(start, process) {
            Ok(mut deployed) => {
                let result = self.run(Held::new(token, process), &mut deployed, uplink);
                self.end(deployed)?;
                result?;
            }
            Err(NotConnected { unreachable, error }) if unreachable.is_empty() => {
                let event = TaskEvent::Failed { worker: start.workers_of(process).start, error };
                uplink.tell(Notice::Task { token, event })?;
            }
            Err(NotConnected { unreachable: processes, error }) => {
                uplink.tell(Notice::Task { token, event: TaskEvent::Unreachable { processes, error } })?;
            }
        }
        uplink.tell(Notice::Released { token })
    }

    fn start<U: Uplink>(&self, start: &Start, process: u32) -> std::result::Result<Deployed, NotConnected> {
        let restored = start.restore.as_ref().map(|location| self.open_restored(location)).transpose()?;
        let (share, shared) = ((start, process), (self.mesh, self.store.as_ref()));
        let ends = |incoming: &Incoming| match incoming {
            Incoming::Order { order: Order::Abort { token, .. }, .. } => *token == start.token,
            Incoming::Order { order: Order::End { .. }, .. } | Incoming::Refused(_) => true,
            Incoming::Lost(_) => !U::OUTLIVES_LEADERS,
            Incoming::Stop => U::OUTLIVES_LEADERS,
            Incoming::Alone => true,
            Incoming::Order { .. } | Incoming::Task(_) | Incoming::Connected(_) => false,
        };
        let give_up = || self.inbox.is_over(ends);
        Deployed::start(self.process, share, restored, shared, self.inbox.sender.clone(), &give_up)
    }

    /// The leader has verified it; this process must be able to read it too.
    fn open_restored(&self, location: &SnapshotLocation) -> Result<Arc<Restored>> {
        let SnapshotLocation { storage: uri, folder, is_own } = location;
        let own = self.process.config.storage.as_ref().filter(|storage| storage.reopen_uri() == *uri);
        let storage: Arc<dyn CheckpointStorage> = match own {
            Some(storage) => Arc::clone(storage),
            None => open_uri(uri)?,
        };
        let snapshot = Snapshot::open(&storage, folder).map_err(|error| {
            error.context("the checkpoint that the job restores must be in a directory that all its processes share")
        })?;
        Ok(Arc::new(Restored::new(snapshot, *is_own)))
    }

    /// Passes words on, both ways, until the attempt ends.
    fn run<U: Uplink>(&self, mut held: Held, deployed: &mut Deployed, uplink: &mut U) -> std::result::Result<(), Left> {
        let (token, control) = (held.token, Arc::clone(&deployed.control));
        let left = |_: &Left| control.abort();
        let config = &self.process.config;
        let mut copies = Copies::new(config.storage.as_deref(), &config.name, control.first_epoch());
        loop {
            match self.inbox.next() {
                Incoming::Order { attempt: Some(other), order } if other != token => {
                    tracing::debug!(attempt = %other, ?order, "an order about another attempt comes late");
                }
                Incoming::Order { order, .. } => {
                    order.apply(&control);
                    held.obey(&order);
                    match order {
                        Order::Abort { reason, .. } => {
                            tracing::debug!(reason, "the attempt is over");
                            return Ok(());
                        }
                        Order::End { .. } => {
                            control.abort();
                            self.inbox.keep(Incoming::Order { attempt: None, order });
                            return Ok(());
                        }
                        Order::Attach { completed, next } => {
                            attached(&mut held, &control, completed, next);
                            completed.into_iter().for_each(|id| copies.completed(id));
                        }
                        Order::Complete { id } => copies.completed(id),
                        _ => {}
                    }
                }
                Incoming::Task(event) => {
                    held.hear(&event);
                    if let TaskEvent::Acknowledged { id, files, .. } = &event {
                        copies.acknowledged(*id, files);
                    }
                    let done = match &event {
                        TaskEvent::WorkerDone { worker } => deployed.done(*worker),
                        _ => false,
                    };
                    uplink.tell(Notice::Task { token, event }).inspect_err(left)?;
                    if done {
                        return Ok(());
                    }
                }
                Incoming::Stop => uplink.stop(true).inspect_err(left)?,
                Incoming::Lost(error) => uplink.lost(error, Some(&held)).inspect_err(left)?,
                Incoming::Connected(connection) => uplink.connected(connection).inspect_err(left)?,
                Incoming::Alone => {
                    tracing::warn!(
                        "dropping the attempt: a leader that this process does not reach has given it up by now"
                    );
                    control.abort();
                    let error = Error::new(ErrorKind::Cluster, "the TaskManager was cut off from its leader");
                    let worker = deployed.running().first().copied().unwrap_or_default();
                    return uplink.tell(Notice::Task { token, event: TaskEvent::Failed { worker, error } });
                }
                Incoming::Refused(error) => {
                    control.abort();
                    return Err(Left::JobFailed(error));
                }
            }
        }
    }

    /// Ends the attempt here: at once if it was aborted, else when all data has been delivered. What comes in meanwhile and is not
    /// of it is kept for later.
    fn end(&self, mut deployed: Deployed) -> std::result::Result<(), Left> {
        if deployed.control.is_aborted() {
            deployed.shut_down();
        }
        let config = &self.process.config;
        let patience = config.cancellation_timeout;
        let deadline = config.clock.monotonic() + patience;
        while !deployed.running().is_empty() {
            match self.inbox.receiver.recv_timeout(deadline.saturating_sub(config.clock.monotonic())) {
                Ok(Incoming::Task(TaskEvent::WorkerDone { worker })) => {
                    deployed.done(worker);
                }
                Ok(Incoming::Task(_)) => {}
                Ok(other) => self.inbox.keep(other),
                Err(_) => {
                    tracing::error!(
                        workers = ?deployed.running(),
                        "workers did not end within {patience:?}: user code blocks in them; they are left behind"
                    );
                    deployed.abandon();
                    return match self.blocked {
                        Blocked::LeaveBehind => Ok(()),
                        Blocked::End => Err(Left::JobFailed(Error::new(
                            ErrorKind::UserFunction,
                            "user code blocks a worker, so this process cannot go on: start it again",
                        ))),
                    };
                }
            }
        }
        deployed.join();
        Ok(())
    }
}

fn job_failed((kind, why): (ErrorKind, String)) -> Left {
    Left::JobFailed(Error::new(kind, why))
}

/// A new leader has taken the attempt over: what the old one has not told, and what it has left behind.
fn attached(held: &mut Held, control: &Control, completed: Option<CheckpointId>, next: CheckpointId) {
    tracing::info!(?completed, %next, "a new leader has taken the attempt over");
    // A checkpoint from before the attempt is nothing that its sinks wait for.
    if let Some(id) = completed.filter(|id| *id >= control.first_epoch()) {
        let order = Order::Complete { id };
        order.apply(control);
        held.obey(&order);
    }
    for id in std::mem::take(&mut held.pending).into_iter().filter(|id| *id < next) {
        control.give_up(id);
    }
}
