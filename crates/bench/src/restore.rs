//! `restore`: how long a whole job takes to come back, beside a plain loop that reads the same files.
//!
//! A job puts every key into its state and ends with a checkpoint. Another one restores it, with as many workers or more: timed from
//! `execute` to the moment in which the last source is first asked for a record, so reading, verifying and decoding are in it. The
//! yardstick reads the files that the checkpoint refers to on as many threads, and does nothing with them. Both run in turn, each with
//! the files in the page cache (warm), and without (cold). Every key is counted once more afterwards, and has to come to two.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use highwater::StartFrom;
use highwater::prelude::*;
use highwater_snapshot::{Found, find};
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::cli::{ChildRun, Placement, RestoreOptions};
use crate::job::{CountRows, environment, set_backend};
use crate::probe::{Probe, Usage};
use crate::row_source::RowSource;
use crate::run::run_apart;
use crate::statistics::Spread;
use crate::sum_sink::SumSink;

/// Name of the job.
const JOB: &str = "restore";

/// Time between checkpoints that leaves only the last one.
const NEVER: Duration = Duration::from_secs(24 * 3600);

/// Bytes that the yardstick reads at once.
const PIECE: u64 = 1 << 20;

/// Rows after the restore, at most: enough to show that the state is there.
const CHECKED_ROWS: u64 = 100_000;

/// A job in a process of its own: it puts in all keys, or it restores them and counts some once more.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RestoreRun {
    dir: PathBuf,
    keys: u64,
    workers: u32,
    placement: Placement,
    /// The checkpoint to restore.
    from: Option<String>,
}

/// What a restore showed.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Restored {
    seconds: f64,
    cpu_seconds: f64,
    peak_bytes: u64,
}

/// Whether the files are in the page cache before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
enum PageCache {
    Cold,
    Warm,
}

/// One number of workers with one condition, over all rounds.
#[derive(Serialize)]
struct Line {
    keys: u64,
    bytes: u64,
    workers: u32,
    cache: PageCache,
    read_ms: Spread,
    restore_ms: Spread,
    restore_cpu_ms: Spread,
    peak_bytes: Spread,
    /// Of the medians.
    ratio: f64,
}

/// Measures and prints.
///
/// # Errors
/// If a job fails or counts wrong.
pub fn measure(options: &RestoreOptions) -> Result<(), Failure> {
    let parent = options.checkpoint_dir.clone().unwrap_or_else(std::env::temp_dir);
    std::fs::create_dir_all(&parent)?;
    let mut lines = Vec::new();
    for keys in &options.keys {
        let dir = tempfile::Builder::new().prefix("highwater-bench-").tempdir_in(&parent)?;
        lines.extend(measure_in(dir.path(), *keys, options)?);
    }
    if options.json {
        println!("{}", serde_json::to_string(&lines)?);
        return Ok(());
    }
    println!("restore{}, {} rounds; median (min-max)", options.placement, options.rounds);
    println!(
        "{:>10} {:>8} {:>7} {:>5} {:>22} {:>24} {:>6}",
        "keys", "MB", "workers", "cache", "read ms", "restore ms", "ratio"
    );
    for Line { keys, bytes, workers, cache, read_ms, restore_ms, restore_cpu_ms, peak_bytes, ratio } in &lines {
        let [megabytes, read_rate, rate] =
            [1.0, read_ms.median / 1e3, restore_ms.median / 1e3].map(|seconds| *bytes as f64 / 1e6 / seconds);
        println!(
            "{keys:>10} {megabytes:>8.1} {workers:>7} {cache:>5} {:>22} {:>24} {ratio:>6.2}   \
             read {read_rate:.0} MB/s, restored {rate:.0} MB/s, {:.0} CPU ms, peak {:.0} MiB",
            read_ms.to_string(),
            restore_ms.to_string(),
            restore_cpu_ms.median,
            peak_bytes.median / 1048576.0,
            cache = format!("{cache:?}").to_lowercase(),
        );
    }
    Ok(())
}

fn measure_in(dir: &Path, keys: u64, options: &RestoreOptions) -> Result<Vec<Line>, Failure> {
    let write =
        RestoreRun { dir: dir.to_path_buf(), keys, workers: options.workers, placement: options.placement, from: None };
    write.execute_apart()?;
    let (checkpoint, files) = newest(dir)?;
    let bytes = files.iter().map(|file| file.len).sum();
    let mut lines = Vec::new();
    for workers in [options.workers, options.rescaled] {
        for cache in [PageCache::Cold, PageCache::Warm] {
            let (mut read_ms, mut restored) = (Vec::new(), Vec::new());
            for round in 1..=options.rounds {
                prepare(&files, cache)?;
                read_ms.push(read(&files, workers)?.as_secs_f64() * 1e3);
                prepare(&files, cache)?;
                let run = RestoreRun { from: Some(checkpoint.clone()), workers, ..write.clone() };
                restored.push(run.execute_apart()?);
                eprintln!("round {round} of {}: {keys} keys, {workers} workers, {cache:?}", options.rounds);
            }
            let spread = |figure: fn(&Restored) -> f64| Spread::of(restored.iter().map(figure));
            let all = (
                Spread::of(read_ms.iter().copied()),
                spread(|restored| restored.seconds * 1e3),
                spread(|restored| restored.cpu_seconds * 1e3),
                spread(|restored| restored.peak_bytes as f64),
            );
            let (Some(read_ms), Some(restore_ms), Some(restore_cpu_ms), Some(peak_bytes)) = all else { continue };
            let ratio = restore_ms.median / read_ms.median;
            lines.push(Line { keys, bytes, workers, cache, read_ms, restore_ms, restore_cpu_ms, peak_bytes, ratio });
        }
    }
    Ok(lines)
}

/// The job's newest checkpoint, and the files with its state.
fn newest(dir: &Path) -> Result<(String, Vec<DataFile>), Failure> {
    let job = dir.join(JOB);
    let Found::Jobs(jobs) = find(&job.to_string_lossy())? else { return Err("a checkpoint in place of a job".into()) };
    let newest = jobs.iter().flat_map(|job| job.snapshots()).rfind(|folder| folder.has_metadata());
    let snapshot = newest.ok_or("the job left no checkpoint")?.open()?;
    // The storage is the job's folder.
    let path = |file| job.join(snapshot.path_of(file).trim_start_matches('/'));
    let files = snapshot.metadata().files.iter().map(|file| DataFile { path: path(file), len: file.len });
    Ok((snapshot.path(), files.collect()))
}

/// A file that the checkpoint refers to.
struct DataFile {
    path: PathBuf,
    len: u64,
}

/// Brings the files into the page cache, or out of it.
fn prepare(files: &[DataFile], cache: PageCache) -> Result<(), Failure> {
    match cache {
        PageCache::Warm => read(files, 1).map(|_| ()),
        PageCache::Cold => files.iter().try_for_each(|file| forget(&file.path)),
    }
}

fn forget(path: &Path) -> Result<(), Failure> {
    let file = File::open(path)?;
    // What is not on the disk yet stays in the cache.
    file.sync_all()?;
    // SAFETY: the call takes an open descriptor and touches no memory of this process.
    match unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) } {
        0 => Ok(()),
        code => Err(std::io::Error::from_raw_os_error(code).into()),
    }
}

/// Reads every byte of the files on as many threads as there are workers, piece by piece into memory that is used again.
fn read(files: &[DataFile], threads: u32) -> Result<Duration, Failure> {
    let pieces: Vec<(&Path, u64, u64)> = files
        .iter()
        .flat_map(|file| (0..file.len).step_by(PIECE as usize).map(|at| (&*file.path, at, PIECE.min(file.len - at))))
        .collect();
    // Each thread has a part of its own, as a task has: reading goes on from where it was.
    let share = pieces.len().div_ceil(threads as usize).max(1);
    let began = Instant::now();
    std::thread::scope(|scope| {
        let readers: Vec<_> = pieces.chunks(share).map(|pieces| scope.spawn(|| read_pieces(pieces))).collect();
        readers.into_iter().try_for_each(|reader| reader.join().unwrap_or_else(|_| Err("a reader panicked".into())))
    })?;
    Ok(began.elapsed())
}

fn read_pieces(pieces: &[(&Path, u64, u64)]) -> Result<(), Failure> {
    let mut buffer = vec![0; PIECE as usize];
    let mut open: Option<(&Path, File)> = None;
    for (path, at, len) in pieces {
        let file = match &open {
            Some((opened, file)) if opened == path => file,
            _ => &open.insert((path, File::open(path)?)).1,
        };
        file.read_exact_at(&mut buffer[..*len as usize], *at)?;
    }
    std::hint::black_box(&buffer);
    Ok(())
}

impl RestoreRun {
    /// Has a child process carry it out.
    fn execute_apart(&self) -> Result<Restored, Failure> {
        run_apart("restore-run", self)
    }

    fn execute(&self) -> Result<Restored, Failure> {
        let env = environment(self.workers, self.from.is_none().then_some(NEVER));
        let more = CHECKED_ROWS.min(self.keys);
        let rows = match &self.from {
            None => self.keys,
            Some(checkpoint) => {
                env.start_from(StartFrom::Path(checkpoint.clone()));
                self.keys + more
            }
        };
        set_backend(&env, self.placement, &self.dir)?;
        let probe = Probe::new();
        let source = RowSource { rows, keys: self.keys, probe: probe.clone() };
        env.from_source(source, WatermarkStrategy::no_watermarks(), "rows")
            .key_by(|row: &u64| *row)
            .process(CountRows)
            .sink_to(SumSink { probe: probe.clone() });
        env.execute(JOB)?;
        let usage = Usage::so_far();
        // Every key was counted once before.
        let expected = if self.from.is_some() { 2 * more } else { self.keys };
        if probe.sum() != expected {
            return Err(format!("the sum of counts is {}, and should be {expected}", probe.sum()).into());
        }
        let (seconds, cpu_seconds) = (probe.until_all_read().as_secs_f64(), usage.cpu_seconds);
        Ok(Restored { seconds, cpu_seconds, peak_bytes: usage.peak_bytes })
    }
}

/// Carries out one run and prints what it showed.
///
/// # Errors
/// If the job fails or counts wrong.
pub fn child(options: &ChildRun) -> Result<(), Failure> {
    let run: RestoreRun = serde_json::from_str(&options.run)?;
    println!("{}", serde_json::to_string(&run.execute()?)?);
    Ok(())
}
