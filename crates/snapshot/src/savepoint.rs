//! The savepoint that the folder of a checkpoint stands for, because the job has ended with it.

use std::sync::Arc;

use highwater_checkpoint::SavepointLocation;
use highwater_core::{Error, ErrorKind, Result};
use highwater_storage::layout::{METADATA, SAVEPOINT};
use highwater_storage::{CheckpointStorage, What, open_existing};

use crate::Snapshot;

/// Where the savepoint is that `folder` names, if it names one.
///
/// # Errors
/// If it cannot be read, or what is there does not verify.
pub fn named_savepoint(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Option<SavepointLocation>> {
    let path = format!("{folder}/{SAVEPOINT}");
    match storage.read(&path) {
        Ok(bytes) => SavepointLocation::decode(&bytes, &format!("{}/{path}", storage.uri())).map(Some),
        Err(error) if error.what() == What::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Snapshot {
    /// Reads the `_metadata` of a savepoint; `own` is the storage that its location was found in, and may be where it lies.
    ///
    /// # Errors
    /// As [`Snapshot::open`]; [`ErrorKind::Corrupt`] if it is gone, or its storage is.
    pub fn of_savepoint(location: &SavepointLocation, own: &Arc<dyn CheckpointStorage>) -> Result<Snapshot> {
        let SavepointLocation { storage, folder } = location;
        let gone = |why: String| Error::new(ErrorKind::Corrupt, format!("savepoint {location} is gone{why}"));
        let storage = match *storage == own.reopen_uri() {
            true => Arc::clone(own),
            false => open_existing(storage).map_err(|error| match error.kind() {
                ErrorKind::Settings => gone(format!(": {error}")),
                _ => error,
            })?,
        };
        let bytes = storage.read(&format!("{folder}/{METADATA}")).map_err(|error| match error.what() {
            What::NotFound => gone(String::new()),
            _ => error.into(),
        })?;
        Snapshot::decode(&bytes, &storage, folder)
    }

    /// Reads the `_metadata` in `folder`, or in that of the savepoint that it names.
    ///
    /// # Errors
    /// As [`Snapshot::open`] and [`Snapshot::of_savepoint`].
    pub fn follow(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Snapshot> {
        match named_savepoint(storage, folder)? {
            Some(location) => Snapshot::of_savepoint(&location, storage),
            None => Snapshot::open(storage, folder),
        }
    }
}
