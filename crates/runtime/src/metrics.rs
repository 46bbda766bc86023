//! The numbers of a task, through the `metrics` facade: plug in any recorder before the job starts and it receives them.
//!
//! Handles are made once a task; the hot path adds once a batch, so an exporter never touches a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_core::Clock;
use metrics::{Counter, Gauge, Histogram};

use crate::graph::Task;

/// Records that the sources of this process have emitted in all attempts: what a progress line shows.
#[derive(Clone, Debug, Default)]
pub struct RecordsRead(Arc<AtomicU64>);

impl RecordsRead {
    /// How many so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

fn labels(task: &Task) -> [(&'static str, String); 2] {
    [("operator", task.id.operator.to_string()), ("subtask", task.id.subtask.to_string())]
}

/// Counts the records that came too late for an operator and went to no side output.
pub(crate) fn late_records_dropped(task: &Task) -> Counter {
    metrics::counter!("highwater_late_records_dropped", &labels(task))
}

/// Numbers of one task.
pub(crate) struct TaskMetrics {
    records_in: Counter,
    records_out: Counter,
    pause: Histogram,
    read: RecordsRead,
}

impl TaskMetrics {
    pub fn new(task: &Task) -> Self {
        let labels = labels(task);
        TaskMetrics {
            records_in: metrics::counter!("highwater_records_in", &labels),
            records_out: metrics::counter!("highwater_records_out", &labels),
            pause: metrics::histogram!("highwater_snapshot_pause_seconds", &labels),
            read: task.attempt.read.clone(),
        }
    }

    /// A source has emitted `rows` records.
    pub fn emitted(&self, rows: usize) {
        self.records_out.increment(rows as u64);
        self.read.0.fetch_add(rows as u64, Ordering::Relaxed);
    }

    /// A task has processed `rows` records.
    pub fn processed(&self, rows: usize) {
        self.records_in.increment(rows as u64);
    }

    /// A snapshot kept the task from its records for `pause` at the longest.
    pub fn paused(&self, pause: std::time::Duration) {
        self.pause.record(pause);
    }
}

/// Numbers of what gives event time: a source, or an operator that assigns watermarks.
pub(crate) struct EventTimeMetrics {
    watermark: Gauge,
    lag: Gauge,
    too_far_ahead: Counter,
    warned: bool,
}

impl EventTimeMetrics {
    pub fn new(task: &Task) -> Self {
        let labels = labels(task);
        EventTimeMetrics {
            watermark: metrics::gauge!("highwater_current_watermark", &labels),
            lag: metrics::gauge!("highwater_watermark_lag_seconds", &labels),
            too_far_ahead: metrics::counter!("highwater_records_too_far_ahead", &labels),
            warned: false,
        }
    }

    /// The watermark has moved.
    pub fn watermark(&self, watermark_ms: i64, clock: &dyn Clock) {
        self.watermark.set(watermark_ms as f64);
        self.lag.set(clock.unix_ms().saturating_sub(watermark_ms) as f64 / 1000.0);
    }

    /// Timestamps of `rows` records are too far in the future to move the watermark.
    pub fn too_far_ahead(&mut self, rows: u64, task: &Task) {
        if rows == 0 {
            return;
        }
        self.too_far_ahead.increment(rows);
        if !std::mem::replace(&mut self.warned, true) {
            tracing::warn!(
                operator = %task.name, subtask = task.id.subtask.0, rows,
                "timestamps are further ahead of the clock than with_max_timestamp_lead allows, and do not move the \
                 watermark: check that they are in ms since 1970; later ones are only counted"
            );
        }
    }
}
