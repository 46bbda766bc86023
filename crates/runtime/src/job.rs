//! Running a job: attempts, restarts, and the part of each process in them.
//!
//! Process 0 leads: it finds the checkpoint to start from, drives each attempt and decides about restarts. The other processes
//! follow its orders. A job in one process is a leader without followers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, RestartStrategy};
use highwater_core::{Clock, Error, ErrorKind, JobName, MaxParallelism, Parallelism, Result};
use highwater_state::spill::RowStoreFactory;
use highwater_storage::{CheckpointStorage, JobStore};
use timely::communication::allocator::ProcessBuilder;
use timely::communication::allocator::zero_copy::initialize::initialize_networking_from_sockets;
use timely::communication::{AllocatorBuilder, Config as CommunicationConfig, Hooks};

use crate::client::JobClient;
use crate::control::{Control, Signal, TaskEvent, lock};
use crate::follower::follow;
use crate::graph::{Attempt, Graph, Plan, Splits};
use crate::leader::Leader;
use crate::memory::{MemoryWatch, StateSizes};
use crate::mesh::{DataSockets, Mesh};
use crate::recovery::{ClaimMode, StartFrom};
use crate::restore::Restored;
use crate::status::{JobPhase, JobStatus};
use crate::worker::{self, Workers};

/// Everything about a job but its operators.
#[derive(Clone)]
pub struct JobConfig {
    /// Its name, and that of its folder in the checkpoint storage.
    pub name: JobName,
    /// Worker threads in each process: the parallelism is this times the number of processes.
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
    /// Which process of the job this is.
    pub process: u32,
    /// Address of each process, `host:port`; empty or one for a job in a single process.
    pub hosts: Vec<String>,
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

    pub(crate) fn processes(&self) -> u32 {
        (self.hosts.len() as u32).max(1)
    }

    /// How many subtasks each operator has.
    pub fn parallelism(&self) -> Parallelism {
        Parallelism::new(self.workers.max(1).saturating_mul(self.processes()))
            .expect("at least one worker in at least one process")
    }

    fn check(&self) -> Result<()> {
        if self.workers == 0 {
            return Err(Error::settings("the job has 0 workers: give 1 or more"));
        }
        if self.workers.checked_mul(self.processes()).is_none() {
            return Err(Error::settings(format!(
                "{} workers in each of {} processes are too many",
                self.workers,
                self.processes()
            )));
        }
        if self.processes() > 1 && self.storage.as_ref().is_some_and(|storage| storage.uri().starts_with("memory:")) {
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
        if self.process >= self.processes() {
            return Err(Error::settings(format!(
                "this is process {} of {}: --process counts from 0 and must have an address in --hosts",
                self.process,
                self.processes()
            )));
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

#[derive(Debug, Default)]
struct StopInner {
    requests: AtomicU32,
    listener: Mutex<Option<Sender<Signal>>>,
}

impl StopHandle {
    /// Asks the job to take a last checkpoint and end; asked twice, it ends at once.
    pub fn stop(&self) {
        // Under the lock, so that `listen` passes on this request or leaves it to this call, never both.
        let listener = lock(&self.0.listener);
        self.0.requests.fetch_add(1, Ordering::SeqCst);
        if let Some(listener) = &*listener {
            // Nobody listens between attempts; the count is looked at there.
            let _ = listener.send(Signal::Stop);
        }
    }

    /// How often a stop was asked for.
    pub fn requests(&self) -> u32 {
        self.0.requests.load(Ordering::SeqCst)
    }

    /// Has later requests sent to `listener`, and earlier ones too.
    pub(crate) fn listen(&self, listener: &Sender<Signal>) {
        let mut current = lock(&self.0.listener);
        for _ in 0..self.requests() {
            let _ = listener.send(Signal::Stop);
        }
        *current = Some(listener.clone());
    }
}

/// How a job ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum JobEnd {
    /// All input was read and all output committed.
    Finished,
    /// It was stopped, with a last checkpoint to go on from.
    Stopped,
}

/// Runs a job to its end.
///
/// # Errors
/// What the restart strategy did not get over, or what no restart can mend.
pub fn execute(graph: Graph, config: JobConfig) -> Result<JobEnd> {
    config.check()?;
    config.status().enter(JobPhase::Starting);
    let process = Process { plan: Arc::new(graph.plan()?), config };
    let end = if process.config.process == 0 { lead(&process) } else { follow(&process) };
    process.config.status().enter(JobPhase::Ended);
    end
}

fn lead(process: &Process) -> Result<JobEnd> {
    Leader::new(process)?.run()
}

/// This process's part in a job.
pub(crate) struct Process {
    pub plan: Arc<Plan>,
    pub config: JobConfig,
}

/// An attempt as one process runs it.
pub(crate) struct Running {
    pub control: Arc<Control>,
    workers: Workers,
    local: BTreeSet<u32>,
    sockets: DataSockets,
    _memory: Option<MemoryWatch>,
}

/// What an attempt starts from.
pub(crate) struct Beginning {
    pub token: u64,
    pub first_epoch: highwater_core::CheckpointId,
    pub restored: Option<Arc<Restored>>,
    pub splits: Splits,
}

impl Process {
    /// What a process must have in common with the others of its job.
    pub fn digest(&self) -> u64 {
        self.plan.digest() ^ highwater_core::KeyHash::of(self.config.name.as_str().as_bytes()).0
    }

    /// Listens for the other processes, if there are any.
    pub fn mesh(&self) -> Result<Option<Mesh>> {
        let config = &self.config;
        if config.processes() == 1 {
            return Ok(None);
        }
        let clock = Arc::clone(&config.clock);
        Mesh::listen(config.process, config.hosts.clone(), config.workers, self.digest(), clock).map(Some)
    }

    /// The job's folder in the checkpoint storage, if there are checkpoints.
    pub fn store(&self) -> Result<Option<Arc<JobStore>>> {
        let open = |storage| JobStore::open(Arc::clone(storage), self.config.name.clone());
        Ok(self.config.storage.as_ref().map(open).transpose()?.map(Arc::new))
    }

    /// Whether there are checkpoints: periodic ones, or only the last one of a job that ends or is stopped.
    pub fn checkpointing(&self) -> bool {
        self.config.storage.is_some()
    }

    /// The number of key groups: as set, else as the restored state has it, else the default.
    pub fn max_parallelism(&self, restored: Option<&Restored>) -> MaxParallelism {
        let stored = || {
            let operators = restored?.metadata().operators.iter();
            operators.map(|operator| operator.max_parallelism).next()
        };
        let config = &self.config;
        config.max_parallelism.or_else(stored).unwrap_or(MaxParallelism::default_for(config.parallelism()))
    }

    /// The workers of this process, by their index in the job.
    fn local_workers(&self) -> BTreeSet<u32> {
        let first = self.config.process * self.config.workers;
        (first..first + self.config.workers).collect()
    }

    /// Connects to the other processes and starts the workers of an attempt.
    pub fn start(
        &self,
        mesh: Option<&Mesh>,
        store: Option<&Arc<JobStore>>,
        beginning: Beginning,
        signals: Sender<Signal>,
        give_up: &dyn Fn() -> bool,
    ) -> Result<Running> {
        let clock = Arc::clone(&self.config.clock);
        let control = Arc::new(Control::new(beginning.first_epoch, signals, clock));
        let max_parallelism = self.max_parallelism(beginning.restored.as_deref());
        if self.config.parallelism().count() > max_parallelism.count() {
            return Err(Error::settings(format!(
                "parallelism {} is above max parallelism {max_parallelism}, which the restored state has: use fewer workers",
                self.config.parallelism()
            )));
        }
        let attempt = Arc::new(Attempt {
            control: Arc::clone(&control),
            parallelism: self.config.parallelism(),
            max_parallelism,
            mode: self.config.checkpoints.mode,
            checkpointing: self.checkpointing(),
            restored: beginning.restored,
            spilling: self.config.spilling.clone(),
            splits: beginning.splits,
            read: self.config.status().records_read.clone(),
            sizes: StateSizes::default(),
        });
        // Before there is any state: to restore it may be too much already.
        let first_worker = self.config.process * self.config.workers;
        let watch = |budget| MemoryWatch::start(budget, attempt.sizes.clone(), Arc::clone(&control), first_worker);
        let memory = self.config.memory_budget.map(watch).transpose()?;
        let (sockets, communication) = self.communication(mesh, beginning.token, give_up)?;
        let workers = worker::start(&self.plan, &attempt, store, communication)?;
        Ok(Running { control, workers, local: self.local_workers(), sockets, _memory: memory })
    }

    #[expect(clippy::type_complexity, reason = "what timely wants")]
    fn communication(
        &self,
        mesh: Option<&Mesh>,
        token: u64,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(DataSockets, (Vec<AllocatorBuilder>, Box<dyn std::any::Any + Send>))> {
        let workers = self.config.workers as usize;
        let failed = |error: String| Error::internal(format!("cannot set up the workers: {error}"));
        let Some(mesh) = mesh else {
            let config = if workers == 1 { CommunicationConfig::Thread } else { CommunicationConfig::Process(workers) };
            return Ok((DataSockets::default(), config.try_build().map_err(failed)?));
        };
        let (streams, sockets) = mesh.data_sockets(token, give_up)?;
        let hooks = Hooks::default();
        let local = ProcessBuilder::new_typed_vector(workers, hooks.refill.clone(), None);
        let (builders, guard) =
            initialize_networking_from_sockets(local, streams, self.config.process as usize, workers, hooks)
                .map_err(|error| failed(error.to_string()))?;
        let builders = builders.into_iter().map(AllocatorBuilder::Tcp).collect();
        Ok((sockets, (builders, Box::new(guard))))
    }
}

impl Running {
    /// Ends the attempt in this process: at once if it was aborted, else when all data has been delivered.
    ///
    /// `signals` is the attempt's channel, from which the workers' last words are read; what is not from them goes to `keep`.
    /// Returns whether all workers did end.
    pub fn end(
        mut self,
        signals: &Receiver<Signal>,
        clock: &dyn Clock,
        patience: Duration,
        mut keep: impl FnMut(Signal),
    ) -> bool {
        if self.control.is_aborted() {
            self.sockets.shut_down();
        }
        let deadline = clock.monotonic() + patience;
        while !self.local.is_empty() {
            match signals.recv_timeout(deadline.saturating_sub(clock.monotonic())) {
                Ok(Signal::Task(TaskEvent::WorkerDone { worker })) => {
                    self.local.remove(&worker);
                }
                Ok(Signal::Task(_)) => {}
                Ok(other) => keep(other),
                Err(_) => {
                    tracing::error!(
                        workers = ?self.local,
                        "workers did not end within {patience:?}: user code blocks in them; they are left behind"
                    );
                    self.workers.abandon();
                    return false;
                }
            }
        }
        self.workers.join(self.control.is_aborted());
        true
    }

    /// Keeps only those of this process's workers that are in `running`.
    pub fn retain(&mut self, running: &BTreeSet<u32>) {
        self.local.retain(|worker| running.contains(worker));
    }

    /// Whether every worker of this process has said that it is done.
    pub fn is_done(&self) -> bool {
        self.local.is_empty()
    }

    /// Notes that a worker of this process has said that it is done.
    pub fn done(&mut self, worker: u32) {
        self.local.remove(&worker);
    }
}

/// A stop was asked for twice, or while nothing ran.
pub(crate) fn stopped_at_once() -> Error {
    Error::new(ErrorKind::Cluster, "stopped at once, without a last checkpoint")
}

/// The channel of one attempt.
pub(crate) fn signals() -> (Sender<Signal>, Receiver<Signal>) {
    channel()
}
