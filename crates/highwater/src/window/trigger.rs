//! When a window's result is computed.
//!
//! A trigger is asked after each record of a window, and when a time comes that it has asked for: it does so by answering, from its
//! state, what the next such time is. So there are no timers to register or take back, and none that are left over when windows
//! merge or go.

use std::time::Duration;

use highwater_core::Clock;
use highwater_state::Data;

use super::time::Window;

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

    /// Whether all it does is to fire once, when the window is complete, and again for each late record.
    const FIRES_AT_END: bool = false;

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
    fn on_event_time(&self, time_ms: i64, window: &W, state: &mut Self::State) -> TriggerResult {
        let _ = (time_ms, window, state);
        TriggerResult::Continue
    }

    /// Called when the machine's clock reaches a time that [`next_processing_time`](Self::next_processing_time) has named.
    fn on_processing_time(&self, time_ms: i64, window: &W, state: &mut Self::State) -> TriggerResult {
        let _ = (time_ms, window, state);
        TriggerResult::Continue
    }

    /// The first event time later than `after_ms` at which the trigger is to be called.
    fn next_event_time(&self, window: &W, state: &Self::State, after_ms: i64) -> Option<i64> {
        let _ = (window, state, after_ms);
        None
    }

    /// The first processing time later than `after_ms` at which the trigger is to be called.
    fn next_processing_time(&self, window: &W, state: &Self::State, after_ms: i64) -> Option<i64> {
        let _ = (window, state, after_ms);
        None
    }

    /// Another window has become part of this one, and `other` was its state.
    fn merge(&self, state: &mut Self::State, other: Self::State);
}

/// Fires when the watermark reaches the end of the window, and then for each late record.
#[derive(Clone, Copy, Debug, Default)]
pub struct EventTimeTrigger;

impl<T, W: Window> Trigger<T, W> for EventTimeTrigger {
    type State = ();
    const FIRES_AT_END: bool = true;

    #[inline]
    fn on_element(&self, _: &T, _: i64, window: &W, (): &mut (), context: TriggerContext<'_>) -> TriggerResult {
        if window.max_timestamp() <= context.watermark { TriggerResult::Fire } else { TriggerResult::Continue }
    }

    fn on_event_time(&self, _: i64, _: &W, (): &mut ()) -> TriggerResult {
        TriggerResult::Fire
    }

    #[inline]
    fn next_event_time(&self, window: &W, (): &(), after_ms: i64) -> Option<i64> {
        Some(window.max_timestamp()).filter(|end| *end > after_ms)
    }

    fn merge(&self, (): &mut (), (): ()) {}
}

/// Fires when the machine's clock reaches the end of the window.
#[derive(Clone, Copy, Debug, Default)]
pub struct ProcessingTimeTrigger;

impl<T, W: Window> Trigger<T, W> for ProcessingTimeTrigger {
    type State = ();
    const FIRES_AT_END: bool = true;

    #[inline]
    fn on_element(&self, _: &T, _: i64, _: &W, (): &mut (), _: TriggerContext<'_>) -> TriggerResult {
        TriggerResult::Continue
    }

    fn on_processing_time(&self, _: i64, _: &W, (): &mut ()) -> TriggerResult {
        TriggerResult::Fire
    }

    #[inline]
    fn next_processing_time(&self, window: &W, (): &(), after_ms: i64) -> Option<i64> {
        Some(window.max_timestamp()).filter(|end| *end > after_ms)
    }

    fn merge(&self, (): &mut (), (): ()) {}
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

/// Fires each time a window has taken in so many records.
#[derive(Clone, Copy, Debug)]
pub struct CountTrigger {
    count: u64,
}

impl CountTrigger {
    /// Fires after each `count` records; 0 counts as 1.
    pub fn of(count: u64) -> Self {
        CountTrigger { count: count.max(1) }
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    type State = u64;

    #[inline]
    fn on_element(&self, _: &T, _: i64, _: &W, seen: &mut u64, _: TriggerContext<'_>) -> TriggerResult {
        *seen += 1;
        if *seen < self.count {
            return TriggerResult::Continue;
        }
        *seen = 0;
        TriggerResult::Fire
    }

    fn merge(&self, seen: &mut u64, other: u64) {
        *seen += other;
    }
}

/// Fires again and again in event time while a window is open, at multiples of an interval, and at its end.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousEventTimeTrigger {
    interval_ms: i64,
}

/// Fires again and again in processing time, at multiples of an interval, from the first record on.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousProcessingTimeTrigger {
    interval_ms: i64,
}

/// At least 1 ms.
fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1)
}

/// The first multiple of `interval_ms` after `time_ms`.
fn next_multiple(time_ms: i64, interval_ms: i64) -> i64 {
    (time_ms - time_ms.rem_euclid(interval_ms)).saturating_add(interval_ms)
}

impl ContinuousEventTimeTrigger {
    /// Fires at multiples of `interval`, at least 1 ms.
    pub fn of(interval: Duration) -> Self {
        ContinuousEventTimeTrigger { interval_ms: interval_ms(interval) }
    }
}

impl ContinuousProcessingTimeTrigger {
    /// Fires at multiples of `interval`, at least 1 ms.
    pub fn of(interval: Duration) -> Self {
        ContinuousProcessingTimeTrigger { interval_ms: interval_ms(interval) }
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousEventTimeTrigger {
    /// When it fires next, besides at the end.
    type State = Option<i64>;

    fn on_element(
        &self,
        _: &T,
        time_ms: i64,
        window: &W,
        next: &mut Option<i64>,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        if window.max_timestamp() <= context.watermark {
            return TriggerResult::Fire;
        }
        if next.is_none_or(|next| next <= context.watermark) {
            *next = Some(next_multiple(time_ms.max(context.watermark), self.interval_ms));
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time_ms: i64, _: &W, next: &mut Option<i64>) -> TriggerResult {
        if *next == Some(time_ms) {
            *next = time_ms.checked_add(self.interval_ms);
        }
        TriggerResult::Fire
    }

    fn next_event_time(&self, window: &W, next: &Option<i64>, after_ms: i64) -> Option<i64> {
        let end = window.max_timestamp();
        let times = next.filter(|next| *next < end).into_iter().chain([end]);
        times.filter(|time| *time > after_ms).min()
    }

    fn merge(&self, next: &mut Option<i64>, other: Option<i64>) {
        *next = [*next, other].into_iter().flatten().min();
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousProcessingTimeTrigger {
    /// When it fires next.
    type State = Option<i64>;

    fn on_element(&self, _: &T, _: i64, _: &W, next: &mut Option<i64>, context: TriggerContext<'_>) -> TriggerResult {
        if next.is_none() {
            *next = Some(next_multiple(context.processing_time(), self.interval_ms));
        }
        TriggerResult::Continue
    }

    fn on_processing_time(&self, time_ms: i64, _: &W, next: &mut Option<i64>) -> TriggerResult {
        *next = time_ms.checked_add(self.interval_ms);
        TriggerResult::Fire
    }

    fn next_processing_time(&self, _: &W, next: &Option<i64>, after_ms: i64) -> Option<i64> {
        next.filter(|next| *next > after_ms)
    }

    fn merge(&self, next: &mut Option<i64>, other: Option<i64>) {
        *next = [*next, other].into_iter().flatten().min();
    }
}

/// Fires when a record differs by more than a threshold from the one that fired last, or came first.
#[derive(Clone)]
pub struct DeltaTrigger<D> {
    threshold: f64,
    delta: D,
}

impl<D> DeltaTrigger<D> {
    /// Fires when `delta(last, record)` is more than `threshold`.
    pub fn of(threshold: f64, delta: D) -> Self {
        DeltaTrigger { threshold, delta }
    }
}

impl<T, W, D> Trigger<T, W> for DeltaTrigger<D>
where
    T: Data,
    W: Window,
    D: Fn(&T, &T) -> f64 + Clone + Send + Sync + 'static,
{
    /// The record that fired last, or came first.
    type State = Option<T>;

    fn on_element(&self, record: &T, _: i64, _: &W, last: &mut Option<T>, _: TriggerContext<'_>) -> TriggerResult {
        match last {
            Some(last) if (self.delta)(last, record) > self.threshold => {
                *last = record.clone();
                TriggerResult::Fire
            }
            Some(_) => TriggerResult::Continue,
            None => {
                *last = Some(record.clone());
                TriggerResult::Continue
            }
        }
    }

    fn merge(&self, last: &mut Option<T>, other: Option<T>) {
        *last = last.take().or(other);
    }
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

    fn on_event_time(&self, time_ms: i64, window: &W, state: &mut Tr::State) -> TriggerResult {
        purging(self.0.on_event_time(time_ms, window, state))
    }

    fn on_processing_time(&self, time_ms: i64, window: &W, state: &mut Tr::State) -> TriggerResult {
        purging(self.0.on_processing_time(time_ms, window, state))
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
}
