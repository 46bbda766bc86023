//! When a window's result is computed.
//!
//! A trigger is asked after each record of a window, and when a time comes that it has asked for: it does so by answering, from its
//! state, what the next such time is. So there are no timers to register or take back, and none that are left over when windows
//! merge or go.

use highwater_core::Clock;
use highwater_runtime::TimeDomain;
use highwater_state::Data;

use super::time::Window;

mod continuous;
mod elements;

pub use continuous::{ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger};
pub use elements::{CountTrigger, DeltaTrigger};

/// What happens to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TriggerResult {
    /// Nothing.
    Continue,
    /// Its result is computed, its contents stay.
    Fire,
    /// Its contents are dropped.
    Purge,
    /// Its result is computed, its contents are dropped.
    FireAndPurge,
}

impl TriggerResult {
    pub(super) fn fires(self) -> bool {
        matches!(self, TriggerResult::Fire | TriggerResult::FireAndPurge)
    }

    pub(super) fn purges(self) -> bool {
        matches!(self, TriggerResult::Purge | TriggerResult::FireAndPurge)
    }
}

/// What a trigger may know of the present.
#[derive(Clone, Copy)]
pub struct TriggerContext<'a> {
    pub(super) watermark: i64,
    pub(super) clock: &'a dyn Clock,
}

impl TriggerContext<'_> {
    /// The task's watermark, in ms since the Unix epoch.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine's clock, in ms since the Unix epoch.
    pub fn processing_time(&self) -> i64 {
        self.clock.unix_ms()
    }
}

/// Decides when windows of records `T` fire.
pub trait Trigger<T, W: Window>: Clone + Send + Sync + 'static {
    /// What it keeps for each key and window; in checkpoints.
    type State: Data + Default;

    /// The clock that it follows, if all it does is to fire once when that reaches the last time of the window, and again for each
    /// late record.
    const FIRES_AT_END: Option<TimeDomain> = None;

    /// What is wrong with the settings, and what to do.
    ///
    /// # Errors
    /// If the trigger cannot be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }

    /// Called for each record of the window, which has it already.
    fn on_element(
        &self,
        record: &T,
        time_ms: i64,
        window: &W,
        state: &mut Self::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult;

    /// Called when the watermark reaches a time that [`next_event_time`](Self::next_event_time) has named.
    fn on_event_time(
        &self,
        time_ms: i64,
        window: &W,
        state: &mut Self::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        let _ = (time_ms, window, state, context);
        TriggerResult::Continue
    }

    /// Called when the machine's clock reaches a time that [`next_processing_time`](Self::next_processing_time) has named.
    fn on_processing_time(
        &self,
        time_ms: i64,
        window: &W,
        state: &mut Self::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        let _ = (time_ms, window, state, context);
        TriggerResult::Continue
    }

    /// The first event time later than `after_ms` at which the trigger is to be called.
    fn next_event_time(&self, window: &W, state: &Self::State, after_ms: i64) -> Option<i64> {
        let _ = (window, state, after_ms);
        None
    }

    /// The first processing time later than `after_ms` at which the trigger is to be called: at once, if that is past.
    fn next_processing_time(&self, window: &W, state: &Self::State, after_ms: i64) -> Option<i64> {
        let _ = (window, state, after_ms);
        None
    }

    /// Another window has become part of this one, and `other` was its state.
    fn merge(&self, state: &mut Self::State, other: Self::State);

    /// Whether `state` is as good as new. A window that was purged and has nothing else to remember is forgotten, so that a key
    /// whose records are all dealt with takes no memory.
    fn is_initial(&self, state: &Self::State) -> bool {
        let _ = state;
        size_of::<Self::State>() == 0
    }
}

/// Fires when the watermark reaches the end of the window, and then for each late record.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    type State = ();
    const FIRES_AT_END: Option<TimeDomain> = Some(TimeDomain::EventTime);

    #[inline]
    fn on_element(&self, _: &T, _: i64, window: &W, (): &mut (), context: TriggerContext<'_>) -> TriggerResult {
        if window.max_timestamp() <= context.watermark { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn on_event_time(&self, _: i64, _: &W, (): &mut (), _: TriggerContext<'_>) -> TriggerResult {
        TriggerResult::Fire
    }

    #[inline]
    fn next_event_time(&self, window: &W, (): &(), after_ms: i64) -> Option<i64> {
        Some(window.max_timestamp()).filter(|end| *end > after_ms)
    }

    fn merge(&self, (): &mut (), (): ()) {}
}

/// Fires when the machine's clock reaches the end of the window. A window in event time whose end is past by that clock fires at once
/// for whatever has come.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    /// Whether something has come since it fired.
    type State = bool;
    const FIRES_AT_END: Option<TimeDomain> = Some(TimeDomain::ProcessingTime);

    #[inline]
    fn on_element(&self, _: &T, _: i64, _: &W, waits: &mut bool, _: TriggerContext<'_>) -> TriggerResult {
        *waits = true;
        TriggerResult::Continue
    }

    fn on_processing_time(&self, _: i64, _: &W, waits: &mut bool, _: TriggerContext<'_>) -> TriggerResult {
        *waits = false;
        TriggerResult::Fire
    }

    #[inline]
    fn next_processing_time(&self, window: &W, waits: &bool, after_ms: i64) -> Option<i64> {
        Some(window.max_timestamp()).filter(|end| *waits && *end > after_ms)
    }

    fn merge(&self, waits: &mut bool, other: bool) {
        *waits |= other;
    }

    fn is_initial(&self, waits: &bool) -> bool {
        !waits
    }
}

/// Never fires: what a global window has until another trigger is set.
#[derive(Clone, Copy, Debug, Default)]
pub struct NeverTrigger;

impl<T, W: Window> Trigger<T, W> for NeverTrigger {
    type State = ();

    fn on_element(&self, _: &T, _: i64, _: &W, (): &mut (), _: TriggerContext<'_>) -> TriggerResult {
        TriggerResult::Continue
    }

    fn merge(&self, (): &mut (), (): ()) {}
}

/// Drops the contents of a window whenever another trigger fires.
#[derive(Clone, Copy, Debug)]
pub struct PurgingTrigger<Tr>(Tr);

impl<Tr> PurgingTrigger<Tr> {
    /// Purges whenever `trigger` fires.
    pub fn of(trigger: Tr) -> Self {
        PurgingTrigger(trigger)
    }
}

fn purging(result: TriggerResult) -> TriggerResult {
    if result == TriggerResult::Fire { TriggerResult::FireAndPurge } else { result }
}

impl<T, W: Window, Tr: Trigger<T, W>> Trigger<T, W> for PurgingTrigger<Tr> {
    type State = Tr::State;

    fn check(&self) -> Result<(), String> {
        self.0.check()
    }

    #[inline]
    fn on_element(
        &self,
        record: &T,
        time_ms: i64,
        window: &W,
        state: &mut Tr::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        purging(self.0.on_element(record, time_ms, window, state, context))
    }

    fn on_event_time(
        &self,
        time_ms: i64,
        window: &W,
        state: &mut Tr::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        purging(self.0.on_event_time(time_ms, window, state, context))
    }

    fn on_processing_time(
        &self,
        time_ms: i64,
        window: &W,
        state: &mut Tr::State,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        purging(self.0.on_processing_time(time_ms, window, state, context))
    }

    fn next_event_time(&self, window: &W, state: &Tr::State, after_ms: i64) -> Option<i64> {
        self.0.next_event_time(window, state, after_ms)
    }

    fn next_processing_time(&self, window: &W, state: &Tr::State, after_ms: i64) -> Option<i64> {
        self.0.next_processing_time(window, state, after_ms)
    }

    fn merge(&self, state: &mut Tr::State, other: Tr::State) {
        self.0.merge(state, other);
    }

    fn is_initial(&self, state: &Tr::State) -> bool {
        self.0.is_initial(state)
    }
}
