//! What is under way in the job: so an event comes in when everything before it has been dealt with, and the order in which a
//! job's threads run shows in nothing.
//!
//! The ledger is outside of the job and does not restart with it. A timer that was registered has to fire, once, in whatever run:
//! one that a restore has dropped is named by [`Ledger::is_quiet`]. When a run crashes, the ledger goes back to the checkpoint
//! that the next one restores.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater::{Error, ErrorKind, Result, TimeDomain, Timer};

use super::script::{Event, Kind};
use crate::HandSetClock;

/// How often one event looks whether its turn has come, a millisecond apart, before that counts as hanging.
const PATIENCE: u64 = 30_000;

/// How many functions are called for an event of this kind.
fn calls(kind: Kind, parallelism: usize) -> usize {
    match kind {
        Kind::Left => 4,
        Kind::Right | Kind::Item => 1,
        Kind::Rule => parallelism,
    }
}

/// Shared by the sources and functions of all runs.
#[derive(Clone, Default)]
pub struct Ledger {
    progress: Arc<Mutex<Progress>>,
    clock: Arc<HandSetClock>,
}

/// How far the job has come.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// The event that comes in next.
    pub next: u64,
    clock_ms: i64,
    watermark: Option<i64>,
    /// Calls that events still have before them.
    open_calls: usize,
    timers: BTreeSet<Pending>,
    looked: u64,
}

/// A timer that is to fire.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pending {
    is_event_time: bool,
    time_ms: i64,
    function: &'static str,
    key: u64,
}

impl Progress {
    fn is_due(&self, timer: &Pending) -> bool {
        match timer.is_event_time {
            true => self.watermark.is_some_and(|watermark| timer.time_ms <= watermark),
            false => timer.time_ms <= self.clock_ms,
        }
    }

    fn is_quiet(&self) -> bool {
        self.open_calls == 0 && !self.timers.iter().any(|timer| self.is_due(timer))
    }

    /// How many timers are pending: in processing time, and in event time.
    pub fn pending_timers(&self) -> [usize; 2] {
        let in_event_time = self.timers.iter().filter(|timer| timer.is_event_time).count();
        [self.timers.len() - in_event_time, in_event_time]
    }
}

impl Ledger {
    /// The clock of the job.
    pub fn clock(&self) -> Arc<HandSetClock> {
        Arc::clone(&self.clock)
    }

    /// How far the job has come, to go back to.
    pub fn progress(&self) -> Progress {
        self.lock().clone()
    }

    /// Goes back to where the next run begins.
    pub fn go_back(&self, to: Progress) {
        self.clock.unix_ms.store(to.clock_ms, Ordering::SeqCst);
        *self.lock() = Progress { looked: 0, ..to };
    }

    /// Whether `event` comes next and everything before it has been dealt with.
    ///
    /// # Errors
    /// If that takes too long, with what has not happened.
    pub fn is_quiet(&self, event: u64) -> Result<bool> {
        let mut progress = self.lock();
        if progress.next != event {
            return Ok(false);
        }
        progress.looked += 1;
        if progress.looked > PATIENCE {
            let missing: Vec<_> = progress.timers.iter().filter(|timer| progress.is_due(timer)).collect();
            let calls = progress.open_calls;
            let text = format!("before event {event}: {calls} calls did not come, and these timers: {missing:?}");
            return Err(Error::new(ErrorKind::Internal, text));
        }
        Ok(progress.is_quiet())
    }

    /// Sets the clock to the time of an event; whether all timers up to it have fired.
    pub fn clock_comes_to(&self, event: &Event) -> bool {
        let mut progress = self.lock();
        self.clock.unix_ms.store(event.clock_ms, Ordering::SeqCst);
        progress.clock_ms = event.clock_ms;
        progress.is_quiet()
    }

    /// An event comes in.
    pub fn emitted(&self, event: &Event, parallelism: usize) {
        let mut progress = self.lock();
        progress.next += 1;
        progress.looked = 0;
        progress.open_calls += calls(event.kind, parallelism);
        if event.kind != Kind::Item {
            progress.watermark = Some(event.event_ms - 1);
        }
    }

    /// A function has been called for an event.
    pub fn called(&self) {
        let mut progress = self.lock();
        progress.open_calls = progress.open_calls.checked_sub(1).expect("an event is delivered once");
    }

    /// A function registers a timer, in processing time or in event time.
    pub fn registers(&self, function: &'static str, domain: TimeDomain, time_ms: i64, key: u64) {
        let is_event_time = domain == TimeDomain::EventTime;
        self.lock().timers.insert(Pending { is_event_time, time_ms, function, key });
    }

    /// A timer has fired.
    pub fn fired(&self, function: &'static str, timer: Timer, key: u64) {
        let is_event_time = timer.domain == TimeDomain::EventTime;
        let timer = Pending { is_event_time, time_ms: timer.time_ms, function, key };
        assert!(self.lock().timers.remove(&timer), "{timer:?} fires though it was not pending");
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
