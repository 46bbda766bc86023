//! The subject: the count as a user of Highwater writes it.

use std::path::Path;
use std::time::Duration;

use highwater::prelude::*;
use highwater::{CheckpointOutcome, JobStatus, StartFrom};

use crate::Failure;
use crate::cli::{Backend, Placement, State};
use crate::probe::Probe;
use crate::row_source::RowSource;
use crate::run::{Checkpoint, Run};
use crate::sum_sink::SumSink;

/// What is kept of a key.
#[derive(KeyedState)]
pub struct Counter {
    count: ValueState<u64>,
}

impl Counter {
    /// Counts one more.
    #[inline]
    pub fn next(&mut self) -> u64 {
        self.count.update(|count| {
            *count += 1;
            *count
        })
    }
}

/// Counts the rows of a key.
#[derive(Clone)]
pub struct CountRows;

impl KeyedProcessFunction<u64, u64> for CountRows {
    type State = Counter;
    type Out = (u64, u64);

    #[inline]
    fn process(&mut self, row: u64, state: &mut Counter, context: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        context.collect((row, state.next()));
        Ok(())
    }
}

/// What there is to say of the checkpoints of a run.
#[derive(Default)]
pub struct Checkpoints {
    pub completed: Vec<Checkpoint>,
    pub failed: u64,
    /// Longest pause of a task for each of its snapshots.
    pub pauses_ms: Vec<f64>,
}

/// Runs the job once.
pub fn execute(run: &Run, probe: &Probe) -> Result<Checkpoints, Failure> {
    let env = environment(run.workers, run.interval.0);
    if let Some(dir) = &run.checkpoint_dir {
        set_backend(&env, run.placement, dir)?;
    }
    let source = RowSource { rows: run.rows, keys: run.keys, probe: probe.clone() };
    let rows = env.from_source(source, WatermarkStrategy::no_watermarks(), "rows").key_by(|row: &u64| *row);
    let counts = match run.state {
        State::Value => rows.process(CountRows),
        State::Plain => rows.stateful_map(|count: &mut u64, row| {
            *count += 1;
            Ok((row, *count))
        }),
    };
    counts.sink_to(SumSink { probe: probe.clone() });
    env.execute("keyed-count")?;
    Ok(checkpoints(&env.status()))
}

/// Has state and checkpoints of a run in `dir`.
pub fn set_backend(env: &StreamExecutionEnvironment, placement: Placement, dir: &Path) -> Result<(), Failure> {
    match placement.backend {
        Backend::Memory => {
            env.set_state_backend(FsStateBackend::new(dir.to_string_lossy()));
            Ok(())
        }
        Backend::Rocksdb => set_rocksdb(env, placement.memory_budget, dir),
    }
}

#[cfg(feature = "rocksdb")]
fn set_rocksdb(env: &StreamExecutionEnvironment, memory_budget: u64, dir: &Path) -> Result<(), Failure> {
    let backend = highwater_rocksdb::RocksDBStateBackend::new(dir.to_string_lossy());
    let budget = usize::try_from(memory_budget)?;
    env.set_state_backend(backend.with_memory_budget(budget).with_local_dir(dir.join("rocksdb")));
    Ok(())
}

#[cfg(not(feature = "rocksdb"))]
fn set_rocksdb(_: &StreamExecutionEnvironment, _: u64, _: &Path) -> Result<(), Failure> {
    Err("this binary is built without RocksDB: build it with --features rocksdb".into())
}

/// An environment for a run that is to be measured: a failure ends it, and nothing is restored.
pub fn environment(workers: u32, checkpoint_interval: Option<Duration>) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.set_parallelism(workers as usize);
    env.set_restart_strategy(RestartStrategy::None);
    env.start_from(StartFrom::Fresh);
    env.stop_on_signals(false);
    if let Some(interval) = checkpoint_interval {
        env.enable_checkpointing(interval);
    }
    env
}

/// What a job's status says of its checkpoints.
pub fn checkpoints(status: &JobStatus) -> Checkpoints {
    let ms = |time: Duration| time.as_secs_f64() * 1e3;
    let history = status.history();
    let completed = history.iter().filter(|report| report.outcome == CheckpointOutcome::Completed);
    Checkpoints {
        completed: completed
            .map(|report| Checkpoint {
                init_ms: ms(report.times.init),
                prepare_ms: ms(report.times.prepare),
                confirm_ms: ms(report.times.confirm),
                complete_ms: ms(report.times.complete),
                bytes: report.bytes,
            })
            .collect(),
        failed: status.snapshot().failed,
        pauses_ms: status.pauses().into_iter().map(ms).collect(),
    }
}
