//! Triggers that fire again and again, at multiples of an interval.
//!
//! They fire once for the time that has passed, however many multiples of the interval it has: after a pause, or when the input
//! ends, the same contents would only be computed again and again.

use std::time::Duration;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::window::time::Window;

/// Fires again and again in event time while a window is open, at multiples of an interval, at its end, and for each late record.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousEventTimeTrigger {
    interval_ms: i64,
}

/// Fires again and again in processing time, at multiples of an interval, from the first record on, and when the machine's clock
/// reaches the end of the window.
#[derive(Clone, Copy, Debug)]
pub struct ContinuousProcessingTimeTrigger {
    interval_ms: i64,
}

fn interval_ms(interval: Duration) -> i64 {
    i64::try_from(interval.as_millis()).unwrap_or(i64::MAX)
}

fn check(interval_ms: i64) -> Result<(), String> {
    match interval_ms {
        0 => Err("windows fire at intervals of 0: give at least 1 ms".into()),
        _ => Ok(()),
    }
}

/// The first multiple of `interval_ms` after `time_ms`.
fn next_multiple(time_ms: i64, interval_ms: i64) -> i64 {
    time_ms.saturating_sub(time_ms.rem_euclid(interval_ms)).saturating_add(interval_ms)
}

/// The first of two times of which each may not be.
fn first(one: Option<i64>, other: Option<i64>) -> Option<i64> {
    [one, other].into_iter().flatten().min()
}

impl ContinuousEventTimeTrigger {
    /// Fires at multiples of `interval`.
    pub fn of(interval: Duration) -> Self {
        ContinuousEventTimeTrigger { interval_ms: interval_ms(interval) }
    }
}

impl ContinuousProcessingTimeTrigger {
    /// Fires at multiples of `interval`.
    pub fn of(interval: Duration) -> Self {
        ContinuousProcessingTimeTrigger { interval_ms: interval_ms(interval) }
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousEventTimeTrigger {
    /// When it fires next, besides at the end.
    type State = Option<i64>;

    fn check(&self) -> Result<(), String> {
        check(self.interval_ms)
    }

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
        // One that is past was none, since it was not before the end that the window had then: a session has grown.
        if next.is_none_or(|next| next <= context.watermark) {
            *next = Some(next_multiple(time_ms.max(context.watermark), self.interval_ms));
        }
        TriggerResult::Continue
    }

    fn on_event_time(&self, time_ms: i64, _: &W, next: &mut Option<i64>, context: TriggerContext<'_>) -> TriggerResult {
        if *next == Some(time_ms) {
            *next = Some(next_multiple(time_ms.max(context.watermark), self.interval_ms));
        }
        TriggerResult::Fire
    }

    fn next_event_time(&self, window: &W, next: &Option<i64>, after_ms: i64) -> Option<i64> {
        let end = window.max_timestamp();
        first(next.filter(|next| *next < end && *next > after_ms), Some(end).filter(|end| *end > after_ms))
    }

    fn merge(&self, next: &mut Option<i64>, other: Option<i64>) {
        *next = first(*next, other);
    }
}

impl ContinuousProcessingTimeTrigger {
    /// When a window fires next that was dealt with up to `time_ms`.
    fn next<W: Window>(self, window: &W, time_ms: i64, now_ms: i64) -> Option<i64> {
        let end = Some(window.max_timestamp()).filter(|end| *end > time_ms);
        first(Some(next_multiple(time_ms.max(now_ms), self.interval_ms)), end)
    }
}

impl<T, W: Window> Trigger<T, W> for ContinuousProcessingTimeTrigger {
    /// When it fires next.
    type State = Option<i64>;

    fn check(&self) -> Result<(), String> {
        check(self.interval_ms)
    }

    fn on_element(
        &self,
        _: &T,
        _: i64,
        window: &W,
        next: &mut Option<i64>,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        if next.is_none() {
            let now_ms = context.processing_time();
            // The last ms of the window may not be over.
            *next = self.next(window, now_ms - 1, now_ms);
        }
        TriggerResult::Continue
    }

    fn on_processing_time(
        &self,
        time_ms: i64,
        window: &W,
        next: &mut Option<i64>,
        context: TriggerContext<'_>,
    ) -> TriggerResult {
        *next = self.next(window, time_ms, context.processing_time());
        TriggerResult::Fire
    }

    fn next_processing_time(&self, _: &W, next: &Option<i64>, after_ms: i64) -> Option<i64> {
        next.filter(|next| *next > after_ms)
    }

    fn merge(&self, next: &mut Option<i64>, other: Option<i64>) {
        *next = first(*next, other);
    }
}
