//! When events are due on the machine's clock, for runs that measure latency: the stream runs through its event time at a fixed
//! speed, whether or not the job keeps up.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use highwater_core::Clock;

use crate::generator::{BASE_TIME_MS, EVENTS_PER_SECOND};

/// At what rate events come, of all generators together. It begins when it is first asked, and all who share it agree on that moment.
pub struct Pace {
    per_second: u64,
    clock: Arc<dyn Clock>,
    began: OnceLock<Duration>,
}

impl Pace {
    /// Event by event at `per_second`, which is at least 1, by `clock`.
    pub fn new(per_second: u64, clock: Arc<dyn Clock>) -> Self {
        Pace { per_second: per_second.max(1), clock, began: OnceLock::new() }
    }

    /// For how long it has been going.
    pub fn elapsed(&self) -> Duration {
        let now = self.clock.monotonic();
        now.saturating_sub(*self.began.get_or_init(|| now))
    }

    /// When what happens at the event time `date_time` is due, since the beginning.
    pub fn due(&self, date_time: i64) -> Duration {
        let event_ms = u64::try_from(date_time.saturating_sub(BASE_TIME_MS)).unwrap_or(0);
        let ns = u128::from(event_ms) * 1_000_000 * u128::from(EVENTS_PER_SECOND) / u128::from(self.per_second);
        Duration::from_nanos(u64::try_from(ns).unwrap_or(u64::MAX))
    }
}

impl fmt::Debug for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pace").field("per_second", &self.per_second).field("began", &self.began).finish_non_exhaustive()
    }
}
