//! The folder in which a process keeps the files of its stores.
//!
//! Many processes may share a parent folder. Each has a folder of its own there with a lock that the kernel holds for
//! it, so a folder whose lock is free is of a process that was killed, and is removed by the next one that starts.
//!
//! Invariant: a folder is made and locked, and another is tried and removed, only under the lock of the parent; so no
//! folder is seen between being made and being locked.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use highwater_core::{Error, Result};

const LOCK: &str = "lock";
const PREFIX: &str = "process-";

/// A folder of this process alone, removed when this is dropped.
#[derive(Debug)]
pub(crate) struct WorkingDir {
    path: PathBuf,
    folders: AtomicU64,
    /// Closing the file frees the lock.
    _lock: File,
}

impl WorkingDir {
    /// A new folder below `parent`, which is made if missing; removes what processes before left there.
    pub fn create(parent: &Path) -> Result<Self> {
        Self::try_create(parent).map_err(|error| {
            Error::settings(format!(
                "cannot use {} for the local files of RocksDB; give another directory, on a disk of this machine",
                parent.display()
            ))
            .with_source(error)
        })
    }

    fn try_create(parent: &Path) -> io::Result<Self> {
        fs::create_dir_all(parent)?;
        let guard = open_lock(parent)?;
        guard.lock()?;
        remove_abandoned(parent)?;
        let path = unused_name(parent)?;
        fs::create_dir(&path)?;
        let lock = open_lock(&path)?;
        lock.lock()?;
        Ok(WorkingDir { path, folders: AtomicU64::new(0), _lock: lock })
    }

    /// The path of a folder in it that nobody else gets; the folder is not made.
    pub fn next_folder(&self, kind: &str) -> PathBuf {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        self.path.join(format!("{kind}-{number}"))
    }
}

impl Drop for WorkingDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next process.
        let _ = fs::remove_dir_all(&self.path);
    }
}

fn open_lock(folder: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).open(folder.join(LOCK))
}

fn remove_abandoned(parent: &Path) -> io::Result<()> {
    for entry in fs::read_dir(parent)? {
        let path = entry?.path();
        let is_ours = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with(PREFIX));
        // A folder without a lock file is half removed.
        if is_ours && path.is_dir() && open_lock(&path)?.try_lock().is_ok() {
            fs::remove_dir_all(&path)?;
        }
    }
    Ok(())
}

fn unused_name(parent: &Path) -> io::Result<PathBuf> {
    let mut number = 0;
    loop {
        let path = parent.join(format!("{PREFIX}{}-{number}", std::process::id()));
        if !path.try_exists()? {
            return Ok(path);
        }
        number += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_in_use_stay_and_others_go() {
        let parent = tempfile::tempdir().unwrap();
        let parent = parent.path().join("deep/below");
        let first = WorkingDir::create(&parent).unwrap();
        let second = WorkingDir::create(&parent).unwrap();
        assert_ne!(first.path, second.path);
        fs::write(first.path.join("file"), "x").unwrap();
        fs::write(parent.join("not-ours"), "x").unwrap();
        let abandoned = parent.join("process-1-0");
        fs::create_dir_all(abandoned.join("store")).unwrap();
        drop(second);
        let third = WorkingDir::create(&parent).unwrap();
        assert!(!abandoned.exists() && first.path.join("file").exists());
        drop((first, third));
        let left: Vec<_> = fs::read_dir(&parent).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert_eq!(left.len(), 2, "{left:?}");
    }

    #[test]
    fn a_directory_that_cannot_be_used_is_refused_with_the_way_out() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("file");
        fs::write(&file, "x").unwrap();
        let error = WorkingDir::create(&file).unwrap_err().to_string();
        assert!(error.contains(&file.display().to_string()) && error.contains("give another directory"), "{error}");
    }
}
