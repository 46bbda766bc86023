//! The measured job, in each of its processes: it counts the rows of a key, and tells the benchmark that rows come through.
//!
//! The endless one checks every count, and fails when it is asked to. The one with an end is the count of `keyed-count`, as fast as it
//! goes.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use highwater::prelude::*;

use super::beacon::Beacon;
use super::signal::{Sender, Signal, monotonic_ns};
use super::source::{Occurrence, PacedRows};
use crate::Failure;
use crate::cli::{Backend, Placement};
use crate::job::{CountRows, Counter, set_backend};
use crate::probe::Probe;
use crate::row_source::RowSource;

/// Between two looks for the file that asks for a failure.
const LOOK_NS: u64 = 10_000_000;

/// Options of one process.
#[derive(Args)]
pub struct RecoveryJob {
    #[command(flatten)]
    pub job: JobArgs,
    /// Distinct keys.
    #[arg(long)]
    pub keys: u64,
    /// Rows of the job with an end [default: it is endless].
    #[arg(long)]
    pub rows: Option<u64>,
    /// Rows a second of each split of the endless one.
    #[arg(long)]
    pub rate: u64,
    /// Where the benchmark listens.
    #[arg(long)]
    pub report_to: SocketAddr,
    /// A file that asks the endless one for a failure: who finds it removes it, and fails.
    #[arg(long)]
    pub fault_file: PathBuf,
    /// Where the state is while the job runs.
    #[arg(long, value_enum)]
    pub backend: Backend,
    /// Bytes of memory of each worker for state, with `--backend rocksdb`.
    #[arg(long)]
    pub state_memory: u64,
    /// A folder of this process for files of state.
    #[arg(long)]
    pub state_dir: PathBuf,
}

/// Runs this process's part of the job.
///
/// # Errors
/// Those of the job.
pub fn run(options: &RecoveryJob) -> Result<(), Failure> {
    let settings = options.job.resolve()?;
    highwater::logging::init(settings.log_format);
    let env = StreamExecutionEnvironment::with_settings(settings);
    // The benchmark ends its processes.
    env.stop_on_signals(false);
    set_backend(&env, Placement { backend: options.backend, memory_budget: options.state_memory }, &options.state_dir)?;
    match options.rows {
        Some(rows) => build_counted(&env, rows, options),
        None => build_checked(&env, options)?,
    }
    env.execute("recovery")?;
    Ok(())
}

fn build_counted(env: &StreamExecutionEnvironment, rows: u64, options: &RecoveryJob) {
    let source = RowSource { rows, keys: options.keys, probe: Probe::new() };
    env.from_source(source, WatermarkStrategy::no_watermarks(), "rows")
        .key_by(|row: &u64| *row)
        .process(CountRows)
        .sink_to(Beacon { to: options.report_to });
}

fn build_checked(env: &StreamExecutionEnvironment, options: &RecoveryJob) -> Result<(), Failure> {
    let source = PacedRows { keys: options.keys, rate: options.rate };
    let sender = Arc::new(Sender::open(options.report_to)?);
    let mut check = Check { fault_file: options.fault_file.clone(), sender, looked_ns: 0 };
    env.from_source(source, WatermarkStrategy::no_watermarks(), "rows")
        .key_by(|(key, _): &Occurrence| *key)
        .process(CountOccurrences)
        .map(move |row| check.pass(row))
        .sink_to(Beacon { to: options.report_to });
    Ok(())
}

/// Counts the rows of a key, and says what the count should be.
#[derive(Clone)]
struct CountOccurrences;

impl KeyedProcessFunction<u64, Occurrence> for CountOccurrences {
    type State = Counter;
    type Out = (u64, u64);

    fn process(
        &mut self,
        (_, expected): Occurrence,
        state: &mut Counter,
        context: &mut Context<'_, u64, (u64, u64)>,
    ) -> UserResult {
        let count = state.next();
        context.collect((expected, count));
        Ok(())
    }
}

/// Tells of wrong counts, and fails on demand.
#[derive(Clone)]
struct Check {
    fault_file: PathBuf,
    sender: Arc<Sender>,
    looked_ns: u64,
}

impl Check {
    fn pass(&mut self, (expected, count): (u64, u64)) -> UserResult<(u64, u64)> {
        if count != expected {
            self.sender.send(&Signal::Wrong { count, expected })?;
        }
        self.look().map(|()| (expected, count))
    }

    fn look(&mut self) -> UserResult {
        let now_ns = monotonic_ns();
        if now_ns < self.looked_ns + LOOK_NS {
            return Ok(());
        }
        self.looked_ns = now_ns;
        // Only one of the workers removes it, and fails.
        if fs::remove_file(&self.fault_file).is_err() {
            return Ok(());
        }
        self.sender.send(&Signal::Failing { at_ns: monotonic_ns() })?;
        Err("the failure that the benchmark has asked for".into())
    }
}
