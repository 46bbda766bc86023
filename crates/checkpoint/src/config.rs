//! The settings of checkpointing: Flink's `execution.checkpointing.*` with Flink's defaults, but one: two completed
//! checkpoints are kept, so that there is one to fall back to if the newest is damaged.

use std::time::Duration;

use highwater_core::{Error, Result};
use serde::{Deserialize, Serialize};

/// What a record that arrives while a barrier is passing means for the state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum CheckpointingMode {
    /// A snapshot of epoch e reflects exactly the records of epochs up to e.
    #[default]
    ExactlyOnce,
    /// Records of later epochs may be in the snapshot already, and are applied again after a restore. Nothing waits.
    AtLeastOnce,
}

/// When checkpoints are taken, and what is tolerated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointConfig {
    /// From the start of one periodic checkpoint to the start of the next; `None` switches periodic checkpoints off.
    pub interval: Option<Duration>,
    /// Exactly once or at least once.
    pub mode: CheckpointingMode,
    /// A checkpoint that some task has not acknowledged this long after its start expires.
    pub timeout: Duration,
    /// No periodic checkpoint starts earlier than this after the end of the one before, however that ended. A pause above
    /// zero implies that there is one checkpoint at a time.
    pub min_pause: Duration,
    /// How many checkpoints may be pending at once.
    pub max_concurrent: u32,
    /// How many checkpoints in a row may fail before the job fails.
    pub tolerable_failures: u32,
    /// How many completed checkpoints are kept.
    pub retained: u32,
}

impl Default for CheckpointConfig {
    fn default() -> Self {
        CheckpointConfig {
            interval: None,
            mode: CheckpointingMode::ExactlyOnce,
            timeout: Duration::from_secs(600),
            min_pause: Duration::ZERO,
            max_concurrent: 1,
            tolerable_failures: 0,
            retained: 2,
        }
    }
}

impl CheckpointConfig {
    /// Checks that a job can run with these settings.
    ///
    /// # Errors
    /// [`ErrorKind::Settings`](highwater_core::ErrorKind::Settings), naming the setting and what to give instead.
    pub fn validate(&self) -> Result<()> {
        let wrong = if self.interval == Some(Duration::ZERO) {
            "checkpoint interval is 0: give a time above 0, or none to switch periodic checkpoints off"
        } else if self.timeout.is_zero() {
            "checkpoint timeout is 0, so that every checkpoint would expire at once: give a time above 0"
        } else if self.max_concurrent == 0 {
            "max concurrent checkpoints is 0, so that none could start: give 1 or more"
        } else if self.retained == 0 {
            "retained checkpoints is 0, so that there would be none to restore: give 1 or more"
        } else {
            return Ok(());
        };
        Err(Error::settings(wrong))
    }

    /// How many checkpoints may be pending at once, given that a minimum pause allows only one.
    pub(crate) fn concurrency(&self) -> usize {
        if self.min_pause.is_zero() { self.max_concurrent as usize } else { 1 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_flinks_but_for_a_second_checkpoint_to_fall_back_to() {
        let config = CheckpointConfig::default();
        assert_eq!((config.interval, config.mode), (None, CheckpointingMode::ExactlyOnce));
        assert_eq!((config.timeout, config.min_pause), (Duration::from_secs(600), Duration::ZERO));
        assert_eq!((config.max_concurrent, config.tolerable_failures, config.retained), (1, 0, 2));
        config.validate().unwrap();
    }

    #[test]
    fn settings_that_cannot_work_are_refused_by_name() {
        let good = CheckpointConfig::default();
        for (bad, name) in [
            (CheckpointConfig { interval: Some(Duration::ZERO), ..good.clone() }, "interval"),
            (CheckpointConfig { timeout: Duration::ZERO, ..good.clone() }, "timeout"),
            (CheckpointConfig { max_concurrent: 0, ..good.clone() }, "max concurrent"),
            (CheckpointConfig { retained: 0, ..good.clone() }, "retained"),
        ] {
            let error = bad.validate().unwrap_err();
            assert!(error.message().contains(name), "{error}");
        }
    }

    #[test]
    fn a_minimum_pause_leaves_room_for_one_checkpoint() {
        let several = CheckpointConfig { max_concurrent: 3, ..CheckpointConfig::default() };
        assert_eq!(several.concurrency(), 3);
        assert_eq!(CheckpointConfig { min_pause: Duration::from_secs(1), ..several }.concurrency(), 1);
    }
}
