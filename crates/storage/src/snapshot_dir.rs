//! The folder of one snapshot that is not among a job's checkpoints: a savepoint, or one that a user names.
//!
//! It is written in the order *folder, data, `_metadata`* and deleted in the order *`_metadata`, the rest*, as the folders of
//! checkpoints are in [`job_store`](crate::job_store), and so the same holds at any moment: with a `_metadata` it is whole.

use std::sync::Arc;

use crate::checkpoint_storage::{CheckpointStorage, SnapshotWriter};
use crate::error::Result;
use crate::layout::{METADATA, data_name};

/// A folder in a storage that holds one snapshot. A clone is another handle to the same folder.
#[derive(Clone, Debug)]
pub struct SnapshotDir {
    storage: Arc<dyn CheckpointStorage>,
    folder: String,
}

impl SnapshotDir {
    /// The folder `folder` in `storage`, which need not exist.
    pub fn new(storage: Arc<dyn CheckpointStorage>, folder: impl Into<String>) -> Self {
        SnapshotDir { storage, folder: folder.into() }
    }

    /// The storage it lies in.
    pub fn storage(&self) -> &Arc<dyn CheckpointStorage> {
        &self.storage
    }

    /// Its name in the storage.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Where it lies, as it can be given to a job to start from: with the options of its storage.
    pub fn path(&self) -> String {
        let (place, with_options) = (self.storage.uri(), self.storage.reopen_uri());
        let options = with_options.strip_prefix(&place).unwrap_or_default();
        format!("{place}/{}{options}", self.folder)
    }

    /// Creates the folder. Safe to repeat.
    pub fn create(&self) -> Result<()> {
        self.storage.create_dir(&self.folder)
    }

    /// Begins the data file of a worker, [`data_name`].
    pub fn create_data(&self, worker: u32) -> Result<Box<dyn SnapshotWriter>> {
        self.storage.create(&format!("{}/{}", self.folder, data_name(worker)))
    }

    /// Makes the snapshot exist. Every file that `metadata` refers to must be finished.
    ///
    /// After [`Outcome::MayHaveHappened`](crate::Outcome::MayHaveHappened) it must be treated as one that may exist.
    pub fn publish_metadata(&self, metadata: &[u8]) -> Result<()> {
        self.storage.publish(&format!("{}/{METADATA}", self.folder), metadata)
    }

    /// Deletes the snapshot, complete or not. Not there is Ok, and so it is safe to repeat.
    pub fn discard(&self) -> Result<()> {
        // First, and durably: a crash between the two must not leave a `_metadata` without its data.
        self.storage.remove_file(&format!("{}/{METADATA}", self.folder))?;
        self.storage.remove_dir_all(&self.folder)
    }
}
