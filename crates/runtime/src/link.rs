//! How the leader of a job and the processes with workers reach each other.
//!
//! The leader has a [`Link`] to each process: a channel to the one in its own process, a connection to others. What a process says
//! comes in through [`Inbound`], which lets pass what belongs to the attempt under way.

use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use highwater_core::{Error, Result};

use crate::control::{Signal, lock};
use crate::wire::{self, Notice, Order};

/// The leader's way to a process that has workers.
pub(crate) trait Link: Send + Sync {
    /// Sends an order. Of a loss the leader hears by itself.
    fn send(&self, order: Order);

    /// Whether the process was lost.
    fn is_lost(&self) -> bool {
        false
    }

    /// Ends the connection.
    fn close(&self) {}
}

/// To the process that the leader is in.
pub(crate) struct LocalLink(pub Sender<Signal>);

impl Link for LocalLink {
    fn send(&self, order: Order) {
        // Nobody listens any more once the job is over.
        let _ = self.0.send(Signal::Order(order));
    }
}

/// To another process.
pub(crate) struct RemoteLink {
    process: u32,
    stream: Mutex<TcpStream>,
    lost: AtomicBool,
}

impl RemoteLink {
    /// Starts reading what a process has to say.
    pub fn connect(process: u32, stream: TcpStream, inbound: Inbound) -> Result<Arc<Self>> {
        let setup = |error| Error::internal("cannot read from a process").with_source(error);
        let mut reading = stream.try_clone().map_err(setup)?;
        let link = Arc::new(RemoteLink { process, stream: Mutex::new(stream), lost: AtomicBool::new(false) });
        let on_loss = Arc::clone(&link);
        let read = move || {
            loop {
                match wire::read::<Notice>(&mut reading) {
                    Ok(notice) => inbound.take(process, notice),
                    Err(error) => {
                        on_loss.lost.store(true, Ordering::Release);
                        return inbound.lose(process, error.context(format!("process {process} was lost")));
                    }
                }
            }
        };
        std::thread::Builder::new().name(format!("highwater-peer-{process}")).spawn(read).map_err(setup)?;
        Ok(link)
    }
}

impl Link for RemoteLink {
    fn send(&self, order: Order) {
        // If the connection is lost, the thread that reads from it says so.
        if let Err(error) = wire::write(&mut *lock(&self.stream), &order) {
            tracing::debug!(process = self.process, %error, "order not delivered");
        }
    }

    fn is_lost(&self) -> bool {
        self.lost.load(Ordering::Acquire)
    }

    fn close(&self) {
        let _ = lock(&self.stream).shutdown(Shutdown::Both);
    }
}

/// Where the leader hears what processes say: of the attempt under way, and nothing between attempts.
#[derive(Clone, Default)]
pub(crate) struct Inbound(Arc<Mutex<Option<(u64, Sender<Signal>)>>>);

impl Inbound {
    /// From now on, what is said of attempt `token` goes to `signals`.
    pub fn open(&self, token: u64, signals: Sender<Signal>) {
        *lock(&self.0) = Some((token, signals));
    }

    /// The attempt is over.
    pub fn close(&self) {
        *lock(&self.0) = None;
    }

    /// What process `process` says.
    pub fn take(&self, process: u32, notice: Notice) {
        let current = lock(&self.0);
        let Some((token, signals)) = &*current else { return };
        let signal = match notice {
            Notice::Task { token: of, event } if of == *token => Signal::Task(event),
            Notice::Released { token: of } if of == *token => Signal::Released { process },
            Notice::Stop => Signal::Stop,
            Notice::Task { .. } | Notice::Released { .. } => return,
        };
        // The attempt has a receiver for as long as it is open.
        let _ = signals.send(signal);
    }

    /// A process was lost. Between attempts the leader looks for itself.
    pub fn lose(&self, process: u32, error: Error) {
        if let Some((_, signals)) = &*lock(&self.0) {
            let _ = signals.send(Signal::Lost { process, error });
        }
    }
}
