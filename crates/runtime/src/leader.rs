//! The process that leads a job: recovery, attempts and restarts, for all processes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_checkpoint::{Coordinator, Decision, Failure, JobPlan, OperatorPlan, Restarts};
use highwater_core::{CheckpointId, Error, ErrorKind, OperatorUid, Result};
use highwater_storage::{JobStore, Lock, SnapshotDir};

use crate::checkpoint_io::{CheckpointIo, Work};
use crate::control::{Signal, lock};
use crate::driver::{Checkpoints, Driver, End, Requests, Tidy, Voice};
use crate::job::{Beginning, JobEnd, Process, signals, stopped_at_once};
use crate::mesh::Mesh;
use crate::recovery::{self, ClaimMode, Found, StartFrom};
use crate::restore::Restored;
use crate::status::JobPhase;
use crate::wire::{self, Notice, Order, PeerLink, Start};

/// How often the leader looks for a stop while it waits for something else.
const LOOK: Duration = Duration::from_millis(50);

/// The attempt whose notices count, and where they go.
type Current = Arc<Mutex<Option<(u64, Sender<Signal>)>>>;

pub(crate) struct Leader<'a> {
    process: &'a Process,
    mesh: Option<Mesh>,
    store: Option<Arc<JobStore>>,
    // Held for as long as this process leads the job.
    _lock: Option<Lock>,
    peers: Vec<Option<Arc<PeerLink>>>,
    current: Current,
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
    pub fn new(process: &'a Process) -> Result<Self> {
        let config = &process.config;
        let store = process.store()?;
        let lock = store.as_ref().map(|store| store.lock()).transpose()?;
        Ok(Leader {
            process,
            mesh: process.mesh()?,
            store,
            _lock: lock,
            peers: (1..config.processes()).map(|_| None).collect(),
            current: Arc::default(),
            next_id: CheckpointId(1),
            claimed: None,
            first_own: None,
            attempts: 0,
            chosen: None,
            damaged: BTreeMap::new(),
            has_run: false,
        })
    }

    /// Runs attempts until one ends well or the restart strategy gives up.
    pub fn run(mut self) -> Result<JobEnd> {
        let result = self.run_attempts();
        let told = match &result {
            Ok(end) => Ok(*end),
            Err(error) => Err(Error::new(error.kind(), error.to_string())),
        };
        let order = Order::End { result: told };
        for peer in self.peers.iter().flatten() {
            peer.send(&order);
            peer.close();
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
        self.wait_for_peers()?;
        let found = self.find()?;
        let beginning = self.begin(&found)?;
        if let (Some(restored), StartFrom::Path(_), ClaimMode::Claim) =
            (&found.restored, &config.start_from, config.claim_mode)
            && self.store.is_some()
        {
            self.claimed.get_or_insert_with(|| restored.dir());
        }
        config.status().attempt(found.restored.as_ref().map(|restored| (restored.id(), restored.path())));
        self.attempts += 1;
        let (sender, receiver) = signals();
        *lock(&self.current) = Some((beginning.token, sender.clone()));
        let result = self.run_attempt(&found, beginning, sender, &receiver);
        config.client.connect(None);
        *lock(&self.current) = None;
        result
    }

    fn run_attempt(
        &mut self,
        found: &Found,
        beginning: Beginning,
        sender: Sender<Signal>,
        receiver: &Receiver<Signal>,
    ) -> Result<(End, Option<Duration>)> {
        let config = &self.process.config;
        let first_epoch = beginning.first_epoch;
        let restore = beginning.restored.as_ref().map(|restored| restored.location());
        let start = Start { token: beginning.token, first_epoch, restore, splits: beginning.splits.clone() };
        // Before the others are told to start: if it fails, they have nothing to give up.
        let checkpoints = self.checkpoints(found, first_epoch, &sender)?;
        let peers: Vec<_> = self.peers.iter().flatten().cloned().collect();
        peers.iter().for_each(|peer| peer.send(&Order::Start(start.clone())));
        let peers_lost = || self.peers_lost() || config.stop.requests() > 1;
        let running =
            self.process.start(self.mesh.as_ref(), self.store.as_ref(), beginning, sender.clone(), &peers_lost);
        let mut running = match running {
            Ok(running) => running,
            Err(error) => {
                peers.iter().for_each(|peer| peer.send(&Order::Abort { reason: error.to_string() }));
                return Err(error);
            }
        };
        config.stop.listen(&sender);
        config.client.connect(Some(sender));
        let parallelism = config.parallelism();
        let workers: BTreeSet<u32> = (0..parallelism.count()).collect();
        let mut driver = Driver {
            voice: Voice { control: Arc::clone(&running.control), peers },
            clock: Arc::clone(&config.clock),
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
                claimed: self.claimed.clone(),
                before: first_epoch,
            }),
            finishing: false,
            stopping: None,
            requests: Requests::default(),
        };
        let end = driver.run(receiver);
        let running_since = driver.running_since;
        self.next_id = driver.next_id().unwrap_or(self.next_id);
        running.retain(&driver.running);
        // The storage thread first: what it publishes decides what the next attempt restores.
        drop(driver);
        // The channel is this attempt's alone: what else comes through it is over with it.
        running.end(receiver, &*config.clock, config.cancellation_timeout, drop);
        Ok((end, running_since))
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

    /// Says what the attempt starts from, and gathers it.
    fn begin(&self, found: &Found) -> Result<Beginning> {
        match &found.restored {
            Some(restored) => {
                self.check_operators(restored)?;
                tracing::info!(checkpoint = restored.path(), "restoring");
            }
            None => tracing::info!("starting from the beginning"),
        }
        let known =
            |uid: &OperatorUid| found.restored.as_ref().is_some_and(|restored| restored.operator(uid).is_some());
        let splits = self.process.plan.discover(self.process.config.parallelism(), known)?;
        let clock = &self.process.config.clock;
        // Unique for this leader and later than any earlier one's, unless its clock was set back between two starts.
        let token = (clock.unix_ms() as u64) << 16 | (self.attempts & 0xffff);
        Ok(Beginning { token, first_epoch: found.next_id, restored: found.restored.clone(), splits })
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

    fn checkpoints(&self, found: &Found, first: CheckpointId, signals: &Sender<Signal>) -> Result<Option<Checkpoints>> {
        let config = &self.process.config;
        let Some(store) = &self.store else { return Ok(None) };
        // The folder of the first id pins it: were the garbage gone first, a crash in between could lead to an id used before.
        store.locate(first)?;
        let clock = Arc::clone(&config.clock);
        let io = CheckpointIo::start(config.name.clone(), Arc::clone(store), clock, signals.clone())?;
        found.garbage.iter().for_each(|id| io.ask(Work::Discard(*id)));
        let max_parallelism = self.process.max_parallelism(found.restored.as_deref());
        let operator = |uid: &OperatorUid| OperatorPlan {
            uid: uid.clone(),
            name: self.process.plan.name(uid).unwrap_or_default().to_string(),
            parallelism: config.parallelism(),
            max_parallelism,
        };
        let plan = JobPlan::new(config.name.clone(), self.process.plan.stateful_uids().map(operator).collect())?;
        let coordinator = Coordinator::new(config.checkpoints.clone(), plan, first, found.completed.clone())?;
        Ok(Some(Checkpoints { coordinator, io, store: Arc::clone(store) }))
    }

    fn peers_lost(&self) -> bool {
        self.peers.iter().flatten().any(|peer| peer.is_lost())
    }

    /// Waits until every other process is connected.
    fn wait_for_peers(&mut self) -> Result<()> {
        let Some(mesh) = &self.mesh else { return Ok(()) };
        let mut said = false;
        loop {
            while let Ok((process, stream)) = mesh.controls.try_recv() {
                let link = connect_peer(process, stream, Arc::clone(&self.current))?;
                tracing::info!(process, "process connected");
                if let Some(old) = self.peers[process as usize - 1].replace(link) {
                    old.close();
                }
            }
            let missing = |(index, link): (usize, &Option<Arc<PeerLink>>)| {
                link.as_ref().is_none_or(|link| link.is_lost()).then_some(index + 1)
            };
            let missing: Vec<_> = self.peers.iter().enumerate().filter_map(missing).collect();
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

/// Starts reading what a process has to say.
fn connect_peer(process: u32, stream: std::net::TcpStream, current: Current) -> Result<Arc<PeerLink>> {
    let setup = |error| Error::internal("cannot read from a process").with_source(error);
    let mut reading = stream.try_clone().map_err(setup)?;
    let link = Arc::new(PeerLink::new(process, stream));
    let on_loss = Arc::clone(&link);
    std::thread::Builder::new()
        .name(format!("highwater-peer-{process}"))
        .spawn(move || {
            loop {
                let notice = wire::read::<Notice>(&mut reading);
                let current = lock(&current);
                let signal = match (&*current, notice) {
                    (_, Err(error)) => {
                        on_loss.lose();
                        let error = error.context(format!("process {process} was lost"));
                        // Between attempts the leader looks for itself.
                        if let Some((_, sender)) = &*current {
                            let _ = sender.send(Signal::Lost(error));
                        }
                        return;
                    }
                    (Some((token, _)), Ok(Notice::Task { token: of, event })) if *token == of => Signal::Task(event),
                    (Some(_), Ok(Notice::Stop)) => Signal::Stop,
                    (_, Ok(_)) => continue,
                };
                if let Some((_, sender)) = &*current {
                    let _ = sender.send(signal);
                }
            }
        })
        .map_err(setup)?;
    Ok(link)
}
