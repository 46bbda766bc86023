//! The JobMaster: facts and the time in, commands out.
//!
//! A job waits for slots, an attempt of it is deployed, fails or is ended, and the next is deployed, until one comes to its end or the
//! restart strategy gives up. A leader that takes over from another first waits for the members of the attempt that runs, and attaches
//! it.
//!
//! Invariants, held by the stories in `tests/master` and by the simulation of whole clusters:
//!
//! * at most one attempt is deployed, and tokens grow;
//! * the next is deployed only when the JobManager's own part of the one before is over, so that what it published is what the next
//!   restores; and when all its TaskManagers have dropped it or are gone, so that no two attempts work side by side;
//! * no attempt has fewer workers than the minimum, or more than wanted or than there are key groups;
//! * a running attempt is ended for other slots, or for a TaskManager that leaves, only after a checkpoint that was taken for that;
//! * who leaves gets no part of an attempt any more;
//! * what no restart can mend ends the job, and so does whatever fails before the job has ever run and is not the loss of a process;
//! * the job ends once.

mod attempts;
mod leaving;
mod scaling;

use std::collections::BTreeSet;
use std::time::Duration;

use highwater_checkpoint::{RequestId, Restarts};
use highwater_core::{Error, ErrorKind, Parallelism, Result};

use crate::config::{Config, JobFacts};
use crate::id::{AttemptToken, TaskManagerId};
use crate::protocol::{Command, Deployment, Event, JobEnd, JobRecord, Notice};
use crate::reach::Reach;
use crate::registry::{Registry, TaskManager};

/// Decides when and where attempts of a job run.
#[derive(Debug)]
pub struct JobMaster {
    config: Config,
    facts: JobFacts,
    now: Duration,
    registry: Registry,
    reach: Reach,
    restarts: Restarts,
    restarts_drawn: u64,
    stage: Stage,
    /// The attempt that is deployed, else the one before the next.
    newest: Option<Deployment>,
    /// Whether this JobManager's own part of the newest attempt is over.
    concluded: bool,
    next_token: AttemptToken,
    rescaled_to: Option<Parallelism>,
    rescale: Option<Rescale>,
    has_run: bool,
    stopping: bool,
    said: Said,
    commands: Vec<Command>,
}

#[derive(Debug)]
enum Stage {
    /// An earlier leader has deployed the newest attempt; these of its members have registered with it.
    Attaching {
        arrived: BTreeSet<TaskManagerId>,
        since: Duration,
    },
    /// The newest attempt is deployed.
    Deployed(Deployed),
    /// For slots, for a restart, or for the attempt before to be over.
    Waiting(Waiting),
    /// The job ends when the newest attempt is over.
    Ending(Result<JobEnd>),
    Over,
}

#[derive(Debug)]
struct Deployed {
    at: Duration,
    running_since: Option<Duration>,
    /// What a checkpoint was asked for.
    asked: Option<Purpose>,
    /// After one that failed.
    not_asked_before: Duration,
    /// Whether an earlier leader has deployed it: then it may have been running for long before this one knows that it does.
    is_attached: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    ScaleUp,
    Rescale,
    Leave,
}

#[derive(Debug)]
struct Waiting {
    /// From when on lost slots are waited for.
    since: Duration,
    /// The restart strategy's delay.
    not_before: Duration,
    /// The parallelism that is worth waiting for: whatever there is, if `None`.
    worth: Option<u32>,
    /// Why there is no attempt.
    error: Option<Error>,
}

/// A request for another parallelism that has no answer yet.
#[derive(Clone, Copy, Debug)]
struct Rescale {
    request: RequestId,
    parallelism: Parallelism,
    /// Whether the job is being deployed with it.
    under_way: bool,
}

/// What people know, so that they are not told again.
#[derive(Debug, Default)]
struct Said {
    waiting: Option<Duration>,
    unused: u32,
    left_out: BTreeSet<TaskManagerId>,
}

impl Deployed {
    fn new(at: Duration, is_attached: bool) -> Self {
        Deployed { at, running_since: None, asked: None, not_asked_before: Duration::ZERO, is_attached }
    }
}

/// What a job is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// A new leader waits for the members of the attempt that runs.
    Attaching,
    /// It waits for slots, for a restart, or for the attempt before to be over.
    Waiting,
    /// An attempt is deployed, and not all its tasks run yet.
    Deploying,
    /// An attempt runs.
    Running,
    /// It ends when its attempt is over.
    Ending,
    /// It has ended.
    Over,
}

impl JobMaster {
    /// For a job that no leader has deployed yet. `leader` is the fencing token of this leader.
    ///
    /// # Errors
    /// If a setting is wrong.
    pub fn new(config: Config, facts: JobFacts, leader: u64, now: Duration) -> Result<Self> {
        config.validate(&facts)?;
        let (interval, timeout, release) =
            (config.heartbeat_interval, config.heartbeat_timeout, config.release_timeout);
        let worth = config.parallelism.map(Parallelism::count);
        Ok(JobMaster {
            registry: Registry::new(interval, timeout, release, now),
            reach: Reach::default(),
            restarts: Restarts::new(config.restart.clone())?,
            restarts_drawn: 0,
            stage: Stage::Waiting(Waiting { since: now, not_before: now, worth, error: None }),
            newest: None,
            concluded: true,
            next_token: AttemptToken::first_of(leader),
            rescaled_to: None,
            rescale: None,
            has_run: false,
            stopping: false,
            said: Said::default(),
            commands: Vec::new(),
            config,
            facts,
            now,
        })
    }

    /// For a job that an earlier leader has deployed: the attempt that it left is attached as soon as all its members have registered.
    /// Its count of restarts begins anew.
    ///
    /// # Errors
    /// If a setting is wrong.
    pub fn resume(config: Config, facts: JobFacts, leader: u64, record: JobRecord, now: Duration) -> Result<Self> {
        let mut resumed = Self::new(config, facts, leader, now)?;
        resumed.next_token = resumed.next_token.max(record.deployment.token.next());
        resumed.newest = Some(record.deployment);
        resumed.rescaled_to = record.rescaled_to;
        // Whether the attempt ran before this leader came, nobody can say: a failure of it is better mended than taken for one of set-up.
        resumed.has_run = true;
        resumed.stage = Stage::Attaching { arrived: BTreeSet::new(), since: now };
        Ok(resumed)
    }

    /// Takes a fact and the monotonic time it is observed at, and decides what to do now, in this order.
    #[must_use = "a command that is not carried out stops the job"]
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Command> {
        self.now = self.now.max(now);
        self.registry.look(self.now);
        match event {
            Event::Tick => {}
            Event::Registered { id, address, slots, holds } => self.register(id, address, slots, holds),
            Event::Heartbeat { id } => self.registry.hear(id),
            Event::Leaving { id } => self.leave(id),
            Event::Disconnected { id, why } => self.lose(id, &why),
            Event::Released { id, token } => {
                self.registry.hear(id);
                self.registry.release(id, token);
            }
            Event::Running { token } => self.run(token),
            Event::Failed { token, error, unreachable } => self.attempt_failed(token, error, &unreachable),
            Event::PassedOver { token, error } => self.pass_over(token, error),
            Event::Ended { token, end } => self.attempt_ended(token, end),
            Event::Concluded { token } => self.concluded |= self.is_newest(token),
            Event::CheckpointTaken { token, result } => self.checkpoint_taken(token, result),
            Event::Rescale { request, parallelism } => self.rescale(request, parallelism),
            Event::Stop => self.stop(),
            Event::Cancel => self.cancel(),
        }
        while let Some((id, why)) = self.registry.next_given_up() {
            self.commands.push(Command::Drop { id, why: why.clone() });
            self.lose(id, &why);
        }
        self.go_on();
        std::mem::take(&mut self.commands)
    }

    /// When an [`Event::Tick`] is wanted, if nothing else happens before: never, if `None`.
    pub fn next_wake(&self) -> Option<Duration> {
        let mut wakes = vec![self.registry.next_look(), self.reach.next_forgiven(self.now)];
        match &self.stage {
            Stage::Attaching { since, .. } => wakes.push(Some(self.given_up_at(*since))),
            Stage::Deployed(deployed) => {
                wakes.extend([self.scale_up_at(deployed), deployed.not_asked_before].map(Some))
            }
            Stage::Waiting(waiting) => {
                wakes.extend([Some(waiting.not_before), Some(self.fewer_at(waiting)), self.say_again_at()]);
            }
            Stage::Ending(_) => {}
            Stage::Over => return None,
        }
        wakes.into_iter().flatten().filter(|at| *at > self.now).min()
    }

    /// What the job is doing.
    pub fn phase(&self) -> Phase {
        match &self.stage {
            Stage::Attaching { .. } => Phase::Attaching,
            Stage::Deployed(Deployed { running_since: None, .. }) => Phase::Deploying,
            Stage::Deployed(_) => Phase::Running,
            Stage::Waiting(_) => Phase::Waiting,
            Stage::Ending(_) => Phase::Ending,
            Stage::Over => Phase::Over,
        }
    }

    /// The attempt that is deployed or being attached.
    pub fn deployment(&self) -> Option<&Deployment> {
        match self.stage {
            Stage::Attaching { .. } | Stage::Deployed(_) => self.newest.as_ref(),
            Stage::Waiting(_) | Stage::Ending(_) | Stage::Over => None,
        }
    }

    /// The TaskManagers that are connected, by their id.
    pub fn task_managers(&self) -> impl Iterator<Item = &TaskManager> {
        self.registry.iter()
    }

    fn go_on(&mut self) {
        match &self.stage {
            Stage::Attaching { .. } => self.attach_if_all_are_there(),
            Stage::Deployed(_) => {
                self.let_go_if_due();
                self.scale_up_if_due();
            }
            Stage::Waiting(_) => self.deploy_if_possible(),
            Stage::Ending(_) => self.end_if_over(),
            Stage::Over => {}
        }
    }

    fn register(&mut self, id: TaskManagerId, address: String, slots: u32, holds: Option<AttemptToken>) {
        self.lose(id, "it has connected again");
        let refusal = match self.stage {
            Stage::Over => Some("the job has ended"),
            _ if slots == 0 => Some("it has no slots: give it 1 or more"),
            _ => None,
        };
        if let Some(why) = refusal {
            return self.commands.push(Command::Refuse { id, why: why.to_owned() });
        }
        self.registry.add(id, address, slots, holds);
        self.reach.forget(self.now, |id| self.registry.get(id).is_some());
        let is_member = self.newest.as_ref().is_some_and(|newest| newest.process(id).is_some());
        let is_newest = holds.is_some_and(|token| self.is_newest(token));
        match &mut self.stage {
            Stage::Attaching { arrived, .. } if is_member && is_newest => {
                arrived.insert(id);
                return;
            }
            Stage::Attaching { .. } if is_member => {
                let who = self.name(id);
                self.fail(lost(format!("{who} has lost its part of the attempt that the new leader was to take over")));
            }
            Stage::Attaching { .. } | Stage::Deployed(_) | Stage::Waiting(_) | Stage::Ending(_) | Stage::Over => {}
        }
        if let Some(token) = holds {
            self.abort(token, "the attempt is over");
        }
    }

    /// A TaskManager is gone, if it was there.
    fn lose(&mut self, id: TaskManagerId, why: &str) {
        let Some(gone) = self.registry.remove(id) else { return };
        // One that has come to the end of its part is not missed.
        let is_missed = gone.holds.is_some_and(|token| self.is_newest(token));
        match &mut self.stage {
            // It has until the others are given up too.
            Stage::Attaching { arrived, .. } => {
                arrived.remove(&id);
            }
            Stage::Deployed(_) if is_missed => self.fail(lost(format!("{} was lost: {why}", gone.name()))),
            Stage::Deployed(_) | Stage::Waiting(_) | Stage::Ending(_) | Stage::Over => {}
        }
    }

    fn stop(&mut self) {
        self.stopping = true;
        if let Stage::Waiting(waiting) = &mut self.stage {
            let waited = || lost("the job was stopped while it waited for TaskManagers".to_owned());
            let error = waiting.error.take().unwrap_or_else(waited);
            self.stage = Stage::Ending(Err(error));
        }
    }

    fn cancel(&mut self) {
        match self.stage {
            Stage::Attaching { .. } | Stage::Deployed(_) => self.abort_newest("the job was cancelled"),
            Stage::Waiting(_) => {}
            Stage::Ending(_) | Stage::Over => return,
        }
        self.stage = Stage::Ending(Ok(JobEnd::Cancelled));
    }

    fn end(&mut self, result: Result<JobEnd>) {
        self.stage = Stage::Over;
        self.answer_rescale(Err("the job has ended".to_owned()));
        self.commands.push(Command::EndJob { result });
    }

    fn end_if_over(&mut self) {
        if !self.is_over() {
            return;
        }
        if let Stage::Ending(result) = std::mem::replace(&mut self.stage, Stage::Over) {
            self.end(result);
        }
    }

    fn is_newest(&self, token: AttemptToken) -> bool {
        self.newest.as_ref().is_some_and(|newest| newest.token == token)
    }

    /// Whether nothing of the newest attempt is left, as far as can be known.
    fn is_over(&self) -> bool {
        self.concluded && self.newest.as_ref().is_none_or(|newest| !self.registry.is_held(newest.token))
    }

    fn abort_newest(&mut self, why: &str) {
        if let Some(token) = self.newest.as_ref().map(|newest| newest.token) {
            self.abort(token, why);
        }
    }

    fn abort(&mut self, token: AttemptToken, why: &str) {
        let members = self.registry.tell_to_release(token);
        self.commands.push(Command::Abort { token, members, why: why.to_owned() });
    }

    fn tell(&mut self, notice: Notice) {
        self.commands.push(Command::Tell(notice));
    }

    fn name(&self, id: TaskManagerId) -> String {
        self.registry.get(id).map_or_else(|| format!("TaskManager {id}"), TaskManager::name)
    }

    /// The most workers that an attempt may have.
    fn ceiling(&self) -> u32 {
        let max = self.facts.max_parallelism.count();
        self.rescaled_to.or(self.config.parallelism).map_or(max, |wanted| wanted.count().min(max))
    }
}

fn lost(message: String) -> Error {
    Error::new(ErrorKind::Cluster, message)
}
