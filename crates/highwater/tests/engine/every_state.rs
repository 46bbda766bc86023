//! Every kind of state in one job, with each pair of working state and snapshot storage.

use std::sync::Arc;

use highwater::prelude::*;
use highwater_state::spill::MemoryRowStores;
use highwater_storage::{CheckpointStorage, MemoryStorage};
use highwater_testing::every_state::{Cut, survives};

use crate::spilling::{Backend, stores_of};
use crate::support::returns;

const PARALLELISM: [usize; 4] = [1, 4, 3, 2];

#[test]
fn every_kind_of_state_survives_rescaling_from_checkpoints_and_savepoints() {
    for cut in [Cut::Stop, Cut::Savepoint, Cut::Crash] {
        returns(move || {
            let (savepoints, backend) = (tempfile::tempdir().unwrap(), MemoryStateBackend::new());
            survives(cut, &PARALLELISM, savepoints.path().to_str().unwrap(), || backend.clone());
        });
    }
}

#[test]
fn every_kind_of_state_survives_in_a_file_system() {
    returns(|| {
        let (savepoints, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = dir.path().to_str().unwrap();
        survives(Cut::Crash, &PARALLELISM, savepoints.path().to_str().unwrap(), || FsStateBackend::new(dir));
    });
}

/// Memory for none of the rows.
#[test]
fn every_kind_of_state_survives_in_stores_below_the_memory() {
    returns(|| {
        let (savepoints, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let stores = MemoryRowStores::new(dir.path());
        let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
        let backend = || Backend { storage: Arc::clone(&storage), stores: stores.clone(), budget_bytes: 1 };
        survives(Cut::Crash, &PARALLELISM, savepoints.path().to_str().unwrap(), backend);
        assert!(stores_of("every-state", &storage) > 0, "no row has left the memory");
    });
}
