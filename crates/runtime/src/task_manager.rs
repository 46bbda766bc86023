//! A process that has workers, and follows the orders of the JobManager.
//!
//! It starts an attempt when it is told to, passes on what its tasks say, ends the attempt when it is told to, says so, and waits for
//! the next. The JobManager is in the same process, or at the other end of an [`Uplink`]. What the loss of the JobManager means is
//! the uplink's to say: in a cluster the attempt goes on without one, until another takes it over.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_jobmaster::TaskManagerId;
use highwater_snapshot::Snapshot;
use highwater_storage::{CheckpointStorage, JobStore, open_uri};

use crate::cluster::Connection;
use crate::control::{Control, Held, Incoming, Signal, TaskEvent};
use crate::deployed::Deployed;
use crate::job::{JobEnd, Process, stopped_at_once};
use crate::mesh::{Mesh, NotConnected};
use crate::restore::{Restored, SnapshotLocation};
use crate::wire::{self, Notice, Order, Purpose, Start};

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
    LeaderLost(Error),
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

    /// Someone asks this process to stop.
    fn stop(&mut self, process: &Process) -> std::result::Result<(), Left>;
}

/// Ends with the leader that it tells.
struct OneLeader<T>(T);

impl<T: FnMut(Notice) -> Result<()>> Uplink for OneLeader<T> {
    const OUTLIVES_LEADERS: bool = false;

    fn tell(&mut self, notice: Notice) -> std::result::Result<(), Left> {
        self.0(notice).map_err(Left::LeaderLost)
    }

    fn lost(&mut self, error: Error, _: Option<&Held>) -> std::result::Result<(), Left> {
        Err(Left::LeaderLost(error))
    }

    fn connected(&mut self, _: Connection) -> std::result::Result<(), Left> {
        Ok(())
    }

    /// A stop of this process is a stop of the job; the second one ends this process at once.
    fn stop(&mut self, process: &Process) -> std::result::Result<(), Left> {
        if process.config.stop.requests() > 1 {
            return Err(Left::JobFailed(stopped_at_once()));
        }
        self.tell(Notice::Stop)
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

/// Follows the leader in another process until that says that the job is over.
pub(crate) fn follow(process: &Process) -> Result<JobEnd> {
    let config = &process.config;
    let (mesh, _) = process.mesh()?.ok_or_else(|| Error::internal("a single process leads"))?;
    let store = process.store()?;
    loop {
        let give_up = || config.stop.requests() > 0;
        let mut stream = mesh.connect(config.process, &config.hosts[0], Purpose::Control, &give_up)?;
        tracing::info!("connected to process 0");
        let (sender, receiver) = channel();
        let reading = stream.try_clone();
        let reading = reading.map_err(|error| Error::internal("cannot read from process 0").with_source(error))?;
        read_orders(reading, sender.clone())?;
        let inbox = sender.clone();
        config.stop.listen(move || drop(inbox.send(Incoming::Stop)));
        let inbox = Inbox::new(sender, receiver);
        let task_manager = TaskManager::new(process, Some(&mesh), store.clone(), inbox, Blocked::End);
        let left = task_manager.serve(&mut OneLeader(|notice: Notice| wire::write(&mut stream, &notice)));
        // The thread that reads has a handle to it too.
        let _ = stream.shutdown(Shutdown::Both);
        match left {
            Ok(end) => return Ok(end),
            Err(Left::JobFailed(error)) => return Err(error),
            Err(Left::OnRequest) => return Ok(JobEnd::Left),
            Err(Left::LeaderLost(error)) if config.stop.requests() > 0 => return Err(error),
            Err(Left::LeaderLost(error)) => tracing::warn!(%error, "process 0 was lost; connecting again"),
        }
    }
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
        let tell = |notice: Notice| {
            // It ends before this.
            let _ = signals.send(notice.into_signal(id));
            Ok(())
        };
        if let Err(Left::JobFailed(error) | Left::LeaderLost(error)) = self.serve(&mut OneLeader(tell)) {
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
                Incoming::Stop => uplink.stop(self.process)?,
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
                        Order::Attach { completed, next } => attached(&mut held, &control, completed, next),
                        _ => {}
                    }
                }
                Incoming::Task(event) => {
                    held.hear(&event);
                    let done = match &event {
                        TaskEvent::WorkerDone { worker } => deployed.done(*worker),
                        _ => false,
                    };
                    uplink.tell(Notice::Task { token, event }).inspect_err(left)?;
                    if done {
                        return Ok(());
                    }
                }
                Incoming::Stop => uplink.stop(self.process).inspect_err(left)?,
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

/// Reads orders on a thread of their own, until the connection ends.
fn read_orders(mut stream: TcpStream, sender: Sender<Incoming>) -> Result<()> {
    let read = move || {
        loop {
            let incoming = match wire::read::<Order>(&mut stream) {
                Ok(order) => Incoming::Order { attempt: None, order },
                Err(error) => Incoming::Lost(error),
            };
            let over = matches!(incoming, Incoming::Lost(_));
            if sender.send(incoming).is_err() || over {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("highwater-orders".into()).spawn(read);
    thread.map(|_| ()).map_err(|error| Error::internal("cannot start a thread").with_source(error))
}
