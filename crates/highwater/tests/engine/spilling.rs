//! Jobs whose state does not fit in memory: what is in a store comes back from a checkpoint as what is in memory does.

use std::sync::Arc;
use std::time::Duration;

use highwater::backend::Spilling;
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{Result, StateBackend};
use highwater_core::JobName;
use highwater_snapshot::Snapshot;
use highwater_state::spill::MemoryRowStores;
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

/// How many stores the newest checkpoint refers to.
pub fn stores_in(storage: &Arc<dyn CheckpointStorage>) -> usize {
    stores_of("engine-test", storage)
}

/// The same for a job of this name.
pub fn stores_of(job: &str, storage: &Arc<dyn CheckpointStorage>) -> usize {
    let name = JobName::parse(job).unwrap();
    let store = JobStore::open(Arc::clone(storage), name.clone()).unwrap();
    let checkpoints = store.checkpoints().unwrap();
    let newest = checkpoints.iter().filter(|checkpoint| checkpoint.has_metadata).map(|checkpoint| checkpoint.id).max();
    let snapshot = Snapshot::open(storage, &Layout::new(name).checkpoint(newest.unwrap())).unwrap();
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
