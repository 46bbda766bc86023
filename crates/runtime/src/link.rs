//! How the JobManager and the processes with workers reach each other.
//!
//! The JobManager has a [`Link`] to each: a channel to the one in its own process, a connection to others. What they say comes in as
//! [`Signal`]s.

use std::fmt;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use highwater_core::{Error, Result};
use highwater_jobmaster::TaskManagerId;

use crate::control::{Incoming, Signal, lock};
use crate::wire::{self, Notice, Order};

/// Tells connections apart: that an earlier one of a process is lost says nothing of the one it has now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LinkId(u64);

impl LinkId {
    pub fn next() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        LinkId(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// The JobManager's way to a process that has workers.
pub(crate) trait Link: fmt::Debug + Send + Sync {
    /// Which connection this is.
    fn id(&self) -> LinkId;

    /// Sends an order. Of a loss the JobManager hears by itself.
    fn send(&self, order: Order);

    /// Ends the connection.
    fn close(&self);
}

/// To the process that the JobManager is in.
#[derive(Debug)]
pub(crate) struct LocalLink {
    id: LinkId,
    inbox: Sender<Incoming>,
}

impl LocalLink {
    pub fn new(inbox: Sender<Incoming>) -> Self {
        LocalLink { id: LinkId::next(), inbox }
    }
}

impl Link for LocalLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&self, order: Order) {
        // Nobody listens any more once the job is over.
        let _ = self.inbox.send(Incoming::Order { attempt: None, order });
    }

    fn close(&self) {
        let gone = Error::new(highwater_core::ErrorKind::Cluster, "the JobManager has turned this process away");
        let _ = self.inbox.send(Incoming::Lost(gone));
    }
}

/// To another process.
#[derive(Debug)]
pub(crate) struct RemoteLink {
    id: LinkId,
    stream: Mutex<TcpStream>,
}

impl RemoteLink {
    /// Starts reading what a process has to say.
    pub fn connect(process: TaskManagerId, stream: TcpStream, signals: Sender<Signal>) -> Result<Self> {
        let setup = |error| Error::internal("cannot read from a process").with_source(error);
        let id = LinkId::next();
        let mut reading = stream.try_clone().map_err(setup)?;
        let read = move || {
            loop {
                let signal = match wire::read::<Notice>(&mut reading) {
                    Ok(notice) => notice.into_signal(process),
                    Err(error) => Signal::Lost { id: process, link: id, error },
                };
                let is_over = matches!(signal, Signal::Lost { .. });
                if signals.send(signal).is_err() || is_over {
                    return;
                }
            }
        };
        std::thread::Builder::new().name("highwater-notices".into()).spawn(read).map_err(setup)?;
        Ok(RemoteLink { id, stream: Mutex::new(stream) })
    }
}

impl Link for RemoteLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&self, order: Order) {
        // If the connection is lost, the thread that reads from it says so.
        if let Err(error) = wire::write(&mut *lock(&self.stream), &order) {
            tracing::debug!(%error, "an order was not delivered");
        }
    }

    fn close(&self) {
        // One that is down already is what we want.
        let _ = lock(&self.stream).shutdown(Shutdown::Both);
    }
}

/// Registers the processes that connect with the JobManager, on a thread that ends with the last of those who could.
pub(crate) fn register_followers(
    followers: crate::mesh::Followers,
    hosts: Vec<String>,
    slots: u32,
    signals: Sender<Signal>,
) -> Result<()> {
    let register = move || {
        for (process, stream) in followers {
            let (id, Some(address)) = (TaskManagerId(process.into()), hosts.get(process as usize)) else { continue };
            let link = match RemoteLink::connect(id, stream, signals.clone()) {
                Ok(link) => Arc::new(link),
                Err(error) => {
                    tracing::warn!(process, %error, "a process is turned away");
                    continue;
                }
            };
            if signals.send(Signal::Registered { id, address: address.clone(), slots, link, held: None }).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("highwater-followers".into()).spawn(register);
    thread.map(|_| ()).map_err(|error| Error::internal("cannot start a thread").with_source(error))
}
