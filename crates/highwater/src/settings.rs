//! The settings of a job, and the one command line that every job has.
//!
//! Each setting has one name, written with hyphens, and can come from four sources. The first that gives it wins:
//!
//! 1. the command line: `--checkpoint-interval 1s`;
//! 2. the settings file, TOML, named by `--config FILE`: `checkpoint-interval = "1s"`;
//! 3. the environment: `HIGHWATER_CHECKPOINT_INTERVAL=1s`, where an empty variable counts as not set;
//! 4. the defaults: [`Settings::default`], or those of the program.
//!
//! A program flattens [`JobArgs`] into its own arguments, and gets the [`Settings`] by [`JobArgs::resolve`]:
//!
//! ```
//! use clap::Parser;
//! use highwater::settings::JobArgs;
//!
//! #[derive(Parser)]
//! struct Args {
//!     /// The log to read.
//!     #[arg(long)]
//!     input: String,
//!     #[command(flatten)]
//!     job: JobArgs,
//! }
//!
//! let args = Args::parse_from(["job", "--input", "access.log", "--workers", "4", "--checkpoint-interval", "500ms"]);
//! let settings = args.job.resolve()?;
//! assert_eq!(settings.workers.get(), 4);
//! assert_eq!(settings.checkpoint.interval, Some(std::time::Duration::from_millis(500)));
//! # Ok::<(), highwater_core::Error>(())
//! ```
//!
//! Invariants:
//!
//! * a value means the same in every source: each source yields text, and one parser per setting reads it;
//! * nothing that was given is passed over: what no setting is named after, or what its setting cannot be, is refused with
//!   the place it was given at, unless a source before it gave that setting too.

mod args;
mod file;
mod key;
mod restart;
mod sources;
#[cfg(test)]
mod tests;
mod value;

use std::num::NonZeroUsize;
use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, RestartStrategy};
use highwater_control::Heartbeats;
use highwater_core::{Error, JobName, MaxParallelism, Parallelism, Result};
use highwater_runtime::ClaimMode;

pub use args::JobArgs;
use key::Key;
use sources::Sources;

/// How one run of a job is set up. Plain data: resolved from [`JobArgs`], or filled in by a program.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Worker threads of a job in one process. By default one per core.
    pub workers: NonZeroUsize,
    /// The number of key groups; `None` derives it from the parallelism by [`MaxParallelism::default_for`].
    pub max_parallelism: Option<MaxParallelism>,
    /// What this process is to the job.
    pub role: Role,
    /// The settings of a process of a cluster.
    pub cluster: ClusterSettings,
    /// Takes the place of the name that the program gives its job.
    pub job_name: Option<JobName>,
    /// Path or URI of where checkpoints are written and looked for at the start.
    pub checkpoint_dir: Option<String>,
    /// A folder on this machine for copies of what its processes write to the checkpoint directory, so that a restart reads them
    /// from here (Flink's local recovery); every process needs one of its own.
    pub local_recovery_dir: Option<String>,
    /// When checkpoints are taken, and what is tolerated.
    pub checkpoint: CheckpointConfig,
    /// Path or URI of where savepoints go whose request does not say.
    pub savepoint_dir: Option<String>,
    /// Whether and when the job runs again after a failure; `None` leaves it to [`RestartStrategy::default_for`].
    pub restart_strategy: Option<RestartStrategy>,
    /// Start without state although the checkpoint directory holds a checkpoint.
    pub fresh: bool,
    /// Path or URI of the snapshot to start from, instead of the newest checkpoint.
    pub restore: Option<String>,
    /// Whether the snapshot to start from is the job's to delete.
    pub claim_mode: ClaimMode,
    /// Drop restored state of operators that the program does not have.
    pub allow_non_restored_state: bool,
    /// Directory of the [control socket](crate::StreamExecutionEnvironment::control_socket); `None` stands for the user's own.
    pub run_dir: Option<String>,
    /// How many bytes of memory a process may take before the job fails with an error that says so, rather than the system ends
    /// the process; `None` for no bound. By default nine tenths of what the machine or its container has.
    pub memory_budget: Option<u64>,
    /// How log lines are written.
    pub log_format: LogFormat,
    /// Print what the job stores and end, instead of running it: `--describe`, see
    /// [`describe`](crate::StreamExecutionEnvironment::describe).
    pub describe: bool,
}

/// What a process is to its job.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// All of it.
    #[default]
    Run,
    /// A JobManager of a cluster: leads the job, or stands by.
    JobManager,
    /// A TaskManager of a cluster: has workers.
    TaskManager,
}

/// The settings of a process of a cluster. Each role has a use for some of them.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterSettings {
    /// Workers of the whole job; `None` for as many as there are slots.
    pub parallelism: Option<Parallelism>,
    /// With fewer slots the job waits.
    pub min_parallelism: Parallelism,
    /// `host:port` of the JobManagers, or some of them, separated by commas.
    pub job_managers: Option<String>,
    /// How many workers a TaskManager can have.
    pub slots: NonZeroUsize,
    /// `host:port` to listen at.
    pub listen: Option<String>,
    /// `host:port` where the others reach it, if that is another.
    pub advertise: Option<String>,
    /// `host:port` where a TaskManager answers probes; a JobManager does where it listens.
    pub health: Option<String>,
    /// Path or URI of what all JobManagers of the job share; `None` for the checkpoint directory.
    pub ha_dir: Option<String>,
    /// Tells the cluster from another that runs the same job.
    pub cluster_id: String,
    /// How long a JobManager leads without a sign of life in the HA directory.
    pub lease: Duration,
    /// How long the job waits for lost slots before it goes on with fewer.
    pub resource_wait: Duration,
    /// How long an attempt runs at least before it is interrupted to use new slots.
    pub scale_up_pause: Duration,
    /// How long a TaskManager that is told to stop waits for the job to go on without it.
    pub leave_timeout: Duration,
    /// How silent processes are noticed.
    pub heartbeats: Heartbeats,
}

impl Default for ClusterSettings {
    fn default() -> Self {
        ClusterSettings {
            parallelism: None,
            min_parallelism: Parallelism::new(1).expect("one is above zero"),
            job_managers: None,
            slots: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            listen: None,
            advertise: None,
            health: None,
            ha_dir: None,
            cluster_id: "default".to_owned(),
            lease: Duration::from_secs(2),
            resource_wait: Duration::from_secs(10),
            scale_up_pause: Duration::from_secs(30),
            leave_timeout: Duration::from_secs(60),
            heartbeats: Heartbeats::default(),
        }
    }
}

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            workers: std::thread::available_parallelism().unwrap_or(NonZeroUsize::MIN),
            max_parallelism: None,
            role: Role::default(),
            cluster: ClusterSettings::default(),
            job_name: None,
            checkpoint_dir: None,
            local_recovery_dir: None,
            checkpoint: CheckpointConfig::default(),
            savepoint_dir: None,
            restart_strategy: None,
            fresh: false,
            restore: None,
            claim_mode: ClaimMode::default(),
            allow_non_restored_state: false,
            run_dir: None,
            memory_budget: highwater_runtime::default_memory_budget(),
            log_format: LogFormat::default(),
            describe: false,
        }
    }
}

impl Settings {
    /// The restart strategy: the one that is set, else exponential delay for a job that takes periodic checkpoints, and
    /// none for one that does not.
    pub fn restart_strategy(&self) -> RestartStrategy {
        self.restart_strategy.clone().unwrap_or_else(|| RestartStrategy::default_for(&self.checkpoint))
    }

    /// Every setting from the first source that gives it, else from `defaults`.
    fn merge(sources: &Sources<'_>, defaults: Settings) -> Result<Self> {
        let settings = Settings {
            workers: sources.parse(Key::Workers, defaults.workers, value::count)?,
            max_parallelism: sources.parse(Key::MaxParallelism, defaults.max_parallelism, value::max_parallelism)?,
            role: defaults.role,
            cluster: Self::merge_cluster(sources, defaults.cluster)?,
            job_name: sources.parse(Key::JobName, defaults.job_name, value::job_name)?,
            checkpoint_dir: sources.parse(Key::CheckpointDir, defaults.checkpoint_dir, value::location)?,
            local_recovery_dir: sources.parse(Key::LocalRecoveryDir, defaults.local_recovery_dir, value::location)?,
            checkpoint: Self::merge_checkpoint(sources, defaults.checkpoint)?,
            savepoint_dir: sources.parse(Key::SavepointDir, defaults.savepoint_dir, value::location)?,
            restart_strategy: sources
                .parse(Key::RestartStrategy, defaults.restart_strategy, |text| restart::parse(text).map(Some))?,
            fresh: sources.parse(Key::Fresh, defaults.fresh, value::switch)?,
            restore: sources.parse(Key::Restore, defaults.restore, value::location)?,
            claim_mode: sources.parse(Key::ClaimMode, defaults.claim_mode, value::claim_mode)?,
            allow_non_restored_state: sources.parse(
                Key::AllowNonRestoredState,
                defaults.allow_non_restored_state,
                value::switch,
            )?,
            run_dir: sources.parse(Key::RunDir, defaults.run_dir, value::location)?,
            memory_budget: sources.parse(Key::MemoryBudget, defaults.memory_budget, value::memory_budget)?,
            log_format: sources.parse(Key::LogFormat, defaults.log_format, value::log_format)?,
            describe: defaults.describe,
        };
        settings.check(sources)?;
        Ok(settings)
    }

    fn merge_checkpoint(sources: &Sources<'_>, defaults: CheckpointConfig) -> Result<CheckpointConfig> {
        Ok(CheckpointConfig {
            interval: sources.parse(Key::CheckpointInterval, defaults.interval, value::interval)?,
            mode: sources.parse(Key::CheckpointMode, defaults.mode, value::checkpoint_mode)?,
            timeout: sources.parse(Key::CheckpointTimeout, defaults.timeout, value::time_above_zero)?,
            min_pause: sources.parse(Key::CheckpointMinPause, defaults.min_pause, value::time)?,
            max_concurrent: sources.parse(
                Key::MaxConcurrentCheckpoints,
                defaults.max_concurrent,
                value::number_above_zero,
            )?,
            tolerable_failures: sources.parse(
                Key::TolerableFailedCheckpoints,
                defaults.tolerable_failures,
                value::number,
            )?,
            retained: sources.parse(Key::RetainedCheckpoints, defaults.retained, value::number_above_zero)?,
        })
    }

    fn merge_cluster(sources: &Sources<'_>, defaults: ClusterSettings) -> Result<ClusterSettings> {
        let some = |text: &str| value::parallelism(text).map(Some);
        Ok(ClusterSettings {
            parallelism: sources.parse(Key::Parallelism, defaults.parallelism, some)?,
            min_parallelism: sources.parse(Key::MinParallelism, defaults.min_parallelism, value::parallelism)?,
            job_managers: sources.parse(Key::Jobmanager, defaults.job_managers, value::job_managers)?,
            slots: sources.parse(Key::Slots, defaults.slots, value::count)?,
            listen: sources.parse(Key::Listen, defaults.listen, value::address)?,
            advertise: sources.parse(Key::Advertise, defaults.advertise, value::address)?,
            health: sources.parse(Key::Health, defaults.health, value::address)?,
            ha_dir: sources.parse(Key::HaDir, defaults.ha_dir, value::location)?,
            cluster_id: sources.parse(Key::ClusterId, defaults.cluster_id, value::name)?,
            lease: sources.parse(Key::HaLease, defaults.lease, value::time_above_zero)?,
            resource_wait: sources.parse(Key::ResourceWait, defaults.resource_wait, value::time)?,
            scale_up_pause: sources.parse(Key::ScaleUpPause, defaults.scale_up_pause, value::time)?,
            leave_timeout: sources.parse(Key::LeaveTimeout, defaults.leave_timeout, value::time)?,
            heartbeats: Heartbeats {
                interval: sources.parse(
                    Key::HeartbeatInterval,
                    defaults.heartbeats.interval,
                    value::time_above_zero,
                )?,
                timeout: sources.parse(Key::HeartbeatTimeout, defaults.heartbeats.timeout, value::time_above_zero)?,
            },
        })
    }

    /// What a role cannot do without.
    fn check_role(&self) -> Result<()> {
        let ClusterSettings { listen, ha_dir, job_managers, .. } = &self.cluster;
        let missing = match self.role {
            Role::JobManager if listen.is_none() => {
                "a jobmanager needs an address to listen at: give --listen host:port"
            }
            Role::JobManager if ha_dir.is_none() && self.checkpoint_dir.is_none() => {
                "a jobmanager needs a place that it shares with those that stand by: give --ha-dir, or --checkpoint-dir for both"
            }
            Role::TaskManager if job_managers.is_none() => {
                "a taskmanager needs the JobManagers of its job: give --jobmanager host:port[,host:port..]"
            }
            Role::Run | Role::JobManager | Role::TaskManager => return Ok(()),
        };
        Err(Error::settings(missing))
    }

    /// What no setting can tell by itself.
    fn check(&self, sources: &Sources<'_>) -> Result<()> {
        let place = |key| sources.place(key);
        if self.fresh && self.restore.is_some() {
            return Err(Error::settings(format!(
                "{} and {} exclude each other: start without state, or from that snapshot",
                place(Key::Fresh),
                place(Key::Restore)
            )));
        }
        self.checkpoint.validate()?;
        self.restart_strategy().validate()
    }
}
