//! One run of a query: asked for by the parent, carried out by a child process, whose standard output is what it showed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use highwater::DataStream;
use highwater::sink::Sink;
use highwater_core::SystemClock;
use highwater_nexmark::queries::q10::q10;
use highwater_nexmark::{MinuteFiles, NexmarkSource, Output, Pace, Query, Row, watermarks};
use serde::{Deserialize, Serialize};

use super::sinks::{Discard, Seen, Table, Watched};
use crate::cli::{Backend, Interval, Placement};
use crate::probe::{Probe, Usage};
use crate::run::{Measurement, run_apart};
use crate::statistics::Percentiles;
use crate::{Failure, job};

/// A run of a query.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NexmarkRun {
    pub query: String,
    pub events: u64,
    pub generators: u32,
    pub workers: u32,
    pub interval: Interval,
    pub placement: Placement,
    /// Where the result goes.
    pub output: Option<PathBuf>,
    /// Events a second; as many as possible if there is none.
    pub rate: Option<u64>,
    /// Where checkpoints, files of state and those of q10 go.
    pub dir: Option<PathBuf>,
}

/// What a run showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Results {
    pub measured: Measurement,
    pub rows_out: u64,
    pub latency_us: Option<Percentiles>,
}

impl NexmarkRun {
    /// Has a child process carry it out, with a folder below `parent` that is removed afterwards.
    pub fn measure(&self, parent: Option<&Path>) -> Result<Results, Failure> {
        let parent = parent.map_or_else(std::env::temp_dir, Path::to_path_buf);
        std::fs::create_dir_all(&parent)?;
        let dir = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(parent)?;
        let run = NexmarkRun { dir: Some(dir.path().to_path_buf()), ..self.clone() };
        run_apart("nexmark-run", &run)
    }

    /// Carries it out.
    pub fn execute(&self) -> Result<Results, Failure> {
        let query: Query = self.query.parse()?;
        let env = job::environment(self.workers, self.interval.0);
        let dir = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        if self.interval.0.is_some() || self.placement.backend == Backend::Rocksdb {
            job::set_backend(&env, self.placement, &dir.join("state"))?;
        }
        let pace = self.rate.map(|rate| Arc::new(Pace::new(rate, Arc::new(SystemClock::new()))));
        let mut source = NexmarkSource::new(self.events).generators(self.generators);
        if let Some(pace) = &pace {
            source = source.paced(Arc::clone(pace));
        }
        let (probe, seen, began) = (Probe::new(), Arc::new(Seen::new(pace)), Instant::now());
        let events = env.from_source(Watched::new(source, &probe, &seen), watermarks(), "nexmark").uid("nexmark");
        let mut sinks = Sinks { probe: &probe, seen: &seen, keep: self.output.is_some() };
        if query == Query::Q10 && !sinks.keep {
            sinks.send(q10(&events), MinuteFiles::new(dir.join("q10")));
        } else {
            query.build(&events, &mut sinks);
        }
        env.execute("nexmark")?;
        let (total, usage) = (began.elapsed(), Usage::so_far());
        if let Some(output) = &self.output {
            write_rows(&output.join(format!("{query}.txt")), seen.take_rows())?;
        }
        let checkpoints = job::checkpoints(&env.status());
        Ok(Results {
            measured: Measurement {
                rows_per_s: self.events as f64 / probe.duration().as_secs_f64(),
                total_seconds: total.as_secs_f64(),
                cpu_seconds: usage.cpu_seconds,
                peak_bytes: usage.peak_bytes,
                checkpoints: checkpoints.completed,
                checkpoints_failed: checkpoints.failed,
                pauses_ms: checkpoints.pauses_ms,
            },
            rows_out: seen.rows_out(),
            latency_us: Percentiles::of(seen.take_latencies().into_iter().map(|ns| ns as f64 / 1e3)),
        })
    }
}

/// Sends the rows of a query to a sink that is watched.
struct Sinks<'a> {
    probe: &'a Probe,
    seen: &'a Arc<Seen>,
    /// Whether the rows are wanted.
    keep: bool,
}

impl Sinks<'_> {
    fn send<R: Row>(&self, rows: DataStream<R>, sink: impl Sink<Record = R>) {
        rows.sink_to(Watched::new(sink, self.probe, self.seen)).uid("rows");
    }
}

impl Output for Sinks<'_> {
    fn take<R: Row>(&mut self, rows: DataStream<R>) {
        if self.keep {
            self.send(rows, Table::new(self.seen));
        } else {
            self.send(rows, Discard::new());
        }
    }
}

fn write_rows(path: &Path, mut rows: Vec<String>) -> Result<(), Failure> {
    rows.sort_unstable();
    let text: String = rows.into_iter().flat_map(|row| [row, "\n".to_owned()]).collect();
    std::fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()).into())
}
