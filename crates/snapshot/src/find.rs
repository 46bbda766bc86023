//! What lies under a path: a snapshot, the snapshots of a job, or the jobs of a checkpoint directory.

use std::sync::Arc;

use highwater_checkpoint::SavepointLocation;
use highwater_core::{CheckpointId, Error, Result};
use highwater_storage::layout::{self, METADATA, SAVEPOINT};
use highwater_storage::{CheckpointStorage, Entry, What};

use crate::Snapshot;
use crate::place::Place;
use crate::savepoint::named_savepoint;

/// A folder that holds a snapshot, or will, or did.
#[derive(Clone, Debug)]
pub struct SnapshotFolder {
    storage: Arc<dyn CheckpointStorage>,
    folder: String,
    content: Content,
}

/// What a folder is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// A snapshot.
    Metadata,
    /// The place of a savepoint that is elsewhere.
    Savepoint,
    /// Nothing that can be restored.
    Nothing,
}

impl SnapshotFolder {
    /// Where it is, for people.
    pub fn path(&self) -> String {
        format!("{}/{}", self.storage.uri(), self.folder)
    }

    /// What it is opened by, here and in another process: its path with the options of its storage.
    pub fn reopen_path(&self) -> String {
        let (uri, reopen) = (self.storage.uri(), self.storage.reopen_uri());
        format!("{}{}", self.path(), reopen.strip_prefix(&uri).unwrap_or_default())
    }

    /// Where the file is that makes it what it is, or would be, for people: its `_metadata`, or what names a savepoint.
    pub fn metadata_path(&self) -> String {
        format!("{}/{}", self.path(), if self.names_savepoint() { SAVEPOINT } else { METADATA })
    }

    /// The checkpoint, if it has the name of one.
    pub fn id(&self) -> Option<CheckpointId> {
        layout::parse_checkpoint_name(self.folder.rsplit('/').next()?)
    }

    /// Whether there is a `_metadata`. Without, the snapshot was never completed, or is being deleted.
    pub fn has_metadata(&self) -> bool {
        self.content == Content::Metadata
    }

    /// Whether it is a checkpoint's folder that stands for a savepoint, because the job has ended with it.
    pub fn names_savepoint(&self) -> bool {
        self.content == Content::Savepoint
    }

    /// The savepoint that it names, if it names one.
    ///
    /// # Errors
    /// As [`named_savepoint`].
    pub fn savepoint(&self) -> Result<Option<SavepointLocation>> {
        named_savepoint(&self.storage, &self.folder)
    }

    /// Reads its `_metadata`, or that of the savepoint that it names.
    ///
    /// # Errors
    /// As [`Snapshot::follow`].
    pub fn open(&self) -> Result<Snapshot> {
        Snapshot::follow(&self.storage, &self.folder)
    }
}

/// A folder of snapshots: that of a job, or one that savepoints were put into.
#[derive(Clone, Debug)]
pub struct JobFolder {
    storage: Arc<dyn CheckpointStorage>,
    /// In the storage; empty for the storage itself.
    folder: String,
    name: String,
    snapshots: Vec<SnapshotFolder>,
}

impl JobFolder {
    /// Its name: of a job's own folder that of the job.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it is, for people.
    pub fn path(&self) -> String {
        format!("{}/{}", self.storage.uri(), self.folder).trim_end_matches('/').to_owned()
    }

    /// The snapshots in it: checkpoints by their numbers, then others by their names.
    pub fn snapshots(&self) -> &[SnapshotFolder] {
        &self.snapshots
    }

    /// Where a file that its checkpoints share is, for people.
    pub fn shared_path(&self, name: &str) -> String {
        format!("{}/{}/{name}", self.storage.uri(), layout::shared_in(&self.folder))
    }

    /// The files that its checkpoints share, with their lengths.
    ///
    /// # Errors
    /// Those of the storage.
    pub fn shared_files(&self) -> Result<Vec<Entry>> {
        match self.storage.list(&layout::shared_in(&self.folder)) {
            Ok(entries) => Ok(entries.into_iter().filter(|entry| !entry.is_dir).collect()),
            Err(error) if error.what() == What::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }
}

/// What was found under a path.
#[derive(Clone, Debug)]
pub enum Found {
    /// The path is that of a snapshot.
    Snapshot(SnapshotFolder),
    /// The folders of snapshots in it, by name; the path may be that of the only one.
    Jobs(Vec<JobFolder>),
}

/// Looks what lies under `path`: a path or URI of a snapshot, of its `_metadata`, of a job's folder, or of a checkpoint directory.
///
/// # Errors
/// If it cannot be looked into.
pub fn find(path: &str) -> Result<Found> {
    let place = Place::parse(path);
    let storage = place.open()?;
    let entries = storage.list("").map_err(|error| match error.what() {
        What::NotFound => Error::settings(format!("{path} does not exist")),
        _ => error.into(),
    })?;
    let folders: Vec<Entry> = entries.iter().filter(|entry| entry.is_dir).cloned().collect();
    let content = Content::of(&entries);
    if content == Content::Metadata || (folders.is_empty() && layout::parse_checkpoint_name(place.name()).is_some()) {
        let (around, name) = place.split().ok_or_else(|| Error::settings(format!("{path} is in no folder")))?;
        return Ok(Found::Snapshot(SnapshotFolder { storage: around.open()?, folder: name.to_owned(), content }));
    }
    let own = JobFolder::read(&storage, "", place.name(), &folders)?;
    let is_job = !own.snapshots.is_empty() || JobFolder::is_laid_out(&folders);
    let is_own = |name: &str| {
        is_job && (layout::JOB_FOLDERS.contains(&name) || own.snapshots.iter().any(|snapshot| snapshot.folder == name))
    };
    let mut jobs = Vec::new();
    for Entry { name, .. } in folders.iter().filter(|entry| !is_own(&entry.name)) {
        let within: Vec<Entry> = list(&storage, name)?.into_iter().filter(|entry| entry.is_dir).collect();
        let job = JobFolder::read(&storage, name, name, &within)?;
        if !job.snapshots.is_empty() || JobFolder::is_laid_out(&within) {
            jobs.push(job);
        }
    }
    if is_job {
        jobs.insert(0, own);
    }
    Ok(Found::Jobs(jobs))
}

impl JobFolder {
    fn read(storage: &Arc<dyn CheckpointStorage>, folder: &str, name: &str, entries: &[Entry]) -> Result<JobFolder> {
        let mut snapshots = Vec::new();
        for Entry { name, .. } in entries {
            let folder = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
            let content = Content::of(&list(storage, &folder)?);
            if content == Content::Metadata || layout::parse_checkpoint_name(name).is_some() {
                snapshots.push(SnapshotFolder { storage: Arc::clone(storage), folder, content });
            }
        }
        snapshots.sort_by_key(|snapshot| (snapshot.id().is_none(), snapshot.id(), snapshot.folder.clone()));
        Ok(JobFolder { storage: Arc::clone(storage), folder: folder.to_owned(), name: name.to_owned(), snapshots })
    }

    /// Whether the folders in it are those that a job begins with.
    fn is_laid_out(folders: &[Entry]) -> bool {
        layout::JOB_FOLDERS.iter().all(|name| folders.iter().any(|entry| entry.name == *name))
    }
}

impl Content {
    fn of(entries: &[Entry]) -> Content {
        let has = |name| entries.iter().any(|entry| entry.name == name && !entry.is_dir);
        match (has(METADATA), has(SAVEPOINT)) {
            (true, _) => Content::Metadata,
            (false, true) => Content::Savepoint,
            (false, false) => Content::Nothing,
        }
    }
}

/// A folder that is gone has nothing: a job may be deleting it.
fn list(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Vec<Entry>> {
    match storage.list(folder) {
        Ok(entries) => Ok(entries),
        Err(error) if error.what() == What::NotFound => Ok(Vec::new()),
        Err(error) => Err(error.into()),
    }
}
