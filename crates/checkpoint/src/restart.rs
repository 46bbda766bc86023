//! Whether and when a job runs again after a failure: Flink's [restart strategies].
//!
//! [restart strategies]: https://nightlies.apache.org/flink/flink-docs-stable/docs/ops/state/task_failure_recovery/

use std::collections::VecDeque;
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};

use crate::config::CheckpointConfig;

/// What to do after a failure.
#[derive(Clone, Debug, PartialEq)]
pub enum RestartStrategy {
    /// Never restart.
    None,
    /// Restart after the same delay each time.
    FixedDelay {
        /// How many restarts there may be over the life of the job.
        attempts: u32,
        /// Before each.
        delay: Duration,
    },
    /// Restart after a delay that grows from failure to failure, until the job has run well for a while.
    ExponentialDelay {
        /// Before the first restart.
        initial: Duration,
        /// Each delay is this times the one before: at least 1.
        multiplier: f64,
        /// The longest delay.
        max: Duration,
        /// After running this long the delay starts over, and so does the count of attempts.
        reset_after: Duration,
        /// The delay varies by up to this share of it, so that jobs that failed together do not return together: 0 to 1.
        jitter: f64,
        /// How many restarts there may be before the job has run for `reset_after`; without limit if `None`.
        attempts: Option<u32>,
    },
    /// Restart unless failures come too often.
    FailureRate {
        /// How many failures there may be in any `interval`.
        max_failures: u32,
        /// The time in which failures are counted.
        interval: Duration,
        /// Before each restart.
        delay: Duration,
    },
}

impl Default for RestartStrategy {
    fn default() -> Self {
        RestartStrategy::ExponentialDelay {
            initial: Duration::from_secs(1),
            multiplier: 1.5,
            max: Duration::from_secs(60),
            reset_after: Duration::from_secs(3600),
            jitter: 0.1,
            attempts: None,
        }
    }
}

impl RestartStrategy {
    /// The default for a job with these checkpoints: none if there are none, since each restart would begin from nothing.
    pub fn default_for(config: &CheckpointConfig) -> Self {
        if config.interval.is_some() { Self::default() } else { RestartStrategy::None }
    }

    /// Checks that a job can run with this strategy.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`], naming the setting and what to give instead.
    pub fn validate(&self) -> Result<()> {
        let wrong = match self {
            RestartStrategy::None | RestartStrategy::FixedDelay { .. } => return Ok(()),
            RestartStrategy::ExponentialDelay { initial, multiplier, max, jitter, .. } => {
                if initial.is_zero() || initial > max {
                    format!("initial restart delay is {initial:?}: give a time above 0 and up to the longest, {max:?}")
                } else if !(multiplier.is_finite() && *multiplier >= 1.0) {
                    format!("restart delay multiplier is {multiplier}: give 1 or more")
                } else if !(0.0..=1.0).contains(jitter) {
                    format!("restart delay jitter is {jitter}: give a share from 0 to 1")
                } else {
                    return Ok(());
                }
            }
            RestartStrategy::FailureRate { interval, .. } if interval.is_zero() => {
                "failure rate interval is 0, so that failures would never be counted: give a time above 0".to_owned()
            }
            RestartStrategy::FailureRate { .. } => return Ok(()),
        };
        Err(Error::settings(wrong))
    }
}

/// The end of an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The kind of its error.
    pub kind: ErrorKind,
    /// When, in monotonic time.
    pub at: Duration,
    /// Since when all tasks of the attempt had been running, if they ever were.
    pub running_since: Option<Duration>,
}

/// What to do about a failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    /// Start the next attempt after this long.
    RestartAfter(Duration),
    /// The job has failed.
    GiveUp {
        /// For people.
        why: String,
    },
}

/// A strategy and what it has seen so far.
#[derive(Debug)]
pub struct Restarts {
    strategy: RestartStrategy,
    /// Restarts, since the last reset where the strategy has one.
    attempts: u32,
    /// The delay of the last restart without its jitter, since the last reset.
    backoff: Option<Duration>,
    /// When the failures within the interval of a failure rate were, oldest first.
    recent: VecDeque<Duration>,
}

impl Restarts {
    /// Begins with no failure.
    ///
    /// # Errors
    /// If the strategy is not [valid](RestartStrategy::validate).
    pub fn new(strategy: RestartStrategy) -> Result<Self> {
        strategy.validate()?;
        Ok(Restarts { strategy, attempts: 0, backoff: None, recent: VecDeque::new() })
    }

    /// Decides about a failure. `jitter_unit` is a random number in `0.0..1.0`.
    ///
    /// An error that no restart can mend ends the job under every strategy.
    pub fn on_failure(&mut self, failure: Failure, jitter_unit: f64) -> Decision {
        if !failure.kind.is_recoverable() {
            return give_up(format!("an error of kind '{}' would come again after a restart", failure.kind));
        }
        match self.strategy {
            RestartStrategy::None => give_up("the restart strategy is none".to_owned()),
            RestartStrategy::FixedDelay { attempts, delay } => self.restart_within(Some(attempts), delay),
            RestartStrategy::ExponentialDelay { initial, multiplier, max, reset_after, jitter, attempts } => {
                let ran_for = failure.running_since.map(|since| failure.at.saturating_sub(since));
                if ran_for.is_some_and(|ran_for| ran_for >= reset_after) {
                    (self.attempts, self.backoff) = (0, None);
                }
                let backoff = self.backoff.map_or(initial, |last| scaled(last, multiplier, max));
                self.backoff = Some(backoff);
                let factor = 1.0 + jitter * (2.0 * jitter_unit - 1.0);
                self.restart_within(attempts, scaled(backoff, factor, max).max(initial))
            }
            RestartStrategy::FailureRate { max_failures, interval, delay } => {
                self.recent.push_back(failure.at);
                self.recent.retain(|at| failure.at.saturating_sub(*at) < interval);
                if self.recent.len() > max_failures as usize {
                    return give_up(format!(
                        "{} failures within {interval:?}, {max_failures} allowed",
                        self.recent.len()
                    ));
                }
                Decision::RestartAfter(delay)
            }
        }
    }

    fn restart_within(&mut self, allowed: Option<u32>, delay: Duration) -> Decision {
        if let Some(allowed) = allowed.filter(|allowed| self.attempts >= *allowed) {
            return give_up(format!("restarted {} times, {allowed} allowed", self.attempts));
        }
        self.attempts = self.attempts.saturating_add(1);
        Decision::RestartAfter(delay)
    }
}

fn give_up(why: String) -> Decision {
    Decision::GiveUp { why }
}

/// `delay * factor` up to `max`; `max` also where the product is no duration.
fn scaled(delay: Duration, factor: f64, max: Duration) -> Duration {
    Duration::try_from_secs_f64(delay.as_secs_f64() * factor).map_or(max, |scaled| scaled.min(max))
}
