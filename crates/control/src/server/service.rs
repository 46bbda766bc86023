//! The calls of TaskManagers.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use highwater_core::{Error, ErrorKind};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};

use super::session::{Incoming, OUTGOING, Session};
use super::{Desk, JobManagerHandler, Rejection};
use crate::convert::nanos;
use crate::network::{Heartbeats, OPENING};
use crate::proto::v1;
use crate::proto::v1::job_manager_message::Message as FromJobManager;
use crate::proto::v1::job_manager_server::JobManager;
use crate::proto::v1::task_manager_message::Message as FromTaskManager;

/// Notices that may wait for the handler.
const INCOMING: usize = 64;

/// What becomes of a registration: the token of the leader, if it is taken in.
type Verdict = Result<u64, Rejection>;

/// Answers the calls.
pub(super) struct Calls(pub Arc<Desk>);

#[tonic::async_trait]
impl JobManager for Calls {
    type SessionStream = ReceiverStream<Result<v1::JobManagerMessage, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<v1::TaskManagerMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let desk = Arc::clone(&self.0);
        let peer = request.remote_addr();
        let mut stream = request.into_inner();
        let register = first(&mut stream).await?;
        if let Some(reason) = desk.identity.refusal(&register) {
            return Err(Rejection::Refused { reason }.into());
        }
        let id = desk.next_session.fetch_add(1, Ordering::Relaxed);
        let (session, queued) = Session::new(id, register.task_manager_id.clone(), peer);
        let (incoming, received) = mpsc::channel(INCOMING);
        let verdict = attend(Arc::clone(&desk.handler), session.clone(), register, received)?;
        let leader_token = verdict.await.map_err(|_| Status::internal("the registration was not judged"))??;
        let (outgoing, answers) = mpsc::channel(OUTGOING);
        let registered = desk.registered(leader_token, id);
        outgoing.try_send(Ok(registered)).map_err(|_| Status::internal("the answers are not sent"))?;
        desk.sessions().insert(id, session.clone());
        let heartbeats = desk.heartbeats;
        tokio::spawn(session.clone().send_all(queued, outgoing, heartbeats.timeout));
        tokio::spawn(async move {
            session.receive_all(stream, incoming, heartbeats).await;
            desk.sessions().remove(&id);
        });
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    async fn heartbeat(
        &self,
        request: Request<v1::HeartbeatRequest>,
    ) -> Result<Response<v1::HeartbeatResponse>, Status> {
        let v1::HeartbeatRequest { task_manager_id, session } = request.into_inner();
        let session = self.0.sessions().get(&session).cloned();
        match session.filter(|session| session.task_manager() == task_manager_id && !session.is_over()) {
            Some(session) => {
                session.hear();
                self.0.handler.heartbeat(&session);
                Ok(Response::new(v1::HeartbeatResponse {}))
            }
            None => Err(Status::not_found("the JobManager has given this session up")),
        }
    }
}

impl Desk {
    fn registered(&self, leader_token: u64, session: u64) -> v1::JobManagerMessage {
        let Heartbeats { interval, timeout } = self.heartbeats;
        let registered = v1::Registered {
            leader_token,
            session,
            heartbeat_interval_nanos: nanos(interval),
            heartbeat_timeout_nanos: nanos(timeout),
        };
        v1::JobManagerMessage { message: Some(FromJobManager::Registered(registered)) }
    }
}

/// The first message of a TaskManager.
async fn first(stream: &mut Streaming<v1::TaskManagerMessage>) -> Result<v1::Register, Status> {
    let first = timeout(OPENING, stream.message()).await;
    let first = first.map_err(|_| Status::deadline_exceeded(format!("no registration came for {OPENING:?}")))??;
    match first.and_then(|first| first.message) {
        Some(FromTaskManager::Register(register)) => Ok(register),
        Some(_) | None => Err(Status::invalid_argument("the first message of a session is a registration")),
    }
}

/// Has the handler judge a registration and hear of the session, on a thread of the session's own.
fn attend(
    handler: Arc<dyn JobManagerHandler>,
    session: Session,
    register: v1::Register,
    mut received: mpsc::Receiver<Incoming>,
) -> Result<oneshot::Receiver<Verdict>, Status> {
    let (judge, verdict) = oneshot::channel();
    let attend = move || {
        let accepted = handler.register(register, &session);
        let is_accepted = accepted.is_ok();
        // Who has gone away meanwhile is lost, below.
        let _ = judge.send(accepted);
        if is_accepted {
            hear(&*handler, &session, &mut received);
        }
    };
    let thread = std::thread::Builder::new().name("highwater-session".into()).spawn(attend);
    thread.map_err(|error| Status::resource_exhausted(format!("cannot start a thread for the session: {error}")))?;
    Ok(verdict)
}

/// Has the handler hear of the session until it is lost.
fn hear(handler: &dyn JobManagerHandler, session: &Session, received: &mut mpsc::Receiver<Incoming>) {
    let why = loop {
        match received.blocking_recv() {
            Some(Incoming::Notice(notice)) => handler.notice(session, notice),
            Some(Incoming::Lost(why)) => break why,
            None => break Error::new(ErrorKind::Cluster, "the connection is gone"),
        }
    };
    handler.lost(session, why);
}
