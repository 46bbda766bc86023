//! The process that leads a job: it carries out what the [`JobMaster`] decides about attempts, and drives the one that is deployed.
//!
//! Everything it waits for comes through one channel of [`Signal`]s: what TaskManagers and their tasks say, what the storage says, what
//! users ask for. A signal goes to the JobMaster if it is about processes, else to the driver of the attempt.

mod attempts;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::Duration;

use highwater_core::{CheckpointId, Clock, Error, Result};
use highwater_jobmaster::{AttemptToken, Command, Event, JobEnd as MasterEnd, JobMaster, TaskManagerId};
use highwater_storage::{JobStore, Lock, SnapshotDir};

use crate::client::Answer;
use crate::control::Signal;
use crate::driver::{Driver, End};
use crate::job::{JobEnd, Process};
use crate::link::Link;
use crate::recovery;
use crate::wire::Order;

/// How long it may be silent on the channel before the time is looked at.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

pub(crate) struct JobManager<'a> {
    process: &'a Process,
    clock: Arc<dyn Clock>,
    store: Option<Arc<JobStore>>,
    // Held for as long as this process leads the job.
    _lock: Option<Lock>,
    master: JobMaster,
    links: BTreeMap<TaskManagerId, Arc<dyn Link>>,
    sender: Sender<Signal>,
    /// The attempt that is deployed.
    attempt: Option<Attempt<'a>>,
    /// Facts that the JobMaster has not been told yet.
    facts: VecDeque<Event>,
    history: History,
}

/// An attempt, as its JobManager drives it.
struct Attempt<'a> {
    token: AttemptToken,
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
    /// Checkpoints of which a part did not verify while it was loaded, and what.
    damaged: BTreeMap<CheckpointId, String>,
}

impl<'a> JobManager<'a> {
    /// Leads the job as `master` decides, and hears of everything through the channel that `sender` belongs to.
    pub fn new(
        process: &'a Process,
        (store, lock): (Option<Arc<JobStore>>, Option<Lock>),
        master: JobMaster,
        sender: Sender<Signal>,
    ) -> Self {
        JobManager {
            process,
            clock: Arc::clone(&process.config.clock),
            store,
            _lock: lock,
            master,
            links: BTreeMap::new(),
            sender,
            attempt: None,
            facts: VecDeque::new(),
            history: History {
                next_id: CheckpointId(1),
                claimed: None,
                first_own: None,
                chosen: None,
                damaged: BTreeMap::new(),
            },
        }
    }

    /// Runs attempts until one ends well or the restart strategy gives up.
    pub fn run(mut self, signals: &Receiver<Signal>) -> Result<JobEnd> {
        let config = &self.process.config;
        let sender = self.sender.clone();
        config.stop.listen(move || drop(sender.send(Signal::Stop)));
        config.client.connect(Some(self.sender.clone()));
        let result = self.lead(signals);
        config.client.connect(None);
        let told = match &result {
            Ok(end) => Ok(*end),
            Err(error) => Err((error.kind(), error.to_string())),
        };
        for link in self.links.values() {
            link.send(Order::End { result: told.clone() });
            link.close();
        }
        result
    }

    fn lead(&mut self, signals: &Receiver<Signal>) -> Result<JobEnd> {
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
            if let Some(result) = self.decide() {
                return result;
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
            Signal::Registered { id, address, slots, link } => {
                tracing::debug!(task_manager = %id, address, slots, "a TaskManager has registered");
                if let Some(old) = self.links.insert(id, link) {
                    old.close();
                }
                self.facts.push_back(Event::Registered { id, address, slots, holds: None });
            }
            Signal::Lost { id, link, error } => {
                if self.links.get(&id).is_some_and(|current| current.id() == link) {
                    self.links.remove(&id);
                    self.facts.push_back(Event::Disconnected { id, why: error.to_string() });
                }
            }
            Signal::Released { id, token } => self.facts.push_back(Event::Released { id, token }),
            Signal::Task { id, token, event } => {
                self.facts.push_back(Event::Heartbeat { id });
                if self.attempt.as_ref().is_some_and(|attempt| attempt.token == token) {
                    self.drive(Signal::Task { id, token, event });
                }
            }
            Signal::Stop => {
                self.facts.push_back(Event::Stop);
                self.drive(Signal::Stop);
            }
            Signal::Request { reply, .. } if self.attempt.is_none() => {
                // Nobody has to listen.
                let _ = reply.send(Answer::Failed { reason: "the job is starting: ask again when it runs".into() });
            }
            signal => self.drive(signal),
        }
    }

    /// Tells the driver of the attempt, if there is one, and the JobMaster what comes of it.
    fn drive(&mut self, signal: Signal) {
        let Some(attempt) = &mut self.attempt else { return };
        let token = attempt.token;
        let result = attempt.driver.handle(signal);
        if attempt.driver.running_since.is_some() && !std::mem::replace(&mut attempt.runs, true) {
            self.facts.push_back(Event::Running { token });
        }
        if let Some(result) = attempt.checkpoint_taken() {
            self.facts.push_back(Event::CheckpointTaken { token, result });
        }
        match result {
            Ok(None) => {}
            Ok(Some(end)) => self.conclude(end),
            Err(error) => self.conclude(End::Failed(error)),
        }
    }

    /// The attempt is over for this JobManager: nothing of it is written any more.
    fn conclude(&mut self, end: End) {
        let Some(mut attempt) = self.attempt.take() else { return };
        let token = attempt.token;
        attempt.driver.end(&end);
        self.history.next_id = attempt.driver.next_id().unwrap_or(self.history.next_id);
        // With it the storage thread, which sees a publish through: it decides what the next attempt restores.
        drop(attempt);
        self.facts.push_back(match end {
            End::Finished => Event::Ended { token, end: MasterEnd::Finished },
            End::Stopped => Event::Ended { token, end: MasterEnd::Stopped },
            End::Failed(error) => Event::Failed { token, error, unreachable: Vec::new() },
            // Unless the job was told what to restore, which makes it an error, it looks for an older checkpoint.
            End::Damaged(error) => match self.history.chosen.take() {
                Some(id) => {
                    self.history.damaged.insert(id, error.to_string());
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
            }
        }
        None
    }

    fn carry_out(&mut self, command: Command) -> Option<Result<JobEnd>> {
        match command {
            // What is led from one place has no other leader to leave a record to.
            Command::Record(_) => {}
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
            // Nobody asks a job in one place for another parallelism.
            Command::Answer { .. } => {}
            Command::Tell(notice) => self.tell(&notice),
            Command::EndJob { result } => {
                return Some(result.map(|end| match end {
                    MasterEnd::Finished => JobEnd::Finished,
                    MasterEnd::Stopped => JobEnd::Stopped,
                    // Only a JobManager with a command for it can be cancelled.
                    MasterEnd::Cancelled => JobEnd::Stopped,
                }));
            }
        }
        None
    }
}
