//! A TaskManager's session, as the JobManager has it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use highwater_core::{Error, ErrorKind};
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use crate::network::Heartbeats;
use crate::proto::v1;
use crate::session::{Notice, Order};

/// Orders that may wait to be sent: far more than a checkpoint or an attempt takes.
const QUEUE: usize = 1024;

/// Orders that may wait behind the connection's own window.
pub(super) const OUTGOING: usize = 8;

/// The JobManager's side of a session. Clones are the same session.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    id: u64,
    task_manager: String,
    peer: Option<SocketAddr>,
    queue: mpsc::Sender<Outgoing>,
    /// Why the session is over, once it is.
    over: watch::Sender<Option<String>>,
    heard: watch::Sender<Instant>,
}

/// What waits to be sent.
pub(super) enum Outgoing {
    Order(Order),
    Close { why: String },
}

/// What goes to the thread of a session.
pub(super) enum Incoming {
    Notice(Notice),
    Lost(Error),
}

impl Session {
    pub(super) fn new(id: u64, task_manager: String, peer: Option<SocketAddr>) -> (Session, mpsc::Receiver<Outgoing>) {
        let (queue, queued) = mpsc::channel(QUEUE);
        let (over, heard) = (watch::Sender::new(None), watch::Sender::new(Instant::now()));
        (Session(Arc::new(Inner { id, task_manager, peer, queue, over, heard })), queued)
    }

    /// Tells it from the other sessions of this JobManager, also from earlier ones of the same TaskManager.
    pub fn id(&self) -> u64 {
        self.0.id
    }

    /// The TaskManager, as it has named itself.
    pub fn task_manager(&self) -> &str {
        &self.0.task_manager
    }

    /// Where the connection comes from.
    pub fn peer(&self) -> Option<SocketAddr> {
        self.0.peer
    }

    /// How long ago it said that it is alive.
    pub fn silent_for(&self) -> Duration {
        self.0.heard.borrow().elapsed()
    }

    /// Sends an order, without waiting. If it cannot be delivered, the handler hears that the TaskManager is lost.
    pub fn send(&self, order: Order) {
        self.queue(Outgoing::Order(order));
    }

    /// Ends the session once the orders before are delivered. The TaskManager hears why, and registers again.
    pub fn close(&self, why: &str) {
        self.queue(Outgoing::Close { why: why.to_owned() });
    }

    fn queue(&self, outgoing: Outgoing) {
        match self.0.queue.try_send(outgoing) {
            Ok(()) => {}
            Err(TrySendError::Full(_)) => self.end(format!("{QUEUE} orders wait for it")),
            Err(TrySendError::Closed(_)) => tracing::debug!(session = %self, "order not delivered"),
        }
    }

    /// Notes that it is alive.
    pub(super) fn hear(&self) {
        self.0.heard.send_replace(Instant::now());
    }

    /// Ends the session at once.
    pub(super) fn end(&self, why: String) {
        self.0.over.send_if_modified(|over| {
            let is_first = over.is_none();
            over.get_or_insert(why);
            is_first
        });
    }

    /// Whether it has ended.
    pub(super) fn is_over(&self) -> bool {
        self.0.over.borrow().is_some()
    }

    /// Waits until the session is over; why.
    async fn over(&self) -> String {
        let mut over = self.0.over.subscribe();
        let why = over.wait_for(Option::is_some).await;
        why.ok().and_then(|why| why.clone()).unwrap_or_default()
    }

    /// Passes on what waits to be sent, until the session is over.
    pub(super) async fn send_all(
        self,
        mut queued: mpsc::Receiver<Outgoing>,
        stream: mpsc::Sender<Result<v1::JobManagerMessage, Status>>,
        patience: Duration,
    ) {
        loop {
            let outgoing = tokio::select! {
                outgoing = queued.recv() => outgoing,
                _ = self.over() => None,
            };
            let (message, close) = match outgoing {
                Some(Outgoing::Order(order)) => (Ok(order.into()), None),
                Some(Outgoing::Close { why }) => (Err(Status::aborted(why.clone())), Some(why)),
                None => return,
            };
            match timeout(patience, stream.send(message)).await {
                Ok(Ok(())) => {}
                // What reads from the connection says why.
                Ok(Err(_)) => return,
                Err(_) => return self.end(format!("it has taken no order for {patience:?}")),
            }
            if let Some(why) = close {
                return self.end(why);
            }
        }
    }

    /// Passes on what comes in, until the session is over, and then why.
    pub(super) async fn receive_all(
        self,
        mut stream: Streaming<v1::TaskManagerMessage>,
        thread: mpsc::Sender<Incoming>,
        heartbeats: Heartbeats,
    ) {
        let heard = self.0.heard.subscribe();
        let why = tokio::select! {
            why = receive(&mut stream, &thread) => why,
            why = self.over() => Error::new(ErrorKind::Cluster, why),
            silent = heartbeats.silence(&heard) => {
                Error::new(ErrorKind::Cluster, format!("no heartbeat came for {silent:.1?}: it is halted, or the network is cut"))
            }
        };
        self.end(why.to_string());
        let _ = thread.send(Incoming::Lost(why)).await;
    }
}

/// Why nothing more comes in.
async fn receive(stream: &mut Streaming<v1::TaskManagerMessage>, thread: &mpsc::Sender<Incoming>) -> Error {
    loop {
        let notice = match stream.message().await {
            Ok(Some(message)) => Notice::try_from(message),
            Ok(None) => Err(Error::new(ErrorKind::Cluster, "it has closed the connection")),
            Err(status) => Err(Error::new(ErrorKind::Cluster, format!("the connection broke: {}", status.message()))),
        };
        match notice {
            Ok(notice) => {
                if thread.send(Incoming::Notice(notice)).await.is_err() {
                    return Error::internal("the thread of the session has ended");
                }
            }
            Err(error) => return error,
        }
    }
}

impl fmt::Display for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of TaskManager {}", self.0.id, self.0.task_manager)
    }
}

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Session({self})")
    }
}
