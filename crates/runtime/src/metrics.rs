//! The numbers of a task, through the `metrics` facade: plug in any recorder before the job starts and it receives them.
//!
//! Handles are made once a task; the hot path adds once a batch, so an exporter never touches a record.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use metrics::{Counter, Histogram};

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
