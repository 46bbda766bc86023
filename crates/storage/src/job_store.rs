//! One job's folder in a checkpoint storage.
//!
//! A checkpoint is written in the order *folder, data, `_metadata`* and deleted in the order *`_metadata`, the rest*,
//! each step durable before the next. So at any moment, also after any crash:
//!
//! * I3: a checkpoint with a `_metadata` has all its files, whole;
//! * a folder with a `_savepoint` stands for the savepoint that it names, and with which the job has ended;
//! * a folder without either is garbage of a checkpoint that was never completed or is being discarded.

use std::sync::Arc;

use highwater_core::{CheckpointId, JobName};

use crate::checkpoint_storage::{CheckpointStorage, SnapshotWriter};
use crate::disk::unless_not_found;
use crate::error::{Error, Outcome, Result, What};
use crate::layout::{self, Layout, METADATA, SAVEPOINT};
use crate::lock::Lock;

/// The checkpoints of one job. A clone is another handle to the same folder.
#[derive(Clone, Debug)]
pub struct JobStore {
    storage: Arc<dyn CheckpointStorage>,
    layout: Layout,
}

/// Which checkpoint to read: one of this job by its id, or any by its folder in the storage (`visitors/chk-7`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CheckpointAt<'a> {
    /// A checkpoint of this job.
    Id(CheckpointId),
    /// A folder in the same storage: another job's checkpoint, or a savepoint.
    Dir(&'a str),
}

impl From<CheckpointId> for CheckpointAt<'_> {
    fn from(id: CheckpointId) -> Self {
        CheckpointAt::Id(id)
    }
}

impl<'a> From<&'a str> for CheckpointAt<'a> {
    fn from(dir: &'a str) -> Self {
        CheckpointAt::Dir(dir)
    }
}

/// A folder of a checkpoint, as found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointDir {
    /// Which checkpoint.
    pub id: CheckpointId,
    /// Whether it exists in the sense of I3. If not, its id is taken all the same.
    pub has_metadata: bool,
    /// Whether it names the savepoint that the job has ended with.
    pub names_savepoint: bool,
}

impl CheckpointDir {
    /// Whether it is, or names, something to recover from.
    pub fn is_completed(&self) -> bool {
        self.has_metadata || self.names_savepoint
    }
}

impl JobStore {
    /// The folder of `job`, whether it is there or not: the storage is not asked.
    pub fn new(storage: Arc<dyn CheckpointStorage>, job: JobName) -> Self {
        JobStore { storage, layout: Layout::new(job) }
    }

    /// The folder of `job`, created if missing.
    pub fn open(storage: Arc<dyn CheckpointStorage>, job: JobName) -> Result<Self> {
        let store = Self::new(storage, job);
        store.create()?;
        Ok(store)
    }

    /// Creates the folder, if it is missing.
    pub fn create(&self) -> Result<()> {
        let dirs = [self.layout.job(), self.layout.shared(), self.layout.taskowned()];
        dirs.iter().try_for_each(|dir| self.storage.create_dir(dir))
    }

    /// The storage it lies in.
    pub fn storage(&self) -> &Arc<dyn CheckpointStorage> {
        &self.storage
    }

    /// Keeps every other run of this job out for as long as the lock lives. Whoever writes must hold it.
    pub fn lock(&self) -> Result<Lock> {
        self.storage.lock(&self.layout.job())
    }

    /// Creates the folder of checkpoint `id`. Safe to repeat; [`What::AlreadyExists`] if that checkpoint was completed.
    pub fn locate(&self, id: CheckpointId) -> Result<()> {
        let dir = self.layout.checkpoint(id);
        self.storage.create_dir(&dir)?;
        if self.look(id)?.is_completed() {
            return Err(Error::new(
                What::AlreadyExists,
                Outcome::DidNotHappen,
                "begin the checkpoint",
                self.path_of(id),
            ));
        }
        tracing::debug!(checkpoint = id.0, path = %self.path_of(id), "checkpoint located");
        Ok(())
    }

    /// Begins the data file of a worker; its name is [`layout::data_name`].
    pub fn create_data(&self, id: CheckpointId, worker: u32) -> Result<Box<dyn SnapshotWriter>> {
        self.storage.create(&join(&self.layout.checkpoint(id), &layout::data_name(worker)))
    }

    /// Begins a file that several checkpoints may refer to; its name begins as [`layout::shared_name`] does.
    pub fn create_shared(&self, name: &str) -> Result<Box<dyn SnapshotWriter>> {
        self.storage.create(&join(&self.layout.shared(), name))
    }

    /// `len` bytes from `offset` of a shared file, unverified.
    pub fn read_shared(&self, name: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.storage.read_range(&join(&self.layout.shared(), name), offset, len)
    }

    /// The names of the shared files with the checkpoint that wrote each, whether it completed or not. Files that no job wrote
    /// are left out.
    pub fn shared_files(&self) -> Result<Vec<(String, CheckpointId)>> {
        let entries = self.storage.list(&self.layout.shared())?.into_iter().filter(|entry| !entry.is_dir);
        Ok(entries.filter_map(|entry| layout::parse_shared_name(&entry.name).map(|id| (entry.name, id))).collect())
    }

    /// Deletes a shared file, to which no checkpoint may refer any more. Not there is Ok.
    pub fn delete_shared(&self, name: &str) -> Result<()> {
        self.storage.remove_file(&join(&self.layout.shared(), name))
    }

    /// Makes checkpoint `id` exist. Every file that `metadata` refers to must be finished.
    ///
    /// After [`Outcome::MayHaveHappened`] the checkpoint must be treated as one that may exist: not discarded, its id
    /// not used again.
    pub fn publish_metadata(&self, id: CheckpointId, metadata: &[u8]) -> Result<()> {
        self.storage.publish(&join(&self.layout.checkpoint(id), METADATA), metadata)
    }

    /// The `_metadata` of a checkpoint, unverified; [`What::NotFound`] if it does not exist.
    pub fn read_metadata<'a>(&self, at: impl Into<CheckpointAt<'a>>) -> Result<Vec<u8>> {
        self.storage.read(&join(&self.dir(at.into()), METADATA))
    }

    /// Says that the job has ended with a savepoint, by what the folder of its id then holds. The savepoint must be complete.
    ///
    /// After [`Outcome::MayHaveHappened`] nobody knows what the job recovers from: both that and an older checkpoint must be kept,
    /// and nothing be committed that only the savepoint holds.
    pub fn publish_savepoint(&self, id: CheckpointId, location: &[u8]) -> Result<()> {
        self.storage.publish(&join(&self.layout.checkpoint(id), SAVEPOINT), location)
    }

    /// `len` bytes from `offset` of a checkpoint's file, unverified.
    pub fn read_block<'a>(
        &self,
        at: impl Into<CheckpointAt<'a>>,
        file: &str,
        offset: u64,
        len: u64,
    ) -> Result<Vec<u8>> {
        self.storage.read_range(&join(&self.dir(at.into()), file), offset, len)
    }

    /// Every folder of a checkpoint, oldest id first.
    pub fn checkpoints(&self) -> Result<Vec<CheckpointDir>> {
        let mut found = Vec::new();
        for entry in self.storage.list(&self.layout.job())?.into_iter().filter(|entry| entry.is_dir) {
            if let Some(id) = layout::parse_checkpoint_name(&entry.name) {
                found.push(self.look(id)?);
            }
        }
        found.sort_by_key(|checkpoint| checkpoint.id);
        Ok(found)
    }

    /// Deletes a checkpoint, completed or not. Not there is Ok, and so it is safe to repeat.
    ///
    /// Whatever its outcome, the checkpoint must not be relied upon afterwards.
    pub fn discard(&self, id: CheckpointId) -> Result<()> {
        let dir = self.layout.checkpoint(id);
        // First, and durably: a crash between the two must not leave a `_metadata` without its data.
        self.storage.remove_file(&join(&dir, METADATA))?;
        self.storage.remove_dir_all(&dir)?;
        tracing::debug!(checkpoint = id.0, path = %self.path_of(id), "checkpoint discarded");
        Ok(())
    }

    /// Where checkpoint `id` lies, for people: `file:///checkpoints/visitors/chk-7`.
    pub fn path_of(&self, id: CheckpointId) -> String {
        join(&self.storage.uri(), &self.layout.checkpoint(id))
    }

    fn dir(&self, at: CheckpointAt<'_>) -> String {
        match at {
            CheckpointAt::Id(id) => self.layout.checkpoint(id),
            CheckpointAt::Dir(dir) => dir.to_owned(),
        }
    }

    /// A folder that is gone has none: another process may be discarding it while this one looks.
    fn look(&self, id: CheckpointId) -> Result<CheckpointDir> {
        let entries = unless_not_found(self.storage.list(&self.layout.checkpoint(id)))?.unwrap_or_default();
        let has = |name| entries.iter().any(|entry| entry.name == name && !entry.is_dir);
        Ok(CheckpointDir { id, has_metadata: has(METADATA), names_savepoint: has(SAVEPOINT) })
    }
}

fn join(dir: &str, name: &str) -> String {
    format!("{dir}/{name}")
}
