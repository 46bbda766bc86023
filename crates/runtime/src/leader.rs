//! The process that leads a job: recovery, attempts and restarts, for all processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::{Coordinator, Decision, Failure, JobPlan, OperatorPlan, Restarts};
use highwater_core::{CheckpointId, Error, ErrorKind, OperatorUid, Result};
use highwater_storage::{JobStore, Lock, SnapshotDir};

use crate::checkpoint_io::{CheckpointIo, Work};
use crate::control::Signal;
use crate::driver::{Checkpoints, Driver, End, Requests, Tidy, Voice};
use crate::job::{JobEnd, Process, signals, stopped_at_once};
use crate::link::{Inbound, Link, RemoteLink};
use crate::mesh::Followers;
use crate::recovery::{self, ClaimMode, Found, StartFrom};
use crate::restore::Restored;
use crate::status::JobPhase;
use crate::wire::{Deployment, Order};

/// How often the leader looks for a stop while it waits for something else.
const LOOK: Duration = Duration::from_millis(50);

pub(crate) struct Leader<'a> {
    process: &'a Process,
    store: Option<Arc<JobStore>>,
    // Held for as long as this process leads the job.
    _lock: Option<Lock>,
    /// The processes with workers, by their index; those that are not there yet have none.
    members: Vec<Option<Arc<dyn Link>>>,
    followers: Option<Followers>,
    inbound: Inbound,
    /// Above every id that attempts of this process have used.
    next_id: CheckpointId,
    /// The snapshot that was restored and is the job's to delete once it has a checkpoint of its own.
    claimed: Option<SnapshotDir>,
    /// Checkpoints from this id on were taken by this run of the job.
    first_own: Option<CheckpointId>,
    attempts: u64,
    /// What the attempt restores, if the job was not told what but has chosen it among its own.
    chosen: Option<CheckpointId>,
    /// Checkpoints of which a part did not verify while it was loaded, and what.
    damaged: BTreeMap<CheckpointId, String>,
    /// Whether all tasks of an attempt were running at some time.
    has_run: bool,
}

impl<'a> Leader<'a> {
    pub fn new(
        process: &'a Process,
        store: Option<Arc<JobStore>>,
        lock: Option<Lock>,
        here: Arc<dyn Link>,
        followers: Option<Followers>,
        inbound: Inbound,
    ) -> Self {
        let mut members = vec![Some(here)];
        members.resize_with(process.config.processes() as usize, || None);
        Leader {
            process,
            store,
            _lock: lock,
            members,
            followers,
            inbound,
            next_id: CheckpointId(1),
            claimed: None,
            first_own: None,
            attempts: 0,
            chosen: None,
            damaged: BTreeMap::new(),
            has_run: false,
        }
    }

    /// Runs attempts until one ends well or the restart strategy gives up.
    pub fn run(mut self) -> Result<JobEnd> {
        let result = self.run_attempts();
        let told = match &result {
            Ok(end) => Ok(*end),
            Err(error) => Err((error.kind(), error.to_string())),
        };
        for member in self.members.iter().flatten() {
            member.send(Order::End { result: told.clone() });
            member.close();
        }
        result
    }

    fn run_attempts(&mut self) -> Result<JobEnd> {
        let config = &self.process.config;
        let mut restarts = Restarts::new(config.restart.clone())?;
        loop {
            let (end, running_since) = match self.attempt() {
                Ok(ended) => ended,
                Err(error) => (End::Failed(error), None),
            };
            let error = match end {
                End::Finished => return Ok(JobEnd::Finished),
                End::Stopped => return Ok(JobEnd::Stopped),
                End::Damaged(error) => match self.pass_over(error) {
                    None => continue,
                    Some(error) => error,
                },
                End::Failed(error) => error,
            };
            config.status().enter(JobPhase::Restarting);
            if config.stop.requests() > 0 || self.cannot_start(&error, running_since) {
                return Err(error);
            }
            let failure = Failure { kind: error.kind(), at: config.clock.monotonic(), running_since };
            match restarts.on_failure(failure, self.jitter()) {
                Decision::GiveUp { why } => {
                    tracing::error!(%error, why, "the job has failed");
                    return Err(error);
                }
                Decision::RestartAfter(delay) => {
                    tracing::warn!(%error, ?delay, "the attempt failed; the job restarts");
                    if !self.wait(delay) {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// What was to be restored did not verify while it was loaded: the job looks for an older checkpoint, unless it was told what to
    /// restore, which makes it an error.
    fn pass_over(&mut self, error: Error) -> Option<Error> {
        match self.chosen.take() {
            Some(id) => {
                self.damaged.insert(id, error.to_string());
                None
            }
            None => Some(recovery::damaged(error)),
        }
    }

    /// A job that has never run, and for a reason that is not another process, is set up wrongly: its user wants to hear that now,
    /// not see it tried again.
    fn cannot_start(&mut self, error: &Error, running_since: Option<Duration>) -> bool {
        self.has_run |= running_since.is_some();
        !self.has_run && error.kind() != ErrorKind::Cluster
    }

    /// A restart goes on from the newest checkpoint, also after a fresh start or one from a given path; without any newer one it
    /// begins as the first attempt did.
    fn restart_from(&self) -> Result<StartFrom> {
        let first = self.process.config.start_from.clone();
        let (Some(store), Some(first_own)) = (&self.store, self.first_own) else { return Ok(first) };
        let own = store.checkpoints()?.into_iter().any(|dir| dir.is_completed() && dir.id >= first_own);
        Ok(if own { StartFrom::Latest } else { first })
    }

    /// A number in 0..1 that differs between jobs that failed together.
    fn jitter(&self) -> f64 {
        let seed = self.process.config.clock.unix_ms() ^ i64::from(std::process::id());
        (highwater_core::KeyHash::of(&seed.to_le_bytes()).0 >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Waits before the next attempt; false if a stop was asked for meanwhile.
    fn wait(&self, delay: Duration) -> bool {
        let clock = &self.process.config.clock;
        let until = clock.monotonic() + delay;
        while clock.monotonic() < until {
            if self.process.config.stop.requests() > 0 {
                return false;
            }
            std::thread::sleep(LOOK.min(until.saturating_sub(clock.monotonic())));
        }
        true
    }

    /// One attempt from recovery to its end.
    fn attempt(&mut self) -> Result<(End, Option<Duration>)> {
        let config = &self.process.config;
        self.wait_for_followers()?;
        let found = self.find()?;
        let deployment = self.deployment(&found)?;
        if let (Some(restored), StartFrom::Path(_), ClaimMode::Claim) =
            (&found.restored, &config.start_from, config.claim_mode)
            && self.store.is_some()
        {
            self.claimed.get_or_insert_with(|| restored.dir());
        }
        config.status().attempt(found.restored.as_ref().map(|restored| (restored.id(), restored.path())));
        self.attempts += 1;
        let (sender, receiver) = signals();
        self.inbound.open(deployment.token, sender.clone());
        let result = self.run_attempt(&found, &deployment, sender, &receiver);
        config.client.connect(None);
        self.inbound.close();
        result
    }

    fn run_attempt(
        &mut self,
        found: &Found,
        deployment: &Deployment,
        sender: Sender<Signal>,
        receiver: &Receiver<Signal>,
    ) -> Result<(End, Option<Duration>)> {
        let config = &self.process.config;
        // Before anybody is told to start: if it fails, they have nothing to give up.
        let checkpoints = self.checkpoints(found, deployment, &sender)?;
        let members: Vec<_> = self.members.iter().flatten().cloned().collect();
        // From here on a loss is told; one that came before was not.
        if members.iter().any(|member| member.is_lost()) {
            return Err(Error::new(ErrorKind::Cluster, "a process was lost before the attempt began"));
        }
        for (process, member) in (0..).zip(&members) {
            member.send(Order::Start { deployment: deployment.clone(), process });
        }
        config.stop.listen(&sender);
        config.client.connect(Some(sender));
        let parallelism = deployment.parallelism();
        let workers: BTreeSet<u32> = (0..parallelism.count()).collect();
        let mut driver = Driver {
            voice: Voice(members),
            clock: Arc::clone(&config.clock),
            checkpoints,
            status: config.status(),
            savepoint_dir: config.savepoint_dir.clone(),
            sources: self.process.plan.sources(parallelism),
            restoring: if found.restored.is_some() { workers.clone() } else { BTreeSet::new() },
            starting: workers.clone(),
            running: workers,
            released: BTreeSet::new(),
            running_since: None,
            tidy: Some(Tidy {
                superseded: found.superseded.clone(),
                claimed: self.claimed.clone(),
                before: deployment.first_epoch,
            }),
            finishing: false,
            stopping: None,
            requests: Requests::default(),
        };
        let end = driver.run(receiver);
        let (running_since, released) = (driver.running_since, std::mem::take(&mut driver.released));
        self.next_id = driver.next_id().unwrap_or(self.next_id);
        // The storage thread first: what it publishes decides what the next attempt restores.
        drop(driver);
        self.wait_for_release(released, receiver);
        Ok((end, running_since))
    }

    /// Waits until no process that is there has anything of the attempt any more. The channel is this attempt's alone: what else
    /// comes through it is over with it.
    fn wait_for_release(&self, released: BTreeSet<u32>, receiver: &Receiver<Signal>) {
        let there = (0..).zip(self.members.iter().flatten()).filter(|(_, member)| !member.is_lost());
        let mut busy: BTreeSet<u32> = there.map(|(process, _)| process).filter(|at| !released.contains(at)).collect();
        while !busy.is_empty() {
            match receiver.recv() {
                Ok(Signal::Released { process } | Signal::Lost { process, .. }) => {
                    busy.remove(&process);
                }
                Ok(_) => {}
                // `Inbound` has a sender for as long as the attempt is open.
                Err(_) => return,
            }
        }
    }

    fn find(&mut self) -> Result<Found> {
        let config = &self.process.config;
        let start_from = self.restart_from()?;
        let Some((store, storage)) = self.store.as_ref().zip(config.storage.as_ref()) else {
            let restored = match &start_from {
                StartFrom::Path(path) => Some(Arc::new(recovery::at_path(path)?)),
                StartFrom::Latest | StartFrom::Fresh => None,
            };
            let next_id = restored.as_ref().map_or(CheckpointId(1), |restored| restored.id().next());
            let (completed, superseded, garbage) = (Vec::new(), Vec::new(), Vec::new());
            return Ok(Found { restored, completed, superseded, garbage, next_id });
        };
        // Once it has checkpoints of its own, a job that was told what to start from goes back to no other.
        let own = match (&config.start_from, self.first_own) {
            (StartFrom::Fresh | StartFrom::Path(_), Some(first_own)) => first_own,
            (StartFrom::Latest, _) | (_, None) => CheckpointId(0),
        };
        let mut found = recovery::find(store, storage, &config.name, &start_from, own, &self.damaged)?;
        self.chosen = found.restored.as_ref().filter(|_| start_from == StartFrom::Latest).map(|restored| restored.id());
        found.next_id = found.next_id.max(self.next_id);
        self.first_own.get_or_insert(found.next_id);
        Ok(found)
    }

    /// Says what the attempt starts from, and gathers what its processes have to know.
    fn deployment(&self, found: &Found) -> Result<Deployment> {
        match &found.restored {
            Some(restored) => {
                self.check_operators(restored)?;
                tracing::info!(checkpoint = restored.path(), "restoring");
            }
            None => tracing::info!("starting from the beginning"),
        }
        let config = &self.process.config;
        let parallelism = config.parallelism();
        let known =
            |uid: &OperatorUid| found.restored.as_ref().is_some_and(|restored| restored.operator(uid).is_some());
        Ok(Deployment {
            // Unique for this leader and later than any earlier one's, unless its clock was set back between two starts.
            token: (config.clock.unix_ms() as u64) << 16 | (self.attempts & 0xffff),
            hosts: config.hosts.clone(),
            workers: config.workers,
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
        deployment: &Deployment,
        signals: &Sender<Signal>,
    ) -> Result<Option<Checkpoints>> {
        let config = &self.process.config;
        let first = deployment.first_epoch;
        let Some(store) = &self.store else { return Ok(None) };
        // The folder of the first id pins it: were the garbage gone first, a crash in between could lead to an id used before.
        store.locate(first)?;
        let clock = Arc::clone(&config.clock);
        let io = CheckpointIo::start(config.name.clone(), Arc::clone(store), clock, signals.clone())?;
        found.garbage.iter().for_each(|id| io.ask(Work::Discard(*id)));
        let operator = |uid: &OperatorUid| OperatorPlan {
            uid: uid.clone(),
            name: self.process.plan.name(uid).unwrap_or_default().to_string(),
            parallelism: deployment.parallelism(),
            max_parallelism: deployment.max_parallelism,
        };
        let plan = JobPlan::new(config.name.clone(), self.process.plan.stateful_uids().map(operator).collect())?;
        let coordinator = Coordinator::new(config.checkpoints.clone(), plan, first, found.completed.clone())?;
        Ok(Some(Checkpoints { coordinator, io, store: Arc::clone(store) }))
    }

    /// Waits until every other process is connected.
    fn wait_for_followers(&mut self) -> Result<()> {
        let Some(followers) = &self.followers else { return Ok(()) };
        let mut said = false;
        loop {
            while let Ok((process, stream)) = followers.try_recv() {
                let link = RemoteLink::connect(process, stream, self.inbound.clone())?;
                tracing::info!(process, "process connected");
                if let Some(old) = self.members[process as usize].replace(link) {
                    old.close();
                }
            }
            let missing = |(index, link): (usize, &Option<Arc<dyn Link>>)| {
                link.as_ref().is_none_or(|link| link.is_lost()).then_some(index)
            };
            let missing: Vec<_> = self.members.iter().enumerate().filter_map(missing).collect();
            if missing.is_empty() {
                return Ok(());
            }
            if self.process.config.stop.requests() > 0 {
                return Err(stopped_at_once());
            }
            if !said {
                tracing::info!(processes = ?missing, "waiting for processes to connect");
                said = true;
            }
            std::thread::sleep(LOOK);
        }
    }
}
