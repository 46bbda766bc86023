//! The process that leads a job: it carries out what the [`JobMaster`] decides about attempts, and drives the one that is deployed.
//!
//! Everything it waits for comes through one channel of [`Signal`]s: what TaskManagers and their tasks say, what the storage says, what
//! users ask for. A signal goes to the JobMaster if it is about processes, else to the driver of the attempt.

mod attempts;
mod preparation;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use highwater_checkpoint::RequestId;
use highwater_checkpoint::recovery::Damaged;
use highwater_control::Health;
use highwater_core::{CheckpointId, Clock, Error, Result};
use highwater_ha::LeadershipEvent;
use highwater_jobmaster::{AttemptToken, Command, Event, JobEnd as MasterEnd, JobMaster, TaskManagerId};
use highwater_storage::{JobStore, Lock, SnapshotDir};

use self::preparation::Preparation;
pub(crate) use self::preparation::{NotPrepared, PreparationId, Prepared};
use crate::client::{Answer, JobRequest};
use crate::cluster::Ledger;
use crate::control::{Held, Signal, TaskEvent};
use crate::driver::{Driver, End};
use crate::job::{JobEnd, Process, stopped_at_once};
use crate::link::Link;
use crate::recovery;
use crate::status::JobPhase;
use crate::wire::Order;

/// How long it may be silent on the channel before the time is looked at.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// How often people are told that the storage is still waited for.
const SAY_AGAIN: Duration = Duration::from_secs(30);

pub(crate) struct JobManager<'a> {
    process: &'a Process,
    clock: Arc<dyn Clock>,
    store: Option<Arc<JobStore>>,
    // Held for as long as this process leads the job.
    _lock: Option<Lock>,
    master: JobMaster,
    links: BTreeMap<TaskManagerId, Arc<dyn Link>>,
    /// What TaskManagers have of an attempt of an earlier leader, as they registered.
    held: BTreeMap<TaskManagerId, Held>,
    sender: Sender<Signal>,
    /// Where it is made known what counts, if others may lead after this one.
    ledger: Option<Arc<Ledger>>,
    /// Where it is probed, in a cluster.
    health: Option<Health>,
    /// The attempt that is about to be deployed or taken over.
    preparing: Option<Preparation>,
    /// When people were last told that the storage is away, if it is.
    said_away: Option<Duration>,
    /// The attempt that is deployed.
    attempt: Option<Attempt<'a>>,
    /// Facts that the JobMaster has not been told yet.
    facts: VecDeque<Event>,
    history: History,
    rescales: Rescales,
    /// Who asked for the end of the job at once.
    cancels: Vec<Sender<Answer>>,
    /// Why this process leads no longer, though the job is not over.
    over: Option<Term>,
}

/// What a JobManager has that is not the only one of its job.
pub(crate) struct InCluster {
    pub ledger: Arc<Ledger>,
    pub health: Health,
}

/// How the time ends in which a process leads.
#[derive(Debug)]
pub(crate) enum Term {
    /// The job is over.
    Over(JobEnd),
    /// Another leads, or nobody: what runs goes on running.
    Revoked { why: String },
    /// This process was told to leave the job to others.
    Left,
    /// This process can take no part in leading the job any more.
    Unable(Error),
}

/// Requests for another parallelism.
#[derive(Default)]
struct Rescales {
    last_id: u64,
    waiting: BTreeMap<RequestId, Sender<Answer>>,
    /// When the attempt before the next has ended.
    ended_at: Option<Duration>,
    /// How long no records flowed between the last two attempts.
    pause: Duration,
}

/// An attempt, as its JobManager drives it.
struct Attempt<'a> {
    token: AttemptToken,
    /// By the index of their process.
    members: Vec<TaskManagerId>,
    driver: Driver<'a>,
    /// Whether the JobMaster knows that it runs.
    runs: bool,
    /// Answers to the checkpoint that the JobMaster has asked for.
    asked: Option<Receiver<Answer>>,
}

/// What earlier attempts leave for later ones.
struct History {
    /// Above every id that attempts of this process have used.
    next_id: CheckpointId,
    /// The snapshot that was restored and is the job's to delete once it has a checkpoint of its own.
    claimed: Option<SnapshotDir>,
    /// Checkpoints from this id on were taken by this run of the job.
    first_own: Option<CheckpointId>,
    /// What the attempt restores, if the job was not told what but has chosen it among its own.
    chosen: Option<CheckpointId>,
    /// Checkpoints of which a part did not verify while it was loaded.
    damaged: Damaged,
}

impl<'a> JobManager<'a> {
    /// Leads the job as `master` decides, and hears of everything through the channel that `sender` belongs to.
    pub fn new(
        process: &'a Process,
        (store, lock): (Option<Arc<JobStore>>, Option<Lock>),
        master: JobMaster,
        sender: Sender<Signal>,
        cluster: Option<InCluster>,
    ) -> Self {
        let (ledger, health) = cluster.map(|InCluster { ledger, health }| (ledger, health)).unzip();
        JobManager {
            process,
            clock: Arc::clone(&process.config.clock),
            store,
            _lock: lock,
            master,
            links: BTreeMap::new(),
            held: BTreeMap::new(),
            sender,
            health,
            preparing: None,
            said_away: None,
            attempt: None,
            facts: VecDeque::new(),
            rescales: Rescales::default(),
            cancels: Vec::new(),
            over: None,
            history: History {
                next_id: ledger.as_ref().map_or(CheckpointId(1), |ledger| ledger.ids_below().max(CheckpointId(1))),
                claimed: None,
                first_own: ledger.as_ref().and_then(|ledger| ledger.first_own()),
                chosen: None,
                damaged: Damaged::default(),
            },
            ledger,
        }
    }

    /// Runs attempts until one ends well or the restart strategy gives up; or until this process leads no longer, which leaves
    /// what runs as it is.
    pub fn run(mut self, signals: &Receiver<Signal>) -> Result<Term> {
        let config = &self.process.config;
        config.client.connect(Some(self.sender.clone()));
        let result = self.lead(signals);
        config.client.connect(None);
        let told = match &result {
            Ok(Term::Over(end)) => Ok(*end),
            Ok(Term::Left) => {
                self.leave(Driver::end);
                return result;
            }
            Ok(Term::Revoked { .. } | Term::Unable(_)) => {
                self.leave(Driver::let_go);
                return result;
            }
            Err(error) => Err((error.kind(), error.to_string())),
        };
        for reply in self.cancels.drain(..) {
            let _ = reply.send(match &told {
                Ok(JobEnd::Cancelled) => Answer::Completed(None),
                Ok(_) => Answer::Failed { reason: "the job has ended by itself before".to_owned() },
                Err((_, why)) => Answer::Failed { reason: format!("the job has failed before: {why}") },
            });
        }
        for link in self.links.values() {
            link.send(Order::End { result: told.clone() });
            link.close();
        }
        result
    }

    /// Drops what this process has of the attempt, and tells nobody.
    fn leave(&mut self, end: impl FnOnce(&mut Driver<'a>, &End)) {
        self.preparing = None;
        if let Some(mut attempt) = self.attempt.take() {
            end(&mut attempt.driver, &End::Aborted("this JobManager leads no longer: ask again".to_owned()));
        }
        self.process.config.status().deployed(None);
    }

    fn lead(&mut self, signals: &Receiver<Signal>) -> Result<Term> {
        loop {
            match signals.recv_timeout(self.wait()) {
                Ok(signal) => self.handle(signal),
                Err(RecvTimeoutError::Timeout) => {
                    self.facts.push_back(Event::Tick);
                    self.drive(Signal::Storage(highwater_checkpoint::Event::Tick));
                }
                // This JobManager holds a sender.
                Err(RecvTimeoutError::Disconnected) => return Err(Error::internal("the channel of signals is closed")),
            }
            self.look_at_storage();
            let decided = self.decide();
            if let Some(term) = self.over.take() {
                return Ok(term);
            }
            if let Some(result) = decided {
                return result.map(Term::Over);
            }
        }
    }

    /// How long nothing has to be done by itself.
    fn wait(&self) -> Duration {
        let now = self.clock.monotonic();
        let driver = self.attempt.as_ref().and_then(|attempt| attempt.driver.next_wake());
        let wakes = [self.master.next_wake(), driver];
        wakes.into_iter().flatten().min().map_or(LONGEST_WAIT, |at| at.saturating_sub(now).min(LONGEST_WAIT))
    }

    fn handle(&mut self, signal: Signal) {
        match signal {
            Signal::Registered { id, address, slots, link, held } => {
                let holds = held.as_ref().map(|held| held.token);
                if let Some(old) = self.links.insert(id, link) {
                    old.close();
                }
                self.held.remove(&id);
                self.held.extend(held.map(|held| (id, held)));
                self.facts.push_back(Event::Registered { id, address, slots, holds });
            }
            Signal::Heartbeat { id } => self.facts.push_back(Event::Heartbeat { id }),
            Signal::Leaving { id } => {
                tracing::info!(task_manager = %id, "a TaskManager wants to leave");
                self.facts.push_back(Event::Leaving { id });
            }
            Signal::Leave => self.over = Some(Term::Left),
            // Not of this process's time as a leader before.
            Signal::Fenced { token, why } if self.ledger.as_ref().is_some_and(|ledger| ledger.token() == token) => {
                self.over = Some(Term::Revoked { why });
            }
            Signal::Fenced { .. } => {}
            Signal::Leadership(LeadershipEvent::Revoked { why }) => self.over = Some(Term::Revoked { why }),
            Signal::Leadership(LeadershipEvent::Failed(error)) => self.over = Some(Term::Unable(error)),
            Signal::Leadership(event) => tracing::debug!(?event, "of the election"),
            Signal::Lost { id, link, error } => {
                if self.links.get(&id).is_some_and(|current| current.id() == link) {
                    self.links.remove(&id);
                    self.facts.push_back(Event::Disconnected { id, why: error.to_string() });
                }
            }
            Signal::Released { id, token } => self.facts.push_back(Event::Released { id, token }),
            Signal::Task { id, token, event } => {
                self.facts.push_back(Event::Heartbeat { id });
                if let Some(held) = self.held.get_mut(&id).filter(|held| held.token == token) {
                    held.hear(&event);
                }
                if let TaskEvent::Unreachable { processes, error } = event {
                    return self.unreachable(id, token, &processes, error);
                }
                if self.attempt.as_ref().is_some_and(|attempt| attempt.token == token) {
                    self.drive(Signal::Task { id, token, event });
                } else if let TaskEvent::Failed { error, .. } = event {
                    // It may be one that is to be taken over.
                    self.facts.push_back(Event::Failed { token, error, unreachable: Vec::new() });
                }
            }
            Signal::Stop => {
                self.facts.push_back(Event::Stop);
                if let Some(preparing) = &mut self.preparing {
                    preparing.stops += 1;
                }
                self.drive(Signal::Stop);
            }
            Signal::Prepared { id, result } => {
                if let Some(preparation) = self.preparing.take_if(|preparing| preparing.id == id) {
                    self.prepared(&preparation, result);
                }
            }
            Signal::StorageAway { id, why } => {
                if let Some(preparing) = self.preparing.as_mut().filter(|preparing| preparing.id == id) {
                    preparing.trouble(why);
                }
            }
            Signal::Request { request: JobRequest::Cancel, reply } => {
                let _ = reply.send(Answer::Accepted);
                self.cancels.push(reply);
                self.facts.push_back(Event::Cancel);
            }
            Signal::Request { request: JobRequest::Rescale(parallelism), reply } => {
                let _ = reply.send(Answer::Accepted);
                self.rescales.last_id += 1;
                let request = RequestId(self.rescales.last_id);
                self.rescales.waiting.insert(request, reply);
                self.facts.push_back(Event::Rescale { request, parallelism });
            }
            Signal::Request { reply, .. } if self.attempt.is_none() => {
                // Nobody has to listen.
                let _ = reply.send(Answer::Failed { reason: "the job is starting: ask again when it runs".into() });
            }
            signal => self.drive(signal),
        }
    }

    /// Says that the storage is waited for, if it is; and waits no longer for an attempt that is to be stopped.
    fn look_at_storage(&mut self) {
        let now = self.clock.monotonic();
        let Some(preparing) = &self.preparing else { return };
        let (stops, away) = (preparing.stops, preparing.is_away(now));
        if let Some(why) = away.filter(|_| self.said_away.is_none_or(|said| now.saturating_sub(said) >= SAY_AGAIN)) {
            tracing::warn!(why, "the checkpoint storage does not answer as it should, and is waited for");
            self.said_away = Some(now);
            self.process.config.status().waiting(&format!("for the checkpoint storage: {why}"));
            self.set_ready(false);
        }
        if (stops > 1 || (stops > 0 && self.said_away.is_some()))
            && let Some(Preparation { deployment, then, .. }) = self.preparing.take()
        {
            self.not_begun(&deployment, then, Some(stopped_at_once()));
        }
    }

    /// The storage has answered, whatever it was.
    fn storage_answers(&mut self) {
        if self.said_away.take().is_some() {
            tracing::info!("the checkpoint storage answers again");
            self.process.config.status().enter(JobPhase::Starting);
            self.set_ready(true);
        }
    }

    fn set_ready(&self, is_ready: bool) {
        self.health.iter().for_each(|health| health.set_ready(is_ready));
    }

    /// Tells the driver of the attempt, if there is one, and the JobMaster what comes of it.
    fn drive(&mut self, signal: Signal) {
        let Some(attempt) = &mut self.attempt else { return };
        let token = attempt.token;
        let result = attempt.driver.handle(signal);
        let taken = attempt.checkpoint_taken();
        self.begin();
        if let Some(result) = taken {
            self.facts.push_back(Event::CheckpointTaken { token, result });
        }
        match result {
            Ok(None) => {}
            Ok(Some(end)) => self.conclude(end),
            Err(error) => self.conclude(End::Failed(error)),
        }
    }

    /// Tells the JobMaster, once, that all tasks of the attempt run, if they do.
    fn begin(&mut self) {
        let Some(attempt) = self.attempt.as_mut().filter(|attempt| !attempt.runs) else { return };
        let Some(since) = attempt.driver.running_since else { return };
        attempt.runs = true;
        let ended_at = self.rescales.ended_at.take();
        self.rescales.pause = ended_at.map_or(Duration::ZERO, |ended_at| since.saturating_sub(ended_at));
        self.facts.push_back(Event::Running { token: attempt.token });
    }

    /// Processes of the attempt do not reach each other.
    fn unreachable(&mut self, id: TaskManagerId, token: AttemptToken, processes: &[u32], error: Error) {
        let attempt = self.attempt.as_ref().filter(|attempt| attempt.token == token);
        let members = attempt.map(|attempt| attempt.members.as_slice()).unwrap_or_default();
        let others = processes.iter().filter_map(|process| members.get(*process as usize));
        let unreachable = others.map(|other| (id, *other)).collect();
        if attempt.is_some() {
            self.conclude(End::Unreachable(error, unreachable));
        } else {
            // The other end of the connection has said so already.
            self.facts.push_back(Event::Failed { token, error, unreachable });
        }
    }

    /// The attempt is over for this JobManager: nothing of it is written any more.
    fn conclude(&mut self, end: End) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let token = attempt.token;
        attempt.driver.end(&end);
        self.rescales.ended_at = attempt.runs.then(|| self.clock.monotonic());
        self.process.config.status().deployed(None);
        self.history.next_id = attempt.driver.next_id().unwrap_or(self.history.next_id);
        // With it the storage thread, which sees a publish through: it decides what the next attempt restores.
        drop(attempt);
        self.facts.push_back(match end {
            End::Finished => Event::Ended { token, end: MasterEnd::Finished },
            End::Stopped => Event::Ended { token, end: MasterEnd::Stopped },
            End::Failed(error) => Event::Failed { token, error, unreachable: Vec::new() },
            End::Unreachable(error, unreachable) => Event::Failed { token, error, unreachable },
            // Unless the job was told what to restore, which makes it an error, it looks for an older checkpoint.
            End::Damaged(error) => match self.history.chosen.take() {
                Some(id) => {
                    if !self.history.damaged.found(id, error.to_string()) {
                        tracing::warn!(checkpoint = %id, %error, "a checkpoint does not verify: loading it again");
                    }
                    Event::PassedOver { token, error }
                }
                None => Event::Failed { token, error: recovery::damaged(error), unreachable: Vec::new() },
            },
            End::Aborted(_) => return self.facts.push_back(Event::Concluded { token }),
        });
        self.facts.push_back(Event::Concluded { token });
    }

    /// Tells the JobMaster what it does not know yet, and carries out what it decides, until there is nothing more; the end of the job
    /// if it has come.
    fn decide(&mut self) -> Option<Result<JobEnd>> {
        while let Some(fact) = self.facts.pop_front() {
            let now = self.clock.monotonic();
            for command in self.master.step(fact, now) {
                if let Some(end) = self.carry_out(command) {
                    return Some(end);
                }
                if self.over.is_some() {
                    return None;
                }
            }
        }
        None
    }

    fn carry_out(&mut self, command: Command) -> Option<Result<JobEnd>> {
        match command {
            Command::Record(record) => {
                if let Some(Err(error)) = self.ledger.as_ref().map(|ledger| ledger.record(record)) {
                    self.over = Some(Term::Revoked { why: error.to_string() });
                }
            }
            Command::Deploy(deployment) => self.deploy(&deployment),
            Command::Attach(deployment) => self.attach(&deployment),
            Command::Abort { token, members, why } => self.abort(token, &members, why),
            Command::TakeCheckpoint { token, why } => self.take_checkpoint(token, &why),
            Command::Refuse { id, why } | Command::Drop { id, why } => {
                tracing::warn!(task_manager = %id, why, "a TaskManager is turned away");
                if let Some(link) = self.links.remove(&id) {
                    link.close();
                }
            }
            Command::Answer { request, result } => {
                if let Some(reply) = self.rescales.waiting.remove(&request) {
                    let pause = self.rescales.pause;
                    // Nobody has to listen.
                    let _ = reply.send(match result {
                        Ok(_) => Answer::Rescaled { pause },
                        Err(reason) => Answer::Failed { reason },
                    });
                }
            }
            Command::Tell(notice) => self.tell(&notice),
            Command::EndJob { result } => {
                let result = result.map(|end| match end {
                    MasterEnd::Finished => JobEnd::Finished,
                    MasterEnd::Stopped => JobEnd::Stopped,
                    MasterEnd::Cancelled => JobEnd::Cancelled,
                });
                let outcome = result.as_ref().map(|end| *end).map_err(|error| (error.kind(), error.to_string()));
                if let Some(Err(error)) = self.ledger.as_ref().map(|ledger| ledger.end(&outcome)) {
                    self.over = Some(Term::Revoked { why: error.to_string() });
                    return None;
                }
                return Some(result);
            }
        }
        None
    }
}
