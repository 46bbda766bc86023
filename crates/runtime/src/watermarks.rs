//! Watermark strategies: where event times come from, and how far event time has passed.
//!
//! A generator sees whole batches as a source emits them. The mark of a source moves up to its generator's watermark; from there
//! the frontier carries the minimum over all sources to every task.

use std::sync::Arc;
use std::time::Duration;

use crate::batch::{Batch, NO_TIME};
use crate::mark::NO_WATERMARK;

/// Follows the event times of one source subtask.
pub trait WatermarkGenerator<T>: Send {
    /// Sees a batch before it is emitted, may give its records event times, and returns the watermark after it in ms since the
    /// Unix epoch. One that is lower than an earlier one has no effect.
    fn observe(&mut self, batch: Batch<T>) -> (Batch<T>, i64);
}

/// How a source's records get their event times and how watermarks follow from them.
pub struct WatermarkStrategy<T> {
    make: Arc<dyn Fn() -> Box<dyn WatermarkGenerator<T>> + Send + Sync>,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        WatermarkStrategy { make: Arc::clone(&self.make) }
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// No event time: event-time timers fire only at the end of the input.
    pub fn no_watermarks() -> Self {
        Self::for_generator(|| NoWatermarks)
    }

    /// Event times that never go back within a source subtask. `timestamp` gives a record's event time in ms since the Unix epoch.
    pub fn for_monotonous_timestamps(timestamp: impl Fn(&T) -> i64 + Clone + Send + Sync + 'static) -> Self {
        Self::for_bounded_out_of_orderness(Duration::ZERO, timestamp)
    }

    /// Event times that are at most `bound` behind the latest one seen. `timestamp` gives a record's event time in ms since the Unix
    /// epoch.
    pub fn for_bounded_out_of_orderness(
        bound: Duration,
        timestamp: impl Fn(&T) -> i64 + Clone + Send + Sync + 'static,
    ) -> Self {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        Self::for_generator(move || BoundedOutOfOrderness { bound_ms, latest: NO_TIME, timestamp: timestamp.clone() })
    }

    /// A generator of your own; `make` is called for each subtask in each attempt.
    pub fn for_generator<G: WatermarkGenerator<T> + 'static>(make: impl Fn() -> G + Send + Sync + 'static) -> Self {
        WatermarkStrategy { make: Arc::new(move || Box::new(make())) }
    }

    pub(crate) fn generator(&self) -> Box<dyn WatermarkGenerator<T>> {
        (self.make)()
    }
}

struct NoWatermarks;

impl<T> WatermarkGenerator<T> for NoWatermarks {
    fn observe(&mut self, batch: Batch<T>) -> (Batch<T>, i64) {
        (batch, NO_WATERMARK)
    }
}

struct BoundedOutOfOrderness<F> {
    bound_ms: i64,
    latest: i64,
    timestamp: F,
}

impl<T, F: Fn(&T) -> i64 + Send> WatermarkGenerator<T> for BoundedOutOfOrderness<F> {
    fn observe(&mut self, batch: Batch<T>) -> (Batch<T>, i64) {
        let (records, mut times) = batch.into_columns();
        times.clear();
        times.extend(records.iter().map(&self.timestamp));
        self.latest = times.iter().copied().max().unwrap_or(NO_TIME).max(self.latest);
        // A record with exactly the latest time may still follow: the watermark stays one below, as in Flink.
        let watermark = if self.latest == NO_TIME {
            NO_WATERMARK
        } else {
            self.latest.saturating_sub(self.bound_ms).saturating_sub(1)
        };
        (Batch::from_columns(records, times), watermark)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_stays_behind_the_latest_event_time_by_the_bound() {
        let mut generator =
            WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(10), |time: &i64| *time).generator();
        assert_eq!(generator.observe(Batch::default()).1, NO_WATERMARK);
        let (batch, watermark) = generator.observe([(100, NO_TIME), (90, NO_TIME)].into_iter().collect());
        assert_eq!((batch.time(0), batch.time(1), watermark), (100, 90, 89));
        assert_eq!(generator.observe([(50, NO_TIME)].into_iter().collect()).1, 89);
    }
}
