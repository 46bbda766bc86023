//! A small job with every kind of state, and its checkpoints.

use std::fs;
use std::path::{Path, PathBuf};

use highwater::prelude::*;
use highwater::{RestartStrategy, StateBackend};
use tempfile::TempDir;

/// So many keys that their state does not fit into `_metadata`.
pub const KEYS: u64 = 400;

/// When the timers fire, in milliseconds: not while anybody runs this.
pub const FAR: i64 = 32_503_680_000_000;

/// What is added up for every key.
#[derive(Clone, Debug, PartialEq, Data)]
pub struct Sum {
    pub total: u64,
    pub last: Option<u64>,
}

#[derive(KeyedState)]
struct Counter {
    sum: ValueState<Sum>,
    seen: MapState<String, u32>,
    padding: ListState<String>,
}

#[derive(Clone)]
struct Count;

impl KeyedProcessFunction<String, u64> for Count {
    type State = Counter;
    type Out = u64;

    fn process(&mut self, number: u64, state: &mut Counter, context: &mut Context<'_, String, u64>) -> UserResult {
        let total = state.sum.get().map_or(0, |sum| sum.total) + number;
        state.sum.set(Sum { total, last: Some(number) });
        state.seen.update(if number < KEYS { "first" } else { "later" }.into(), |count| *count += 1);
        if state.padding.is_empty() {
            state.padding.add("x".repeat(100));
        }
        if number == 7 {
            context.register_processing_time_timer(FAR);
        }
        context.collect(total);
        Ok(())
    }
}

/// The folder of a job that has run, with its checkpoints.
pub struct Ran {
    dir: TempDir,
}

/// Runs the job over the numbers below each bound, one run after the other: each ends with a checkpoint.
pub fn ran(bounds: &[u64]) -> Ran {
    let ran = Ran::new();
    run_at(ran.dir(), bounds);
    ran
}

/// The same with the state backend that is made for a checkpoint directory.
pub fn ran_with<B: StateBackend + 'static>(bounds: &[u64], backend: impl Fn(&str) -> B) -> Ran {
    let ran = Ran::new();
    run_with(ran.dir(), bounds, backend);
    ran
}

/// The same, with the checkpoints in the checkpoint directory `uri`.
pub fn run_at(uri: &str, bounds: &[u64]) {
    run_with(uri, bounds, |uri| FsStateBackend::new(uri));
}

fn run_with<B: StateBackend + 'static>(uri: &str, bounds: &[u64], backend: impl Fn(&str) -> B) {
    for bound in bounds {
        let env = StreamExecutionEnvironment::new();
        env.stop_on_signals(false).set_parallelism(1).set_max_parallelism(8);
        env.set_restart_strategy(RestartStrategy::None);
        env.set_state_backend(backend(uri)).configure_checkpoints(|config| config.retained = 10);
        env.from_collection(0..*bound)
            .uid("numbers")
            .key_by(|number: &u64| format!("key {}", number % KEYS))
            .process(Count)
            .uid("count")
            .sink_to(CollectSink::new())
            .uid("sink");
        env.execute("counting").unwrap();
    }
}

impl Ran {
    fn new() -> Self {
        Ran { dir: tempfile::Builder::new().prefix("checkpoints-").tempdir().unwrap() }
    }

    /// The checkpoint directory.
    pub fn dir(&self) -> &str {
        self.dir.path().to_str().unwrap()
    }

    /// The job's folder.
    pub fn job(&self) -> PathBuf {
        self.dir.path().join("counting")
    }

    /// The folders of the checkpoints, oldest first.
    pub fn checkpoints(&self) -> Vec<String> {
        let id = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse::<u64>().ok();
        let mut found: Vec<_> = fs::read_dir(self.job()).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.retain(|path| id(path).is_some());
        found.sort_by_key(id);
        found.iter().map(|path| path.to_str().unwrap().to_owned()).collect()
    }

    /// The shared files, oldest first.
    pub fn shared(&self) -> Vec<PathBuf> {
        let mut found: Vec<_> =
            fs::read_dir(self.job().join("shared")).unwrap().map(|entry| entry.unwrap().path()).collect();
        found.sort();
        found
    }
}

/// Flips a bit of a file.
pub fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}
