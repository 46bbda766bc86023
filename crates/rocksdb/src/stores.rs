//! The stores of a process: one working directory, one budget of memory, few background threads.

use std::path::Path;
use std::sync::Arc;

use highwater_core::Result;
use highwater_state::spill::{RowStore, RowStoreFactory};

use crate::options::Shared;
use crate::reader::fill_snapshot;
use crate::store::{KIND, RocksDBRowStore};
use crate::working_dir::WorkingDir;

/// Opens the stores of a process.
#[derive(Clone, Debug)]
pub struct RocksDBRowStores {
    inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub shared: Shared,
    pub working_dir: Arc<WorkingDir>,
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
        let inner =
            Inner { shared: Shared::new(memory_bytes, cores), working_dir: Arc::new(WorkingDir::create(local_dir)?) };
        Ok(RocksDBRowStores { inner: Arc::new(inner) })
    }

    #[cfg(test)]
    pub(crate) fn inner(&self) -> &Arc<Inner> {
        &self.inner
    }

    /// Bytes of memory that the stores hold in common at the moment: cached blocks, and write buffers.
    pub fn memory_bytes(&self) -> usize {
        self.inner.shared.cache.get_usage()
    }
}

impl RowStoreFactory for RocksDBRowStores {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RowStore>> {
        let folder = self.inner.working_dir.next_folder("store");
        Ok(Arc::new(RocksDBRowStore::open(&self.inner, folder, name)?))
    }

    fn restore(&self, name: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Arc<dyn RowStore>> {
        let folder = self.inner.working_dir.next_folder("store");
        fill_snapshot(&folder, fill).map_err(|error| error.context(format!("store {name}")))?;
        Ok(Arc::new(RocksDBRowStore::open(&self.inner, folder, name)?))
    }
}
