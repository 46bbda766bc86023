//! Deploying attempts of a job, and ending them.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::channel;

use highwater_checkpoint::{Coordinator, JobPlan, OperatorPlan};
use highwater_core::{CheckpointId, Error, ErrorKind, MaxParallelism, OperatorUid, Parallelism, Result, TaskId};
use highwater_jobmaster::{AttemptToken, Deployment, Event, Notice, TaskManagerId};

use super::preparation::{NotPrepared, Preparation, Prepared, Search, Then};
use super::{Attempt, JobManager, Term};
use crate::checkpoint_io::{CheckpointIo, Work};
use crate::client::{Answer, JobRequest};
use crate::control::{Held, Signal};
use crate::driver::{Checkpoints, Driver, End, Requests, Tidy, Voice};
use crate::link::Link;
use crate::recovery::{ClaimMode, Found, StartFrom};
use crate::restore::Restored;
use crate::wire::{Order, Start};

impl<'a> JobManager<'a> {
    /// Deploys an attempt once it is prepared.
    pub(super) fn deploy(&mut self, deployment: &Deployment) {
        self.prepare(deployment, Then::Deploy);
    }

    /// Takes over an attempt that an earlier leader has deployed, as it runs, once that is prepared.
    pub(super) fn attach(&mut self, deployment: &Deployment) {
        let triggered = deployment.members.iter().filter_map(|member| self.held.get(&member.id)?.triggered).max();
        self.history.next_id = self.history.next_id.max(triggered.map_or(CheckpointId(1), CheckpointId::next));
        self.prepare(deployment, Then::Attach);
    }

    /// Looks for what the attempt goes on from.
    fn prepare(&mut self, deployment: &Deployment, then: Then) {
        let config = &self.process.config;
        let search = Search {
            store: self.store.clone(),
            storage: config.storage.clone(),
            ledger: self.ledger.clone(),
            job: config.name.clone(),
            start_from: config.start_from.clone(),
            first_own: self.history.first_own,
            next_id: self.history.next_id,
            damaged: self.history.damaged.clone(),
        };
        let (signals, now) = (self.sender.clone(), self.clock.monotonic());
        match Preparation::start(search, (deployment, then), signals, now) {
            Ok(preparation) => self.preparing = Some(preparation),
            Err(error) => self.not_begun(deployment, then, Some(error)),
        }
    }

    /// The storage has answered: goes on with the attempt.
    pub(super) fn prepared(&mut self, preparation: &Preparation, result: Result<Prepared, NotPrepared>) {
        self.storage_answers();
        let Preparation { deployment, then, stops, .. } = preparation;
        let prepared = match result {
            Ok(prepared) => prepared,
            Err(NotPrepared::Failed(error)) => return self.not_begun(deployment, *then, Some(error)),
            Err(NotPrepared::Fenced(why)) => return self.over = Some(Term::Revoked { why }),
        };
        self.history.chosen = prepared.chosen;
        if self.store.is_some() {
            self.history.first_own.get_or_insert(prepared.found.next_id);
        }
        let begun = match then {
            Then::Deploy => self.start(deployment, &prepared.found),
            Then::Attach => self.take_over(deployment, &prepared.found),
        };
        match begun {
            Ok(driver) => self.drive_from_now_on(deployment, driver),
            Err(error) => return self.not_begun(deployment, *then, Some(error)),
        }
        if *then == Then::Attach {
            tracing::info!(attempt = %deployment.token, "taking over the attempt, which runs on");
            self.begin();
        }
        (0..*stops).for_each(|_| self.drive(Signal::Stop));
    }

    /// This JobManager has no part of the attempt, and will have none.
    pub(super) fn not_begun(&mut self, deployment: &Deployment, then: Then, error: Option<Error>) {
        let token = deployment.token;
        self.facts.extend(error.map(|error| Event::Failed { token, error, unreachable: Vec::new() }));
        if then == Then::Deploy {
            // Who was not told to start has nothing to drop.
            let members = deployment.members.iter().map(|member| member.id);
            self.facts.extend(members.map(|id| Event::Released { id, token }));
        }
        self.facts.push_back(Event::Concluded { token });
    }

    fn drive_from_now_on(&mut self, deployment: &Deployment, driver: Driver<'a>) {
        let members = deployment.members.iter().map(|member| member.id).collect();
        self.attempt = Some(Attempt { token: deployment.token, members, driver, runs: false, asked: None });
        self.process.config.status().deployed(Some(deployment));
    }

    fn start(&mut self, deployment: &Deployment, found: &Found) -> Result<Driver<'a>> {
        let config = &self.process.config;
        let start = self.start_of(deployment, found)?;
        if let (Some(restored), StartFrom::Path(_), ClaimMode::Claim) =
            (&found.restored, &config.start_from, config.claim_mode)
            && self.store.is_some()
        {
            self.history.claimed.get_or_insert_with(|| restored.dir());
        }
        config.status().attempt(found.restored.as_ref().map(|restored| (restored.id(), restored.path())));
        // Before anybody is told to start: if it fails, they have nothing to give up.
        let checkpoints = self.checkpoints(found, start.parallelism(), start.max_parallelism)?;
        let links = self.links_of(deployment)?;
        for (process, link) in (0..).zip(&links) {
            link.send(Order::Start { start: start.clone(), process });
        }
        Ok(self.driver(found, start.parallelism(), checkpoints, links))
    }

    fn links_of(&self, deployment: &Deployment) -> Result<Vec<Arc<dyn Link>>> {
        let links = deployment.members.iter().map(|member| self.links.get(&member.id).cloned());
        links.collect::<Option<_>>().ok_or_else(|| Error::new(ErrorKind::Cluster, "a TaskManager is gone already"))
    }

    /// Of an attempt that begins with what was found.
    fn driver(
        &self,
        found: &Found,
        parallelism: Parallelism,
        checkpoints: Option<Checkpoints>,
        links: Vec<Arc<dyn Link>>,
    ) -> Driver<'a> {
        let config = &self.process.config;
        let workers: BTreeSet<u32> = (0..parallelism.count()).collect();
        Driver {
            voice: Voice(links),
            clock: Arc::clone(&self.clock),
            checkpoints,
            status: config.status(),
            savepoint_dir: config.savepoint_dir.clone(),
            sources: self.process.plan.sources(parallelism),
            restoring: if found.restored.is_some() { workers.clone() } else { BTreeSet::new() },
            starting: workers.clone(),
            running: workers,
            running_since: None,
            tidy: Some(Tidy {
                superseded: found.superseded.clone(),
                claimed: self.history.claimed.clone(),
                before: found.next_id,
            }),
            finishing: false,
            stopping: None,
            requests: Requests::default(),
        }
    }

    fn take_over(&mut self, deployment: &Deployment, found: &Found) -> Result<Driver<'a>> {
        let cannot = |why: &str| Error::new(ErrorKind::Cluster, format!("the attempt cannot be taken over: {why}"));
        let held: Option<Vec<&Held>> = deployment.members.iter().map(|member| self.held.get(&member.id)).collect();
        let held = held.ok_or_else(|| cannot("a TaskManager has no part of it"))?;
        let parallelism = Parallelism::new(deployment.parallelism())
            .ok_or_else(|| Error::internal("an attempt without workers was deployed"))?;
        let ready: BTreeSet<u32> = held.iter().flat_map(|held| held.ready.iter().copied()).collect();
        if held.iter().any(|held| held.finishing || held.last.is_some() || !held.done.is_empty()) {
            return Err(cannot("it was about to end"));
        }
        if !(0..parallelism.count()).all(|worker| ready.contains(&worker)) {
            return Err(cannot("not all of its workers were ready"));
        }
        let ended_sources: BTreeSet<TaskId> = held.iter().flat_map(|held| held.ended_sources.iter().cloned()).collect();
        let max_parallelism = self.process.max_parallelism(found.restored.as_deref(), parallelism)?;
        let checkpoints = self.checkpoints(found, parallelism, max_parallelism)?;
        let links = self.links_of(deployment)?;
        let completed = self.ledger.as_ref().and_then(|ledger| ledger.newest());
        for link in &links {
            link.send(Order::Attach { completed, next: found.next_id });
        }
        let config = &self.process.config;
        config.status().attempt(found.restored.as_ref().map(|restored| (restored.id(), restored.path())));
        let mut driver = self.driver(found, parallelism, checkpoints, links);
        (driver.restoring, driver.starting) = Default::default();
        driver.sources.retain(|source| !ended_sources.contains(source));
        driver.take_over()?;
        Ok(driver)
    }

    /// Asks for a checkpoint that another deployment is to go on from.
    pub(super) fn take_checkpoint(&mut self, token: AttemptToken, why: &str) {
        tracing::info!(why, "taking a checkpoint");
        let (reply, answers) = channel();
        if let Some(attempt) = self.attempt.as_mut().filter(|attempt| attempt.token == token) {
            attempt.asked = Some(answers);
        }
        // Without an attempt the reply is dropped, and the JobMaster has heard of its end.
        self.drive(Signal::Request { request: JobRequest::Checkpoint, reply });
    }

    /// Tells people what the JobMaster thinks they should know.
    pub(super) fn tell(&self, notice: &Notice) {
        match notice {
            Notice::Restarting { why, .. } => {
                self.process.config.status().restarting(why);
                tracing::warn!("{notice}");
            }
            Notice::FewerWorkers { .. }
            | Notice::KeptApart { .. }
            | Notice::LeaveFailed { .. }
            | Notice::ScaleUpFailed { .. } => {
                tracing::warn!("{notice}");
            }
            Notice::WaitingForSlots { .. } => {
                self.process.config.status().waiting(&notice.to_string());
                tracing::info!("{notice}");
            }
            Notice::UnusedSlots { .. } => tracing::info!("{notice}"),
        }
    }

    /// Ends an attempt: tells who has a part of it, and drops this JobManager's own.
    pub(super) fn abort(&mut self, token: AttemptToken, members: &[TaskManagerId], why: String) {
        if let Some(Preparation { deployment, then, .. }) = self.preparing.take_if(|it| it.deployment.token == token) {
            self.not_begun(&deployment, then, None);
            if then == Then::Deploy {
                return;
            }
        }
        for link in members.iter().filter_map(|id| self.links.get(id)) {
            link.send(Order::Abort { token, reason: why.clone() });
        }
        if self.attempt.as_ref().is_some_and(|attempt| attempt.token == token) {
            self.conclude(End::Aborted(why));
        }
    }

    /// Says what the attempt starts from, and gathers what its processes have to know.
    fn start_of(&self, deployment: &Deployment, found: &Found) -> Result<Start> {
        let (attempt, workers, task_managers) = (deployment.token, deployment.parallelism(), deployment.members.len());
        match &found.restored {
            Some(restored) => {
                self.check_operators(restored)?;
                tracing::info!(%attempt, workers, task_managers, checkpoint = restored.path(), "restoring");
            }
            None => tracing::info!(%attempt, workers, task_managers, "starting from the beginning"),
        }
        let parallelism = Parallelism::new(deployment.parallelism())
            .ok_or_else(|| Error::internal("an attempt without workers was deployed"))?;
        let known =
            |uid: &OperatorUid| found.restored.as_ref().is_some_and(|restored| restored.operator(uid).is_some());
        Ok(Start {
            token: deployment.token,
            cluster: self.process.config.role.cluster_id().to_owned(),
            hosts: deployment.members.iter().map(|member| member.address.clone()).collect(),
            workers: deployment.workers,
            max_parallelism: self.process.max_parallelism(found.restored.as_deref(), parallelism)?,
            first_epoch: found.next_id,
            restore: found.restored.as_ref().map(|restored| restored.location()),
            splits: self.process.plan.discover(parallelism, known)?,
        })
    }

    /// State that no operator of the program claims is not dropped silently.
    fn check_operators(&self, restored: &Restored) -> Result<()> {
        let known: Vec<_> = self.process.plan.stateful_uids().collect();
        let unclaimed: Vec<_> = restored
            .metadata()
            .operators
            .iter()
            .filter(|operator| !known.contains(&&operator.uid))
            .map(|operator| format!("{} ({})", operator.uid, operator.name))
            .collect();
        if unclaimed.is_empty() {
            return Ok(());
        }
        let (path, unclaimed) = (restored.path(), unclaimed.join(", "));
        if self.process.config.allow_non_restored_state {
            tracing::warn!(path, "state of operators that the program does not have is dropped: {unclaimed}");
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{path} has state of operators that the program does not have: {unclaimed}. Give the operators the uids they \
                 had, drop that state with --allow-non-restored-state, or start over with --fresh"
            ),
        ))
    }

    fn checkpoints(
        &self,
        found: &Found,
        parallelism: Parallelism,
        max_parallelism: MaxParallelism,
    ) -> Result<Option<Checkpoints>> {
        let config = &self.process.config;
        let first = found.next_id;
        let Some(store) = self.store.clone() else { return Ok(None) };
        let (clock, ledger) = (Arc::clone(&config.clock), self.ledger.clone());
        let io = CheckpointIo::start(config.name.clone(), Arc::clone(&store), ledger, clock, self.sender.clone())?;
        found.garbage.iter().for_each(|id| io.ask(Work::Discard(*id)));
        let operator = |uid: &OperatorUid| OperatorPlan {
            uid: uid.clone(),
            name: self.process.plan.name(uid).unwrap_or_default().to_string(),
            parallelism,
            max_parallelism,
        };
        let plan = JobPlan::new(config.name.clone(), self.process.plan.stateful_uids().map(operator).collect())?;
        let coordinator = Coordinator::new(config.checkpoints.clone(), plan, first, found.completed.clone())?;
        Ok(Some(Checkpoints { coordinator, io, store }))
    }
}

impl Attempt<'_> {
    /// What came of the checkpoint that the JobMaster asked for, once.
    pub(super) fn checkpoint_taken(&mut self) -> Option<std::result::Result<(), String>> {
        let last = self.asked.as_ref()?.try_iter().find_map(|answer| match answer {
            Answer::Completed(_) | Answer::Rescaled { .. } => Some(Ok(())),
            Answer::Failed { reason } => Some(Err(reason)),
            Answer::Accepted | Answer::Started { .. } | Answer::Ending(_) => None,
        });
        last.inspect(|_| self.asked = None)
    }
}
