//! The settings of a JobManager, and what it knows of its job.

use std::time::Duration;

use highwater_checkpoint::RestartStrategy;
use highwater_core::{Error, MaxParallelism, Parallelism, Result};

/// How a JobManager treats processes.
///
/// The heartbeat is Flink's `heartbeat.interval` and `heartbeat.timeout` (there 10 s and 50 s): faster, since the heartbeats of a
/// few hundred TaskManagers cost nothing, and five seconds is long for a process that has said nothing ten times.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// How often TaskManagers and the JobManager let each other know that they live.
    pub heartbeat_interval: Duration,
    /// A TaskManager that nothing was heard of for this long is given up.
    pub heartbeat_timeout: Duration,
    /// How long the job waits for slots that it has lost, or that it is to start with, before it goes on with fewer. Flink's
    /// `submission.resource-wait-timeout`, but that the job then fails there if slots are short of the minimum; here it waits on.
    pub resource_wait: Duration,
    /// New slots are used when none came or went for this long. Flink's `resource-stabilization-timeout`.
    pub scale_up_wait: Duration,
    /// The job is not interrupted for new slots sooner than this after it was deployed. Flink's `scaling-interval.min`.
    pub scale_up_pause: Duration,
    /// A TaskManager that has not dropped its part of an attempt this long after it was told to is given up.
    pub release_timeout: Duration,
    /// How many workers the job is to have: as many as there are slots, if `None` (Flink's reactive mode).
    pub parallelism: Option<Parallelism>,
    /// With fewer slots than this the job waits.
    pub min_parallelism: Parallelism,
    /// What follows from a failure.
    pub restart: RestartStrategy,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            heartbeat_interval: Duration::from_millis(500),
            heartbeat_timeout: Duration::from_secs(5),
            resource_wait: Duration::from_secs(10),
            scale_up_wait: Duration::from_secs(1),
            scale_up_pause: Duration::from_secs(30),
            release_timeout: Duration::from_secs(60),
            parallelism: None,
            min_parallelism: Parallelism::new(1).expect("one is above zero"),
            restart: RestartStrategy::default(),
        }
    }
}

/// What is known of a job before it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JobFacts {
    /// How many key groups: there are never more workers.
    pub max_parallelism: MaxParallelism,
    /// Whether it takes checkpoints. One that does not is never interrupted in order to change its parallelism.
    pub has_checkpoints: bool,
    /// Differs between jobs that fail together, so that they do not return together.
    pub seed: u64,
}

impl Config {
    /// Checks that a job can run with these settings.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](highwater_core::ErrorKind::Settings), naming the setting and what to give instead.
    pub fn validate(&self, facts: &JobFacts) -> Result<()> {
        self.restart.validate()?;
        let (interval, timeout) = (self.heartbeat_interval, self.heartbeat_timeout);
        let (min, max) = (self.min_parallelism.count(), facts.max_parallelism.count());
        if interval.is_zero() {
            return Err(Error::settings("heartbeat interval is 0: give a time above 0"));
        }
        if timeout < interval.saturating_mul(2) {
            return Err(Error::settings(format!(
                "heartbeat timeout is {timeout:?} with a heartbeat every {interval:?}, so that one late heartbeat would \
                 end a process: give at least twice the interval"
            )));
        }
        if self.release_timeout.is_zero() {
            return Err(Error::settings(
                "release timeout is 0, so that no attempt could be ended: give a time above 0",
            ));
        }
        match self.parallelism.map(Parallelism::count) {
            Some(wanted) if wanted > max => Err(Error::settings(format!(
                "parallelism {wanted} is above the max parallelism {max}: lower the first, or raise the second if there is no \
                 state to keep"
            ))),
            Some(wanted) if wanted < min => Err(Error::settings(format!(
                "min parallelism {min} is above the parallelism {wanted}: lower the first or raise the second"
            ))),
            _ if min > max => Err(Error::settings(format!(
                "min parallelism {min} is above the max parallelism {max}: lower the first"
            ))),
            Some(_) | None => Ok(()),
        }
    }
}
