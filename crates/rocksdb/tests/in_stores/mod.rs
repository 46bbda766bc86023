//! What a checkpoint has in RocksDB.

use highwater_snapshot::Snapshot;

/// Whether rows are in the files of RocksDB.
pub fn has_rows_in_stores(snapshot: &Snapshot) -> bool {
    let tasks = snapshot.metadata().operators.iter().flat_map(|operator| &operator.subtasks);
    let stores = tasks.flat_map(|(_, task)| &task.keyed).filter_map(|keyed| keyed.store.as_ref());
    stores.flat_map(|store| &store.files).any(|(local, _)| local.ends_with(".sst"))
}
