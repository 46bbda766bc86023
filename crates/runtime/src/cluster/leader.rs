//! A JobManager of a cluster: stands by until it leads, leads until another does, the job is over or it is told to leave.

use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use highwater_control::{Health, Network, Server};
use highwater_core::{Error, ErrorKind, Result};
use highwater_ha::{Contender, HaService, HaStore, JobState, Leadership, LeadershipEvent, open_store};

use super::desk::Desk;
use super::record::decode_outcome;
use super::{JobManagerConfig, Ledger, identity, told_address};
use crate::control::Signal;
use crate::job::{JobEnd, Process};
use crate::job_manager::{InCluster, JobManager, Term};

/// How long the HA directory may take to answer at the start, and how long between two tries.
const PATIENCE: Duration = Duration::from_secs(30);
const RETRY: Duration = Duration::from_secs(1);

/// Takes part in leading the job, until it is over or this process is told to leave.
pub(crate) fn manage(process: &Process, role: &JobManagerConfig) -> Result<JobEnd> {
    let config = &process.config;
    let listener = TcpListener::bind(&role.listen).map_err(|error| {
        let message = format!("cannot listen on {}: give another --listen", role.listen);
        Error::settings(message).with_source(error)
    })?;
    let local = listener.local_addr().map_err(|error| Error::internal("a socket has no address").with_source(error))?;
    let address = told_address(role.advertise.as_deref(), &role.listen, local).ok_or_else(|| {
        Error::settings(format!(
            "--listen {} is every address of this machine, so the others cannot be told where this JobManager is: name one of \
             them with --advertise host:port",
            role.listen
        ))
    })?;
    let store = open(role, process)?;
    let (signals, received) = channel();
    let desk = Arc::new(Desk::new(signals.clone(), config.client.clone(), config.name.to_string()));
    let network = Network::start()?;
    let handler: Arc<Desk> = Arc::clone(&desk);
    let server = Server::start(&network, listener, identity(process), role.heartbeats, handler)?;
    tracing::info!(listen = %server.address(), address, "JobManager started");
    let leave = signals.clone();
    config.stop.listen(move || drop(leave.send(Signal::Leave)));
    let health = server.health().clone();
    let manager = Manager { process, role, desk, health, store, address, signals };
    let result = manager.run(&received);
    server.close("this JobManager ends");
    result
}

/// Opens the HA directory. One that does not answer yet may be starting too.
fn open(role: &JobManagerConfig, process: &Process) -> Result<Arc<dyn HaStore>> {
    let (clock, stop) = (&process.config.clock, &process.config.stop);
    let began = clock.monotonic();
    loop {
        // Half of it, so that a leader can ask twice before its time is over.
        match open_store(&role.ha_dir, role.lease / 2) {
            Err(error)
                if error.kind() == ErrorKind::Storage
                    && clock.monotonic().saturating_sub(began) < PATIENCE
                    && stop.requests() == 0 =>
            {
                tracing::warn!(%error, "trying again");
                std::thread::sleep(RETRY);
            }
            opened => return opened,
        }
    }
}

struct Manager<'a> {
    process: &'a Process,
    role: &'a JobManagerConfig,
    desk: Arc<Desk>,
    health: Health,
    store: Arc<dyn HaStore>,
    address: String,
    signals: Sender<Signal>,
}

/// What ends a JobManager's time as a standby.
enum Call {
    Lead(Leadership, Box<JobState>),
    Over(Result<JobEnd>),
}

impl Manager<'_> {
    fn run(&self, received: &Receiver<Signal>) -> Result<JobEnd> {
        // Dropped, it resigns: another can lead at once.
        let _election = self.enter()?;
        loop {
            match self.stand_by(received)? {
                Call::Over(result) => return result,
                Call::Lead(leadership, state) => match self.lead(leadership, &state, received)? {
                    Term::Over(end) => return Ok(end),
                    Term::Left => return Ok(JobEnd::Left),
                    Term::Unable(error) => return Err(error),
                    Term::Revoked { why } => tracing::warn!(why, "this JobManager leads no longer, and stands by"),
                },
            }
        }
    }

    /// Takes part in the election.
    fn enter(&self) -> Result<HaService> {
        let config = &self.process.config;
        let contender = Contender {
            job: config.name.clone(),
            cluster: self.role.cluster_id.clone(),
            program: format!("{:016x}", self.process.digest()),
            address: self.address.clone(),
            holds_for: self.role.lease,
            retained: config.checkpoints.retained as usize,
            kept_entries: Contender::KEPT_ENTRIES,
            writer: 0,
        };
        let (service, events) = HaService::start(Arc::clone(&self.store), contender, Arc::clone(&config.clock))?;
        let (signals, desk) = (self.signals.clone(), Arc::clone(&self.desk));
        let pass_on = move || {
            for event in events {
                if let LeadershipEvent::Revoked { .. } = event {
                    // Here, because who led may be waiting for a storage that does not answer: the next leader needs them.
                    desk.follow(None);
                }
                if signals.send(Signal::Leadership(event)).is_err() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("highwater-election".into()).spawn(pass_on);
        thread.map_err(|error| Error::internal("cannot start a thread").with_source(error))?;
        Ok(service)
    }

    /// Waits until this process leads, or the job is over.
    ///
    /// Who asks it is sent to the leader. Without one, or if that may be out of date, it is of no use to anybody.
    fn stand_by(&self, received: &Receiver<Signal>) -> Result<Call> {
        let (mut leader, mut ha_dir_answers) = (None, true);
        loop {
            self.health.set_ready(leader.is_some() && ha_dir_answers);
            self.desk.follow(leader.clone());
            let signal = received.recv().map_err(|_| Error::internal("the channel of signals is closed"))?;
            match signal {
                Signal::Leadership(LeadershipEvent::Granted { leadership, state }) => {
                    return Ok(Call::Lead(leadership, Box::new(state)));
                }
                Signal::Leadership(LeadershipEvent::LeaderIs { address, .. }) => leader = Some(address),
                Signal::Leadership(LeadershipEvent::Revoked { .. }) => leader = None,
                Signal::Leadership(LeadershipEvent::Store { answers }) => ha_dir_answers = answers,
                Signal::Leadership(LeadershipEvent::Ended { result }) => return Ok(Call::Over(ended(&result))),
                Signal::Leadership(LeadershipEvent::Failed(error)) => return Err(error),
                Signal::Leave => return Ok(Call::Over(Ok(JobEnd::Left))),
                // Of a time in which this process led.
                _ => {}
            }
        }
    }

    fn lead(&self, leadership: Leadership, state: &JobState, received: &Receiver<Signal>) -> Result<Term> {
        let (process, token) = (self.process, leadership.token());
        let ledger = Arc::new(Ledger::new(leadership, state)?);
        let master = process.job_master_of(self.role, token.0, ledger.job())?;
        let cluster = InCluster { ledger, health: self.health.clone() };
        let manager = JobManager::new(process, (process.store(), None), master, self.signals.clone(), Some(cluster));
        self.desk.lead(token.0, &self.address);
        self.health.set_ready(true);
        manager.run(received)
    }
}

/// What another leader has recorded of the job's end.
fn ended(result: &[u8]) -> Result<JobEnd> {
    let outcome = decode_outcome(result)?;
    tracing::info!(?outcome, "the job has ended: to run it again, start its processes with another --cluster-id");
    outcome.map_err(|(kind, why)| {
        Error::new(kind, why)
            .context("the job has failed; to run it again, start its processes with another --cluster-id")
    })
}
