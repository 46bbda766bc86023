//! Snapshots as they lie in a storage: opened, verified and read, without the job that wrote them.
//!
//! A [`Snapshot`] is a `_metadata` that has been read and checked, with the way to the files it refers to. The runtime restores
//! from it; tools look into it: [`find`] looks what lies under a path, a [`Verifier`] reads every byte, a [`KeyedReader`] replays
//! one key group at a time.
//!
//! Invariant I7: every byte of state is verified before it is used; what does not verify is named by file and offset, with the
//! operators, states and key groups that are touched.

mod find;
mod keyed;
mod place;
mod read;
mod read_ahead;
mod rows;
mod savepoint;
mod stores;
mod verify;

use std::sync::Arc;

use highwater_checkpoint::Metadata;
use highwater_checkpoint::metadata::{FileDigest, OperatorSnapshot};
use highwater_core::{Error, ErrorKind, Result};
use highwater_state::spill::StoreReader;
use highwater_storage::CheckpointStorage;
use highwater_storage::layout::{self, METADATA};

pub use find::{Found, JobFolder, SnapshotFolder, find};
pub use keyed::KeyedReader;
pub use read::Replay;
pub use rows::{Rows, Timer};
pub use savepoint::named_savepoint;
pub use verify::{Damage, Touched, Verifier};

use place::Place;

/// Name of the keyed state that holds the rows of an operator.
pub const STATE: &str = "state";

/// Name of the keyed state that holds the timers of an operator.
pub const TIMERS: &str = "timers";

/// A checkpoint or savepoint whose metadata has been verified.
#[derive(Clone, Debug)]
pub struct Snapshot {
    metadata: Metadata,
    /// Length of the `_metadata`.
    metadata_bytes: u64,
    storage: Arc<dyn CheckpointStorage>,
    /// Its folder in the storage.
    folder: String,
    /// What opens the stores below its keyed states.
    stores: Option<Arc<dyn StoreReader>>,
}

impl Snapshot {
    /// Reads the `_metadata` in `folder`.
    ///
    /// # Errors
    /// If it cannot be read or does not verify.
    pub fn open(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Snapshot> {
        Snapshot::decode(&storage.read(&format!("{folder}/{METADATA}"))?, storage, folder)
    }

    fn decode(bytes: &[u8], storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Snapshot> {
        let metadata = Metadata::decode(bytes, &format!("{}/{folder}/{METADATA}", storage.uri()))?;
        let metadata_bytes = bytes.len() as u64;
        Ok(Snapshot {
            metadata,
            metadata_bytes,
            storage: Arc::clone(storage),
            folder: folder.to_string(),
            stores: None,
        })
    }

    /// Opens what a user names: the folder of a snapshot, or its `_metadata`; of a checkpoint's folder that names a savepoint, that.
    ///
    /// # Errors
    /// If there is no such folder or it holds no snapshot; if its `_metadata` does not verify.
    pub fn at_path(path: &str) -> Result<Snapshot> {
        let place = Place::parse(path);
        let (around, folder) = place.split().ok_or_else(|| Error::settings(format!("{path} is in no folder")))?;
        Snapshot::follow(&around.open()?, folder)
    }

    /// Has rows that lie in stores read by `reader`.
    #[must_use]
    pub fn with_stores(mut self, reader: Arc<dyn StoreReader>) -> Self {
        self.stores = Some(reader);
        self
    }

    /// What it consists of.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its bytes, with those of other checkpoints that it refers to.
    pub fn bytes(&self) -> u64 {
        self.metadata.files.iter().fold(self.metadata_bytes, |sum, file| sum.saturating_add(file.len))
    }

    /// The bytes that were written for it.
    pub fn written_bytes(&self) -> u64 {
        let own = self.metadata.files.iter().filter(|file| file.shared_by.is_none_or(|by| by == self.metadata.id));
        own.fold(self.metadata_bytes, |sum, file| sum.saturating_add(file.len))
    }

    /// The operator of this uid.
    ///
    /// # Errors
    /// If there is none, naming those there are.
    pub fn operator(&self, uid: &str) -> Result<&OperatorSnapshot> {
        let operators = &self.metadata.operators;
        operators.iter().find(|operator| operator.uid.as_str() == uid).ok_or_else(|| {
            let uids: Vec<_> = operators.iter().map(|operator| operator.uid.as_str()).collect();
            Error::settings(format!("{} has no operator {uid:?}: its operators are {}", self.path(), uids.join(", ")))
        })
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
