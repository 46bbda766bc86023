//! Where TaskManagers and other programs come to: passes on to the JobManager what is for it, and sends them on while this process does
//! not lead.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex};

use highwater_checkpoint::{CheckpointReport, Outcome};
use highwater_control::convert::nanos;
use highwater_control::proto::v1;
use highwater_control::server::{Answers, Session};
use highwater_control::{JobManagerHandler, Notice, Rejection, Request, Savepoint};
use highwater_core::{Error, Parallelism};
use highwater_jobmaster::{AttemptToken, TaskManagerId};

use super::convert;
use crate::client::{JobClient, JobRequest, SavepointTarget};
use crate::control::{Signal, lock};
use crate::link::{Link, LinkId};
use crate::wire::Order;

/// Behind the counter of a JobManager.
pub(super) struct Desk {
    signals: Sender<Signal>,
    client: JobClient,
    job: String,
    office: Mutex<Office>,
}

struct Office {
    /// While this process leads: the token.
    leads: Option<u64>,
    /// Where the leader is, if it is known.
    leader: Option<String>,
    /// By the session's number.
    members: BTreeMap<u64, Member>,
}

struct Member {
    id: TaskManagerId,
    link: Arc<SessionLink>,
    register: v1::Register,
}

/// To a TaskManager over the network.
struct SessionLink {
    id: LinkId,
    session: Session,
    /// The attempt that orders are about.
    attempt: AtomicU64,
}

impl fmt::Debug for SessionLink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SessionLink({})", self.session)
    }
}

impl Link for SessionLink {
    fn id(&self) -> LinkId {
        self.id
    }

    fn send(&self, order: Order) {
        if let Order::Start { start, .. } = &order {
            self.attempt.store(start.token.0, Ordering::SeqCst);
        }
        self.session.send(convert::word(order, AttemptToken(self.attempt.load(Ordering::SeqCst))));
    }

    fn close(&self) {
        self.session.close("the JobManager has turned it away");
    }
}

impl Office {
    fn token(&self) -> Result<u64, Rejection> {
        self.leads.ok_or_else(|| Rejection::Standby { leader: self.leader.clone() })
    }
}

impl Desk {
    pub fn new(signals: Sender<Signal>, client: JobClient, job: String) -> Self {
        let office = Mutex::new(Office { leads: None, leader: None, members: BTreeMap::new() });
        Desk { signals, client, job, office }
    }

    /// This process leads from now on.
    pub fn lead(&self, token: u64, address: &str) {
        let mut office = lock(&self.office);
        office.leads = Some(token);
        office.leader = Some(address.to_owned());
    }

    /// Another leads, if anybody does.
    pub fn follow(&self, leader: Option<String>) {
        let mut office = lock(&self.office);
        office.leads = None;
        office.leader = leader;
        for member in std::mem::take(&mut office.members).into_values() {
            member.link.session.close("this JobManager leads no longer");
        }
    }

    fn say(&self, signal: Signal) {
        // Nobody listens once the process ends.
        let _ = self.signals.send(signal);
    }

    fn id_of(&self, session: &Session) -> Option<TaskManagerId> {
        lock(&self.office).members.get(&session.id()).map(|member| member.id)
    }
}

impl JobManagerHandler for Desk {
    fn register(&self, register: v1::Register, session: &Session) -> Result<u64, Rejection> {
        let refused = |error: Error| Rejection::Refused { reason: error.to_string() };
        let id = convert::id_of(&register.task_manager_id).map_err(refused)?;
        let held = register.running.clone().map(convert::held).transpose().map_err(refused)?;
        let attempt = AtomicU64::new(held.as_ref().map_or(0, |held| held.token.0));
        let link = Arc::new(SessionLink { id: LinkId::next(), session: session.clone(), attempt });
        let (address, slots) = (register.data_address.clone(), register.slots);
        let member = Member { id, link: Arc::clone(&link), register };
        let mut office = lock(&self.office);
        let token = office.token()?;
        office.members.insert(session.id(), member);
        drop(office);
        let holds = held.as_ref().map(|held| held.token);
        tracing::info!(task_manager = %id, address, slots, attempt = ?holds, "a TaskManager has registered");
        self.say(Signal::Registered { id, address, slots, link, held });
        Ok(token)
    }

    fn notice(&self, session: &Session, notice: Notice) {
        let Some(id) = self.id_of(session) else { return };
        match convert::notice(notice) {
            Ok(notice) => self.say(notice.into_signal(id)),
            Err(error) => session.close(&error.to_string()),
        }
    }

    fn heartbeat(&self, session: &Session) {
        if let Some(id) = self.id_of(session) {
            self.say(Signal::Heartbeat { id });
        }
    }

    fn lost(&self, session: &Session, why: Error) {
        let gone = lock(&self.office).members.remove(&session.id());
        if let Some(Member { id, link, .. }) = gone {
            self.say(Signal::Lost { id, link: link.id, error: why });
        }
    }

    fn job(&self, checkpoints: usize) -> Result<v1::Job, Rejection> {
        let leader_token = lock(&self.office).token()?;
        let leader = lock(&self.office).leader.clone().unwrap_or_default();
        let status = self.client.status();
        let (numbers, history) = (status.snapshot(), status.history());
        let newest = history.len().saturating_sub(checkpoints);
        Ok(v1::Job {
            name: self.job.clone(),
            phase: numbers.phase.to_string(),
            reason: numbers.reason,
            attempt: numbers.attempt,
            attempts: numbers.attempts,
            parallelism: numbers.parallelism,
            restarts: numbers.restarts,
            checkpoints_completed: numbers.completed,
            checkpoints_failed: numbers.failed,
            savepoints: numbers.savepoints,
            checkpoints: history[newest..].iter().map(checkpoint).collect(),
            restored: numbers.restored.map(|(_, path)| path).unwrap_or_default(),
            leader,
            leader_token,
        })
    }

    fn task_managers(&self) -> Result<Vec<v1::TaskManager>, Rejection> {
        lock(&self.office).token()?;
        let in_use = self.client.status().snapshot().members;
        let member = |member: &Member| v1::TaskManager {
            id: convert::name_of(member.id),
            data_address: member.register.data_address.clone(),
            pid: member.register.pid,
            slots: member.register.slots,
            used_slots: in_use.get(&member.id.0).copied().unwrap_or_default(),
            last_heartbeat_nanos: nanos(member.link.session.silent_for()),
            peer: member.link.session.peer().map(|peer| peer.to_string()).unwrap_or_default(),
        };
        Ok(lock(&self.office).members.values().map(member).collect())
    }

    fn ask(&self, request: Request, answers: Answers) -> Result<(), Rejection> {
        lock(&self.office).token()?;
        let target = |savepoint: Savepoint| savepoint.target.map_or(SavepointTarget::Configured, SavepointTarget::Dir);
        let none = |what: &str| Rejection::Refused { reason: what.to_owned() };
        let request = match request {
            Request::Checkpoint {} => JobRequest::Checkpoint,
            Request::Savepoint(savepoint) => JobRequest::Savepoint(target(savepoint)),
            Request::Stop { drain, savepoint } => JobRequest::Stop { drain, savepoint: savepoint.map(target) },
            Request::Cancel {} => JobRequest::Cancel,
            Request::Rescale { parallelism } => {
                let parallelism = Parallelism::new(parallelism).ok_or_else(|| none("a job has at least one worker"))?;
                JobRequest::Rescale(parallelism)
            }
            Request::Status {} => return Err(none("the status has a call of its own")),
        };
        let answered = self.client.ask(request);
        let pass_on = move || answered.for_each(|answer| answers.send(answer.into()));
        let thread = std::thread::Builder::new().name("highwater-client".into()).spawn(pass_on);
        thread.map(drop).map_err(|error| none(&format!("cannot start a thread for the request: {error}")))
    }
}

fn checkpoint(report: &CheckpointReport) -> v1::Checkpoint {
    let (outcome, reason) = match &report.outcome {
        Outcome::Completed => ("completed", String::new()),
        Outcome::Failed(reason) => ("failed", reason.to_string()),
        Outcome::InDoubt { error } => ("in_doubt", error.clone()),
    };
    v1::Checkpoint {
        id: report.id.0,
        kind: if report.kind.is_savepoint() { "savepoint" } else { "checkpoint" }.to_owned(),
        outcome: outcome.to_owned(),
        reason,
        init_nanos: nanos(report.times.init),
        prepare_nanos: nanos(report.times.prepare),
        confirm_nanos: nanos(report.times.confirm),
        complete_nanos: nanos(report.times.complete),
        bytes: report.bytes,
        acknowledged: u32::try_from(report.acknowledged).unwrap_or(u32::MAX),
        tasks: u32::try_from(report.tasks).unwrap_or(u32::MAX),
    }
}
