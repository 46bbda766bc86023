//! What the rounds of `keyed-count` showed, as text or JSON.

use std::fmt;

use serde::Serialize;

use crate::cli::KeyedCount;
use crate::rows::sum_of_counts;
use crate::run::{Checkpoint, Measurement, Run, Subject};
use crate::statistics::{Percentiles, Spread};

/// All results of one invocation.
#[derive(Serialize)]
pub struct Report {
    rows: u64,
    keys: u64,
    workers: u32,
    rounds: u32,
    /// What each run counted: it was checked.
    sum_of_counts: u64,
    results: Vec<Variant>,
    ratios: Vec<Ratio>,
}

/// One subject with one setting, over all rounds.
#[derive(Serialize)]
pub struct Variant {
    name: String,
    #[serde(skip)]
    subject: Subject,
    rows_per_s: Spread,
    /// Steadier than rows a second where other programs take cores away. Spinning counts as work.
    rows_per_cpu_second: Spread,
    total_seconds: Spread,
    cpu_seconds: Spread,
    peak_bytes: Spread,
    checkpoints: Option<Checkpoints>,
}

/// The checkpoints of all rounds together.
#[derive(Serialize)]
pub struct Checkpoints {
    pub completed: usize,
    failed: u64,
    pub total_ms: Percentiles,
    init_ms: Percentiles,
    prepare_ms: Percentiles,
    confirm_ms: Percentiles,
    complete_ms: Percentiles,
    bytes: Spread,
    /// Of the longest pause of a task in each of its snapshots.
    pause_ms: Option<Percentiles>,
}

/// Two medians, one over the other.
#[derive(Serialize)]
struct Ratio {
    of: String,
    to: String,
    rows_per_s: f64,
    rows_per_cpu_second: f64,
    peak_bytes: f64,
}

impl Report {
    /// Sums up what each run showed, in the order of the runs.
    pub fn of<'a>(options: &KeyedCount, measured: impl Iterator<Item = (&'a Run, &'a Vec<Measurement>)>) -> Self {
        let results: Vec<Variant> = measured.filter_map(|(run, rounds)| Variant::of(run, rounds)).collect();
        let (rows, keys, workers, rounds) = (options.rows, options.keys, options.workers, options.rounds);
        let sum_of_counts = sum_of_counts(rows, keys);
        Report { rows, keys, workers, rounds, sum_of_counts, ratios: ratios(&results), results }
    }
}

/// Of every setting of Highwater to each yardstick, and to Highwater without checkpoints.
fn ratios(results: &[Variant]) -> Vec<Ratio> {
    let ratio = |of: &Variant, to: &Variant| Ratio {
        of: of.name.clone(),
        to: to.name.clone(),
        rows_per_s: of.rows_per_s.median / to.rows_per_s.median,
        rows_per_cpu_second: of.rows_per_cpu_second.median / to.rows_per_cpu_second.median,
        peak_bytes: of.peak_bytes.median / to.peak_bytes.median,
    };
    let subjects = results.iter().filter(|variant| variant.subject == Subject::Highwater);
    let is_yardstick =
        |to: &Variant, of: &Variant| to.checkpoints.is_none() && (to.subject != of.subject || of.checkpoints.is_some());
    subjects.flat_map(|of| results.iter().filter(|to| is_yardstick(to, of)).map(move |to| ratio(of, to))).collect()
}

impl Variant {
    /// What a run is called in tables.
    pub fn name(run: &Run) -> String {
        let placement = run.placement;
        match (run.subject, run.interval.0) {
            (Subject::Highwater, None) => format!("highwater{placement}"),
            (Subject::Highwater, Some(interval)) => format!("highwater{placement}, checkpoint every {interval:?}"),
            (Subject::Timely, _) => "timely".into(),
            (Subject::Loop, _) => "loop".into(),
        }
    }

    fn of(run: &Run, rounds: &[Measurement]) -> Option<Self> {
        let spread = |figure: fn(&Measurement) -> f64| Spread::of(rounds.iter().map(figure));
        Some(Variant {
            name: Self::name(run),
            subject: run.subject,
            rows_per_s: spread(|round| round.rows_per_s)?,
            rows_per_cpu_second: Spread::of(rounds.iter().map(|round| run.rows as f64 / round.cpu_seconds))?,
            total_seconds: spread(|round| round.total_seconds)?,
            cpu_seconds: spread(|round| round.cpu_seconds)?,
            peak_bytes: spread(|round| round.peak_bytes as f64)?,
            checkpoints: Checkpoints::of(rounds),
        })
    }
}

impl Checkpoints {
    /// Of at least one checkpoint.
    pub fn of(rounds: &[Measurement]) -> Option<Self> {
        let all = || rounds.iter().flat_map(|round| &round.checkpoints);
        let percentiles = |figure: fn(&Checkpoint) -> f64| Percentiles::of(all().map(figure));
        Some(Checkpoints {
            completed: all().count(),
            failed: rounds.iter().map(|round| round.checkpoints_failed).sum(),
            total_ms: percentiles(Checkpoint::total_ms)?,
            init_ms: percentiles(|checkpoint| checkpoint.init_ms)?,
            prepare_ms: percentiles(|checkpoint| checkpoint.prepare_ms)?,
            confirm_ms: percentiles(|checkpoint| checkpoint.confirm_ms)?,
            complete_ms: percentiles(|checkpoint| checkpoint.complete_ms)?,
            bytes: Spread::of(all().map(|checkpoint| checkpoint.bytes as f64))?,
            pause_ms: Percentiles::of(rounds.iter().flat_map(|round| round.pauses_ms.iter().copied())),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Report { rows, keys, workers, rounds, .. } = self;
        writeln!(f, "keyed-count: {rows} rows, {keys} keys, {workers} workers, {rounds} rounds; median (min-max)\n")?;
        self.results.iter().try_for_each(|variant| variant.fmt(f))?;
        for Ratio { of, to, rows_per_s, rows_per_cpu_second, peak_bytes } in &self.ratios {
            write!(f, "{of} / {to}: {rows_per_s:.2} in rows/s, {rows_per_cpu_second:.2} in rows per CPU second, ")?;
            writeln!(f, "{peak_bytes:.2} in peak memory")?;
        }
        Ok(())
    }
}

impl fmt::Display for Variant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scaled = |Spread { median, min, max }: Spread, unit: f64| {
            format!("{:.2} ({:.2}-{:.2})", median / unit, min / unit, max / unit)
        };
        writeln!(f, "{}", self.name)?;
        writeln!(f, "  M rows/s      {}", scaled(self.rows_per_s, 1e6))?;
        writeln!(f, "  M rows/CPU s  {}", scaled(self.rows_per_cpu_second, 1e6))?;
        writeln!(f, "  CPU seconds   {}", scaled(self.cpu_seconds, 1.0))?;
        writeln!(f, "  whole run, s  {}", scaled(self.total_seconds, 1.0))?;
        writeln!(f, "  peak MiB      {}", scaled(self.peak_bytes, 1048576.0))?;
        let Some(checkpoints) = &self.checkpoints else { return writeln!(f) };
        writeln!(f, "  checkpoints   {} completed, {} failed", checkpoints.completed, checkpoints.failed)?;
        writeln!(f, "  MiB each      {}", scaled(checkpoints.bytes, 1048576.0))?;
        let rows = [
            ("checkpoint, ms", Some(checkpoints.total_ms)),
            ("  T_init", Some(checkpoints.init_ms)),
            ("  T_prepare", Some(checkpoints.prepare_ms)),
            ("  T_confirm", Some(checkpoints.confirm_ms)),
            ("  T_complete", Some(checkpoints.complete_ms)),
            ("pause, ms", checkpoints.pause_ms),
        ];
        for (name, percentiles) in rows {
            if let Some(Percentiles { p50, p99, max, .. }) = percentiles {
                writeln!(f, "  {name:15}p50 {p50:.2}, p99 {p99:.2}, max {max:.2}")?;
            }
        }
        writeln!(f)
    }
}
