//! The command line.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use crate::recovery::job::RecoveryJob;

/// Benchmarks of Highwater, each with its yardstick. Compare only figures of one invocation: machines vary by the minute.
#[derive(Parser)]
#[command(name = "highwater-bench", version)]
pub struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub benchmark: Benchmark,
}

/// What can be measured.
#[derive(Subcommand)]
pub enum Benchmark {
    /// Count rows per key in keyed state: throughput, checkpoints, pauses, memory.
    KeyedCount(KeyedCount),
    /// From the moment a row is due to its arrival at the sink, at a fixed rate.
    Latency(Latency),
    /// The queries of Nexmark: throughput, processor time, memory, checkpoints, latency; or their results.
    Nexmark(NexmarkOptions),
    /// The state table alone: get, put, map iterate, TTL, snapshots, restores.
    State(StateOptions),
    /// From a checkpoint back to a running job, beside a plain loop that reads the same files.
    Restore(RestoreOptions),
    /// Bytes of a checkpoint by how many keys have changed since the one before.
    Changes(ChangesOptions),
    /// What a cluster does when a part of it is killed, when a function fails and when it is rescaled; and what it costs.
    Recovery(RecoveryOptions),
    /// One measured run, in a process of its own.
    #[command(hide = true)]
    Run(ChildRun),
    /// One process of the job of `recovery`.
    #[command(hide = true)]
    RecoveryJob(Box<RecoveryJob>),
    /// One run of `restore`, in a process of its own.
    #[command(hide = true)]
    RestoreRun(ChildRun),
    /// One run of `nexmark`, in a process of its own.
    #[command(hide = true)]
    NexmarkRun(ChildRun),
}

/// Options of `keyed-count`.
#[derive(Args)]
pub struct KeyedCount {
    /// Rows of the whole job; k, M and G are allowed.
    #[arg(long, default_value = "50M", value_parser = count)]
    pub rows: u64,
    /// Distinct keys.
    #[arg(long, default_value = "1M", value_parser = count)]
    pub keys: u64,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Time between checkpoints, like 500ms or 1s, or off. Several, separated by commas, are measured in turn.
    #[arg(long, default_value = "off", value_delimiter = ',', value_parser = interval)]
    pub checkpoint_interval: Vec<Interval>,
    /// How the count is kept: in a declared `ValueState`, or as plain state behind `stateful_map`.
    #[arg(long, value_enum, default_value_t = State::Value)]
    pub state: State,
    #[command(flatten)]
    pub placement: Placement,
    /// Also measure raw timely and a plain loop over the same rows.
    #[arg(long)]
    pub yardsticks: bool,
    /// How often each is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where checkpoints go, each run in a directory of its own that is removed afterwards [default: the system's temporary
    /// directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `latency`.
#[derive(Args)]
pub struct Latency {
    /// Rows a second of all sources together.
    #[arg(long, default_value = "50k", value_parser = count)]
    pub rate: u64,
    /// Distinct keys, all of which are in the state before the measurement begins.
    #[arg(long, default_value = "1M", value_parser = count)]
    pub keys: u64,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// How long to measure, in seconds.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..))]
    pub seconds: u64,
    /// Time between checkpoints, or off.
    #[arg(long, default_value = "1s", value_parser = interval)]
    pub checkpoint_interval: Interval,
    /// Microseconds between two looks of a source at the clock: rows that came due in between are emitted together.
    #[arg(long, default_value_t = 100)]
    pub tick_us: u64,
    /// Where checkpoints go, in a directory that is removed afterwards [default: the system's temporary directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `nexmark`.
#[derive(Args)]
pub struct NexmarkOptions {
    /// The queries, like q5 or q3,q8, or all. Each is measured by itself.
    #[arg(long, required = true, value_delimiter = ',')]
    pub query: Vec<String>,
    /// Events of the stream; k, M and G are allowed.
    #[arg(long, default_value = "1M", value_parser = count)]
    pub events: u64,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Generators of events, each read by one worker. With one it is the stream of the reference, whatever the number of workers;
    /// with more its values differ.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub generators: u32,
    /// Time between checkpoints, like 500ms or 1s, or off.
    #[arg(long, default_value = "off", value_parser = interval)]
    pub checkpoint_interval: Interval,
    #[command(flatten)]
    pub placement: Placement,
    /// Write the result of each query to a file in this directory, like q5.txt: a row a line, sorted by bytes.
    #[arg(long)]
    pub output: Option<PathBuf>,
    /// Events a second, instead of as many as possible; measures the latency of results.
    #[arg(long, value_parser = count)]
    pub rate: Option<u64>,
    /// How often each is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where checkpoints and the files of q10 go, each run in a directory of its own that is removed afterwards [default: the
    /// system's temporary directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON array instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `state`.
#[derive(Args)]
pub struct StateOptions {
    /// Distinct keys.
    #[arg(long, default_value = "1M", value_parser = count)]
    pub keys: u64,
    /// Bytes of a value: 8 is a `u64`, anything else a `Vec<u8>`.
    #[arg(long, default_value_t = 8)]
    pub value_bytes: usize,
    /// Key groups.
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(1..=32_768))]
    pub max_parallelism: u32,
    /// How often everything is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Print one JSON array instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `restore`.
#[derive(Args)]
pub struct RestoreOptions {
    /// Distinct keys. Several, separated by commas, are measured one after the other.
    #[arg(long, default_value = "1M,10M", value_delimiter = ',', value_parser = count)]
    pub keys: Vec<u64>,
    /// Worker threads of the job that wrote the checkpoint, and of the first that restores it.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Worker threads of the second job that restores it.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rescaled: u32,
    #[command(flatten)]
    pub placement: Placement,
    /// How often everything is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where checkpoints go, in a directory that is removed afterwards [default: the system's temporary directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON array instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `changes`.
#[derive(Args)]
pub struct ChangesOptions {
    /// Distinct keys.
    #[arg(long, default_value = "10M", value_parser = count)]
    pub keys: u64,
    /// How many of them change between two checkpoints, like 1%. Several, separated by commas, are measured one after the other.
    #[arg(long, default_value = "0.1%,1%,10%,100%", value_delimiter = ',', value_parser = percentage)]
    pub changed: Vec<Percentage>,
    /// Checkpoints for each, beside the first with all keys.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..))]
    pub checkpoints: u32,
    /// Worker threads.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    pub workers: u32,
    /// Where checkpoints go, in a directory that is removed afterwards [default: the system's temporary directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON array instead of text.
    #[arg(long)]
    pub json: bool,
}

/// Options of `recovery`.
#[derive(Args)]
pub struct RecoveryOptions {
    /// Distinct keys, all of which are in the state before anything is measured; k, M and G are allowed.
    #[arg(long, default_value = "1M", value_parser = count)]
    pub keys: u64,
    /// Rows a second of each of the two workers, while parts of the cluster are killed.
    #[arg(long, default_value = "100k", value_parser = count)]
    pub rate: u64,
    /// Rows of each run that is measured for its throughput.
    #[arg(long, default_value = "50M", value_parser = count)]
    pub rows: u64,
    /// Where the state is while the job runs [default: rocksdb in a binary with the feature, else memory].
    #[arg(long, value_enum, default_value_t = Backend::BUILT_IN, hide_default_value = true)]
    pub backend: Backend,
    /// Bytes of memory of each worker for state, with `--backend rocksdb`, RocksDB's own included; k, M and G are allowed.
    #[arg(long, default_value = "256M", value_parser = count)]
    pub memory_budget: u64,
    /// How often everything is measured, in turn; medians are printed.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    pub rounds: u32,
    /// Where checkpoints and logs go, in a directory that is removed afterwards [default: the system's temporary directory].
    #[arg(long)]
    pub checkpoint_dir: Option<PathBuf>,
    /// Print one JSON object instead of text.
    #[arg(long)]
    pub json: bool,
}

/// A share, from above 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Percentage(pub f64);

/// One measured run, as its parent process asks for it, in JSON: a [`Run`](crate::run::Run), a
/// [`RestoreRun`](crate::restore::RestoreRun), or a run of [`nexmark`](crate::nexmark).
#[derive(Args)]
pub struct ChildRun {
    /// The run.
    pub run: String,
}

/// Time between checkpoints, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interval(pub Option<Duration>);

/// How the count of a key is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum State {
    /// A `ValueState<u64>` in a declared struct.
    Value,
    /// A plain `u64` behind `stateful_map`.
    Plain,
}

/// Where the state of a job is while it runs, and how much of it in memory.
#[derive(Args, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Placement {
    /// Where the state is while the job runs.
    #[arg(long, value_enum, default_value_t = Backend::Memory)]
    pub backend: Backend,
    /// Bytes of memory of each worker for state, with `--backend rocksdb`, RocksDB's own included; k, M and G are allowed.
    #[arg(long, default_value = "256M", value_parser = count)]
    pub memory_budget: u64,
}

/// What is said of it after a job's name: nothing, if it is in memory.
impl fmt::Display for Placement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.backend {
            Backend::Memory => Ok(()),
            Backend::Rocksdb => write!(f, ", rocksdb with {} MiB", self.memory_budget >> 20),
        }
    }
}

/// Where the state is while the job runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub enum Backend {
    /// In memory.
    Memory,
    /// In memory up to a budget, and the rest in RocksDB: of a binary built with the feature `rocksdb`.
    Rocksdb,
}

impl Backend {
    /// The one that this binary is built for.
    const BUILT_IN: Backend = if cfg!(feature = "rocksdb") { Backend::Rocksdb } else { Backend::Memory };
}

fn count(text: &str) -> Result<u64, String> {
    let digits = text.replace('_', "");
    let (number, unit) = match digits.char_indices().next_back() {
        Some((end, 'k')) => (&digits[..end], 1_000),
        Some((end, 'M')) => (&digits[..end], 1_000_000),
        Some((end, 'G')) => (&digits[..end], 1_000_000_000),
        _ => (&digits[..], 1),
    };
    let parsed = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    parsed.filter(|count| *count > 0).ok_or_else(|| "give a whole number above 0, like 50000, 50k or 10M".into())
}

fn percentage(text: &str) -> Result<Percentage, String> {
    let number = text.strip_suffix('%').and_then(|number| number.parse::<f64>().ok());
    let share = number.map(|number| number / 100.0).filter(|share| *share > 0.0 && *share <= 1.0);
    share.map(Percentage).ok_or_else(|| "give a percentage above 0% and up to 100%, like 0.1%".into())
}

fn interval(text: &str) -> Result<Interval, String> {
    if text == "off" {
        return Ok(Interval(None));
    }
    let parse = |number: &str| number.parse::<u64>().ok().filter(|number| *number > 0);
    let time = match text.strip_suffix("ms") {
        Some(ms) => parse(ms).map(Duration::from_millis),
        None => text.strip_suffix('s').and_then(parse).map(Duration::from_secs),
    };
    time.map(|time| Interval(Some(time))).ok_or_else(|| "give a time like 500ms or 1s, or off".into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_have_units() {
        assert_eq!(["7", "50k", "1_000M"].map(count), [Ok(7), Ok(50_000), Ok(1_000_000_000)]);
        for wrong in ["", "0", "M", "-1", "1m", "20000000000G"] {
            assert!(count(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn shares_are_percentages() {
        assert_eq!(["0.1%", "100%"].map(percentage), [Ok(Percentage(0.001)), Ok(Percentage(1.0))]);
        for wrong in ["", "1", "0%", "101%", "-1%", "NaN%"] {
            assert!(percentage(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn intervals_have_units_or_are_off() {
        let ms = |ms| Ok(Interval(Some(Duration::from_millis(ms))));
        assert_eq!(["250ms", "1s", "off"].map(interval), [ms(250), ms(1000), Ok(Interval(None))]);
        for wrong in ["", "1", "0s", "ms", "1.5s"] {
            assert!(interval(wrong).is_err(), "{wrong:?}");
        }
    }
}
