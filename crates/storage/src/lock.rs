//! A lock so that two runs of one job never share a checkpoint folder.
//!
//! Two runs that both think they own `visitors/` would delete each other's checkpoints and publish the same ids. Each
//! run therefore holds `<dir>/<job>/.lock` for as long as it lives. It is a lock of the *kernel* on an open file, not
//! the existence of a file: a run ended by `kill -9` or a power cut leaves nothing behind that somebody has to remove.
//!
//! Invariant: of all [`Lock`]s for one name, at most one is alive.

use std::collections::BTreeSet;
use std::fmt;
use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Outcome, Result, What};

const OPERATION: &str = "lock";
const WAY_OUT: &str = "another run of this job is using it: stop that run, or choose another checkpoint directory";

/// Held from when it is granted until it is dropped.
#[must_use = "the lock is released when this is dropped"]
pub struct Lock {
    _guard: Box<dyn Send + Sync>,
}

impl Lock {
    /// A lock that is released by dropping `guard`.
    pub fn new(guard: impl Send + Sync + 'static) -> Self {
        Lock { _guard: Box::new(guard) }
    }
}

impl fmt::Debug for Lock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lock").finish_non_exhaustive()
    }
}

/// Locks the file at `path`, which is created if missing and never removed: removing it would let a third run lock a
/// new file of that name while the second still waits for the old one.
pub(crate) fn lock_file(path: &Path) -> Result<Lock> {
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .map_err(|source| Error::io(OPERATION, path, source))?;
    match file.try_lock() {
        Ok(()) => Ok(Lock::new(LockedFile(file))),
        Err(TryLockError::WouldBlock) => Err(refused(path)),
        Err(TryLockError::Error(source)) => Err(Error::io(OPERATION, path, source)
            .with_detail("the file system must support file locks; use another directory if it does not")),
    }
}

/// A file that is locked.
struct LockedFile(File);

impl Drop for LockedFile {
    fn drop(&mut self) {
        // To close it would not do: a child process that is being started has the same open file until its program runs.
        let _ = self.0.unlock();
    }
}

/// The locks of a storage that no other process can see.
#[derive(Clone, Debug, Default)]
pub struct LockTable {
    held: Arc<Mutex<BTreeSet<String>>>,
}

impl LockTable {
    /// Locks `path`.
    ///
    /// # Errors
    /// [`What::Locked`] while an earlier lock of the same path is alive.
    pub fn lock(&self, path: &Path) -> Result<Lock> {
        let name = path.display().to_string();
        if !self.held.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone()) {
            return Err(refused(path));
        }
        Ok(Lock::new(Held { table: self.clone(), name }))
    }
}

struct Held {
    table: LockTable,
    name: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.table.held.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.name);
    }
}

fn refused(path: &Path) -> Error {
    // People know the folder; the file in it is ours.
    let dir = path.parent().unwrap_or(path);
    Error::new(What::Locked, Outcome::DidNotHappen, OPERATION, dir.display()).with_detail(WAY_OUT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_released_although_a_child_process_has_the_file_open() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(".lock");
        let lock = LockedFile(File::create(&path).unwrap());
        lock.0.try_lock().unwrap();
        // What a child has between its start and the run of its program.
        let of_child = lock.0.try_clone().unwrap();
        assert_eq!(lock_file(&path).unwrap_err().what(), What::Locked);
        drop(lock);
        drop(lock_file(&path).unwrap());
        drop(of_child);
    }
}
