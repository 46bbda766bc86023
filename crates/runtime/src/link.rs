//! How the JobManager and the processes with workers reach each other.
//!
//! The JobManager has a [`Link`] to each: a channel to the one in its own process, a session with each of its cluster. What they say
//! comes in as [`Signal`](crate::control::Signal)s.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;

use highwater_core::{Error, ErrorKind};

use crate::control::Incoming;
use crate::wire::Order;

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
        let gone = Error::new(ErrorKind::Cluster, "the JobManager has turned this process away");
        let _ = self.inbox.send(Incoming::Lost(gone));
    }
}
