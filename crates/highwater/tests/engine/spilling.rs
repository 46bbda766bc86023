//! Jobs whose state does not fit in memory: what is in a store comes back from a checkpoint as what is in memory does.

use std::sync::Arc;
use std::time::Duration;

use highwater::backend::Spilling;
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{Result, StateBackend};
use highwater_core::JobName;
use highwater_snapshot::{KeyedReader, STATE, Snapshot};
use highwater_state::spill::MemoryRowStores;
use highwater_state::{Data, StateSchema};
use highwater_storage::layout::Layout;
use highwater_storage::{CheckpointStorage, JobStore, MemoryStorage};
use highwater_testing::FaultyStorage;

use crate::incremental::{expected, padded, shared_files};
use crate::restarts::Trouble;
use crate::support::{Numbers, Step, at_once, environment, returns, run};

/// Memory for a few dozen rows of the job.
const BUDGET: usize = 32 << 10;

/// A backend that keeps little in memory, and the rest in stores that need no engine.
pub struct Backend {
    pub storage: Arc<dyn CheckpointStorage>,
    pub stores: MemoryRowStores,
    pub budget_bytes: usize,
}

impl StateBackend for Backend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        Ok(Arc::clone(&self.storage))
    }

    fn spilling(&self, _workers: usize) -> Result<Option<Spilling>> {
        Ok(Some(Spilling { stores: Arc::new(self.stores.clone()), budget_bytes: self.budget_bytes }))
    }
}

pub fn on(
    storage: &Arc<dyn CheckpointStorage>,
    stores: &MemoryRowStores,
    workers: usize,
) -> StreamExecutionEnvironment {
    let env = environment(workers);
    let backend = Backend { storage: Arc::clone(storage), stores: stores.clone(), budget_bytes: BUDGET };
    env.set_state_backend(backend).enable_checkpointing(Duration::from_millis(1));
    env.configure_checkpoints(|config| config.tolerable_failures = 3);
    env.set_restart_strategy(at_once(3));
    env
}

/// The newest checkpoint of a job.
fn newest(job: &str, storage: &Arc<dyn CheckpointStorage>) -> Snapshot {
    let name = JobName::parse(job).unwrap();
    let store = JobStore::open(Arc::clone(storage), name.clone()).unwrap();
    let checkpoints = store.checkpoints().unwrap();
    let newest = checkpoints.iter().filter(|checkpoint| checkpoint.has_metadata).map(|checkpoint| checkpoint.id).max();
    Snapshot::open(storage, &Layout::new(name).checkpoint(newest.unwrap())).unwrap()
}

/// How many stores the newest checkpoint refers to.
pub fn stores_in(storage: &Arc<dyn CheckpointStorage>) -> usize {
    stores_of("engine-test", storage)
}

/// The same for a job of this name.
pub fn stores_of(job: &str, storage: &Arc<dyn CheckpointStorage>) -> usize {
    let snapshot = newest(job, storage);
    let tasks = snapshot.metadata().operators.iter().flat_map(|operator| &operator.subtasks);
    tasks.flat_map(|(_, task)| &task.keyed).filter(|keyed| keyed.store.is_some()).count()
}

/// Failures of user functions and of the storage, starts of the process, another parallelism at most of them.
#[test]
fn a_job_survives_anything_with_its_state_in_a_store() {
    const COUNT: u64 = 2_000;
    const KEYS: u64 = 400;
    for seed in 1..=3 {
        let (committed, there, used, stores) = returns(move || {
            let memory: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
            let faulty: Arc<dyn CheckpointStorage> = Arc::new(FaultyStorage::seeded(Arc::clone(&memory), seed, 3));
            let folder = tempfile::tempdir().unwrap();
            let stores = MemoryRowStores::new(folder.path());
            let (sink, trouble) = (CollectSink::new(), Trouble::seeded(seed, 6, COUNT as usize));
            for start in 0.. {
                assert!(start < 200, "seed {seed}: the job does not get through");
                let env = on(&faulty, &stores, [1, 2, 2, 3, 1][start % 5]);
                let status = env.status();
                let begun = status.snapshot().completed;
                let numbers = Numbers::new(COUNT).when(move |number| {
                    let ahead = number / 50 > status.snapshot().completed - begun + 5;
                    if ahead { Step::Wait } else { Step::Emit }
                });
                padded(&env, numbers, KEYS, trouble.clone(), &sink);
                if run(&env).is_ok() {
                    break;
                }
            }
            let env = on(&memory, &stores, 2);
            padded(&env, Numbers::new(COUNT), KEYS, Trouble::seeded(0, 0, 1), &sink);
            run(&env).unwrap();
            let (there, used) = shared_files(&memory);
            (sink.committed(), there, used, stores_in(&memory))
        });
        let mut committed = committed;
        committed.sort_unstable();
        assert!(committed == expected(COUNT, KEYS), "seed {seed}");
        assert_eq!(there, used, "seed {seed}: files that nothing refers to, or that are missing");
        assert_eq!(stores, 2, "seed {seed}: one for each task that counts");
    }
}

/// No checkpoint has a store, nor is anything put into the stores' folder, while all rows fit.
#[test]
fn state_that_fits_needs_no_store() {
    returns(|| {
        let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
        let folder = tempfile::tempdir().unwrap();
        let (stores, sink) = (MemoryRowStores::new(folder.path()), CollectSink::new());
        let env = on(&storage, &stores, 1);
        padded(&env, Numbers::new(1_000), 20, Trouble::seeded(0, 0, 1), &sink);
        run(&env).unwrap();
        assert_eq!(stores_in(&storage), 0);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    });
}

/// What a timer emits is told apart by this.
const COUNTED: u64 = 1 << 40;

#[derive(KeyedState)]
struct Recent {
    #[state(ttl = "200ms", time = "event")]
    numbers: MapState<u64, u64, Ttl>,
    #[state(ttl = "200ms", time = "event")]
    padding: ValueState<String, Ttl>,
}

/// At the time of each number, says how many there were of its key in the 200 ms up to it.
#[derive(Clone)]
struct CountRecent(Trouble);

impl KeyedProcessFunction<u64, u64> for CountRecent {
    type State = Recent;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Recent, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        self.0.call()?;
        state.numbers.insert(number, 1);
        state.padding.set(format!("{number:600}"));
        out.register_event_time_timer(number as i64);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Recent, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        let time = timer.time_ms as u64;
        out.collect((COUNTED + time, state.numbers.range(..=time).count() as u64));
        Ok(())
    }
}

/// Of four numbers one is of a key that never comes again.
fn key(number: &u64) -> u64 {
    if number.is_multiple_of(4) { 1_000 + number } else { number % 120 }
}

/// Rows that have expired go from the stores, and none before, whatever fails and when.
#[test]
fn what_has_expired_leaves_a_store_and_nothing_before() {
    const COUNT: u64 = 2_400;
    for (seed, workers) in [(1, 1), (2, 2), (3, 1)] {
        let (committed, rows) = returns(move || {
            let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
            let folder = tempfile::tempdir().unwrap();
            let (stores, sink) = (MemoryRowStores::new(folder.path()), CollectSink::new());
            let env = on(&storage, &stores, workers);
            env.set_restart_strategy(at_once(100));
            let status = env.status();
            let numbers = Numbers::new(COUNT).when(move |number| {
                let ahead = number / 40 > status.snapshot().completed + 5;
                if ahead { Step::Wait } else { Step::Emit }
            });
            let watermarks = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
            env.from_source(numbers, watermarks, "numbers")
                .uid("numbers")
                .key_by(key)
                .process(CountRecent(Trouble::seeded(seed, 8, COUNT as usize)))
                .uid("count")
                .sink_to(sink.clone())
                .uid("collect");
            run(&env).unwrap();
            (sink.committed(), stored_rows(&storage, &stores))
        });
        let mut committed = committed;
        committed.sort_unstable();
        let recent = |number: u64| {
            (number.saturating_sub(199)..=number).filter(|other| key(other) == key(&number)).count() as u64
        };
        let expected: Vec<_> = (0..COUNT).map(|number| (COUNTED + number, recent(number))).collect();
        assert!(committed == expected, "seed {seed}");
        // Without expiry there would be one for every fourth number, and 90 others.
        assert!((140..400).contains(&rows), "seed {seed}: {rows} rows are left");
    }
}

/// How many rows the newest checkpoint has of the operator `count`.
fn stored_rows(storage: &Arc<dyn CheckpointStorage>, stores: &MemoryRowStores) -> usize {
    let snapshot = newest("engine-test", storage).with_stores(Arc::new(stores.clone()));
    let operator = snapshot.operator("count").unwrap();
    let schema = StateSchema { key: u64::schema(), states: Recent::states() };
    let mut reader = KeyedReader::open(&snapshot, operator, STATE).unwrap().unwrap();
    operator.max_parallelism.all().iter().map(|group| reader.rows(group, &schema).unwrap().len()).sum()
}
