//! Stores that need no server conform.

use std::sync::Arc;

use highwater_ha::{StorageStore, conformance};
use highwater_storage::{LocalStorage, MemoryStorage, RealDisk};

#[test]
fn memory_conforms() {
    conformance::ha_store(|| {
        let store = Arc::new(StorageStore::new(Arc::new(MemoryStorage::new())));
        vec![store.clone(), store]
    });
}

/// Each handle has nothing in common with the others but the folder, as those of different processes.
#[test]
fn a_folder_of_a_file_system_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::ha_store(|| {
        let folder = tempfile::tempdir_in(dir.path()).unwrap().keep();
        let open = || LocalStorage::open(&folder, Arc::new(RealDisk)).unwrap();
        (0..3).map(|_| Arc::new(StorageStore::new(Arc::new(open())))).collect()
    });
}
