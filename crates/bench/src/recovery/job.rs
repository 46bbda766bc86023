//! The measured job, in each of its processes: it counts the rows of a key, tells the benchmark that rows come through, and fails
//! when it is asked to.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use highwater::prelude::*;

use super::beacon::Beacon;
use super::signal::{Sender, Signal, monotonic_ns};
use super::source::PacedRows;
use crate::Failure;
use crate::cli::{Backend, Placement};
use crate::job::{CountRows, set_backend};

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
    /// Rows a second of each split of the source [default: as many as are taken].
    #[arg(long)]
    pub rate: Option<u64>,
    /// Rows [default: endless].
    #[arg(long)]
    pub rows: Option<u64>,
    /// Where the benchmark listens.
    #[arg(long)]
    pub report_to: SocketAddr,
    /// A file that asks for a failure: who finds it removes it, and fails [default: none].
    #[arg(long)]
    pub fault_file: Option<PathBuf>,
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
    let source = PacedRows { keys: options.keys, rate: options.rate, rows: options.rows };
    let rows = env.from_source(source, WatermarkStrategy::no_watermarks(), "rows").uid("rows");
    let counts = rows.key_by(|row: &u64| *row).process(CountRows).uid("count");
    let to = options.report_to;
    let counts = match &options.fault_file {
        Some(file) => {
            let mut fault = Fault { file: file.clone(), sender: Arc::new(Sender::open(to)?), looked_ns: 0 };
            counts.map(move |row| fault.look().map(|()| row)).uid("fault")
        }
        None => counts,
    };
    counts.sink_to(Beacon { to }).uid("beacon");
    env.execute("recovery")?;
    Ok(())
}

/// A user function's error, on demand.
#[derive(Clone)]
struct Fault {
    file: PathBuf,
    sender: Arc<Sender>,
    looked_ns: u64,
}

impl Fault {
    fn look(&mut self) -> UserResult {
        let now_ns = monotonic_ns();
        if now_ns < self.looked_ns + LOOK_NS {
            return Ok(());
        }
        self.looked_ns = now_ns;
        // Only one of the workers removes it, and fails.
        if fs::remove_file(&self.file).is_err() {
            return Ok(());
        }
        self.sender.send(&Signal::Failing { at_ns: monotonic_ns() })?;
        Err("the failure that the benchmark has asked for".into())
    }
}
