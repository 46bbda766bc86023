//! A backend with memory for no row, so that the smallest state is in RocksDB.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater::backend::Spilling;
use highwater::{FsStateBackend, Result, StateBackend};
use highwater_rocksdb::RocksDBRowStores;
use highwater_storage::CheckpointStorage;

pub struct OnDisk {
    snapshots: FsStateBackend,
    local_dir: PathBuf,
}

impl OnDisk {
    /// With checkpoints in `checkpoints`, and RocksDB's files in `local_dir`.
    pub fn new(checkpoints: &Path, local_dir: &Path) -> Self {
        let snapshots = FsStateBackend::new(checkpoints.to_str().expect("it is Unicode"));
        OnDisk { snapshots, local_dir: local_dir.to_owned() }
    }
}

impl StateBackend for OnDisk {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        self.snapshots.checkpoint_storage()
    }

    fn spilling(&self, _workers: usize) -> Result<Option<Spilling>> {
        Ok(Some(Spilling { stores: Arc::new(RocksDBRowStores::new(&self.local_dir, 0)?), budget_bytes: 1 }))
    }
}
