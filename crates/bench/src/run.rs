//! One measured run: asked for by the parent, carried out by a child process, whose standard output is the measurement.

use std::fmt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::Failure;
use crate::cli::{ChildRun, Interval, Placement, State};
use crate::probe::{Probe, Usage};
use crate::rows::sum_of_counts;
use crate::{job, plain_loop, raw_timely};

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Subject {
    Highwater,
    Timely,
    Loop,
}

/// A run to be measured.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Run {
    pub subject: Subject,
    pub rows: u64,
    pub keys: u64,
    pub workers: u32,
    pub state: State,
    pub interval: Interval,
    pub placement: Placement,
    /// Where checkpoints and files of state go; set if there are any.
    pub checkpoint_dir: Option<PathBuf>,
}

/// A completed checkpoint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checkpoint {
    pub init_ms: f64,
    pub prepare_ms: f64,
    pub confirm_ms: f64,
    pub complete_ms: f64,
    pub bytes: u64,
}

impl Checkpoint {
    pub fn total_ms(&self) -> f64 {
        self.init_ms + self.prepare_ms + self.confirm_ms + self.complete_ms
    }
}

/// What a run showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Measurement {
    /// Of all workers, from the first row to the last at a sink.
    pub rows_per_s: f64,
    /// The whole run: threads, last checkpoint, and dropping the state too.
    pub total_seconds: f64,
    pub cpu_seconds: f64,
    pub peak_bytes: u64,
    pub checkpoints: Vec<Checkpoint>,
    pub checkpoints_failed: u64,
    pub pauses_ms: Vec<f64>,
}

impl Run {
    /// Has a child process carry it out.
    pub fn measure(&self) -> Result<Measurement, Failure> {
        run_apart("run", self)
    }
}

/// Has a child process carry out `run` by the hidden command `command`: what it prints is what the run showed.
///
/// # Errors
/// If it cannot be started, or fails.
pub fn run_apart<R: Serialize + fmt::Debug, M: DeserializeOwned>(command: &str, run: &R) -> Result<M, Failure> {
    let mut child = Command::new(std::env::current_exe()?);
    let output = child.arg(command).arg(serde_json::to_string(run)?).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(format!("{run:?} failed: {}", output.status).into());
    }
    Ok(serde_json::from_slice(&output.stdout)?)
}

/// Carries out one run and prints its measurement.
pub fn child(options: &ChildRun) -> Result<(), Failure> {
    let run: Run = serde_json::from_str(&options.run)?;
    let measurement = execute(&run)?;
    println!("{}", serde_json::to_string(&measurement)?);
    Ok(())
}

fn execute(run: &Run) -> Result<Measurement, Failure> {
    let probe = Probe::new();
    let began = Instant::now();
    let checkpoints = match run.subject {
        Subject::Highwater => job::execute(run, &probe)?,
        Subject::Timely => raw_timely::execute(run, &probe).map(|()| job::Checkpoints::default())?,
        Subject::Loop => plain_loop::execute(run, &probe).map(|()| job::Checkpoints::default())?,
    };
    let (total, usage) = (began.elapsed(), Usage::so_far());
    let (sum, expected) = (probe.sum(), sum_of_counts(run.rows, run.keys));
    if sum != expected {
        return Err(format!("{:?} counted wrong: the sum is {sum}, and should be {expected}", run.subject).into());
    }
    Ok(Measurement {
        rows_per_s: run.rows as f64 / probe.duration().as_secs_f64(),
        total_seconds: total.as_secs_f64(),
        cpu_seconds: usage.cpu_seconds,
        peak_bytes: usage.peak_bytes,
        checkpoints: checkpoints.completed,
        checkpoints_failed: checkpoints.failed,
        pauses_ms: checkpoints.pauses_ms,
    })
}
