//! A leader's own part of an attempt: recovery, the coordinator and what it commands, and the end.

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_checkpoint::recovery::{self, Candidate, Choice};
use highwater_checkpoint::{
    CheckpointKind, CheckpointReport, Command, CompletedCheckpoint, Coordinator, Event, Outcome, Request, RequestId,
    RequestKind,
};
use highwater_core::{CheckpointId, Error, ErrorKind, Parallelism};
use highwater_jobmaster::{AttemptToken, Deployment, JobEnd, Member, TaskManagerId};

use super::World;
use super::asking::{Failure, Tag};
use super::leading::Leading;
use crate::network::{Order, Process, Status};
use crate::storage::{Answer, Ask};

/// Who does not reach whom.
type Unreachable = Vec<(TaskManagerId, TaskManagerId)>;

/// How the job is to be stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopping {
    WithCheckpoint,
    /// The job goes on if that fails.
    WithSavepoint,
}

pub(crate) struct Driver {
    deployment: Deployment,
    is_attached: bool,
    /// Once it is known which ids have been used.
    coordinator: Option<Coordinator>,
    restore: Option<CheckpointId>,
    is_running: bool,
    is_final_asked: bool,
    /// Somebody has asked for the end of the job.
    stopping: Option<Stopping>,
    publishing: bool,
    /// It ends as soon as nothing is being published.
    is_ending: bool,
    /// The request of the job master.
    asked: Option<RequestId>,
}

impl Driver {
    pub fn next_wake(&self) -> Option<Duration> {
        self.coordinator.as_ref().and_then(Coordinator::next_wake)
    }

    fn token(&self) -> AttemptToken {
        self.deployment.token
    }
}

impl World {
    fn driver(&mut self, at: Process, token: AttemptToken) -> Option<&mut Driver> {
        self.leading(at)?.driver.as_mut().filter(|driver| driver.token() == token)
    }

    pub fn deploy(&mut self, at: Process, deployment: Deployment) {
        self.seen.deployments += 1;
        let token = deployment.token;
        let Some(leading) = self.leading(at) else { return };
        for member in &deployment.members {
            let ended = BTreeSet::new();
            let status = Status { token, started: false, done: false, ended, epoch: 0, is_last: false };
            leading.statuses.insert(member.id, status);
        }
        self.begin_driver(at, deployment, false);
    }

    pub fn attach(&mut self, at: Process, deployment: Deployment) {
        let token = deployment.token;
        let Some(leading) = self.leading(at) else { return };
        let held = |member: &Member| leading.statuses.get(&member.id).filter(|status| status.token == token);
        let goes_on = |status: &Status| status.started && !status.done && !status.is_last;
        if !deployment.members.iter().all(|member| held(member).is_some_and(goes_on)) {
            let error = Error::new(ErrorKind::Cluster, "the attempt had not begun, or was about to end");
            self.decide(at, highwater_jobmaster::Event::Failed { token, error, unreachable: Vec::new() });
            return self.decide(at, highwater_jobmaster::Event::Concluded { token });
        }
        self.seen.attached += 1;
        self.begin_driver(at, deployment, true);
    }

    fn begin_driver(&mut self, at: Process, deployment: Deployment, is_attached: bool) {
        let token = deployment.token;
        self.bad_moment();
        let Some(leading) = self.leading(at) else { return };
        let overlaps = leading.driver.is_some();
        leading.driver = Some(Driver {
            deployment,
            is_attached,
            coordinator: None,
            restore: None,
            is_running: false,
            is_final_asked: false,
            stopping: None,
            publishing: false,
            is_ending: false,
            asked: None,
        });
        if overlaps {
            self.violate(format!("attempt {token} was deployed before the leader's part of the one before was over"));
        }
        self.ask(at, Tag::Folders { token }, Ask::List);
    }

    /// An answer of the storage to the leader's part of an attempt.
    pub fn attempt_answered(&mut self, at: Process, tag: Tag, result: Result<Answer, Failure>) {
        match (tag, result) {
            (Tag::Folders { token }, Ok(Answer::Folders(folders))) => self.recover(at, token, &folders),
            // A storage that is away is waited for.
            (Tag::Folders { token }, Err(_)) if self.driver(at, token).is_some() => {
                self.ask(at, Tag::Folders { token }, Ask::List);
            }
            (Tag::Pin { token }, Ok(_)) => self.start_members(at, token),
            (Tag::Pin { token }, Err(_)) => self.pin(at, token),
            (Tag::Locate { token, id }, Ok(_)) => self.task_says(at, token, Event::Located { id, created_unix_ms: 0 }),
            (Tag::Locate { token, id }, Err(failure)) => {
                self.task_says(at, token, Event::LocateFailed { id, error: failure.why });
            }
            // A savepoint that the job goes on after is its user's: it does not count.
            (Tag::Publish { token, id, kind: CheckpointKind::Savepoint }, Ok(_)) => {
                self.published(at, token, Event::Published { id });
            }
            (Tag::Publish { token, id, .. }, Ok(_)) => self.append_completed(at, token, id),
            (Tag::Publish { token, id, .. }, Err(Failure { may_have_happened, why: error, .. })) => {
                self.published(at, token, Event::PublishFailed { id, error, may_have_happened });
            }
            (tag, result) => self.engine.say(format_args!("{at:?}: nobody waits for {tag:?}: {result:?}")),
        }
    }

    /// Decides what an attempt restores, and with which id its checkpoints go on.
    fn recover(&mut self, at: Process, token: AttemptToken, folders: &[CheckpointId]) {
        let (config, input) = (self.setup.checkpoints.clone(), self.setup.input);
        let Some(leading) = self.leading(at) else { return };
        let candidate = |id: &CheckpointId| {
            let (path, is_savepoint, verdict) = (format!("chk-{id}"), false, leading.damaged.verdict(*id));
            Candidate { id: *id, path, is_savepoint, verdict }
        };
        let choice = recovery::choose(leading.completed.iter().map(candidate).collect());
        // An epoch that tasks are in is that of a checkpoint whose folder may be gone.
        let epochs = leading.statuses.values().map(|status| CheckpointId(status.epoch.max(1) - 1));
        let seen = folders.iter().chain(&leading.completed).copied().chain(epochs);
        let next = recovery::next_id(seen).map(|next| next.max(leading.next_id));
        let owned = leading.completed.iter();
        let owned = owned.map(|id| CompletedCheckpoint { id: *id, shared_files: Default::default() }).collect();
        let Some(driver) = leading.driver.as_mut().filter(|driver| driver.token() == token) else { return };
        let parallelism = Parallelism::new(driver.deployment.parallelism());
        let made = next.and_then(|next| match parallelism {
            Some(parallelism) => Coordinator::new(config, input.plan(parallelism), next, owned),
            None => Err(highwater_core::Error::internal("an attempt has no workers")),
        });
        let coordinator = match made {
            Ok(coordinator) => coordinator,
            Err(error) => return self.violate(format!("there is no coordinator: {error}")),
        };
        let first = coordinator.next_id();
        let ids_below = leading.ids_below;
        if first >= ids_below {
            return self.violate(format!("checkpoint {first} is not below {ids_below}, where the next leader begins"));
        }
        driver.coordinator = Some(coordinator);
        driver.restore = match choice {
            Choice::Restore { id, .. } => Some(id),
            Choice::Begin | Choice::Refuse { .. } | Choice::SavepointLost { .. } => None,
        };
        let (restore, is_attached) = (driver.restore, driver.is_attached);
        self.engine.say(format_args!("{at:?} attempt {token}: next checkpoint {first}, newest {restore:?}"));
        if !is_attached {
            return self.pin(at, token);
        }
        if let Some(id) = restore {
            self.order_all(at, token, &Order::Complete { token, id });
        }
        self.look_after_attempt(at);
    }

    /// Creates the folder of the first checkpoint.
    fn pin(&mut self, at: Process, token: AttemptToken) {
        let driver = self.driver(at, token).filter(|driver| !driver.is_ending);
        let first = driver.and_then(|driver| driver.coordinator.as_ref()).map(Coordinator::next_id);
        if let Some(first) = first {
            self.ask(at, Tag::Pin { token }, Ask::Locate(first));
        }
    }

    fn start_members(&mut self, at: Process, token: AttemptToken) {
        let Some(driver) = self.driver(at, token).filter(|driver| !driver.is_ending) else { return };
        let Some(first_epoch) = driver.coordinator.as_ref().map(Coordinator::next_id) else { return };
        let (deployment, restore) = (driver.deployment.clone(), driver.restore);
        self.order_all(at, token, &Order::Start { deployment, first_epoch, restore });
    }

    fn order_all(&mut self, at: Process, token: AttemptToken, order: &Order) {
        let Some(driver) = self.driver(at, token) else { return };
        let members: Vec<_> = driver.deployment.members.iter().map(|member| member.id).collect();
        members.into_iter().for_each(|id| self.order(at, id, order.clone()));
    }

    /// Looks whether all tasks run, all sources have ended, or all is done.
    pub fn look_after_attempt(&mut self, at: Process) {
        let Some(Leading { driver: Some(driver), statuses, .. }) = self.leading(at) else { return };
        let (token, workers) = (driver.token(), driver.deployment.parallelism() as usize);
        if driver.is_ending || driver.coordinator.is_none() {
            return;
        }
        let members = driver.deployment.members.iter();
        let of_members = members.map(|member| statuses.get(&member.id).filter(|status| status.token == token));
        let known: Vec<Option<&Status>> = of_members.collect();
        let all = |is: fn(&Status) -> bool| known.iter().all(|status| status.is_some_and(is));
        let (all_started, all_done) = (all(|status| status.started), all(|status| status.done));
        let ended: usize = known.iter().flatten().map(|status| status.ended.len()).sum();
        if all_started && !driver.is_running {
            driver.is_running = true;
            self.outside.has_run = true;
            self.coordinate(at, Event::Running);
            self.decide(at, highwater_jobmaster::Event::Running { token });
        }
        let Some(driver) = self.driver(at, token).filter(|driver| driver.is_running && !driver.is_ending) else {
            return;
        };
        let end = if driver.stopping.is_some() { JobEnd::Stopped } else { JobEnd::Finished };
        if ended == workers && !driver.is_final_asked && driver.stopping.is_none() {
            driver.is_final_asked = true;
            self.bad_moment();
            self.request(at, RequestKind::Final);
        }
        if all_done {
            self.decide(at, highwater_jobmaster::Event::Ended { token, end });
            self.end_attempt(at, token);
        }
    }

    fn request(&mut self, at: Process, kind: RequestKind) -> RequestId {
        let id = RequestId(self.leading(at).map_or(0, Leading::next_request));
        self.coordinate(at, Event::Request(Request { id, kind }));
        id
    }

    /// Somebody asks for a savepoint.
    pub fn take_savepoint(&mut self, at: Process) {
        if self.running_driver(at).is_some() {
            self.request(at, RequestKind::Savepoint);
        }
    }

    /// Somebody asks for the end of the job.
    pub fn stop(&mut self, at: Process, stopping: Stopping) {
        let Some(driver) = self.running_driver(at) else { return };
        if driver.stopping.is_some() || driver.is_final_asked {
            return;
        }
        driver.stopping = Some(stopping);
        self.bad_moment();
        self.request(
            at,
            match stopping {
                Stopping::WithCheckpoint => RequestKind::Final,
                Stopping::WithSavepoint => RequestKind::FinalSavepoint,
            },
        );
    }

    fn running_driver(&mut self, at: Process) -> Option<&mut Driver> {
        self.leading(at)?.driver.as_mut().filter(|driver| driver.is_running && !driver.is_ending)
    }

    /// A task of the attempt has failed: what it was to restore may be damaged.
    pub fn task_failed(&mut self, at: Process, token: AttemptToken, error: Error, unreachable: Unreachable) {
        let driver = self.driver(at, token).filter(|driver| !driver.is_running);
        let restored = driver.and_then(|driver| driver.restore);
        let event = match restored {
            Some(id) if error.kind() == ErrorKind::Corrupt => {
                if let Some(leading) = self.leading(at) {
                    leading.damaged.found(id, error.to_string());
                }
                highwater_jobmaster::Event::PassedOver { token, error }
            }
            _ => highwater_jobmaster::Event::Failed { token, error, unreachable },
        };
        self.decide(at, event);
    }

    pub fn take_checkpoint(&mut self, at: Process, token: AttemptToken) {
        self.bad_moment();
        let Some(leading) = self.leading(at) else { return };
        let id = RequestId(leading.next_request());
        let driver = leading.driver.as_mut().filter(|driver| driver.token() == token && !driver.is_ending);
        match driver {
            Some(driver) => {
                driver.asked = Some(id);
                self.coordinate(at, Event::Request(Request { id, kind: RequestKind::Manual }));
            }
            None => self.checkpoint_taken(at, token, Err("the attempt has ended".to_owned())),
        }
    }

    fn checkpoint_taken(&mut self, at: Process, token: AttemptToken, result: Result<(), String>) {
        self.seen.taken_to_redeploy += u64::from(result.is_ok());
        self.decide(at, highwater_jobmaster::Event::CheckpointTaken { token, result });
    }

    /// What a task or the storage says to the coordinator of an attempt, if that is still there.
    pub fn task_says(&mut self, at: Process, token: AttemptToken, event: Event) {
        if self.driver(at, token).is_some() {
            self.coordinate(at, event);
            self.arm(at);
        }
    }

    /// How a publish ended.
    pub fn published(&mut self, at: Process, token: AttemptToken, event: Event) {
        let Some(driver) = self.driver(at, token) else { return };
        driver.publishing = false;
        self.coordinate(at, event);
        if self.driver(at, token).is_some_and(|driver| driver.is_ending && !driver.publishing) {
            self.conclude(at, token);
        }
        self.arm(at);
    }

    pub fn coordinate(&mut self, at: Process, event: Event) {
        let now = self.engine.now;
        let Some(driver) = self.leading(at).and_then(|leading| leading.driver.as_mut()) else { return };
        let token = driver.token();
        let Some(coordinator) = &mut driver.coordinator else { return };
        for command in coordinator.step(event, now) {
            self.engine.say(format_args!("{at:?} coordinator: {command:?}"));
            self.carry_out_checkpoint(at, token, command);
        }
    }

    fn carry_out_checkpoint(&mut self, at: Process, token: AttemptToken, command: Command) {
        match command {
            Command::Locate { id, .. } => self.ask(at, Tag::Locate { token, id }, Ask::Locate(id)),
            Command::Trigger { id, kind } => {
                self.order_all(at, token, &Order::Trigger { token, id, is_last: kind.is_final() });
            }
            Command::Publish { metadata, kind } => {
                if let Some(driver) = self.driver(at, token) {
                    driver.publishing = true;
                }
                self.bad_moment();
                self.ask(at, Tag::Publish { token, id: metadata.id, kind }, Ask::Publish(metadata));
            }
            Command::NotifyComplete { id } => self.order_all(at, token, &Order::Complete { token, id }),
            // Here sinks keep what they have staged for the checkpoint that comes next.
            Command::NotifyAborted { .. } => {}
            Command::Discard { id } => self.ask(at, Tag::Nothing, Ask::Discard(id)),
            Command::DeleteShared { names } => self.violate(format!("there are no shared files: {names:?}")),
            Command::Report(report) => self.reported(at, token, &report),
            Command::Refuse { request, why } => self.answered_request(at, token, &[request.id], Err(why.to_owned())),
            Command::FailJob { error } => {
                let unreachable = Vec::new();
                self.decide(at, highwater_jobmaster::Event::Failed { token, error, unreachable });
            }
        }
    }

    fn reported(&mut self, at: Process, token: AttemptToken, report: &CheckpointReport) {
        let result = match &report.outcome {
            Outcome::Completed => Ok(()),
            Outcome::Failed(reason) => Err(reason.to_string()),
            Outcome::InDoubt { error } => Err(error.clone()),
        };
        match report.kind {
            kind if kind.is_final() && result.is_ok() => self.order_all(at, token, &Order::Finish { token }),
            CheckpointKind::Savepoint if result.is_ok() => self.check_savepoint(report.id),
            CheckpointKind::FinalSavepoint => self.go_on_without_savepoint(at, token),
            _ => {}
        }
        self.answered_request(at, token, &report.requests, result);
    }

    /// The savepoint that the job was to end with has failed.
    fn go_on_without_savepoint(&mut self, at: Process, token: AttemptToken) {
        let Some(driver) = self.driver(at, token).filter(|driver| !driver.is_ending) else { return };
        driver.stopping = None;
        self.order_all(at, token, &Order::Resume { token });
        self.look_after_attempt(at);
    }

    fn answered_request(&mut self, at: Process, token: AttemptToken, of: &[RequestId], result: Result<(), String>) {
        let Some(driver) = self.driver(at, token) else { return };
        if driver.asked.take_if(|asked| of.contains(asked)).is_some() {
            self.checkpoint_taken(at, token, result);
        }
    }

    /// Ends the leader's part of an attempt: nothing starts any more, and a publish under way is seen through.
    pub fn end_attempt(&mut self, at: Process, token: AttemptToken) {
        let Some(driver) = self.driver(at, token).filter(|driver| !driver.is_ending) else { return };
        driver.is_ending = true;
        self.coordinate(at, Event::Shutdown);
        if self.driver(at, token).is_some_and(|driver| !driver.publishing) {
            self.conclude(at, token);
        }
    }

    fn conclude(&mut self, at: Process, token: AttemptToken) {
        let Some(leading) = self.leading(at) else { return };
        let used = leading.driver.take().and_then(|driver| driver.coordinator).map(|coordinator| coordinator.next_id());
        leading.next_id = leading.next_id.max(used.unwrap_or(CheckpointId(1)));
        self.decide(at, highwater_jobmaster::Event::Concluded { token });
    }
}
