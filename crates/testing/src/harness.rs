//! Runs a job through the real runtime, interrupted after every record.
//!
//! A job under test builds its graph on a [`Stage`] and takes its sources from there. [`uninterrupted`] runs it once, with one
//! subtask of each operator. [`interrupted`] runs it many times over: after each record (each batch, for a source that emits
//! batches) the run ends, and the next one restores what it left, with another parallelism. What comes out must be the same.
//! (Hazelcast Jet's `TestSupport` is the model.)
//!
//! * A function has to be deterministic for its output to be compared: what it emits may depend on the records of its key and on
//!   timers, not on how far the watermark has come meanwhile.
//! * Order is kept per key, and only if runs end by a stop: [`by_key`] compares that. After a crash the output of an epoch is
//!   committed by whoever restores it, in any order: compare with [`sorted`].

mod source;

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::source::Source;
use highwater::state::Data;
use highwater::{
    DataStream, JobEnd, MemoryStateBackend, Record, RestartStrategy, StreamExecutionEnvironment, WatermarkStrategy,
};

use source::{Break, Interrupted};
pub use source::{OneByOne, is_interruption};

/// No job under test needs more runs: one that does makes no progress.
const MOST_RUNS: usize = 100_000;

/// How a run ends before its input does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interruption {
    /// The job is stopped, which takes a last checkpoint.
    Stop,
    /// The source fails after a checkpoint that has its position; what that checkpoint prepared may have been committed or not.
    Crash,
}

/// Where a job under test is built: one run of it.
pub struct Stage {
    env: StreamExecutionEnvironment,
    interruption: Option<Break>,
}

impl Stage {
    /// The environment of this run, for settings. Sources come from [`source`](Self::source) and [`records`](Self::records).
    pub fn env(&self) -> &StreamExecutionEnvironment {
        &self.env
    }

    /// A stream of the records of `source`; the run may end after each poll that has emitted any.
    pub fn source<S: Source>(
        &self,
        source: S,
        watermarks: WatermarkStrategy<S::Record>,
        name: &str,
    ) -> DataStream<S::Record> {
        let source = Interrupted::new(source, self.interruption.clone());
        self.env.from_source(source, watermarks, name)
    }

    /// A stream of `records`; the run may end after each of them.
    pub fn records<T: Record + Sync>(
        &self,
        records: Vec<T>,
        watermarks: WatermarkStrategy<T>,
        name: &str,
    ) -> DataStream<T> {
        self.source(OneByOne::new(records), watermarks, name)
    }
}

/// What the interrupted runs of a job came to.
#[derive(Clone, Debug)]
pub struct Runs<Out> {
    /// Everything that was committed, in the order of the commits.
    pub output: Vec<Out>,
    /// How many runs it took.
    pub count: usize,
}

/// What a job emits that runs in one piece, with one subtask of each operator and without checkpoints.
///
/// # Panics
/// If the job fails.
pub fn uninterrupted<Out: Record + Data>(job: impl Fn(&Stage) -> DataStream<Out>) -> Vec<Out> {
    let env = StreamExecutionEnvironment::new();
    env.stop_on_signals(false).set_parallelism(1);
    let stage = Stage { env, interruption: None };
    let output = CollectSink::new();
    job(&stage).sink_to(output.clone());
    stage.env.execute("harness").unwrap_or_else(|error| panic!("the uninterrupted run failed: {error}"));
    output.committed()
}

/// What a job emits that is interrupted after every record; run n has the n-th of `parallelism`, over and over.
///
/// # Panics
/// If a run fails by itself, or makes no progress.
pub fn interrupted<Out: Record + Data>(
    interruption: Interruption,
    parallelism: &[usize],
    job: impl Fn(&Stage) -> DataStream<Out>,
) -> Runs<Out> {
    let output = CollectSink::new();
    let count = run_to_the_end(interruption, parallelism, |stage| {
        job(stage).sink_to(output.clone()).uid("harness-output");
    });
    Runs { output: output.committed(), count }
}

/// Runs a job that has its own sinks, interrupted after every record; how many runs it took.
///
/// # Panics
/// If a run fails by itself, or makes no progress.
pub fn run_to_the_end(interruption: Interruption, parallelism: &[usize], job: impl Fn(&Stage)) -> usize {
    let backend = MemoryStateBackend::new();
    for run in 0..MOST_RUNS {
        let env = StreamExecutionEnvironment::new();
        env.stop_on_signals(false).set_parallelism(parallelism[run % parallelism.len()]);
        env.set_state_backend(backend.clone()).set_restart_strategy(RestartStrategy::None);
        env.enable_checkpointing(match interruption {
            // Only the last checkpoint.
            Interruption::Stop => Duration::from_secs(3600),
            Interruption::Crash => Duration::from_millis(1),
        });
        let stop = env.stop_handle();
        let interruption = Some(Break::new(interruption, stop, env.status()));
        let stage = Stage { env, interruption };
        job(&stage);
        match stage.env.execute("harness") {
            Ok(result) if result.end == JobEnd::Finished => return run + 1,
            Ok(_) => {}
            Err(error) if is_interruption(&error) => {}
            Err(error) => panic!("run {run} failed: {error}"),
        }
    }
    panic!("the input has not ended after {MOST_RUNS} runs");
}

/// The records of each key, in their order.
pub fn by_key<K: Ord, T>(records: Vec<T>, key: impl Fn(&T) -> K) -> BTreeMap<K, Vec<T>> {
    let mut keys = BTreeMap::<K, Vec<T>>::new();
    for record in records {
        keys.entry(key(&record)).or_default().push(record);
    }
    keys
}

/// The records as a multiset.
pub fn sorted<T: Ord>(mut records: Vec<T>) -> Vec<T> {
    records.sort();
    records
}

/// Checks that `job` emits the same whether or not it is interrupted: by stops, with one subtask and with changing parallelism,
/// in order per key; and by crashes, as a multiset.
///
/// # Panics
/// If it does not.
pub fn check<Out, K>(job: impl Fn(&Stage) -> DataStream<Out>, key: impl Fn(&Out) -> K)
where
    Out: Record + Data + Ord + std::fmt::Debug,
    K: Ord + std::fmt::Debug,
{
    let expected = uninterrupted(&job);
    assert!(!expected.is_empty(), "a job that emits nothing shows nothing");
    for parallelism in [&[1][..], &[1, 3, 2]] {
        let runs = interrupted(Interruption::Stop, parallelism, &job);
        let (expected, actual) = (by_key(expected.clone(), &key), by_key(runs.output, &key));
        assert_eq!(actual, expected, "stopped {} times, parallelism {parallelism:?}", runs.count - 1);
        let runs = interrupted(Interruption::Crash, parallelism, &job);
        let expected = sorted(expected.into_values().flatten().collect());
        assert_eq!(sorted(runs.output), expected, "crashed {} times, parallelism {parallelism:?}", runs.count - 1);
    }
}
