//! A TaskManager of a cluster: has workers, and finds whoever leads.
//!
//! While nobody leads, its part of the attempt goes on; but not for long if the leader fell silent, since it may live and have given the
//! attempt up, and then two attempts would work side by side. What then happens to it is told when somebody does: the registration says how
//! far it was when the leader before was lost, and what came since follows in its order.
//!
//! Told to stop, it tells the leader that it wants to leave, and does so when its part of the attempt is over: the job goes on without it
//! from a checkpoint that was taken for that. It leaves at once if there is nothing to wait for, or if it is told again; its own impatience
//! is another such word.

use std::cell::Cell;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use highwater_control::proto::v1;
use highwater_control::{
    Addresses, Connected, Connector, Health, Network, NotConnected, Notices, Orders, PROTOCOL_VERSION,
};
use highwater_core::{Clock, Error, Result};
use highwater_jobmaster::TaskManagerId;
use highwater_storage::random::draw;

use super::{TaskManagerConfig, convert, identity, told_address};
use crate::control::{Held, Incoming, TaskEvent};
use crate::job::{JobEnd, Process, StopHandle};
use crate::mesh::Mesh;
use crate::task_manager::{Blocked, Inbox, Left, TaskManager, Uplink};
use crate::wire::Notice;

/// A session with a JobManager that leads.
#[derive(Debug)]
pub(crate) struct Connection {
    notices: Notices,
    leader: String,
}

/// Offers this process's slots to the job, until it is over or this process is told to leave.
pub(crate) fn work(process: &Process, role: &TaskManagerConfig) -> Result<JobEnd> {
    let config = &process.config;
    let network = Network::start()?;
    let (mesh, local) = Mesh::listen(&role.listen, process.digest(), Arc::clone(&config.clock))?;
    let told = told_address(role.advertise.as_deref(), &role.listen, local);
    let data_address = told.or_else(|| local_towards(&role.job_managers, local).map(|local| local.to_string()));
    let data_address = data_address.ok_or_else(|| {
        Error::settings(format!(
            "listening on {}, and the way to {} tells no address of this machine that others could reach: name one with \
             --advertise host:port",
            role.listen, role.job_managers
        ))
    })?;
    let store = process.store();
    let id = TaskManagerId(draw());
    let identity = identity(process);
    let register = v1::Register {
        protocol_version: PROTOCOL_VERSION,
        highwater_version: identity.highwater_version,
        job: identity.job,
        graph: Some(identity.graph),
        task_manager_id: convert::name_of(id),
        data_address,
        slots: role.slots,
        running: None,
        pid: std::process::id(),
    };
    let (sender, receiver) = channel();
    let (seek, sought) = channel();
    let connector = Connector::new(&network, role.job_managers.clone());
    seek_leaders(connector, sought, sender.clone(), (config.stop.clone(), Arc::clone(&config.clock)))?;
    let health = role.health.as_deref().map(|address| probed_at(address, &network)).transpose()?;
    let leaving = Leaving { timeout: role.leave_timeout, inbox: sender.clone(), has_begun: false };
    let mut uplink = ClusterUplink { register, seek, connection: None, untold: Vec::new(), health, leaving };
    tracing::info!(id = %id, address = uplink.register.data_address, slots = role.slots, "looking for a JobManager");
    uplink.search(None);
    let stop = sender.clone();
    config.stop.listen(move || drop(stop.send(Incoming::Stop)));
    let inbox = Inbox::new(sender, receiver);
    match TaskManager::new(process, Some(&mesh), store, inbox, Blocked::End).serve(&mut uplink) {
        Ok(end) => Ok(end),
        Err(Left::OnRequest) => Ok(JobEnd::Left),
        Err(Left::JobFailed(error)) => Err(error),
    }
}

/// To the leaders of a cluster, one after the other.
struct ClusterUplink {
    register: v1::Register,
    /// Has a leader sought, to register like this.
    seek: Sender<v1::Register>,
    connection: Option<Connection>,
    /// What happened since the leader was lost, and the next has to hear.
    untold: Vec<Notice>,
    /// Where this process is probed.
    health: Option<Health>,
    leaving: Leaving,
}

/// How this process leaves the job.
struct Leaving {
    /// How long it waits for the end of its part of an attempt.
    timeout: Duration,
    inbox: Sender<Incoming>,
    /// Whether it was told to.
    has_begun: bool,
}

impl Leaving {
    /// Has this process told once more to stop, when it has waited for long enough.
    fn set_deadline(&self) -> Result<()> {
        let (timeout, inbox) = (self.timeout, self.inbox.clone());
        let remind = move || {
            std::thread::sleep(timeout);
            // Nobody listens once it has left.
            let _ = inbox.send(Incoming::Stop);
        };
        let thread = std::thread::Builder::new().name("highwater-leaving".into()).spawn(remind);
        thread.map(drop).map_err(|error| Error::internal("cannot start a thread").with_source(error))
    }
}

impl ClusterUplink {
    fn set_ready(&self, is_ready: bool) {
        self.health.iter().for_each(|health| health.set_ready(is_ready));
    }

    fn leave(&self) -> Result<(), Left> {
        tracing::info!("leaving the job, which goes on without this process");
        Err(Left::OnRequest)
    }

    fn search(&mut self, held: Option<&Held>) {
        self.set_ready(false);
        self.connection = None;
        self.untold.clear();
        let running = held.map(convert::running);
        // Its thread lives as long as this sender.
        let _ = self.seek.send(v1::Register { running, ..self.register.clone() });
    }
}

impl Uplink for ClusterUplink {
    const OUTLIVES_LEADERS: bool = true;

    fn tell(&mut self, notice: Notice) -> Result<(), Left> {
        let Some(connection) = &self.connection else {
            if matters_later(&notice) {
                self.untold.push(notice);
            }
            return Ok(());
        };
        let is_over = matches!(notice, Notice::Released { .. });
        let said = convert::said(notice).map_err(Left::JobFailed)?;
        // If it was not told, the loss of the leader comes next, and the registration with the next one says it.
        let _ = connection.notices.send(said);
        if is_over && self.leaving.has_begun { self.leave() } else { Ok(()) }
    }

    fn lost(&mut self, error: Error, held: Option<&Held>) -> Result<(), Left> {
        if self.leaving.has_begun {
            return self.leave();
        }
        tracing::warn!(%error, attempt_goes_on = held.is_some(), "looking for a JobManager that leads");
        self.search(held);
        Ok(())
    }

    fn connected(&mut self, connection: Connection) -> Result<(), Left> {
        tracing::info!(leader = connection.leader, "registered with the JobManager");
        self.connection = Some(connection);
        self.set_ready(true);
        std::mem::take(&mut self.untold).into_iter().try_for_each(|notice| self.tell(notice))
    }

    fn stop(&mut self, has_part: bool) -> Result<(), Left> {
        let is_told_again = std::mem::replace(&mut self.leaving.has_begun, true);
        let has_leader = self.connection.is_some();
        if is_told_again || !has_part || !has_leader || self.leaving.timeout.is_zero() {
            return self.leave();
        }
        tracing::info!(at_most = ?self.leaving.timeout, "waiting until the job can go on without this process");
        self.set_ready(false);
        self.leaving.set_deadline().map_err(Left::JobFailed)?;
        self.tell(Notice::Leaving)
    }
}

/// Answers probes at `address`.
fn probed_at(address: &str, network: &Network) -> Result<Health> {
    let listener = TcpListener::bind(address).map_err(|error| {
        Error::settings(format!("cannot listen for probes on {address}: give another --health")).with_source(error)
    })?;
    Health::serve(network, listener)
}

/// Whether a leader that takes an attempt over has to hear it. Of checkpoints that the one before has begun it wants nothing.
fn matters_later(notice: &Notice) -> bool {
    match notice {
        Notice::Released { .. } => true,
        // Without a leader it leaves at once.
        Notice::Leaving => false,
        Notice::Task { event, .. } => match event {
            TaskEvent::Restored { .. }
            | TaskEvent::Ready { .. }
            | TaskEvent::SourceEnded { .. }
            | TaskEvent::Unreachable { .. }
            | TaskEvent::Failed { .. }
            | TaskEvent::WorkerDone { .. } => true,
            TaskEvent::StateRestored { .. }
            | TaskEvent::Prepared { .. }
            | TaskEvent::Acknowledged { .. }
            | TaskEvent::Declined { .. }
            | TaskEvent::LongestPause { .. } => false,
        },
    }
}

/// Looks for leaders on a thread of its own, and passes on what they say.
fn seek_leaders(
    mut connector: Connector,
    sought: Receiver<v1::Register>,
    inbox: Sender<Incoming>,
    (stop, clock): (StopHandle, Arc<dyn Clock>),
) -> Result<()> {
    let seek = move || {
        // Until when another leader is waited for, after one that fell silent.
        let mut alone_at = None;
        for register in sought {
            let deadline = Cell::new(alone_at.take());
            let give_up = || {
                if deadline.get().is_some_and(|at| clock.monotonic() >= at) {
                    deadline.set(None);
                    let _ = inbox.send(Incoming::Alone);
                }
                stop.requests() > 0
            };
            let incoming = match connector.connect(&register, &give_up) {
                Ok(Connected { registered, leader, mut orders, notices }) => {
                    let connected = Incoming::Connected(Connection { notices, leader });
                    if inbox.send(connected).is_err() {
                        return;
                    }
                    let error = pass_on(&mut orders, &inbox);
                    let patience = Duration::from_nanos(registered.heartbeat_timeout_nanos);
                    alone_at = orders.fell_silent().then(|| clock.monotonic().saturating_add(patience));
                    Incoming::Lost(error)
                }
                Err(NotConnected::Refused(error)) => Incoming::Refused(error),
                // A stop was asked for, and comes by itself.
                Err(NotConnected::GivenUp(_)) => continue,
            };
            if inbox.send(incoming).is_err() {
                return;
            }
        }
    };
    let thread = std::thread::Builder::new().name("highwater-leaders".into()).spawn(seek);
    thread.map(drop).map_err(|error| Error::internal("cannot start a thread").with_source(error))
}

/// Passes orders on until the leader is lost, and then why.
fn pass_on(orders: &mut Orders, inbox: &Sender<Incoming>) -> Error {
    loop {
        match orders.receive().and_then(convert::order) {
            Ok((attempt, order)) => {
                if inbox.send(Incoming::Order { attempt, order }).is_err() {
                    return Error::internal("this process ends");
                }
            }
            Err(error) => return error,
        }
    }
}

/// The address of this machine from which it reaches one of the JobManagers.
fn local_towards(job_managers: &Addresses, listen: SocketAddr) -> Option<SocketAddr> {
    let towards = |address: &str| {
        let socket = UdpSocket::bind((listen.ip(), 0))?;
        // Sends nothing: it only chooses the way.
        socket.connect(address)?;
        socket.local_addr()
    };
    let mut local = job_managers.iter().find_map(|address| towards(address).ok())?;
    local.set_port(listen.port());
    Some(local)
}
