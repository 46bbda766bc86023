//! `changes`: how many bytes a checkpoint writes when only some of the keys have changed since the one before.
//!
//! A whole job puts every key into its state and takes a checkpoint. Then, again and again, it counts one more row for a share of the
//! keys, spread over all of them, and takes another: by request, once the sources have emitted these rows and nothing more. What is
//! counted is what lies in the checkpoint directory for it: its `_metadata`, and the files that it wrote.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::client::{Answer, JobRequest};
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::status::JobPhase;
use highwater::{JobClient, JobStatus};
use highwater_snapshot::Snapshot;
use serde::Serialize;

use crate::Failure;
use crate::cli::ChangesOptions;
use crate::job::{CountRows, environment};
use crate::probe::Probe;
use crate::rows::{Rows, share, sum_of_counts};
use crate::statistics::Spread;
use crate::sum_sink::SumSink;

/// Time between checkpoints that leaves only those asked for and the last one.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// How often the sources and the one who asks look at each other.
const LOOK: Duration = Duration::from_micros(200);

/// Bytes of a key with its count, as they are stored.
const ROW_BYTES: u64 = 16;

/// One share of changed keys.
#[derive(Serialize)]
struct Line {
    changed_keys: u64,
    changed_bytes: u64,
    /// What the first checkpoint wrote: all keys.
    full_bytes: u64,
    bytes: Spread,
    milliseconds: Spread,
    /// Bytes of all of these checkpoints, to those of the changes.
    written_per_changed: f64,
}

/// Measures and prints.
///
/// # Errors
/// If a job fails or counts wrong.
pub fn measure(options: &ChangesOptions) -> Result<(), Failure> {
    let lines = options.changed.iter().map(|share| measure_share(options, share.0)).collect::<Result<Vec<_>, _>>()?;
    if options.json {
        println!("{}", serde_json::to_string(&lines)?);
        return Ok(());
    }
    println!(
        "{} keys of {ROW_BYTES} bytes, {} workers, {} checkpoints each; median (min-max)",
        options.keys, options.workers, options.checkpoints
    );
    println!("{:>12} {:>10} {:>28} {:>18} {:>18}", "changed keys", "kB", "kB a checkpoint", "ms", "written / changed");
    for Line { changed_keys, changed_bytes, full_bytes, bytes, milliseconds, written_per_changed } in &lines {
        let kilobytes = Spread { median: bytes.median / 1e3, min: bytes.min / 1e3, max: bytes.max / 1e3 };
        println!(
            "{changed_keys:>12} {:>10.0} {:>28} {:>18} {written_per_changed:>18.2}   all keys: {:.0} kB",
            *changed_bytes as f64 / 1e3,
            kilobytes.to_string(),
            milliseconds.to_string(),
            *full_bytes as f64 / 1e3,
        );
    }
    Ok(())
}

fn measure_share(options: &ChangesOptions, share: f64) -> Result<Line, Failure> {
    let parent = options.checkpoint_dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)?;
    let dir = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(parent)?;
    let changed_keys = ((options.keys as f64 * share) as u64).clamp(1, options.keys);
    let (env, probe) = (environment(options.workers, Some(NEVER)), Probe::new());
    env.set_state_backend(FsStateBackend::new(dir.path().to_string_lossy()));
    let pace = Arc::new(Pace::default());
    let source = PacedSource { keys: options.keys, pace: Arc::clone(&pace) };
    env.from_source(source, WatermarkStrategy::no_watermarks(), "rows")
        .key_by(|row: &u64| *row)
        .process(CountRows)
        .sink_to(SumSink { probe: probe.clone() });
    let (client, status) = (env.client(), env.status());
    let checkpoints = u64::from(options.checkpoints);
    let taken = std::thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let taken = take_checkpoints(&pace, &client, &status, (options.keys, changed_keys, checkpoints));
            pace.is_over.store(true, Ordering::Release);
            taken
        });
        let result = env.execute("changes");
        pace.is_over.store(true, Ordering::Release);
        let taken = asking.join().unwrap_or_else(|_| Err("the thread that asks for checkpoints panicked".into()));
        result.map_err(Failure::from).and(taken)
    })?;
    let rows = options.keys + changed_keys * checkpoints;
    let expected = sum_of_counts(rows, options.keys);
    if probe.sum() != expected {
        return Err(format!("the sum of counts is {}, and should be {expected}", probe.sum()).into());
    }
    let Some(((full_bytes, _), later)) = taken.split_first() else { return Err("no checkpoint was taken".into()) };
    let spread = |figure: fn(&(u64, Duration)) -> f64| Spread::of(later.iter().map(figure));
    let all = spread(|(bytes, _)| *bytes as f64).zip(spread(|(_, time)| time.as_secs_f64() * 1e3));
    let (bytes, milliseconds) = all.ok_or("no checkpoint of changes was taken")?;
    let changed_bytes = changed_keys * ROW_BYTES;
    let written: u64 = later.iter().map(|(bytes, _)| bytes).sum();
    let written_per_changed = written as f64 / (changed_bytes * checkpoints) as f64;
    Ok(Line { changed_keys, changed_bytes, full_bytes: *full_bytes, bytes, milliseconds, written_per_changed })
}

/// Lets the sources emit all keys, then `changed` of them at a time, with a checkpoint after each: its bytes and its duration.
fn take_checkpoints(
    pace: &Pace,
    client: &JobClient,
    status: &JobStatus,
    (keys, changed, checkpoints): (u64, u64, u64),
) -> Result<Vec<(u64, Duration)>, Failure> {
    let mut taken = Vec::new();
    for index in 0..=checkpoints {
        let rows = keys + index * changed;
        pace.allowed.store(rows, Ordering::Release);
        while pace.emitted.load(Ordering::Acquire) < rows || status.phase() == JobPhase::Starting {
            if pace.is_over.load(Ordering::Acquire) {
                return Err("the job has ended before its checkpoints were taken".into());
            }
            std::thread::sleep(LOOK);
        }
        match client.ask(JobRequest::Checkpoint).last() {
            Some(Answer::Completed(Some(checkpoint))) => {
                let bytes = Snapshot::at_path(&checkpoint.path)?.written_bytes();
                eprintln!("checkpoint {index} of {checkpoints} with {changed} changed keys: {bytes} bytes");
                taken.push((bytes, checkpoint.duration));
            }
            Some(Answer::Failed { reason }) => return Err(reason.into()),
            answer => return Err(format!("no checkpoint: {answer:?}").into()),
        }
    }
    Ok(taken)
}

/// How far the sources may go, and have gone.
#[derive(Debug, Default)]
struct Pace {
    /// Rows of all sources together.
    allowed: AtomicU64,
    emitted: AtomicU64,
    /// No more rows will be allowed.
    is_over: AtomicBool,
}

/// Every `stride`-th row from `offset` on, of which `done` have been emitted.
#[derive(Clone, Debug, Data)]
struct PacedSplit {
    offset: u64,
    stride: u64,
    done: u64,
}

/// Rows over `keys` keys, as many as are allowed.
struct PacedSource {
    keys: u64,
    pace: Arc<Pace>,
}

impl Source for PacedSource {
    type Record = u64;
    type Split = PacedSplit;
    type Reader = PacedReader;

    fn discover(&self, parallelism: u32) -> highwater::Result<Vec<PacedSplit>> {
        let stride = u64::from(parallelism);
        Ok((0..stride).map(|offset| PacedSplit { offset, stride, done: 0 }).collect())
    }

    fn reader(&self, splits: Vec<PacedSplit>) -> highwater::Result<PacedReader> {
        let part =
            |split: PacedSplit| (Rows::new(split.offset + split.done * split.stride, split.stride, self.keys), split);
        Ok(PacedReader { parts: splits.into_iter().map(part).collect(), pace: Arc::clone(&self.pace) })
    }
}

/// Reads the splits of one subtask.
struct PacedReader {
    parts: Vec<(Rows, PacedSplit)>,
    pace: Arc<Pace>,
}

impl SourceReader for PacedReader {
    type Record = u64;
    type Split = PacedSplit;

    fn poll(&mut self, output: &mut SourceOutput<u64>) -> highwater::Result<SourceStatus> {
        // In this order: what was allowed before the end is emitted.
        let is_over = self.pace.is_over.load(Ordering::Acquire);
        let allowed = self.pace.allowed.load(Ordering::Acquire);
        for (rows, split) in &mut self.parts {
            let count = (share(allowed, split.offset, split.stride) - split.done).min(output.room() as u64);
            if count > 0 {
                (0..count).for_each(|_| output.emit(rows.next_key()));
                split.done += count;
                self.pace.emitted.fetch_add(count, Ordering::Release);
                return Ok(SourceStatus::More);
            }
        }
        Ok(if is_over { SourceStatus::End } else { SourceStatus::Idle(LOOK) })
    }

    fn snapshot(&self) -> Vec<PacedSplit> {
        self.parts.iter().map(|(_, split)| split.clone()).collect()
    }
}
