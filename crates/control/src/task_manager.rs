//! The TaskManager's end of a session.
//!
//! A [`Connector`] finds the leading JobManager and registers with it; what comes of that is a pair of [`Orders`] and [`Notices`].
//!
//! Invariants: a JobManager that was replaced by one this process has registered with is not obeyed any more; the loss of the
//! connection is said once, after every order that came before it; nothing waits longer than the heartbeat timeout for a JobManager
//! that is gone.

mod connector;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_core::{Error, ErrorKind, Result};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Streaming};

pub use connector::{Connector, NotConnected};

use crate::network::{Heartbeats, Network};
use crate::proto::v1;
use crate::proto::v1::job_manager_client::JobManagerClient;
use crate::session::{Notice, Order};

/// Notices that may wait to be sent, and orders that may wait to be carried out.
const QUEUE: usize = 64;

/// A registered TaskManager's two ways to its JobManager.
#[derive(Debug)]
pub struct Connected {
    /// What the JobManager has answered.
    pub registered: v1::Registered,
    /// The address at which it leads.
    pub leader: String,
    /// What it says.
    pub orders: Orders,
    /// What it is told.
    pub notices: Notices,
}

/// What the JobManager says.
#[derive(Debug)]
pub struct Orders {
    received: mpsc::Receiver<Result<Order>>,
    silent: Arc<AtomicBool>,
}

/// The way to the JobManager. The session ends when [`Orders`] are dropped.
#[derive(Clone, Debug)]
pub struct Notices {
    queue: mpsc::Sender<v1::TaskManagerMessage>,
    over: watch::Receiver<bool>,
    network: Network,
}

impl Orders {
    /// Waits for the next order.
    ///
    /// # Errors
    /// Once the JobManager is lost, or has closed the session: why.
    pub fn receive(&mut self) -> Result<Order> {
        let gone = || Err(Error::new(ErrorKind::Cluster, "the connection to the JobManager is gone"));
        self.received.blocking_recv().unwrap_or_else(gone)
    }

    /// Whether the JobManager was lost by its silence: it may live, and lead others, where this process does not reach it.
    pub fn fell_silent(&self) -> bool {
        self.silent.load(Ordering::SeqCst)
    }
}

impl Notices {
    /// Tells the JobManager something, and waits if it is behind with reading.
    ///
    /// # Errors
    /// If the session is over. Then [`Orders::receive`] says why.
    pub fn send(&self, notice: Notice) -> Result<()> {
        let mut over = self.over.clone();
        let sent = self.network.handle().block_on(async {
            tokio::select! {
                biased;
                _ = over.wait_for(|over| *over) => false,
                sent = self.queue.send(notice.into()) => sent.is_ok(),
            }
        });
        sent.then_some(()).ok_or_else(|| Error::new(ErrorKind::Cluster, "the session with the JobManager is over"))
    }
}

/// What keeps a session going.
struct Keeper {
    client: JobManagerClient<Channel>,
    task_manager_id: String,
    session: u64,
    heartbeats: Heartbeats,
}

impl Keeper {
    /// Passes orders on until the session is over, and then why.
    async fn keep(
        self,
        mut stream: Streaming<v1::JobManagerMessage>,
        orders: mpsc::Sender<Result<Order>>,
        over: watch::Sender<bool>,
        silent: Arc<AtomicBool>,
    ) {
        let why = tokio::select! {
            why = receive(&mut stream, &orders) => Some(why),
            why = self.beat(&silent) => Some(why),
            () = orders.closed() => None,
        };
        over.send_replace(true);
        drop(stream);
        if let Some(why) = why {
            let _ = orders.send(Err(why)).await;
        }
    }

    /// Sends heartbeats, until the JobManager gives the session up or does not answer any more.
    async fn beat(&self, is_silent: &AtomicBool) -> Error {
        let heard = watch::Sender::new(Instant::now());
        let listening = heard.subscribe();
        let beat = async {
            loop {
                let mut client = self.client.clone();
                let (task_manager_id, session) = (self.task_manager_id.clone(), self.session);
                let request = v1::HeartbeatRequest { task_manager_id, session };
                match timeout(self.heartbeats.timeout, client.heartbeat(request)).await {
                    Ok(Ok(_)) => drop(heard.send_replace(Instant::now())),
                    Ok(Err(status)) if status.code() == Code::NotFound => return lost(status.message()),
                    // What reads the orders hears of a connection that broke; one that stands is given the whole timeout.
                    Ok(Err(_)) | Err(_) => {}
                }
                sleep(self.heartbeats.interval).await;
            }
        };
        tokio::select! {
            why = beat => why,
            silent = self.heartbeats.silence(&listening) => {
                is_silent.store(true, Ordering::SeqCst);
                lost(&format!("it has answered no heartbeat for {silent:.1?}: it is halted, or the network is cut"))
            }
        }
    }
}

/// Why nothing more comes in.
async fn receive(stream: &mut Streaming<v1::JobManagerMessage>, orders: &mpsc::Sender<Result<Order>>) -> Error {
    loop {
        let order = match stream.message().await {
            Ok(Some(message)) => Order::try_from(message),
            Ok(None) => return lost("it has closed the session"),
            Err(status) if status.code() == Code::Aborted => return lost(status.message()),
            Err(status) => return lost(&format!("the connection broke: {}", status.message())),
        };
        match order {
            Ok(order) => {
                // Nobody takes orders any more, which ends the session.
                let _ = orders.send(Ok(order)).await;
            }
            Err(error) => return error,
        }
    }
}

fn lost(why: &str) -> Error {
    Error::new(ErrorKind::Cluster, format!("the JobManager is lost: {why}"))
}
