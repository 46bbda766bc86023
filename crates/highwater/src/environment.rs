//! The environment of a job: its settings, its graph, and its execution.

use std::cell::{Cell, RefCell};
use std::io::Write;
use std::num::NonZeroUsize;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, CheckpointReport, RestartStrategy};
use highwater_control::{Addresses, RunDir};
use highwater_core::{Clock, Error, JobName, MaxParallelism, Parallelism, Result, SystemClock};
use highwater_runtime::cluster::{self, JobManagerConfig, TaskManagerConfig};
use highwater_runtime::source::Source;
use highwater_runtime::{
    ClaimMode, Graph, JobClient, JobConfig, JobDescription, JobEnd, JobStatus, StartFrom, StopHandle,
    WatermarkStrategy, describe, execute,
};
use highwater_state::Data;
use highwater_storage::{CheckpointStorage, LocalCopies, open_uri};

use crate::backend::{FsStateBackend, MemoryStateBackend, Spilling, StateBackend};
use crate::connectors::{CollectionSource, FileSource, SocketSource};
use crate::control::ControlSocket;
use crate::progress::Progress;
use crate::settings::{JobArgs, Role, Settings};
use crate::stream::DataStream;
use crate::{logging, signals};

/// As in Flink: `task.cancellation.timeout`, though that has three minutes.
const CANCELLATION_TIMEOUT: Duration = Duration::from_secs(30);

/// Where a job is built and run. See the [crate documentation](crate) for a whole one.
///
/// Setters may be called in any order before [`execute`](StreamExecutionEnvironment::execute), which is where a setting that makes no
/// sense is reported.
pub struct StreamExecutionEnvironment {
    pub(crate) graph: Rc<RefCell<Graph>>,
    settings: RefCell<Settings>,
    /// What the user of the program has asked for: goes before what the program sets.
    args: Option<JobArgs>,
    parallelism: Cell<Option<usize>>,
    max_parallelism: Cell<Option<u32>>,
    backend: RefCell<Option<Box<dyn StateBackend>>>,
    cancellation_timeout: Cell<Duration>,
    clock: RefCell<Arc<dyn Clock>>,
    stop: StopHandle,
    client: JobClient,
    signals: Cell<bool>,
    progress: Cell<bool>,
    control: Cell<bool>,
}

impl Default for StreamExecutionEnvironment {
    fn default() -> Self {
        Self::new()
    }
}

impl StreamExecutionEnvironment {
    /// An environment with default settings: all cores, no checkpoints.
    pub fn new() -> Self {
        Self::with_settings(Settings::default())
    }

    /// An environment with settings from the command line, `--config FILE`, and `HIGHWATER_*` environment variables, in this order of
    /// precedence; what the program sets are defaults for them. `--help` lists them. Logging is set up, and a progress line is shown on
    /// a terminal.
    ///
    /// For a program with flags of its own, put [`JobArgs`] into its parser and use [`JobArgs::resolve_over`] with
    /// [`with_settings`](Self::with_settings).
    ///
    /// # Errors
    /// If a setting is unknown or its value is not usable; for a flag that is unknown the process ends with a usage message.
    pub fn from_args() -> Result<Self> {
        #[derive(clap::Parser)]
        #[command(about = "A Highwater job", long_about = None)]
        struct Job {
            #[command(flatten)]
            job: JobArgs,
        }
        let args = <Job as clap::Parser>::parse().job;
        logging::init(args.resolve()?.log_format);
        let env = Self { args: Some(args), ..Self::new() };
        env.show_progress(true).control_socket(true);
        Ok(env)
    }

    /// An environment with these settings; what is set afterwards takes their place.
    pub fn with_settings(settings: Settings) -> Self {
        StreamExecutionEnvironment {
            graph: Rc::default(),
            settings: RefCell::new(settings),
            args: None,
            parallelism: Cell::new(None),
            max_parallelism: Cell::new(None),
            backend: RefCell::new(None),
            cancellation_timeout: Cell::new(CANCELLATION_TIMEOUT),
            clock: RefCell::new(Arc::new(SystemClock::new())),
            stop: StopHandle::default(),
            client: JobClient::default(),
            signals: Cell::new(true),
            progress: Cell::new(false),
            control: Cell::new(false),
        }
    }

    /// Takes a checkpoint every `interval`. Without a state backend, snapshots are kept in memory.
    pub fn enable_checkpointing(&self, interval: Duration) -> &Self {
        self.configure_checkpoints(|config| config.interval = Some(interval))
    }

    /// Changes the settings of checkpoints.
    pub fn configure_checkpoints(&self, change: impl FnOnce(&mut CheckpointConfig)) -> &Self {
        change(&mut self.settings.borrow_mut().checkpoint);
        self
    }

    /// Bounds the memory that the process may take, in bytes: beyond it the job fails with an error that says so, and is not
    /// restarted. `None` takes the bound away; by default it is nine tenths of what the machine or its container has.
    pub fn set_memory_budget(&self, bytes: Option<u64>) -> &Self {
        self.settings.borrow_mut().memory_budget = bytes;
        self
    }

    /// Keeps a copy of what this process writes to the checkpoint directory in a folder on a local disk, from which a restart
    /// reads it if it verifies (Flink's local recovery). Every process needs a folder of its own.
    pub fn set_local_recovery_dir(&self, dir: impl Into<String>) -> &Self {
        self.settings.borrow_mut().local_recovery_dir = Some(dir.into());
        self
    }

    /// Sets where state and snapshots live.
    pub fn set_state_backend(&self, backend: impl StateBackend + 'static) -> &Self {
        *self.backend.borrow_mut() = Some(Box::new(backend));
        self
    }

    /// Sets the number of subtasks of each operator, which is the number of worker threads.
    pub fn set_parallelism(&self, parallelism: usize) -> &Self {
        self.parallelism.set(Some(parallelism));
        self
    }

    /// Sets the number of key groups: an upper bound on the parallelism that cannot change while state is kept.
    pub fn set_max_parallelism(&self, max_parallelism: u32) -> &Self {
        self.max_parallelism.set(Some(max_parallelism));
        self
    }

    /// Sets what happens after a failure. The default restarts with growing delays if checkpoints are on, and not at all if not.
    pub fn set_restart_strategy(&self, strategy: RestartStrategy) -> &Self {
        self.settings.borrow_mut().restart_strategy = Some(strategy);
        self
    }

    /// Sets how long the workers may take to drop a failed attempt before they are left behind, which takes user code that blocks.
    /// The default is 30 seconds.
    pub fn set_cancellation_timeout(&self, timeout: Duration) -> &Self {
        self.cancellation_timeout.set(timeout);
        self
    }

    /// Sets where time comes from: that of the machine, unless a test has its own.
    pub fn set_clock(&self, clock: Arc<dyn Clock>) -> &Self {
        *self.clock.borrow_mut() = clock;
        self
    }

    /// Sets what the job starts from; the default is the newest checkpoint that verifies.
    pub fn start_from(&self, from: StartFrom) -> &Self {
        let mut settings = self.settings.borrow_mut();
        settings.fresh = from == StartFrom::Fresh;
        settings.restore = match from {
            StartFrom::Path(path) => Some(path),
            StartFrom::Latest | StartFrom::Fresh => None,
        };
        drop(settings);
        self
    }

    /// Sets whether the snapshot of [`StartFrom::Path`] is left alone, which is the default, or the job's to delete once it has a
    /// checkpoint of its own.
    pub fn set_claim_mode(&self, mode: ClaimMode) -> &Self {
        self.settings.borrow_mut().claim_mode = mode;
        self
    }

    /// Whether restored state of operators that the program does not have is dropped. By default the job does not start then.
    pub fn allow_non_restored_state(&self, on: bool) -> &Self {
        self.settings.borrow_mut().allow_non_restored_state = on;
        self
    }

    /// Sets where savepoints go whose request does not say: a path or URI.
    pub fn set_savepoint_dir(&self, uri: impl Into<String>) -> &Self {
        self.settings.borrow_mut().savepoint_dir = Some(uri.into());
        self
    }

    /// Whether Ctrl-C and SIGTERM ask the job to stop with a last checkpoint (a second one ends it at once). On by default.
    pub fn stop_on_signals(&self, on: bool) -> &Self {
        self.signals.set(on);
        self
    }

    /// Whether a line with records, rate, last checkpoint and attempts is kept up to date on standard error, if that is a terminal.
    pub fn show_progress(&self, on: bool) -> &Self {
        self.progress.set(on);
        self
    }

    /// Whether the job listens on a socket in its user's run directory, through which the `highwater` command, or any other program
    /// of the user, asks it for savepoints and stops. It does if the settings name a run directory, or if the environment is
    /// [from the command line](Self::from_args).
    pub fn control_socket(&self, on: bool) -> &Self {
        self.control.set(on);
        self
    }

    /// A handle to stop the job from another thread.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// A client of the job, to ask it for savepoints from another thread while it runs. In a cluster the leading JobManager's
    /// answers.
    pub fn client(&self) -> JobClient {
        self.client.clone()
    }

    /// The job's numbers, to look at from another thread while it runs.
    pub fn status(&self) -> Arc<JobStatus> {
        Arc::clone(self.client.status())
    }

    /// A stream of the records of `source`.
    pub fn from_source<S: Source>(
        &self,
        source: S,
        watermarks: WatermarkStrategy<S::Record>,
        name: &str,
    ) -> DataStream<S::Record> {
        let (node, stream) = self.graph.borrow_mut().source(name, source, watermarks);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }

    /// A stream of the elements of a collection.
    pub fn from_collection<T: Data + Sync>(&self, records: impl IntoIterator<Item = T>) -> DataStream<T> {
        let source = CollectionSource::new(records.into_iter().collect());
        self.from_source(source, WatermarkStrategy::no_watermarks(), "collection")
    }

    /// A stream of the lines of a file, or of all files in a directory.
    pub fn read_text_file(&self, path: impl AsRef<std::path::Path>) -> DataStream<String> {
        self.from_source(FileSource::lines(path.as_ref()), WatermarkStrategy::no_watermarks(), "text-file")
    }

    /// A stream of the lines that come in over a TCP connection to `address`, `host:port`. What was sent before a failure is not sent
    /// again: at most once.
    pub fn socket_text_stream(&self, address: &str) -> DataStream<String> {
        self.from_source(SocketSource::lines(address), WatermarkStrategy::no_watermarks(), "socket")
    }

    /// Runs the job until its input ends, it is stopped, or it has failed.
    ///
    /// `name` names the job and its folder in the checkpoint directory, unless the settings do.
    ///
    /// With `--describe` on the command line the job does not run: its [description](Self::describe) goes to standard output as one
    /// line of JSON, and the process ends, as with `--help`.
    ///
    /// # Errors
    /// A setting that makes no sense; what the restart strategy did not get over; what no restart can mend.
    pub fn execute(&self, name: &str) -> Result<JobResult> {
        if self.settings()?.describe {
            print_and_exit(&self.describe(name)?);
        }
        let config = self.job_config(name)?;
        let clock = Arc::clone(&config.clock);
        let graph = std::mem::take(&mut *self.graph.borrow_mut());
        let _signals = self.signals.get().then(|| signals::stop(&self.stop)).transpose()?;
        let _progress = self.progress.get().then(|| Progress::start(self.client.status(), &clock)).flatten();
        let _control = self.open_control(&config)?;
        let began = clock.monotonic();
        let end = execute(graph, config)?;
        let numbers = self.client.status().snapshot();
        Ok(JobResult {
            end,
            duration: clock.monotonic().saturating_sub(began),
            records: numbers.records,
            attempts: numbers.attempts,
            checkpoints_completed: numbers.completed,
            checkpoints_failed: numbers.failed,
            last_checkpoint: numbers.last_completed,
        })
    }

    /// What the job stores, as its program declares it, without running it: no storage is opened, and no source is asked for its input.
    ///
    /// The form of the JSON that `--describe` prints is that of [`JobDescription`]; `docs/format.md` has an example. Like
    /// [`execute`](Self::execute), this takes what was built out of the environment.
    ///
    /// # Errors
    /// A setting that makes no sense; a graph without operators, or in which uids are not usable or given twice.
    pub fn describe(&self, name: &str) -> Result<JobDescription> {
        let settings = self.settings()?;
        let graph = std::mem::take(&mut *self.graph.borrow_mut());
        describe(graph, job_name(&settings, name)?, settings.max_parallelism)
    }

    /// Listens for requests, if that is wanted and the job is not one of a cluster, which is asked through its JobManager.
    fn open_control(&self, config: &JobConfig) -> Result<Option<ControlSocket>> {
        let run_dir = self.settings()?.run_dir;
        if !matches!(config.role, cluster::Role::Run) || !(self.control.get() || run_dir.is_some()) {
            return Ok(None);
        }
        let dir = RunDir::at(run_dir.as_deref());
        match ControlSocket::open(&dir, &config.name, &self.client) {
            Ok(socket) => Ok(Some(socket)),
            Err(error) if run_dir.is_some() => Err(error),
            Err(error) => {
                tracing::warn!(%error, "the job runs without a control socket, so it cannot be asked for savepoints");
                Ok(None)
            }
        }
    }

    fn job_config(&self, name: &str) -> Result<JobConfig> {
        let settings = self.settings()?;
        let start_from = match (settings.fresh, &settings.restore) {
            (true, Some(path)) => {
                return Err(Error::settings(format!(
                    "fresh and restore {path} contradict each other: give one of them"
                )));
            }
            (true, None) => StartFrom::Fresh,
            (false, Some(path)) => StartFrom::Path(path.clone()),
            (false, None) => StartFrom::Latest,
        };
        Ok(JobConfig {
            name: job_name(&settings, name)?,
            workers: u32::try_from(settings.workers.get()).unwrap_or(u32::MAX),
            max_parallelism: settings.max_parallelism,
            restart: settings.restart_strategy(),
            storage: self.storage(&settings)?,
            spilling: self.spilling(settings.workers.get())?,
            checkpoints: settings.checkpoint.clone(),
            savepoint_dir: settings.savepoint_dir.clone(),
            start_from,
            claim_mode: settings.claim_mode,
            allow_non_restored_state: settings.allow_non_restored_state,
            role: self.role(&settings)?,
            memory_budget: settings.memory_budget,
            cancellation_timeout: self.cancellation_timeout.get(),
            clock: Arc::clone(&self.clock.borrow()),
            stop: self.stop.clone(),
            client: self.client.clone(),
        })
    }

    /// What this process is to the job.
    fn role(&self, settings: &Settings) -> Result<cluster::Role> {
        let of = settings.cluster.clone();
        let needed = |setting: Option<String>, name: &str| {
            setting.ok_or_else(|| Error::settings(format!("a process of a cluster needs the setting {name}")))
        };
        Ok(match settings.role {
            Role::Run => cluster::Role::Run,
            Role::JobManager => cluster::Role::JobManager(JobManagerConfig {
                listen: needed(of.listen, "listen")?,
                advertise: of.advertise,
                ha_dir: needed(of.ha_dir.or_else(|| settings.checkpoint_dir.clone()), "ha-dir")?,
                cluster_id: of.cluster_id,
                lease: of.lease,
                parallelism: of.parallelism.or(self.parallelism.get().and_then(|count| Parallelism::new(count as u32))),
                min_parallelism: of.min_parallelism,
                resource_wait: of.resource_wait,
                scale_up_pause: of.scale_up_pause,
                heartbeats: of.heartbeats.check()?,
            }),
            Role::TaskManager => cluster::Role::TaskManager(TaskManagerConfig {
                job_managers: Addresses::parse(&needed(of.job_managers, "jobmanager")?)?,
                slots: u32::try_from(of.slots.get()).unwrap_or(u32::MAX),
                listen: of.listen.unwrap_or_else(|| "0.0.0.0:0".to_owned()),
                advertise: of.advertise,
                health: of.health,
                leave_timeout: of.leave_timeout,
            }),
        })
    }

    /// What the program has set, and before that what its user has asked for.
    fn settings(&self) -> Result<Settings> {
        let mut settings = self.settings.borrow().clone();
        if let Some(count) = self.parallelism.get() {
            let none = || Error::settings("the job has 0 workers: set a parallelism of 1 or more");
            settings.workers = NonZeroUsize::new(count).ok_or_else(none)?;
        }
        if let Some(count) = self.max_parallelism.get() {
            settings.max_parallelism = Some(MaxParallelism::new(count)?);
        }
        match &self.args {
            Some(args) => args.resolve_over(settings),
            None => Ok(settings),
        }
    }

    fn spilling(&self, workers: usize) -> Result<Option<Spilling>> {
        self.backend.borrow().as_ref().map_or(Ok(None), |backend| backend.spilling(workers))
    }

    /// The settings' directory goes before the program's backend: whoever starts a job decides where its checkpoints go.
    fn storage(&self, settings: &Settings) -> Result<Option<Arc<dyn CheckpointStorage>>> {
        let backend = self.backend.borrow();
        let periodic = settings.checkpoint.interval.is_some();
        let storage = match (&settings.checkpoint_dir, &*backend) {
            (Some(dir), _) => FsStateBackend::new(dir).checkpoint_storage()?,
            (None, Some(backend)) if periodic || backend.is_durable() => backend.checkpoint_storage()?,
            (None, None) if periodic => MemoryStateBackend::new().checkpoint_storage()?,
            (None, _) => return Ok(None),
        };
        match &settings.local_recovery_dir {
            Some(dir) => Ok(Some(with_local_copies(storage, dir)?)),
            None => Ok(Some(storage)),
        }
    }
}

/// `storage` with copies in the local folder `dir`.
fn with_local_copies(storage: Arc<dyn CheckpointStorage>, dir: &str) -> Result<Arc<dyn CheckpointStorage>> {
    if dir.contains("://") && !dir.starts_with("file://") {
        return Err(Error::settings(format!(
            "the folder for local recovery is {dir:?}: give a folder on this machine, as a path or file:///path"
        )));
    }
    let copies = open_uri(dir).map_err(|error| error.context("the folder for local recovery"))?;
    Ok(Arc::new(LocalCopies::new(storage, copies)))
}

/// The settings' name goes before the program's.
fn job_name(settings: &Settings, name: &str) -> Result<JobName> {
    settings.job_name.clone().map_or_else(|| JobName::parse(name), Ok)
}

/// Ends the process here, since what a program does after its job has run is not for a job that has not.
fn print_and_exit(description: &JobDescription) -> ! {
    let mut line =
        serde_json::to_vec(description).expect("a description has no map with keys that JSON cannot express");
    line.push(b'\n');
    let mut out = std::io::stdout();
    let written = out.write_all(&line).and_then(|()| out.flush());
    std::process::exit(i32::from(written.is_err()))
}

/// How a job went.
#[derive(Clone, Debug)]
pub struct JobResult {
    /// Whether its input ended or it was stopped.
    pub end: JobEnd,
    /// From start to end.
    pub duration: Duration,
    /// Records emitted by the sources of this process, in all attempts.
    pub records: u64,
    /// Attempts it took.
    pub attempts: u64,
    /// Checkpoints completed.
    pub checkpoints_completed: u64,
    /// Checkpoints failed.
    pub checkpoints_failed: u64,
    /// The newest completed checkpoint.
    pub last_checkpoint: Option<CheckpointReport>,
}
