//! `latency`: an open loop. Row j of a source is due at start + j / rate, whether or not the job keeps up, and its latency is
//! the time of its arrival at the sink minus the time it was due. So a job that stalls is charged for all rows that came due
//! meanwhile.
//!
//! All keys are in the state before the first row is due: each source emits its share of them first, unmeasured.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use highwater::prelude::*;
use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater_core::CheckpointId;
use serde::Serialize;

use crate::cli::Latency;
use crate::rows::{Rows, share};
use crate::statistics::Percentiles;
use crate::{Failure, job};

/// Key, and when it is due in ns since the start; [`NOT_MEASURED`] while the state is filled.
type Due = (u64, u64);

const NOT_MEASURED: u64 = u64::MAX;

/// From the last key of the state to the first row that is due.
const SETTLE: Duration = Duration::from_secs(1);

/// Measures and prints.
pub fn measure(options: &Latency) -> Result<(), Failure> {
    let shared = Arc::new(Shared { origin: Instant::now(), latencies_ns: Mutex::default() });
    let env = job::environment(options.workers, options.checkpoint_interval.0);
    let parent = options.checkpoint_dir.clone().unwrap_or_else(std::env::temp_dir);
    let dir = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in::<&Path>(&parent)?;
    if options.checkpoint_interval.0.is_some() {
        env.set_state_backend(FsStateBackend::new(dir.path().to_string_lossy()));
    }
    let source = PacedSource {
        keys: options.keys,
        rate: options.rate,
        rows: options.rate * options.seconds,
        tick: Duration::from_micros(options.tick_us),
        shared: Arc::clone(&shared),
    };
    env.from_source(source, WatermarkStrategy::no_watermarks(), "paced-rows")
        .key_by(|(key, _): &Due| *key)
        .stateful_map(|count: &mut u64, row: Due| {
            *count += 1;
            Ok(row)
        })
        .sink_to(LatencySink { shared: Arc::clone(&shared) });
    env.execute("latency")?;
    let checkpoints = job::checkpoints(&env.status());
    let latencies = std::mem::take(&mut *shared.latencies_ns.lock().unwrap_or_else(PoisonError::into_inner));
    let (rows, expected) = (latencies.len() as u64, options.rate * options.seconds);
    if rows != expected {
        return Err(format!("{rows} rows arrived at the sink, of {expected}").into());
    }
    let report = Report {
        rows,
        rate: options.rate,
        keys: options.keys,
        workers: options.workers,
        latency_us: Percentiles::of(latencies.iter().map(|ns| *ns as f64 / 1e3)),
        checkpoints_completed: checkpoints.completed.len(),
        pause_ms: Percentiles::of(checkpoints.pauses_ms),
    };
    if options.json {
        println!("{}", serde_json::to_string_pretty(&report)?)
    } else {
        print!("{report}")
    }
    Ok(())
}

#[derive(Serialize)]
struct Report {
    rows: u64,
    rate: u64,
    keys: u64,
    workers: u32,
    latency_us: Option<Percentiles>,
    checkpoints_completed: usize,
    pause_ms: Option<Percentiles>,
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { rows, rate, keys, workers, checkpoints_completed, .. } = self;
        writeln!(f, "latency: {rows} rows at {rate} rows/s, {keys} keys, {workers} workers")?;
        if let Some(Percentiles { p50, p99, p999, max }) = self.latency_us {
            writeln!(f, "  latency, us   p50 {p50:.0}, p99 {p99:.0}, p99.9 {p999:.0}, max {max:.0}")?;
        }
        writeln!(f, "  checkpoints   {checkpoints_completed} completed")?;
        if let Some(Percentiles { p50, p99, max, .. }) = self.pause_ms {
            writeln!(f, "  pause, ms     p50 {p50:.2}, p99 {p99:.2}, max {max:.2}")?;
        }
        Ok(())
    }
}

struct Shared {
    origin: Instant,
    latencies_ns: Mutex<Vec<u64>>,
}

impl Shared {
    fn now_ns(&self) -> u64 {
        self.origin.elapsed().as_nanos() as u64
    }
}

struct PacedSource {
    keys: u64,
    rate: u64,
    rows: u64,
    tick: Duration,
    shared: Arc<Shared>,
}

/// The share of subtask `index` of `count`, of which `done` rows have been emitted, keys that fill the state included.
#[derive(Clone, Debug, Data)]
struct PacedSplit {
    index: u64,
    count: u64,
    done: u64,
}

impl Source for PacedSource {
    type Record = Due;
    type Split = PacedSplit;
    type Reader = PacedReader;

    fn discover(&self, parallelism: u32) -> highwater::Result<Vec<PacedSplit>> {
        let count = u64::from(parallelism);
        Ok((0..count).map(|index| PacedSplit { index, count, done: 0 }).collect())
    }

    fn reader(&self, splits: Vec<PacedSplit>) -> highwater::Result<PacedReader> {
        let part = |split: PacedSplit| Part {
            fill: share(self.keys, split.index, split.count),
            total: share(self.keys, split.index, split.count) + share(self.rows, split.index, split.count),
            gap_ns: 1_000_000_000 * split.count / self.rate,
            rows: Rows::new(split.index + split.done * split.count, split.count, self.keys),
            start_ns: None,
            split,
        };
        let shared = Arc::clone(&self.shared);
        Ok(PacedReader { parts: splits.into_iter().map(part).collect(), tick: self.tick, shared })
    }
}

struct Part {
    split: PacedSplit,
    /// How many rows fill the state.
    fill: u64,
    total: u64,
    gap_ns: u64,
    rows: Rows,
    start_ns: Option<u64>,
}

impl Part {
    fn poll(&mut self, now_ns: u64, output: &mut SourceOutput<Due>) -> SourceStatus {
        let before = self.split.done;
        while output.room() > 0 && self.split.done < self.fill {
            output.emit((self.rows.next_key(), NOT_MEASURED));
            self.split.done += 1;
        }
        if self.split.done < self.fill {
            return SourceStatus::More;
        }
        let start_ns = *self.start_ns.get_or_insert(now_ns + SETTLE.as_nanos() as u64);
        while output.room() > 0 && self.split.done < self.total {
            let due_ns = start_ns + (self.split.done - self.fill) * self.gap_ns;
            if due_ns > now_ns {
                break;
            }
            output.emit((self.rows.next_key(), due_ns));
            self.split.done += 1;
        }
        match self.split.done {
            done if done == self.total => SourceStatus::End,
            _ if output.room() == 0 || before < self.fill => SourceStatus::More,
            _ => SourceStatus::Idle(Duration::ZERO),
        }
    }
}

struct PacedReader {
    parts: Vec<Part>,
    tick: Duration,
    shared: Arc<Shared>,
}

impl SourceReader for PacedReader {
    type Record = Due;
    type Split = PacedSplit;

    fn poll(&mut self, output: &mut SourceOutput<Due>) -> highwater::Result<SourceStatus> {
        let now_ns = self.shared.now_ns();
        let statuses: Vec<SourceStatus> = self.parts.iter_mut().map(|part| part.poll(now_ns, output)).collect();
        Ok(if statuses.contains(&SourceStatus::More) {
            SourceStatus::More
        } else if statuses.iter().all(|status| *status == SourceStatus::End) {
            SourceStatus::End
        } else {
            SourceStatus::Idle(self.tick)
        })
    }

    fn snapshot(&self) -> Vec<PacedSplit> {
        self.parts.iter().map(|part| part.split.clone()).collect()
    }
}

struct LatencySink {
    shared: Arc<Shared>,
}

impl Sink for LatencySink {
    type Record = Due;
    type Writer = LatencyWriter;

    fn open(&self, _: &SinkContext, _: Vec<()>) -> highwater::Result<LatencyWriter> {
        Ok(LatencyWriter { due_ns: Vec::new(), latencies_ns: Vec::new(), shared: Arc::clone(&self.shared) })
    }
}

/// A measurement ends with the first failure, so nothing here has to survive one.
struct LatencyWriter {
    /// Of the batch that is being written.
    due_ns: Vec<u64>,
    latencies_ns: Vec<u64>,
    shared: Arc<Shared>,
}

impl SinkWriter for LatencyWriter {
    type Record = Due;
    type Committable = ();
    type State = ();

    fn write(&mut self, (_, due_ns): Due, _: i64) -> highwater::Result<()> {
        if due_ns != NOT_MEASURED {
            self.due_ns.push(due_ns);
        }
        Ok(())
    }

    fn flush(&mut self) -> highwater::Result<()> {
        let now_ns = self.shared.now_ns();
        self.latencies_ns.extend(self.due_ns.drain(..).map(|due_ns| now_ns.saturating_sub(due_ns)));
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId, last: bool) -> highwater::Result<Prepared<(), ()>> {
        if last {
            let mut all = self.shared.latencies_ns.lock().unwrap_or_else(PoisonError::into_inner);
            all.append(&mut self.latencies_ns);
        }
        Ok(Prepared::default())
    }

    fn commit(&mut self, _: Vec<()>) -> highwater::Result<()> {
        Ok(())
    }
}
