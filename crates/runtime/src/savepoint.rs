//! Where a savepoint goes: a folder of its own, in the storage that its user names.

use std::sync::Arc;

use highwater_checkpoint::SavepointLocation;
use highwater_core::{Error, Result};
use highwater_storage::{CheckpointStorage, SnapshotDir, open_uri};

/// The location of the folder, for other processes of the job, and later runs of it, to open.
pub(crate) fn location_of(dir: &SnapshotDir) -> SavepointLocation {
    SavepointLocation { storage: dir.storage().reopen_uri(), folder: dir.folder().to_owned() }
}

/// Opens the folder; `own` is the job's checkpoint storage, which it may lie in.
///
/// # Errors
/// If this process cannot use the storage.
pub(crate) fn open(location: &SavepointLocation, own: &Arc<dyn CheckpointStorage>) -> Result<SnapshotDir> {
    let storage = open_target(&location.storage, own).map_err(|error| {
        error.context(format!("cannot reach the savepoint {location}, whose directory all processes must share"))
    })?;
    Ok(SnapshotDir::new(storage, location.folder.as_str()))
}

/// Opens the storage in which a savepoint shall lie.
///
/// # Errors
/// If there is no such storage, or it would not outlive the job.
pub(crate) fn open_target(target: &str, own: &Arc<dyn CheckpointStorage>) -> Result<Arc<dyn CheckpointStorage>> {
    if target.starts_with("memory:") {
        return Err(Error::settings("a savepoint in memory would be gone with the job: name a directory for it"));
    }
    if target == own.uri() || target == own.reopen_uri() { Ok(Arc::clone(own)) } else { open_uri(target) }
}
