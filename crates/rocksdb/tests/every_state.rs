//! A job with every kind of state, timers and time-to-live, none of whose rows stay in memory: cut and rescaled, over and over.

use std::path::PathBuf;
use std::sync::Arc;

use highwater::backend::Spilling;
use highwater::{FsStateBackend, Result, StateBackend};
use highwater_rocksdb::RocksDBRowStores;
use highwater_storage::CheckpointStorage;
use highwater_testing::every_state::{Cut, survives};

/// A backend with memory for no row.
struct OnDisk {
    snapshots: FsStateBackend,
    local_dir: PathBuf,
}

impl StateBackend for OnDisk {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        self.snapshots.checkpoint_storage()
    }

    fn spilling(&self, _workers: usize) -> Result<Option<Spilling>> {
        Ok(Some(Spilling { stores: Arc::new(RocksDBRowStores::new(&self.local_dir, 0)?), budget_bytes: 1 }))
    }
}

#[test]
fn every_kind_of_state_survives_in_rocksdb() {
    let dir = tempfile::tempdir().expect("a folder");
    let [checkpoints, savepoints, local_dir] = ["checkpoints", "savepoints", "local"].map(|name| dir.path().join(name));
    let backend = || OnDisk {
        snapshots: FsStateBackend::new(checkpoints.to_str().expect("it is Unicode")),
        local_dir: local_dir.clone(),
    };
    survives(Cut::Crash, &[1, 4, 3, 2], savepoints.to_str().expect("it is Unicode"), backend);
    let stored = std::fs::read_dir(checkpoints.join("every-state/shared")).expect("shared files").count();
    assert!(stored > 0, "no row has left the memory");
}
