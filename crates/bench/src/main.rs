//! Benchmarks with their yardsticks in the same binary.
//!
//! `keyed-count` counts rows per key in declared state and checks the result; with `--yardsticks` the same rows go through raw
//! timely and through a plain loop, in turn with it. `nexmark` measures the queries of Nexmark. `latency` measures from the moment a row is due to its arrival at the sink. `state` measures the
//! state table alone, beside a plain hash map. `restore` measures the way from a checkpoint back to a running job, beside a loop that
//! reads the same files. `changes` measures the bytes of checkpoints by how much has changed. `recovery` measures how long a cluster of
//! processes stands still when one of them is killed, and what they cost.
//! `docs/benchmarks.md` has the method and the figures.
//!
//! Every measured run is a process of its own, so that peaks of memory do not mix. A wrong result ends with exit code 1.
#![allow(clippy::disallowed_methods, reason = "measures with the machine's clock and threads, and is never replayed")]

mod changes;
mod cli;
mod job;
mod latency;
mod nexmark;
mod plain_loop;
mod probe;
mod raw_timely;
mod recovery;
mod report;
mod restore;
mod round_robin;
mod row_source;
mod rows;
mod run;
mod state;
mod statistics;
mod sum_sink;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Benchmark, Cli};

/// What can go wrong, to be printed with its causes.
type Failure = Box<dyn std::error::Error + Send + Sync>;

fn main() -> ExitCode {
    let result = match Cli::parse().benchmark {
        Benchmark::KeyedCount(options) => round_robin::keyed_count(&options),
        Benchmark::Latency(options) => latency::measure(&options),
        Benchmark::Nexmark(options) => nexmark::measure(&options),
        Benchmark::NexmarkRun(options) => nexmark::child(&options),
        Benchmark::State(options) => state::measure(&options),
        Benchmark::Changes(options) => changes::measure(&options),
        Benchmark::Recovery(options) => recovery::measure(&options),
        Benchmark::RecoveryJob(options) => recovery::job::run(&options),
        Benchmark::Restore(options) => restore::measure(&options),
        Benchmark::RestoreRun(options) => restore::child(&options),
        Benchmark::Run(options) => run::child(&options),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
