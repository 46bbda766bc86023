//! Checkpoints in a folder of a file system: a local disk, or a network one that keeps the rules of
//! [`disk`](crate::disk).
//!
//! Publishing is the classical sequence: write a temporary file, sync it, rename it, sync the folder. Up to the rename
//! nothing has happened, and after it everything may have. The rename never replaces: of several processes that publish
//! the same path, one succeeds. A temporary name, `.<name>-<token>.tmp`, is this storage's alone.
//!
//! Invariant: a name without a leading dot stands for content that was synced before the name appeared, or for a file
//! that [`create`](CheckpointStorage::create) began and nothing refers to.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter, check_path};
use crate::disk::{DirEntry, Disk, DiskFile, parent_of, unless_not_found};
use crate::error::{Error, Outcome, Result, What};
use crate::lock::Lock;
use crate::random::token;

/// Appends are gathered up to this many bytes before they go to the disk.
const WRITE_BUFFER: usize = 256 * 1024;

const LOCK: &str = ".lock";
const PROBE: &str = ".probe";

/// A folder of a file system.
#[derive(Debug)]
pub struct LocalStorage {
    dir: PathBuf,
    disk: Arc<dyn Disk>,
    /// In the temporary names, by which they are nobody else's.
    token: String,
    /// The threads of this process use the same temporary names.
    publishing: Mutex<()>,
}

impl LocalStorage {
    /// The folder `dir`, which is created if missing and must be writable.
    ///
    /// # Errors
    /// If it cannot be created or written; the message names it and the way out.
    pub fn open(dir: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Result<Self> {
        let dir = dir.into();
        let unusable = |error: Error| {
            Error::new(error.what(), Outcome::DidNotHappen, "use the checkpoint directory", dir.display())
                .with_detail("give a folder that this user can create and write files in")
                .with_source(error)
        };
        disk.create_dir_all(&dir).map_err(unusable)?;
        probe(&*disk, &dir.join(PROBE)).map_err(unusable)?;
        Ok(LocalStorage { dir, disk, token: token(), publishing: Mutex::new(()) })
    }

    /// The folder `dir` as it is, to be read: nothing is created, and it need not be writable.
    pub fn existing(dir: impl Into<PathBuf>, disk: Arc<dyn Disk>) -> Self {
        LocalStorage { dir: dir.into(), disk, token: token(), publishing: Mutex::new(()) }
    }

    fn resolve(&self, operation: &'static str, path: &str) -> Result<PathBuf> {
        check_path(operation, path)?;
        Ok(self.dir.join(path))
    }

    /// The name under which `target` is written, which [`check_path`] keeps free.
    fn temp_of(&self, target: &Path) -> PathBuf {
        let mut name = OsString::from(".");
        name.push(target.file_name().unwrap_or_default());
        name.push(format!("-{}.tmp", self.token));
        target.with_file_name(name)
    }

    /// Makes a removal durable. The nearest folder that is left holds the name that vanished, also if an earlier,
    /// failed attempt removed it.
    fn sync_removal(&self, path: &Path) -> Result<()> {
        let mut dir = parent_of(path);
        while let Some(at) = dir {
            if unless_not_found(self.disk.sync_dir(at)).map_err(maybe)?.is_some() {
                break;
            }
            dir = parent_of(at);
        }
        Ok(())
    }

    fn write_synced(&self, path: &Path, bytes: &[u8]) -> Result<()> {
        // A publish that failed may have left one.
        unless_not_found(self.disk.remove_file(path))?;
        let mut file = self.disk.create_new(path)?;
        file.append(bytes)?;
        file.sync()
    }
}

impl CheckpointStorage for LocalStorage {
    fn uri(&self) -> String {
        format!("file://{}", self.dir.display())
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.disk.create_dir_all(&self.resolve("create the folder", dir)?)
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        let path = self.resolve("create", path)?;
        let file = self.disk.create_new(&path)?;
        Ok(Box::new(LocalWriter { disk: Arc::clone(&self.disk), path, file, buffer: Vec::new() }))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        let target = self.resolve("publish", path)?;
        let temp = self.temp_of(&target);
        let _one_at_a_time = self.publishing.lock().unwrap_or_else(PoisonError::into_inner);
        // Spares the writing; whether the name is free is settled by the rename.
        if unless_not_found(self.disk.metadata(&target))?.is_some() {
            return Err(Error::new(What::AlreadyExists, Outcome::DidNotHappen, "publish", target.display()));
        }
        self.write_synced(&temp, bytes).map_err(|error| error.with_outcome(Outcome::DidNotHappen))?;
        match self.disk.rename_new(&temp, &target) {
            Err(error) if error.outcome() == Outcome::DidNotHappen => {
                // What cannot be removed is in nobody's way.
                let _ = self.disk.remove_file(&temp);
                Err(Error::new(error.what(), Outcome::DidNotHappen, "publish", target.display()).with_source(error))
            }
            renamed => renamed.and_then(|()| sync_parent(&*self.disk, &target)).map_err(maybe),
        }
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        let path = self.resolve("read", path)?;
        let bytes = self.disk.read(&path)?;
        sync_parent(&*self.disk, &path)?;
        Ok(bytes)
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.disk.read_range(&self.resolve("read", path)?, offset, len)
    }

    fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.resolve("find", path).ok()
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        let dir = if dir.is_empty() { self.dir.clone() } else { self.resolve("list", dir)? };
        let entries = self.disk.list(&dir)?;
        // After listing, so that it covers all that is shown.
        self.disk.sync_dir(&dir)?;
        let ours = |entry: DirEntry| {
            // A name that is not Unicode is not ours.
            let name = entry.name.into_string().ok().filter(|name| !name.starts_with('.'))?;
            Some(Entry { name, is_dir: entry.is_dir, len: if entry.is_dir { 0 } else { entry.len } })
        };
        Ok(entries.into_iter().filter_map(ours).collect())
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        let path = self.resolve("remove", path)?;
        unless_not_found(self.disk.remove_file(&path))?;
        self.sync_removal(&path)
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        let dir = self.resolve("remove the folder", dir)?;
        self.disk.remove_dir_all(&dir).map_err(maybe)?;
        self.sync_removal(&dir)
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        let dir = self.resolve("lock", dir)?;
        self.disk.create_dir_all(&dir)?;
        self.disk.lock(&dir.join(LOCK))
    }
}

#[derive(Debug)]
struct LocalWriter {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    file: Box<dyn DiskFile>,
    buffer: Vec<u8>,
}

impl LocalWriter {
    fn flush(&mut self) -> Result<()> {
        self.file.append(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

impl SnapshotWriter for LocalWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() < WRITE_BUFFER {
            self.buffer.extend_from_slice(bytes);
            return Ok(());
        }
        self.flush()?;
        self.file.append(bytes)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        self.file.sync()?;
        sync_parent(&*self.disk, &self.path).map_err(maybe)
    }
}

/// Shows that files can be made here. Another process may be probing at the same moment, under the same name.
fn probe(disk: &dyn Disk, path: &Path) -> Result<()> {
    match disk.create_new(path) {
        Err(error) if error.what() != What::AlreadyExists => return Err(error),
        Ok(_) | Err(_) => {}
    }
    unless_not_found(disk.remove_file(path)).map(|_| ())
}

fn sync_parent(disk: &dyn Disk, path: &Path) -> Result<()> {
    parent_of(path).map_or(Ok(()), |dir| disk.sync_dir(dir))
}

fn maybe(error: Error) -> Error {
    error.with_outcome(Outcome::MayHaveHappened)
}
