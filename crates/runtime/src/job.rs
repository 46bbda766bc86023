//! Running a job: attempts, restarts, and the part of each process in them.
//!
//! One process leads: it finds the checkpoint to start from, drives each attempt and decides about restarts. Those that have workers
//! follow its orders. Outside of a [`cluster`] they are one, and its workers hear them from the next thread.

use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, RestartStrategy};
use highwater_core::{Clock, Error, ErrorKind, JobName, MaxParallelism, Parallelism, Result};
use highwater_jobmaster::{JobFacts, JobMaster, JobRecord, TaskManagerId};
use highwater_state::spill::RowStoreFactory;
use highwater_storage::{CheckpointStorage, JobStore};

use crate::client::JobClient;
use crate::cluster::{self, JobManagerConfig, Role};
use crate::control::{Signal, lock};
use crate::graph::{Graph, Plan};
use crate::job_manager::{JobManager, Term};
use crate::link::LocalLink;
use crate::recovery::{ClaimMode, StartFrom};
use crate::restore::Restored;
use crate::status::{JobPhase, JobStatus};
use crate::task_manager::{Blocked, Inbox, TaskManager};

/// Everything about a job but its operators.
#[derive(Clone)]
pub struct JobConfig {
    /// Its name, and that of its folder in the checkpoint storage.
    pub name: JobName,
    /// Worker threads of a job in one process: its parallelism. A cluster counts slots instead.
    pub workers: u32,
    /// Number of key groups; Flink's default for the parallelism, or what the restored checkpoint has, if not given.
    pub max_parallelism: Option<MaxParallelism>,
    /// When to take checkpoints.
    pub checkpoints: CheckpointConfig,
    /// What to do after a failure.
    pub restart: RestartStrategy,
    /// How many bytes of memory this process may take before the job fails, rather than the system ends it; `None` for no bound.
    pub memory_budget: Option<u64>,
    /// How long the workers may take to drop a failed attempt before they are left behind, as user code blocks in them.
    pub cancellation_timeout: Duration,
    /// Where checkpoints go. Without an interval there is only one, when the job ends or is stopped; without a place there is none.
    pub storage: Option<Arc<dyn CheckpointStorage>>,
    /// Where rows go that do not fit in memory; without a place all have to fit.
    pub spilling: Option<Spilling>,
    /// Where savepoints go whose request does not say: a path or URI.
    pub savepoint_dir: Option<String>,
    /// What to start from.
    pub start_from: StartFrom,
    /// Whose the snapshot is that [`StartFrom::Path`] names.
    pub claim_mode: ClaimMode,
    /// Whether restored state that no operator of the program has is dropped, rather than the start refused.
    pub allow_non_restored_state: bool,
    /// What this process is to the job.
    pub role: Role,
    /// Where time comes from.
    pub clock: Arc<dyn Clock>,
    /// How to ask for a stop.
    pub stop: StopHandle,
    /// How to ask for anything, and where to see how it goes.
    pub client: JobClient,
}

/// Where the rows of keyed state go that do not fit in memory.
#[derive(Clone, Debug)]
pub struct Spilling {
    /// Opens the stores that take them.
    pub stores: Arc<dyn RowStoreFactory>,
    /// Memory for the rows of all tasks of a worker, in bytes: what is beyond it goes to a store.
    pub budget_bytes: usize,
}

impl JobConfig {
    pub(crate) fn status(&self) -> &JobStatus {
        self.client.status()
    }

    /// How many subtasks each operator has.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism::new(self.workers.max(1)).expect("at least one worker")
    }

    fn check(&self) -> Result<()> {
        if self.workers == 0 {
            return Err(Error::settings("the job has 0 workers: give 1 or more"));
        }
        let is_shared = !matches!(self.role, Role::Run);
        if is_shared && self.storage.as_ref().is_some_and(|storage| storage.uri().starts_with("memory:")) {
            return Err(Error::settings(
                "checkpoints in memory cannot be shared by several processes: give a directory that all of them share (--checkpoint-dir, or an FsStateBackend)",
            ));
        }
        self.checkpoints.validate()?;
        self.restart.validate()?;
        if self.checkpoints.interval.is_some() && self.storage.is_none() {
            return Err(Error::settings(
                "checkpoints are on and there is no place for them: set a state backend with a checkpoint directory (--checkpoint-dir)",
            ));
        }
        let max = self.max_parallelism.unwrap_or(MaxParallelism::default_for(self.parallelism()));
        if self.parallelism().count() > max.count() {
            return Err(Error::settings(format!(
                "parallelism {} is above max parallelism {max}: use fewer workers, or a larger max parallelism if there is no state to keep",
                self.parallelism()
            )));
        }
        Ok(())
    }
}

/// A way to ask a running job to stop.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<StopInner>);

#[derive(Default)]
struct StopInner {
    requests: AtomicU32,
    listener: Mutex<Option<Listener>>,
}

/// Called for each request.
type Listener = Box<dyn Fn() + Send>;

impl fmt::Debug for StopInner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StopInner").field("requests", &self.requests).finish_non_exhaustive()
    }
}

impl StopHandle {
    /// Asks the job to take a last checkpoint and end; asked twice, it ends at once.
    pub fn stop(&self) {
        // Under the lock, so that `listen` passes on this request or leaves it to this call, never both.
        let listener = lock(&self.0.listener);
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(listener) = &*listener {
            listener();
        }
    }

    /// How often a stop was asked for.
    pub fn requests(&self) -> u32 {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Whether the job hears of a request at once: one that is only being set up hears of it when it is about to begin.
    pub fn is_heard(&self) -> bool {
        lock(&self.0.listener).is_some()
    }

    /// Has `listener` called for each later request, and for earlier ones too.
    pub(crate) fn listen(&self, listener: impl Fn() + Send + 'static) {
        let mut current = lock(&self.0.listener);
        (0..self.requests()).for_each(|_| listener());
        *current = Some(Box::new(listener));
    }
}

/// How a job ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum JobEnd {
    /// All input was read and all output committed.
    Finished,
    /// It was stopped, with a last checkpoint to go on from.
    Stopped,
    /// It was cancelled: started again, it goes on from its newest checkpoint.
    Cancelled,
    /// This process has left its cluster, and the job goes on without it.
    Left,
}

/// Runs a job to its end.
///
/// # Errors
/// What the restart strategy did not get over, or what no restart can mend.
pub fn execute(graph: Graph, config: JobConfig) -> Result<JobEnd> {
    config.check()?;
    config.status().enter(JobPhase::Starting);
    let process = Process { plan: Arc::new(graph.plan()?), config };
    let end = match &process.config.role {
        Role::JobManager(role) => cluster::manage(&process, role),
        Role::TaskManager(role) => cluster::work(&process, role),
        Role::Run => lead(&process),
    };
    process.config.status().enter(JobPhase::Ended);
    end
}

/// Leads the job, whose workers are all in this process.
fn lead(process: &Process) -> Result<JobEnd> {
    let config = &process.config;
    let store = process.store();
    // Of one that is away now nobody knows whether it was ever there: its name may be wrong.
    store.as_ref().map(|store| store.create()).transpose()?;
    let lock = store.as_ref().map(|store| store.lock()).transpose()?;
    let (sender, signals) = channel();
    let (inbox_sender, inbox) = channel();
    let here = TaskManagerId(0);
    let link = Arc::new(LocalLink::new(inbox_sender.clone()));
    // The receiver is here. Nobody else has to reach this process.
    let _ =
        sender.send(Signal::Registered { id: here, address: String::new(), slots: config.workers, link, held: None });
    let manager = JobManager::new(process, (store.clone(), lock), process.job_master()?, sender.clone(), None);
    let stop = sender.clone();
    config.stop.listen(move || drop(stop.send(Signal::Stop)));
    std::thread::scope(|scope| {
        let work = || {
            let inbox = Inbox::new(inbox_sender, inbox);
            TaskManager::new(process, None, store, inbox, Blocked::LeaveBehind).serve_here(here, &sender);
        };
        let started = std::thread::Builder::new().name("highwater-task-manager".into()).spawn_scoped(scope, work);
        started.map_err(|error| Error::internal("cannot start the workers' thread").with_source(error))?;
        match manager.run(&signals)? {
            Term::Over(end) => Ok(end),
            Term::Left => Ok(JobEnd::Left),
            Term::Unable(error) => Err(error),
            Term::Revoked { why } => Err(Error::internal(format!("there is nobody else to lead the job: {why}"))),
        }
    })
}

/// This process's part in a job.
pub(crate) struct Process {
    pub plan: Arc<Plan>,
    pub config: JobConfig,
}

impl Process {
    /// What a process must have in common with the others of its job.
    pub fn digest(&self) -> u64 {
        self.plan.digest() ^ highwater_core::KeyHash::of(self.config.name.as_str().as_bytes()).0
    }

    /// The job's folder in the checkpoint storage, if there are checkpoints.
    pub fn store(&self) -> Option<Arc<JobStore>> {
        let folder = |storage| Arc::new(JobStore::new(Arc::clone(storage), self.config.name.clone()));
        self.config.storage.as_ref().map(folder)
    }

    /// What decides about the attempts of a job in one process.
    fn job_master(&self) -> Result<JobMaster> {
        let config = &self.config;
        let parallelism = config.parallelism();
        let settings = highwater_jobmaster::Config {
            // There is nobody else whose silence would mean something.
            heartbeat_timeout: Duration::MAX,
            parallelism: Some(parallelism),
            min_parallelism: parallelism,
            ..self.master_config()
        };
        let max_parallelism =
            config.max_parallelism.map_or_else(|| MaxParallelism::new(MaxParallelism::UPPER_BOUND), Ok)?;
        let now = config.clock.unix_ms() as u64;
        // The time is later than that of any earlier leader's start, unless the clock was set back between them.
        JobMaster::new(settings, self.facts(max_parallelism), now, config.clock.monotonic())
    }

    /// What decides about the attempts of a job in a cluster, under a leader with this token; `record` is what the leader before has
    /// left.
    pub fn job_master_of(&self, role: &JobManagerConfig, token: u64, record: Option<JobRecord>) -> Result<JobMaster> {
        let config = &self.config;
        let settings = highwater_jobmaster::Config {
            heartbeat_interval: role.heartbeats.interval,
            heartbeat_timeout: role.heartbeats.timeout,
            resource_wait: role.resource_wait,
            scale_up_pause: role.scale_up_pause,
            parallelism: role.parallelism,
            min_parallelism: role.min_parallelism,
            ..self.master_config()
        };
        let default = MaxParallelism::default_for(role.parallelism.unwrap_or(role.min_parallelism));
        let facts = self.facts(config.max_parallelism.unwrap_or(default));
        let now = config.clock.monotonic();
        match record {
            Some(record) => JobMaster::resume(settings, facts, token, record, now),
            None => JobMaster::new(settings, facts, token, now),
        }
    }

    /// What a JobMaster is told in a cluster and without one.
    fn master_config(&self) -> highwater_jobmaster::Config {
        let JobConfig { cancellation_timeout, restart, .. } = &self.config;
        highwater_jobmaster::Config {
            // Within half of it a process has left behind what does not end.
            release_timeout: cancellation_timeout.saturating_mul(2).max(Duration::from_secs(1)),
            restart: restart.clone(),
            ..Default::default()
        }
    }

    fn facts(&self, max_parallelism: MaxParallelism) -> JobFacts {
        let seed = self.config.clock.unix_ms() as u64 ^ u64::from(std::process::id());
        JobFacts { max_parallelism, has_checkpoints: self.checkpointing(), seed }
    }

    /// Whether there are checkpoints: periodic ones, or only the last one of a job that ends or is stopped.
    pub fn checkpointing(&self) -> bool {
        self.config.storage.is_some()
    }

    /// The number of key groups: as set, else as the restored state has it, else the default.
    ///
    /// # Errors
    /// If there are fewer than subtasks.
    pub fn max_parallelism(&self, restored: Option<&Restored>, parallelism: Parallelism) -> Result<MaxParallelism> {
        let stored = || {
            let operators = restored?.metadata().operators.iter();
            operators.map(|operator| operator.max_parallelism).next()
        };
        let set = self.config.max_parallelism.or_else(stored);
        let max_parallelism = set.unwrap_or(MaxParallelism::default_for(parallelism));
        if parallelism.count() > max_parallelism.count() {
            return Err(Error::settings(format!(
                "parallelism {parallelism} is above max parallelism {max_parallelism}, which the restored state has: use fewer workers"
            )));
        }
        Ok(max_parallelism)
    }
}

/// A stop was asked for twice, or while nothing ran.
pub(crate) fn stopped_at_once() -> Error {
    Error::new(ErrorKind::Cluster, "stopped at once, without a last checkpoint")
}
