//! A store in any checkpoint storage: publishing never overwrites there, across all processes that share it.

use std::sync::Arc;

use highwater_storage::disk::unless_not_found;
use highwater_storage::{CheckpointStorage, Outcome, Result, What};

use crate::store::{HaStore, Put};

/// A store in a checkpoint storage.
#[derive(Clone, Debug)]
pub struct StorageStore {
    storage: Arc<dyn CheckpointStorage>,
}

impl StorageStore {
    /// The store in `storage`.
    pub fn new(storage: Arc<dyn CheckpointStorage>) -> Self {
        StorageStore { storage }
    }
}

impl HaStore for StorageStore {
    fn uri(&self) -> String {
        self.storage.uri()
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        let published = match self.storage.publish(name, bytes) {
            // The first of its folder.
            Err(error) if error.what() == What::NotFound && error.outcome() == Outcome::DidNotHappen => {
                let folder = name.rsplit_once('/').map_or("", |(folder, _)| folder);
                self.storage.create_dir(folder)?;
                self.storage.publish(name, bytes)
            }
            other => other,
        };
        match published {
            Ok(()) => Ok(Put::Created),
            Err(error) if error.what() == What::AlreadyExists && error.outcome() == Outcome::DidNotHappen => {
                Ok(Put::Exists)
            }
            Err(error) => Err(error),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        unless_not_found(self.storage.read(name))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        let entries = unless_not_found(self.storage.list(folder))?.unwrap_or_default();
        Ok(entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| entry.name).collect())
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.storage.remove_file(name)
    }
}
