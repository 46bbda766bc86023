//! The state backend: memory, RocksDB for what does not fit, and snapshots on a file system.

use std::path::PathBuf;
use std::sync::Arc;

use highwater::backend::Spilling;
use highwater::{FsStateBackend, Result, StateBackend};
use highwater_core::Error;
use highwater_storage::CheckpointStorage;

use crate::stores::RocksDBRowStores;

/// Memory of a worker if none is set.
const DEFAULT_BUDGET: usize = 512 << 20;

/// With less, hardly a row would stay in memory.
const LEAST_BUDGET: usize = 1 << 20;

/// The part of the budget that RocksDB gets, as a divisor. It is used once there is something in RocksDB.
const ROCKSDB_PART: usize = 4;

/// Working state in memory, and in RocksDB what does not fit; snapshots where an [`FsStateBackend`] has them: Flink's
/// `RocksDBStateBackend`.
///
/// As long as the state of all keyed operators of a worker fits three quarters of its budget, this is an
/// [`FsStateBackend`], and no RocksDB is opened. Beyond that the rows that were not used for longest go to RocksDB, in
/// the [local directory](Self::with_local_dir). Timers stay in memory. Checkpoints keep the files of RocksDB, each once.
///
/// ```
/// use highwater::StreamExecutionEnvironment;
/// use highwater_rocksdb::RocksDBStateBackend;
///
/// let env = StreamExecutionEnvironment::new();
/// env.set_state_backend(RocksDBStateBackend::new("/var/lib/visitors").with_memory_budget(2 << 30));
/// ```
#[derive(Clone, Debug)]
pub struct RocksDBStateBackend {
    snapshots: FsStateBackend,
    budget: usize,
    local_dir: PathBuf,
}

impl RocksDBStateBackend {
    /// A backend with snapshots below `uri`, in any of the places of an [`FsStateBackend`].
    pub fn new(uri: impl Into<String>) -> Self {
        RocksDBStateBackend {
            snapshots: FsStateBackend::new(uri),
            budget: DEFAULT_BUDGET,
            local_dir: std::env::temp_dir().join("highwater-rocksdb"),
        }
    }

    /// Gives each worker `bytes` of memory for keyed state, RocksDB included: 512 MiB by default, at least 1 MiB.
    ///
    /// What a row owns on the heap is estimated. The stores of a process get at least 8 MiB together. Not in the budget
    /// are timers, records on their way, and chunks of a snapshot that wait for the disk.
    #[must_use]
    pub fn with_memory_budget(mut self, bytes: usize) -> Self {
        self.budget = bytes;
        self
    }

    /// Keeps the files of RocksDB below `path`: `highwater-rocksdb` in the system's temporary directory by default.
    ///
    /// It should be on a fast disk of this machine, not in memory as some temporary directories are. Nothing in it
    /// outlives the process. Each process has a folder of its own there with a lock; what processes that were killed
    /// left is removed when one starts.
    #[must_use]
    pub fn with_local_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.local_dir = path.into();
        self
    }
}

impl StateBackend for RocksDBStateBackend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        self.snapshots.checkpoint_storage()
    }

    fn spilling(&self, workers: usize) -> Result<Option<Spilling>> {
        if self.budget < LEAST_BUDGET {
            return Err(Error::settings(format!(
                "the memory budget of the RocksDB state backend is {} bytes per worker: give {LEAST_BUDGET} or more",
                self.budget
            )));
        }
        let rocksdb = self.budget / ROCKSDB_PART;
        let stores = RocksDBRowStores::new(&self.local_dir, rocksdb.saturating_mul(workers))?;
        Ok(Some(Spilling { stores: Arc::new(stores), budget_bytes: self.budget - rocksdb }))
    }
}
