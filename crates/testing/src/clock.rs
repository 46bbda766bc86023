//! A clock whose time of day is set by hand.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use highwater_core::{Clock, SystemClock};

/// Shows the time of day that it was set to, so that processing time is what a test says. Monotonic time is the machine's.
#[derive(Debug, Default)]
pub struct HandSetClock {
    /// The time of day, in ms since 1970-01-01 00:00 UTC.
    pub unix_ms: AtomicI64,
    machine: SystemClock,
}

impl Clock for HandSetClock {
    fn monotonic(&self) -> Duration {
        self.machine.monotonic()
    }

    fn unix_ms(&self) -> i64 {
        self.unix_ms.load(Ordering::SeqCst)
    }
}
