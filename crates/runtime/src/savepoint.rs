//! Where a savepoint goes: a folder of its own, in the storage that its user names.

use std::fmt;
use std::sync::Arc;

use highwater_core::{Error, Result};
use highwater_storage::{CheckpointStorage, SnapshotDir, open_uri};

/// Where a savepoint lies, for every process of the job to open.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(crate) struct SavepointLocation {
    /// The storage.
    pub storage: String,
    /// The folder in it.
    pub folder: String,
}

impl SavepointLocation {
    /// Opens the folder; `own` is the job's checkpoint storage, which it may lie in.
    ///
    /// # Errors
    /// If this process cannot use the storage.
    pub fn open(&self, own: &Arc<dyn CheckpointStorage>) -> Result<SnapshotDir> {
        let storage = open_target(&self.storage, own).map_err(|error| {
            error.context(format!("cannot reach the savepoint {self}, whose directory all processes must share"))
        })?;
        Ok(SnapshotDir::new(storage, self.folder.as_str()))
    }
}

impl fmt::Display for SavepointLocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.storage, self.folder)
    }
}

/// Opens the storage in which a savepoint shall lie.
///
/// # Errors
/// If there is no such storage, or it would not outlive the job.
pub(crate) fn open_target(target: &str, own: &Arc<dyn CheckpointStorage>) -> Result<Arc<dyn CheckpointStorage>> {
    if target.starts_with("memory:") {
        return Err(Error::settings("a savepoint in memory would be gone with the job: name a directory for it"));
    }
    if target == own.uri() { Ok(Arc::clone(own)) } else { open_uri(target) }
}
