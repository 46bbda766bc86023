//! Snapshots as they lie in a storage: opened, verified and read, without the job that wrote them.
//!
//! A [`Snapshot`] is a `_metadata` that has been read and checked, with the way to the files it refers to. The runtime restores
//! from it; tools look into it.
//!
//! Invariant I7: every byte of state is verified before it is used; what does not verify is named by file and offset, with the
//! operators, states and key groups that are touched.

mod read;
mod verify;

use std::sync::Arc;

use highwater_checkpoint::Metadata;
use highwater_checkpoint::metadata::FileDigest;
use highwater_core::{Error, ErrorKind, Result};
use highwater_storage::layout::{self, METADATA};
use highwater_storage::{CheckpointStorage, open_uri};

pub use read::Replay;
pub use verify::{Damage, Touched};

/// A checkpoint or savepoint whose metadata has been verified.
#[derive(Clone, Debug)]
pub struct Snapshot {
    metadata: Metadata,
    storage: Arc<dyn CheckpointStorage>,
    /// Its folder in the storage.
    folder: String,
}

impl Snapshot {
    /// Reads the `_metadata` in `folder`.
    ///
    /// # Errors
    /// If it cannot be read or does not verify.
    pub fn open(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Snapshot> {
        let place = format!("{}/{folder}/{METADATA}", storage.uri());
        let bytes = storage.read(&format!("{folder}/{METADATA}"))?;
        let metadata = Metadata::decode(&bytes, &place)?;
        Ok(Snapshot { metadata, storage: Arc::clone(storage), folder: folder.to_string() })
    }

    /// Opens what a user names: the folder of a snapshot, or its `_metadata`.
    ///
    /// # Errors
    /// If there is no such folder or it holds no snapshot; if its `_metadata` does not verify.
    pub fn at_path(path: &str) -> Result<Snapshot> {
        // A path may have a question mark in it, a URI has its options after one.
        let (place, options) = match path.split_once('?') {
            Some((place, options)) if place.contains("://") && !place.starts_with("file://") => {
                (place, format!("?{options}"))
            }
            _ => (path, String::new()),
        };
        let trimmed = place.trim_end_matches('/');
        let trimmed = trimmed.strip_suffix(&format!("/{METADATA}")).unwrap_or(trimmed);
        let (parent, folder) = match trimmed.rsplit_once('/') {
            Some(("", folder)) => ("/", folder),
            Some((parent, folder)) => (parent, folder),
            None => (".", trimmed),
        };
        // Opening a folder would create it. What has another scheme is left to the storage, which says which ones it knows.
        let local = parent.strip_prefix("file://").or_else(|| (!parent.contains("://")).then_some(parent));
        if local.is_some_and(|local| !std::path::Path::new(local).is_dir()) {
            return Err(Error::settings(format!("{parent} is no folder")));
        }
        Snapshot::open(&open_uri(&format!("{parent}{options}"))?, folder)
    }

    /// What it consists of.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The storage it lies in.
    pub fn storage(&self) -> &Arc<dyn CheckpointStorage> {
        &self.storage
    }

    /// Its folder in the storage.
    pub fn folder(&self) -> &str {
        &self.folder
    }

    /// Where it lies, for people.
    pub fn path(&self) -> String {
        format!("{}/{}", self.storage.uri(), self.folder)
    }

    /// Where one of its files lies in the storage.
    pub fn path_of(&self, file: &FileDigest) -> String {
        match file.shared_by {
            None => format!("{}/{}", self.folder, file.name),
            Some(_) => layout::shared_beside(&self.folder, &file.name),
        }
    }

    /// The digest of a file by its name.
    fn file(&self, name: &str) -> Result<&FileDigest> {
        let file = self.metadata.files.iter().find(|file| file.name == name);
        file.ok_or_else(|| Error::new(ErrorKind::Corrupt, format!("{}: file {name} is not listed", self.path())))
    }
}
