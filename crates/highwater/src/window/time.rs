//! Windows themselves: intervals of time, or all of it.

use std::fmt::Debug;

use highwater_state::Data;

/// A part of a keyed stream that is computed together.
pub trait Window: Data + Copy + Ord + Debug + Sync {
    /// The last time that belongs to the window, in ms since the Unix epoch: when the watermark is there, it is complete.
    fn max_timestamp(&self) -> i64;

    /// The window that takes the place of this one and of `other`, if they are to be one: only for windows that merge.
    fn merged(&self, other: &Self) -> Option<Self>;
}

/// The times from `start_ms` up to, but not including, `end_ms`, in ms since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
#[data(crate = "highwater_state")]
pub struct TimeWindow {
    /// The first time in it.
    pub start_ms: i64,
    /// The first time after it.
    pub end_ms: i64,
}

impl TimeWindow {
    /// A window from `start_ms` up to, but not including, `end_ms`.
    pub fn new(start_ms: i64, end_ms: i64) -> Self {
        TimeWindow { start_ms, end_ms }
    }
}

impl Window for TimeWindow {
    #[inline]
    fn max_timestamp(&self) -> i64 {
        self.end_ms - 1
    }

    /// Windows that overlap or touch become one.
    fn merged(&self, other: &Self) -> Option<Self> {
        let meet = self.start_ms <= other.end_ms && other.start_ms <= self.end_ms;
        meet.then(|| TimeWindow::new(self.start_ms.min(other.start_ms), self.end_ms.max(other.end_ms)))
    }
}

/// The one window that never ends: what comes out of it, and when, is up to its trigger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
#[data(crate = "highwater_state")]
pub struct GlobalWindow;

impl Window for GlobalWindow {
    fn max_timestamp(&self) -> i64 {
        i64::MAX
    }

    fn merged(&self, _: &Self) -> Option<Self> {
        Some(GlobalWindow)
    }
}
