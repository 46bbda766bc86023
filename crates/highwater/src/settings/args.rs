//! The command line that every job has.

use highwater_core::Result;

use super::key::Key;
use super::sources::{self, Sources};
use super::{Role, Settings};

/// Set on each argument: set for all at once, it would take in what a program declares after flattening them.
const HEADING: &str = "Job options";

/// The same, of processes of a cluster.
const CLUSTER: &str = "Cluster options";

/// The arguments of a job, for `#[command(flatten)]`.
///
/// Values are kept as text and read when they are [resolved](Self::resolve), by the same parsers as those of the other
/// sources. The help states the defaults of [`Settings::default`].
#[derive(Clone, Debug, Default, clap::Args)]
// Else the line above would describe every program that has no description of its own.
#[command(about = None, long_about = None)]
pub struct JobArgs {
    /// What this process is to the job: run for all of it, jobmanager or taskmanager for a part in a cluster (default: run)
    // No setting: it says what to do, so it comes from the command line alone.
    #[arg(value_name = "ROLE", help_heading = CLUSTER, value_parser = ["run", "jobmanager", "taskmanager"])]
    pub role: Option<String>,

    /// Worker threads of a job in one process (default: one per core)
    #[arg(long, help_heading = HEADING, value_name = "COUNT")]
    pub workers: Option<String>,

    /// Number of key groups, the upper bound on the parallelism; fixed as long as state is kept (default: 1.5 times the
    /// parallelism, rounded up to a power of two, at least 128)
    #[arg(long, help_heading = HEADING, value_name = "COUNT")]
    pub max_parallelism: Option<String>,

    /// Name of the job, which is also its folder in the checkpoint directory (default: the program's name for it)
    #[arg(long, help_heading = HEADING, value_name = "NAME")]
    pub job_name: Option<String>,

    /// Where checkpoints are written, and looked for at the start: a path or URI (default: nowhere)
    #[arg(long, help_heading = HEADING, value_name = "DIR")]
    pub checkpoint_dir: Option<String>,

    /// Folder on a local disk for copies of checkpoint files, from which a restart reads faster; one for each process
    /// (default: no copies)
    #[arg(long, help_heading = HEADING, value_name = "DIR")]
    pub local_recovery_dir: Option<String>,

    /// Time from one checkpoint to the next, like 500ms, 10s or 1m30s; off for none (default: off)
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub checkpoint_interval: Option<String>,

    /// How often a restored state counts each record: exactly-once or at-least-once (default: exactly-once)
    #[arg(long, help_heading = HEADING, value_name = "MODE")]
    pub checkpoint_mode: Option<String>,

    /// Time after which a checkpoint that is not complete is given up (default: 10m)
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub checkpoint_timeout: Option<String>,

    /// Least time from the end of one checkpoint to the start of the next (default: 0s)
    #[arg(long, help_heading = HEADING, value_name = "TIME")]
    pub checkpoint_min_pause: Option<String>,

    /// How many checkpoints may be under way at once (default: 1)
    #[arg(long, help_heading = HEADING, value_name = "COUNT")]
    pub max_concurrent_checkpoints: Option<String>,

    /// How many checkpoints in a row may fail before the job fails (default: 0)
    #[arg(long, help_heading = HEADING, value_name = "COUNT")]
    pub tolerable_failed_checkpoints: Option<String>,

    /// How many completed checkpoints are kept (default: 2)
    #[arg(long, help_heading = HEADING, value_name = "COUNT")]
    pub retained_checkpoints: Option<String>,

    /// Where savepoints go whose request does not say: a path or URI (default: nowhere)
    #[arg(long, help_heading = HEADING, value_name = "DIR")]
    pub savepoint_dir: Option<String>,

    /// What to do when the job fails: none, fixed-delay, exponential-delay or failure-rate (default: exponential-delay if
    /// there is a checkpoint interval, else none)
    ///
    /// Parameters follow a colon; those left out have these values:
    ///
    /// fixed-delay:attempts=1,delay=1s
    ///
    /// exponential-delay:initial=1s,multiplier=1.5,max=1m,reset-after=1h,jitter=0.1 and, without limit if left out,
    /// attempts=10
    ///
    /// failure-rate:max=1,interval=1m,delay=1s
    #[arg(long, help_heading = HEADING, value_name = "STRATEGY")]
    pub restart_strategy: Option<String>,

    /// Start without state although the checkpoint directory holds a checkpoint (default: false)
    #[arg(long, help_heading = HEADING, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub fresh: Option<String>,

    /// The snapshot to start from: a path or URI (default: the newest valid one in the checkpoint directory)
    #[arg(long, help_heading = HEADING, value_name = "PATH")]
    pub restore: Option<String>,

    /// Whose the snapshot to start from is: no-claim leaves it alone, claim deletes it once the job has a checkpoint of its own
    /// (default: no-claim)
    #[arg(long, help_heading = HEADING, value_name = "MODE")]
    pub claim_mode: Option<String>,

    /// Drop restored state of operators that the program does not have, instead of refusing to start (default: false)
    #[arg(long, help_heading = HEADING, value_name = "true|false", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub allow_non_restored_state: Option<String>,

    /// Directory of the socket through which the job is asked for savepoints and stops (default: highwater in
    /// XDG_RUNTIME_DIR, else a directory of the user in the directory for temporary files)
    #[arg(long, help_heading = HEADING, value_name = "DIR")]
    pub run_dir: Option<String>,

    /// Memory a process may take, like 512MiB or 16GiB, before the job fails with an error that says so; off for no bound
    /// (default: nine tenths of what the machine or its container has)
    #[arg(long, help_heading = HEADING, value_name = "BYTES")]
    pub memory_budget: Option<String>,

    /// How log lines are written: text or json (default: text)
    #[arg(long, help_heading = HEADING, value_name = "FORMAT")]
    pub log_format: Option<String>,

    /// Workers of the whole job in a cluster (default: as many as there are slots)
    #[arg(long, help_heading = CLUSTER, value_name = "COUNT")]
    pub parallelism: Option<String>,

    /// With fewer slots in the cluster the job waits (default: 1)
    #[arg(long, help_heading = CLUSTER, value_name = "COUNT")]
    pub min_parallelism: Option<String>,

    /// Of a TaskManager: the JobManagers of its job, or some of them (default: none)
    #[arg(long, help_heading = CLUSTER, value_name = "HOST:PORT,...")]
    pub jobmanager: Option<String>,

    /// Of a TaskManager: how many workers it can have (default: one per core)
    #[arg(long, help_heading = CLUSTER, value_name = "COUNT")]
    pub slots: Option<String>,

    /// Of a process of a cluster: where it listens (default: none for a JobManager, any port of every address for a TaskManager)
    #[arg(long, help_heading = CLUSTER, value_name = "HOST:PORT")]
    pub listen: Option<String>,

    /// Of a process of a cluster: where the others reach it (default: where it listens)
    #[arg(long, help_heading = CLUSTER, value_name = "HOST:PORT")]
    pub advertise: Option<String>,

    /// Of a TaskManager: where it answers probes, by gRPC's health service; a JobManager does where it listens (default: nowhere)
    #[arg(long, help_heading = CLUSTER, value_name = "HOST:PORT")]
    pub health: Option<String>,

    /// Of a JobManager: what all JobManagers of the job share, a path or URI; also etcd://HOST:PORT,.../PREFIX (default: the
    /// checkpoint directory)
    #[arg(long, help_heading = CLUSTER, value_name = "URI")]
    pub ha_dir: Option<String>,

    /// Of a JobManager: tells its cluster from another that runs the same job. A job that has ended is not run again in the
    /// same cluster (default: default)
    #[arg(long, help_heading = CLUSTER, value_name = "NAME")]
    pub cluster_id: Option<String>,

    /// Of a JobManager: how long it leads without a sign of life in the HA directory (default: 2s)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub ha_lease: Option<String>,

    /// Of a JobManager: how long the job waits for lost slots before it goes on with fewer (default: 10s)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub resource_wait: Option<String>,

    /// Of a JobManager: how long an attempt runs at least before it is interrupted to use new slots (default: 30s)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub scale_up_pause: Option<String>,

    /// Of a TaskManager: how long it waits, when it is told to stop, for a checkpoint from which the job goes on without it (default: 60s)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub leave_timeout: Option<String>,

    /// Of a JobManager: how often it and a TaskManager tell each other that they live (default: 500ms)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub heartbeat_interval: Option<String>,

    /// Of a JobManager: how long either of them waits for that (default: 5s)
    #[arg(long, help_heading = CLUSTER, value_name = "TIME")]
    pub heartbeat_timeout: Option<String>,

    /// TOML file with any of these settings, named as here without the hyphens in front (default: none)
    ///
    /// The command line wins over the file, and the file over environment variables, which are named like
    /// HIGHWATER_CHECKPOINT_INTERVAL.
    #[arg(long, help_heading = HEADING, value_name = "FILE")]
    pub config: Option<String>,

    /// Print what the job stores as a JSON document, and end without running it: for tools
    // No setting: it says what to do, so it comes from the command line alone.
    #[arg(long, help_heading = HEADING, hide = true)]
    pub describe: bool,
}

impl JobArgs {
    /// The settings: from these arguments, then the settings file, then this process's environment, then
    /// [`Settings::default`].
    ///
    /// # Errors
    /// Of kind [`Settings`](highwater_core::ErrorKind::Settings), naming the setting, what was given and where, and what to
    /// give instead: if a source names an unknown setting, a value is not one, or two exclude each other.
    pub fn resolve(&self) -> Result<Settings> {
        self.resolve_over(Settings::default())
    }

    /// Like [`resolve`](Self::resolve), for a program with `defaults` of its own.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve).
    pub fn resolve_over(&self, defaults: Settings) -> Result<Settings> {
        let environment = sources::environment()?;
        self.resolve_with(defaults, &|name| environment.get(name).cloned())
    }

    /// Like [`resolve_over`](Self::resolve_over), with `environment` in place of the process's: what a test calls.
    ///
    /// # Errors
    /// Those of [`resolve`](Self::resolve).
    pub fn resolve_with(&self, defaults: Settings, environment: &dyn Fn(&str) -> Option<String>) -> Result<Settings> {
        let settings = Settings::merge(&Sources::open(self, environment)?, defaults)?;
        let role = match self.role.as_deref() {
            Some("jobmanager") => Role::JobManager,
            Some("taskmanager") => Role::TaskManager,
            Some(_) => Role::Run,
            None => settings.role,
        };
        let settings = Settings { role, describe: settings.describe || self.describe, ..settings };
        settings.check_role()?;
        Ok(settings)
    }

    /// What these arguments give for `key`.
    pub(super) fn text(&self, key: Key) -> Option<&str> {
        let text = match key {
            Key::Workers => &self.workers,
            Key::MaxParallelism => &self.max_parallelism,
            Key::Parallelism => &self.parallelism,
            Key::MinParallelism => &self.min_parallelism,
            Key::Jobmanager => &self.jobmanager,
            Key::Slots => &self.slots,
            Key::Listen => &self.listen,
            Key::Advertise => &self.advertise,
            Key::Health => &self.health,
            Key::HaDir => &self.ha_dir,
            Key::ClusterId => &self.cluster_id,
            Key::HaLease => &self.ha_lease,
            Key::ResourceWait => &self.resource_wait,
            Key::ScaleUpPause => &self.scale_up_pause,
            Key::LeaveTimeout => &self.leave_timeout,
            Key::HeartbeatInterval => &self.heartbeat_interval,
            Key::HeartbeatTimeout => &self.heartbeat_timeout,
            Key::JobName => &self.job_name,
            Key::CheckpointDir => &self.checkpoint_dir,
            Key::LocalRecoveryDir => &self.local_recovery_dir,
            Key::CheckpointInterval => &self.checkpoint_interval,
            Key::CheckpointMode => &self.checkpoint_mode,
            Key::CheckpointTimeout => &self.checkpoint_timeout,
            Key::CheckpointMinPause => &self.checkpoint_min_pause,
            Key::MaxConcurrentCheckpoints => &self.max_concurrent_checkpoints,
            Key::TolerableFailedCheckpoints => &self.tolerable_failed_checkpoints,
            Key::RetainedCheckpoints => &self.retained_checkpoints,
            Key::SavepointDir => &self.savepoint_dir,
            Key::RestartStrategy => &self.restart_strategy,
            Key::Fresh => &self.fresh,
            Key::Restore => &self.restore,
            Key::ClaimMode => &self.claim_mode,
            Key::AllowNonRestoredState => &self.allow_non_restored_state,
            Key::RunDir => &self.run_dir,
            Key::MemoryBudget => &self.memory_budget,
            Key::LogFormat => &self.log_format,
            Key::Config => &self.config,
        };
        text.as_deref()
    }
}
