//! Generators: how far event time has come by the records of one split.
//!
//! A user's generator is called for each record. The source has it behind [`BatchGenerator`], one call a batch, in which the calls
//! for the records are inlined.

use std::time::Duration;

use super::LeadBound;
use crate::batch::NO_TIME;
use crate::mark::{MAX_WATERMARK, NO_WATERMARK};

/// Follows the event times of one split.
pub trait WatermarkGenerator<T>: Send + 'static {
    /// Sees a record with its event time in ms since the Unix epoch, `i64::MIN` if it has none.
    fn on_event(&mut self, record: &T, time_ms: i64, output: &mut WatermarkOutput);

    /// Is called after records, and about every 200 ms while there are none.
    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput);
}

/// Where a generator says how far event time has come.
#[derive(Clone, Debug)]
pub struct WatermarkOutput {
    watermark: i64,
    idle: bool,
}

impl Default for WatermarkOutput {
    fn default() -> Self {
        WatermarkOutput { watermark: NO_WATERMARK, idle: false }
    }
}

impl WatermarkOutput {
    /// No record at or before `time_ms`, in ms since the Unix epoch, is expected any more; the split is active. One that is lower than
    /// an earlier one does not take it back.
    #[inline]
    pub fn emit_watermark(&mut self, time_ms: i64) {
        // The highest of all says that the input has ended, which a generator cannot know.
        self.watermark = self.watermark.max(time_ms.min(MAX_WATERMARK - 1));
        self.idle = false;
    }

    /// The split holds the watermark back no longer, until it is active again.
    pub fn mark_idle(&mut self) {
        self.idle = true;
    }

    /// The split holds the watermark back again.
    pub fn mark_active(&mut self) {
        self.idle = false;
    }

    pub(crate) fn watermark(&self) -> i64 {
        self.watermark
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.idle
    }
}

/// Flink's generator for event times that are at most a bound behind the latest one seen. With a bound of zero it is the one for
/// event times that never go back.
#[derive(Clone, Debug)]
pub struct BoundedOutOfOrdernessWatermarks {
    bound_ms: i64,
    latest: i64,
}

impl BoundedOutOfOrdernessWatermarks {
    /// Event times are at most `bound` behind the latest one seen.
    pub fn new(bound: Duration) -> Self {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        BoundedOutOfOrdernessWatermarks { bound_ms, latest: NO_TIME }
    }
}

impl<T> WatermarkGenerator<T> for BoundedOutOfOrdernessWatermarks {
    #[inline]
    fn on_event(&mut self, _record: &T, time_ms: i64, _output: &mut WatermarkOutput) {
        self.latest = self.latest.max(time_ms);
    }

    fn on_periodic_emit(&mut self, output: &mut WatermarkOutput) {
        if self.latest != NO_TIME {
            // A record with exactly the latest time may still follow: the watermark stays one below, as in Flink.
            output.emit_watermark(self.latest.saturating_sub(self.bound_ms).saturating_sub(1));
        }
    }
}

/// A generator as a source calls it.
pub(crate) trait BatchGenerator<T>: Send {
    /// Sees records with their event times: one each, or none at all.
    fn observe(&mut self, records: &[T], times: &[i64], bound: &mut LeadBound, output: &mut WatermarkOutput);

    /// Emits what it knows without a record.
    fn tick(&mut self, output: &mut WatermarkOutput);
}

impl<T, G: WatermarkGenerator<T>> BatchGenerator<T> for G {
    fn observe(&mut self, records: &[T], times: &[i64], bound: &mut LeadBound, output: &mut WatermarkOutput) {
        if times.is_empty() {
            records.iter().for_each(|record| self.on_event(record, NO_TIME, output));
            return;
        }
        for (record, time) in records.iter().zip(times) {
            if bound.admits(*time) {
                self.on_event(record, *time, output);
            }
        }
    }

    fn tick(&mut self, output: &mut WatermarkOutput) {
        self.on_periodic_emit(output);
    }
}
