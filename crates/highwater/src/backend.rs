//! State backends: where working state lives, and where its snapshots go.
//!
//! The two are independent choices; the classical names stand for pairs of them.
//!
//! | backend | working state | snapshots | survives |
//! |---|---|---|---|
//! | [`MemoryStateBackend`] | memory | memory | the failure of an attempt |
//! | [`FsStateBackend`] | memory | a directory, HDFS or S3 | the end of the process, `kill -9` included |
//! | `RocksDBStateBackend` of the crate `highwater-rocksdb` | memory, and RocksDB for what does not fit | as above | the same |

use std::sync::Arc;

use highwater_core::Result;
pub use highwater_runtime::Spilling;
use highwater_storage::{CheckpointStorage, MemoryStorage, open_uri};

/// Where state and snapshots live.
pub trait StateBackend {
    /// Opens the place where snapshots go.
    ///
    /// # Errors
    /// If it cannot be used, with the way out.
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>>;

    /// Where rows go that do not fit in memory, for a process of `workers` workers; `None` if all have to fit, as by default.
    ///
    /// # Errors
    /// If that place cannot be used, with the way out.
    fn spilling(&self, workers: usize) -> Result<Option<Spilling>> {
        let _ = workers;
        Ok(None)
    }

    /// Whether snapshots outlive the process: then a last one is taken when the job ends or is stopped, also without periodic ones.
    fn is_durable(&self) -> bool {
        true
    }
}

/// Working state and snapshots in memory: for tests and demonstrations.
///
/// A job goes on from its newest checkpoint when an attempt fails, and from nothing when the process ends. Each file of a snapshot
/// may have 5 MiB by default, as in Flink; a larger one fails its checkpoint with an error that says so.
#[derive(Clone, Debug, Default)]
pub struct MemoryStateBackend {
    storage: MemoryStorage,
}

impl MemoryStateBackend {
    /// A backend with the default limit.
    pub fn new() -> Self {
        Self::default()
    }

    /// A backend whose snapshots may have files of up to `bytes` bytes.
    pub fn with_max_file_bytes(bytes: u64) -> Self {
        MemoryStateBackend { storage: MemoryStorage::new().with_max_file_bytes(bytes) }
    }
}

impl StateBackend for MemoryStateBackend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        Ok(Arc::new(self.storage.clone()))
    }

    fn is_durable(&self) -> bool {
        false
    }
}

/// Working state in memory, snapshots in a file system: a path or `file:///path`, `hdfs://host:port/path`,
/// `s3://bucket/prefix`. [`open_uri`] has their options and where credentials come from.
#[derive(Clone, Debug)]
pub struct FsStateBackend {
    uri: String,
}

impl FsStateBackend {
    /// A backend with snapshots below `uri`; the directory is created if missing.
    pub fn new(uri: impl Into<String>) -> Self {
        FsStateBackend { uri: uri.into() }
    }
}

impl StateBackend for FsStateBackend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        open_uri(&self.uri)
    }
}
