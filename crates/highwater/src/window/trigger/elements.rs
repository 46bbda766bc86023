//! Triggers that go by the elements of a window.

use highwater_state::Data;

use super::{Trigger, TriggerContext, TriggerResult};
use crate::window::time::Window;

/// Fires each time a window has taken in so many records.
#[derive(Clone, Copy, Debug)]
pub struct CountTrigger {
    count: u64,
}

impl CountTrigger {
    /// Fires after each `count` records.
    pub fn of(count: u64) -> Self {
        CountTrigger { count }
    }
}

impl<T, W: Window> Trigger<T, W> for CountTrigger {
    type State = u64;

    fn check(&self) -> Result<(), String> {
        match self.count {
            0 => Err("windows fire after each 0 records: give at least 1".into()),
            _ => Ok(()),
        }
    }

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

    fn is_initial(&self, seen: &u64) -> bool {
        *seen == 0
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

    fn is_initial(&self, last: &Option<T>) -> bool {
        last.is_none()
    }
}
