//! The JobManager's end: answers TaskManagers and clients.
//!
//! Each TaskManager has a [`Session`], and a thread on which a [`JobManagerHandler`] hears of it, in this order: its registration, what
//! it says as it said it, and, last and once, that it is lost. A handler that takes its time holds back that TaskManager alone.
//!
//! Invariant: nothing here waits for a peer. Orders are queued; who leaves them for longer than the heartbeat timeout loses its session.

mod jobs;
mod service;
mod session;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::AtomicU64;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_core::{Error, Result};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::Status;
use tonic::metadata::MetadataValue;
use tonic::transport::server::TcpIncoming;

pub use jobs::Answers;
pub use session::Session;

use service::Calls;

use crate::health::Health;
use crate::identity::Identity;
use crate::network::{CONNECTION_WINDOW, Heartbeats, LONGEST_MESSAGE, Network, STREAM_WINDOW};
use crate::proto::v1;
use crate::proto::v1::job_manager_server::JobManagerServer;
use crate::proto::v1::jobs_server::JobsServer;
use crate::protocol::Request;
use crate::session::Notice;

/// Tells that a JobManager does not lead; its value is the leader's address, or empty.
pub(crate) const STANDBY: &str = "highwater-leader";

/// What a JobManager does about its TaskManagers.
pub trait JobManagerHandler: Send + Sync + 'static {
    /// A TaskManager that runs the same program registers. The answer is the token of this leader. Orders sent to the session
    /// meanwhile follow the answer.
    ///
    /// # Errors
    /// If it cannot be taken in.
    fn register(&self, register: v1::Register, session: &Session) -> std::result::Result<u64, Rejection>;

    /// It says something.
    fn notice(&self, session: &Session, notice: Notice);

    /// It is alive. Comes on a thread of the network, so it must not block.
    fn heartbeat(&self, session: &Session);

    /// Nothing more comes from it: the connection broke, it was silent for too long, or the session was closed.
    fn lost(&self, session: &Session, why: Error);

    /// How the job goes, with so many of its newest checkpoints.
    ///
    /// # Errors
    /// If this JobManager does not know.
    fn job(&self, checkpoints: usize) -> std::result::Result<v1::Job, Rejection>;

    /// The TaskManagers that are registered.
    ///
    /// # Errors
    /// If this JobManager does not know.
    fn task_managers(&self) -> std::result::Result<Vec<v1::TaskManager>, Rejection>;

    /// A client asks for something other than the status. What becomes of it goes to `answers`, now or later.
    ///
    /// # Errors
    /// If this JobManager does not do it, and will not.
    fn ask(&self, request: Request, answers: Answers) -> std::result::Result<(), Rejection>;
}

/// Why a JobManager does not do what it is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Rejection {
    /// It does not lead. Whoever asks goes on to the leader.
    Standby {
        /// The leader's address, as host:port, if there is one.
        leader: Option<String>,
    },
    /// It never will, and why.
    Refused {
        /// For people.
        reason: String,
    },
}

impl From<Rejection> for Status {
    fn from(rejection: Rejection) -> Self {
        match rejection {
            Rejection::Refused { reason } => Status::failed_precondition(reason),
            Rejection::Standby { leader } => {
                let words = match &leader {
                    Some(leader) => format!("this JobManager is a standby, {leader} leads"),
                    None => "this JobManager is a standby, and no other leads at the moment".to_owned(),
                };
                let mut status = Status::unavailable(words);
                // An address that is no text for a header is none that anybody could connect to.
                let leader = MetadataValue::try_from(leader.unwrap_or_default());
                status.metadata_mut().insert(STANDBY, leader.unwrap_or(MetadataValue::from_static("")));
                status
            }
        }
    }
}

/// A JobManager that listens, for as long as this lives. Dropped, it leaves its connections without a goodbye.
pub struct Server {
    address: SocketAddr,
    desk: Arc<Desk>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
    health: Health,
    network: Network,
}

/// What the calls share.
struct Desk {
    identity: Identity,
    heartbeats: Heartbeats,
    handler: Arc<dyn JobManagerHandler>,
    next_session: AtomicU64,
    sessions: Mutex<BTreeMap<u64, Session>>,
}

impl Server {
    /// Serves the connections that come in on `listener`.
    ///
    /// # Errors
    /// If the listener cannot be used, or the heartbeats make no sense.
    pub fn start(
        network: &Network,
        listener: TcpListener,
        identity: Identity,
        heartbeats: Heartbeats,
        handler: Arc<dyn JobManagerHandler>,
    ) -> Result<Server> {
        let heartbeats = heartbeats.check()?;
        let unusable = |error| Error::internal("cannot listen for TaskManagers and clients").with_source(error);
        let address = listener.local_addr().map_err(unusable)?;
        listener.set_nonblocking(true).map_err(unusable)?;
        let _entered = network.handle().enter();
        let incoming = tokio::net::TcpListener::from_std(listener).map_err(unusable)?;
        let incoming = TcpIncoming::from(incoming).with_nodelay(Some(true));
        let (next_session, sessions) = (AtomicU64::new(1), Mutex::default());
        let desk = Arc::new(Desk { identity, heartbeats, handler, next_session, sessions });
        let sessions = JobManagerServer::new(Calls(Arc::clone(&desk))).max_decoding_message_size(LONGEST_MESSAGE);
        let server = tonic::transport::Server::builder()
            .http2_keepalive_interval(Some(heartbeats.timeout))
            .http2_keepalive_timeout(Some(heartbeats.timeout))
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW);
        let (health, router) = Health::add_to(server, network);
        let router = router.add_service(sessions).add_service(JobsServer::new(Calls(Arc::clone(&desk))));
        let (stop, stopped) = oneshot::channel::<()>();
        let stopped = async { drop(stopped.await) };
        let serving = network.handle().spawn(async move {
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, stopped).await {
                tracing::error!(%error, "the JobManager no longer listens for TaskManagers and clients");
            }
        });
        Ok(Server { address, desk, stop, serving, health, network: network.clone() })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it tells those who probe it.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Ends: takes no new connections, delivers what is queued, and tells the TaskManagers `why`. Waits for those that take their
    /// time no longer than for a heartbeat.
    pub fn close(self, why: &str) {
        let Server { address: _, desk, stop, serving, health: _, network } = self;
        drop(stop);
        let sessions: Vec<_> = desk.sessions().values().cloned().collect();
        sessions.iter().for_each(|session| session.close(why));
        network.handle().block_on(async { drop(timeout(desk.heartbeats.timeout, serving).await) });
    }
}

impl Desk {
    fn sessions(&self) -> MutexGuard<'_, BTreeMap<u64, Session>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
