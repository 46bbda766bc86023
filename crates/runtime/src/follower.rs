//! A process that follows the leader's orders.
//!
//! It stays connected to process 0, starts an attempt when it is told to, passes on what its tasks say, and ends the attempt when it
//! is told to or when the connection is lost; then it connects again and waits for the next.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender};

use highwater_core::{Error, ErrorKind, Result};
use highwater_snapshot::Snapshot;
use highwater_storage::{CheckpointStorage, JobStore, open_uri};

use crate::control::{Signal, TaskEvent};
use crate::job::{Beginning, JobEnd, Process, Running, signals, stopped_at_once};
use crate::mesh::Mesh;
use crate::restore::{Restored, SnapshotLocation};
use crate::wire::{self, Notice, Order, Purpose, Start};

/// Runs this process's part of the job until the leader says that the job is over.
pub(crate) fn follow(process: &Process) -> Result<JobEnd> {
    let config = &process.config;
    let mesh = process.mesh()?.ok_or_else(|| Error::internal("a single process leads"))?;
    let store = process.store()?;
    loop {
        let stream = mesh.connect(0, Purpose::Control, &|| config.stop.requests() > 0)?;
        tracing::info!("connected to process 0");
        let follower = Follower { process, mesh: &mesh, store: store.as_ref() };
        match follower.serve(stream) {
            Ok(end) => return Ok(end),
            Err(Left::JobFailed(error)) => return Err(error),
            Err(Left::LeaderLost(error)) if config.stop.requests() > 0 => return Err(error),
            Err(Left::LeaderLost(error)) => tracing::warn!(%error, "process 0 was lost; connecting again"),
        }
    }
}

/// Why a connection ended without the job having ended well.
enum Left {
    LeaderLost(Error),
    JobFailed(Error),
}

/// What comes in over one connection, of the leader and of this process's own tasks. Nothing of it is lost between two attempts:
/// the order to start the next one may come while this one is still ending.
struct Inbox {
    receiver: Receiver<Signal>,
    /// What came while only some of it was wanted, oldest first.
    kept: RefCell<VecDeque<Signal>>,
}

impl Inbox {
    fn next(&self) -> Signal {
        let kept = self.kept.borrow_mut().pop_front();
        let closed = |_| Signal::Lost(Error::internal("the channel of signals closed"));
        kept.unwrap_or_else(|| self.receiver.recv().unwrap_or_else(closed))
    }

    /// Whether an abort or a loss of the leader is among what has come.
    fn is_over(&self) -> bool {
        let mut kept = self.kept.borrow_mut();
        kept.extend(self.receiver.try_iter());
        kept.iter().any(|signal| matches!(signal, Signal::Order(Order::Abort { .. }) | Signal::Lost(_)))
    }

    fn keep(&self, signal: Signal) {
        self.kept.borrow_mut().push_back(signal);
    }
}

struct Follower<'a> {
    process: &'a Process,
    mesh: &'a Mesh,
    store: Option<&'a Arc<JobStore>>,
}

impl Follower<'_> {
    /// Carries out orders until the connection or the job ends.
    fn serve(&self, stream: TcpStream) -> std::result::Result<JobEnd, Left> {
        let (sender, receiver) = signals();
        let reading = stream.try_clone().map_err(|error| left("cannot read from process 0", error))?;
        read_orders(reading, sender.clone()).map_err(Left::LeaderLost)?;
        self.process.config.stop.listen(&sender);
        let mut stream = stream;
        let inbox = Inbox { receiver, kept: RefCell::default() };
        loop {
            match inbox.next() {
                Signal::Order(Order::Start(start)) => self.attempt(start, &mut stream, &sender, &inbox)?,
                Signal::Order(Order::End { result }) => return result.map_err(Left::JobFailed),
                Signal::Stop => self.pass_on_stop(&mut stream)?,
                Signal::Lost(error) => return Err(Left::LeaderLost(error)),
                // Late words of an attempt that is over.
                Signal::Order(_) | Signal::Task(_) | Signal::Storage(_) => {}
                Signal::Request { .. } | Signal::SavepointLocated { .. } => {}
            }
        }
    }

    /// A stop of this process is a stop of the job; the second one ends this process at once.
    fn pass_on_stop(&self, stream: &mut TcpStream) -> std::result::Result<(), Left> {
        if self.process.config.stop.requests() > 1 {
            return Err(Left::JobFailed(stopped_at_once()));
        }
        wire::write(stream, &Notice::Stop).map_err(Left::LeaderLost)
    }

    fn attempt(
        &self,
        start: Start,
        stream: &mut TcpStream,
        sender: &Sender<Signal>,
        inbox: &Inbox,
    ) -> std::result::Result<(), Left> {
        let token = start.token;
        match self.begin(start, sender.clone(), &|| inbox.is_over()) {
            Ok(mut running) => {
                let result = self.run(token, &mut running, stream, inbox);
                let config = &self.process.config;
                let keep = |signal| inbox.keep(signal);
                if !running.end(&inbox.receiver, &*config.clock, config.cancellation_timeout, keep) {
                    return Err(Left::JobFailed(Error::new(
                        ErrorKind::UserFunction,
                        "user code blocks a worker, so this process cannot go on: start it again",
                    )));
                }
                result
            }
            Err(error) => {
                tracing::warn!(%error, "the attempt did not start");
                let config = &self.process.config;
                let event = TaskEvent::Failed { worker: config.process * config.workers, error };
                wire::write(stream, &Notice::Task { token, event }).map_err(Left::LeaderLost)
            }
        }
    }

    fn begin(&self, start: Start, sender: Sender<Signal>, give_up: &dyn Fn() -> bool) -> Result<Running> {
        let restored = start.restore.map(|location| self.open_restored(&location)).transpose()?;
        let (token, first_epoch, splits) = (start.token, start.first_epoch, start.splits);
        let beginning = Beginning { token, first_epoch, restored, splits };
        self.process.start(Some(self.mesh), self.store, beginning, sender, give_up)
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
            error.context("the checkpoint that process 0 restores must be in a directory that all processes share")
        })?;
        Ok(Arc::new(Restored::new(snapshot, *is_own)))
    }

    /// Passes words on, both ways, until the attempt ends.
    fn run(
        &self,
        token: u64,
        running: &mut Running,
        stream: &mut TcpStream,
        inbox: &Inbox,
    ) -> std::result::Result<(), Left> {
        let control = Arc::clone(&running.control);
        loop {
            match inbox.next() {
                Signal::Order(order) => {
                    order.apply(&control);
                    match order {
                        Order::Abort { reason } => {
                            tracing::warn!(reason, "the attempt is over");
                            return Ok(());
                        }
                        Order::End { result } => {
                            control.abort();
                            return result.map(|_| ()).map_err(Left::JobFailed);
                        }
                        _ => {}
                    }
                }
                Signal::Task(event) => {
                    let done = match &event {
                        TaskEvent::WorkerDone { worker } => {
                            running.done(*worker);
                            running.is_done()
                        }
                        _ => false,
                    };
                    if let Err(error) = wire::write(stream, &Notice::Task { token, event }) {
                        control.abort();
                        return Err(Left::LeaderLost(error));
                    }
                    if done {
                        return Ok(());
                    }
                }
                Signal::Stop => self.pass_on_stop(stream).inspect_err(|_| control.abort())?,
                Signal::Lost(error) => {
                    control.abort();
                    return Err(Left::LeaderLost(error));
                }
                // The leader alone is asked and has a coordinator.
                Signal::Storage(_) | Signal::Request { .. } | Signal::SavepointLocated { .. } => {}
            }
        }
    }
}

fn left(what: &str, error: std::io::Error) -> Left {
    Left::LeaderLost(Error::new(ErrorKind::Cluster, what).with_source(error))
}

/// Reads orders on a thread of their own, until the connection ends.
fn read_orders(mut stream: TcpStream, sender: Sender<Signal>) -> Result<()> {
    let read = move || {
        loop {
            let signal = match wire::read::<Order>(&mut stream) {
                Ok(order) => Signal::Order(order),
                Err(error) => Signal::Lost(error),
            };
            let over = matches!(signal, Signal::Lost(_));
            if sender.send(signal).is_err() || over {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("highwater-orders".into()).spawn(read);
    thread.map(|_| ()).map_err(|error| Error::internal("cannot start a thread").with_source(error))
}
