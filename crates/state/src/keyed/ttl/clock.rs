//! The present, as the states of a task see it.
//!
//! A row cannot know what time it is, and a read has no argument for it. So every state with a time-to-live holds on
//! to the clock of its task and field, which the task sets before it calls the function. One pointer a state and row;
//! nothing is written to a row when time passes.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use highwater_core::{Error, Result};

use super::{StateTtlConfig, StateVisibility, TtlTimeCharacteristic, UpdateType};
use crate::keyed::KeyedState;

/// The stamp of what was stored without one, by a program in which the state had no time-to-live: it does not expire,
/// and is stamped with the present when it is first seen.
pub const NO_STAMP: i64 = i64::MIN;

/// Present and settings of one state with a time-to-live, in one task.
#[derive(Debug)]
pub struct TtlClock {
    config: StateTtlConfig,
    ttl_ms: i64,
    // Rows may move to another thread, so their clock must be `Sync`. The task alone sets it, between calls.
    /// The stamp of an access.
    stamp: AtomicI64,
    /// What has this stamp or a lower one has expired.
    cutoff: AtomicI64,
}

impl TtlClock {
    fn new(config: StateTtlConfig) -> Self {
        let ttl_ms = i64::try_from(config.ttl.as_millis()).unwrap_or(i64::MAX);
        TtlClock { config, ttl_ms, stamp: AtomicI64::new(NO_STAMP), cutoff: AtomicI64::new(NO_STAMP) }
    }

    fn set(&self, now_ms: i64) {
        self.stamp.store(now_ms, Ordering::Relaxed);
        // Where this saturates, it is at the lowest number, which as a stamp stands for none.
        self.cutoff.store(now_ms.saturating_sub(self.ttl_ms), Ordering::Relaxed);
    }

    /// The stamp of something that is created now.
    pub(super) fn stamp(&self) -> i64 {
        self.stamp.load(Ordering::Relaxed)
    }

    /// The stamp after an access of what had `stamp`.
    pub(super) fn renewed(&self, stamp: i64) -> i64 {
        match self.config.time {
            // A clock that was set back is believed.
            TtlTimeCharacteristic::ProcessingTime => self.stamp(),
            // Records may come in any order.
            TtlTimeCharacteristic::EventTime => self.stamp().max(stamp),
        }
    }

    pub(super) fn has_expired(&self, stamp: i64) -> bool {
        stamp != NO_STAMP && stamp <= self.cutoff.load(Ordering::Relaxed)
    }

    pub(super) fn is_visible(&self, stamp: i64) -> bool {
        self.config.visibility == StateVisibility::ReturnExpiredIfNotCleanedUp || !self.has_expired(stamp)
    }

    pub(super) fn is_renewed_by_reads(&self) -> bool {
        self.config.update == UpdateType::OnReadAndWrite
    }

    fn follows(&self, time: TtlTimeCharacteristic) -> bool {
        self.config.time == time
    }
}

/// The clocks of all states with a time-to-live of one task, in the order of [`KeyedState::ttl_configs`].
///
/// A task sets them before it calls the function, and has each row [follow](KeyedState::follow) them.
#[derive(Clone, Debug)]
pub struct TtlClocks {
    clocks: Vec<Arc<TtlClock>>,
    has_event_time: bool,
}

impl TtlClocks {
    /// The clocks of the states of `S`. It is not yet any time: nothing expires, nothing is stamped.
    ///
    /// # Errors
    /// If a time-to-live is below one millisecond.
    pub fn of<S: KeyedState>() -> Result<Self> {
        let clock = |(name, config): (&str, StateTtlConfig)| {
            let clock = TtlClock::new(config);
            if clock.ttl_ms > 0 {
                return Ok(Arc::new(clock));
            }
            Err(Error::settings(format!(
                "the ttl of state `{name}` is {:?}: give 1 ms or more, or declare the state without ttl",
                config.ttl
            )))
        };
        let clocks = S::ttl_configs().into_iter().map(clock).collect::<Result<Vec<_>>>()?;
        let has_event_time = clocks.iter().any(|clock| clock.follows(TtlTimeCharacteristic::EventTime));
        Ok(TtlClocks { clocks, has_event_time })
    }

    /// Sets the present, in ms since the Unix epoch.
    pub fn set(&self, time: TtlTimeCharacteristic, now_ms: i64) {
        self.clocks.iter().filter(|clock| clock.follows(time)).for_each(|clock| clock.set(now_ms));
    }

    /// Has accesses in event time stamped with the time of a record or timer, `time_ms`, until the next one or until
    /// the present is set: but not below `watermark_ms`, so that what a late record writes has not expired at once.
    #[inline]
    pub fn set_record(&self, time_ms: i64, watermark_ms: i64) {
        if self.has_event_time {
            let stamp = time_ms.max(watermark_ms);
            let clocks = self.clocks.iter().filter(|clock| clock.follows(TtlTimeCharacteristic::EventTime));
            clocks.for_each(|clock| clock.stamp.store(stamp, Ordering::Relaxed));
        }
    }

    /// The shortest time-to-live in this time, in ms, if there is any.
    pub fn shortest_ttl_ms(&self, time: TtlTimeCharacteristic) -> Option<i64> {
        self.clocks.iter().filter(|clock| clock.follows(time)).map(|clock| clock.ttl_ms).min()
    }

    /// The longest time-to-live in this time, in ms, if there is any.
    pub(crate) fn longest_ttl_ms(&self, time: TtlTimeCharacteristic) -> Option<i64> {
        self.clocks.iter().filter(|clock| clock.follows(time)).map(|clock| clock.ttl_ms).max()
    }

    /// Clocks that show what these show now, and stay at it.
    pub(crate) fn detached(&self) -> Self {
        let detached = |clock: &Arc<TtlClock>| Arc::new(TtlClock::new(clock.config));
        let all = TtlClocks { clocks: self.clocks.iter().map(detached).collect(), has_event_time: self.has_event_time };
        all.set_to(self);
        all
    }

    /// Shows what `other` does, which are clocks of the same type.
    pub(crate) fn set_to(&self, other: &TtlClocks) {
        for (clock, other) in self.clocks.iter().zip(&other.clocks) {
            clock.stamp.store(other.stamp.load(Ordering::Relaxed), Ordering::Relaxed);
            clock.cutoff.store(other.cutoff.load(Ordering::Relaxed), Ordering::Relaxed);
        }
    }

    /// The clock of the state at `index`.
    ///
    /// # Panics
    /// If the clocks are of another type.
    #[inline]
    pub fn clock(&self, index: usize) -> &Arc<TtlClock> {
        &self.clocks[index]
    }
}
