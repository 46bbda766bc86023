//! The stores of a process: one working directory, one budget of memory, few background threads.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_core::{Error, ErrorKind, Result};
use highwater_state::spill::{RowStore, RowStoreFactory};

use crate::options::Shared;
use crate::store::{KIND, RocksDBRowStore};
use crate::working_dir::WorkingDir;

/// Opens the stores of a process.
#[derive(Clone, Debug)]
pub struct RocksDBRowStores {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub shared: Shared,
    working_dir: WorkingDir,
    folders: AtomicU64,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inner").field("working_dir", &self.working_dir).finish_non_exhaustive()
    }
}

impl RocksDBRowStores {
    /// Stores whose files are below `local_dir`, on a disk of this machine, and which share `memory_bytes` of memory
    /// (at least 8 MiB).
    ///
    /// # Errors
    /// If the directory cannot be used.
    pub fn new(local_dir: &Path, memory_bytes: usize) -> Result<Self> {
        let cores = std::thread::available_parallelism().map_or(2, usize::from);
        let inner = Inner {
            shared: Shared::new(memory_bytes, cores),
            working_dir: WorkingDir::create(local_dir)?,
            folders: AtomicU64::new(0),
        };
        Ok(RocksDBRowStores { inner: Arc::new(inner) })
    }

    /// Bytes of memory that the stores hold in common at the moment: cached blocks, and write buffers.
    pub fn memory_bytes(&self) -> usize {
        self.inner.shared.cache.get_usage()
    }
}

impl Inner {
    /// The path of a folder that no other store or snapshot has; the folder is not made.
    pub fn next_folder(&self, kind: &str) -> std::path::PathBuf {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        self.working_dir.path().join(format!("{kind}-{number}"))
    }
}

impl RowStoreFactory for RocksDBRowStores {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RowStore>> {
        let folder = self.inner.next_folder("store");
        Ok(Arc::new(RocksDBRowStore::open(&self.inner, folder, name)?))
    }

    fn restore(&self, name: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Arc<dyn RowStore>> {
        let folder = self.inner.next_folder("store");
        fs::create_dir(&folder).map_err(|error| {
            Error::new(ErrorKind::Storage, format!("cannot create {}", folder.display())).with_source(error)
        })?;
        let filled = fill(&folder).and_then(|()| match folder.join("CURRENT").try_exists() {
            Ok(true) => Ok(()),
            // RocksDB would open an empty store.
            _ => Err(Error::new(ErrorKind::Corrupt, format!("the snapshot of store {name} has no file CURRENT"))),
        });
        if let Err(error) = filled {
            // What cannot be removed now goes with the working directory.
            let _ = fs::remove_dir_all(&folder);
            return Err(error);
        }
        Ok(Arc::new(RocksDBRowStore::open(&self.inner, folder, name)?))
    }
}
