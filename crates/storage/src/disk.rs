//! The few file-system primitives that everything durable is built from.
//!
//! POSIX promises little about a crash, and it is easy to rely on more. What holds after a power cut is only this:
//!
//! 1. The **content** of a file survives up to its last successful [`DiskFile::sync`]. Of what was appended later any
//!    part may survive, or bytes nobody wrote.
//! 2. A **name** (created, renamed, removed) survives once the *folder that holds it* was synced with
//!    [`Disk::sync_dir`]. Syncing the file does not do it, and a synced file without its name is lost.
//! 3. A folder is itself a name in its parent, and so on up. [`Disk::create_dir_all`] takes care of all of them.
//! 4. [`Disk::rename`] within a file system is atomic: after a crash a name stands for the old file or for the new one.
//!    It is durable once the folder of the *new* name was synced; between two folders the old name may come back until
//!    its own folder was synced too. A rename may survive without the content of the file: sync the content first.
//! 5. A failed sync **cannot be tried again**: the kernel may have dropped the pages and marked them clean, and the
//!    next sync says Ok without the data ("fsyncgate"). The file must be written anew. So a [`DiskFile`] that reported
//!    an error refuses everything from then on.
//!
//! Invariant: whoever reports something as durable has synced the content first and its folder after.
//!
//! Sources: POSIX `fsync(2)`, `rename(2)`; T. S. Pillai et al., "All File Systems Are Not Created Equal" (OSDI 2014);
//! A. Rebello et al., "Can Applications Recover from fsync Failures?" (USENIX ATC 2020).

mod real;

use std::ffi::OsString;
use std::fmt;
use std::path::Path;

pub use real::RealDisk;

use crate::error::{Error, Outcome, Result, What};
use crate::lock::Lock;

/// A file system. Relative paths are relative to the working directory of the process.
///
/// Every implementation runs [`conformance::disk`](crate::conformance::disk).
pub trait Disk: Send + Sync + fmt::Debug + 'static {
    /// Creates an empty file to append to; [`What::AlreadyExists`] if there is anything of that name.
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>>;

    /// Opens an existing file, cuts it to `len` bytes, syncs it, and returns it to append to.
    ///
    /// [`What::CutOff`] if it is shorter: growing it would make up bytes.
    fn truncate(&self, path: &Path, len: u64) -> Result<Box<dyn DiskFile>>;

    /// The whole file.
    fn read(&self, path: &Path) -> Result<Vec<u8>>;

    /// Exactly `len` bytes from `offset`; [`What::CutOff`] if the file ends before.
    fn read_range(&self, path: &Path, offset: u64, len: u64) -> Result<Vec<u8>>;

    /// Makes the names in a folder durable: every creation, rename and removal so far.
    fn sync_dir(&self, path: &Path) -> Result<()>;

    /// Gives a file another name, replacing what has that name. Durable after [`sync_dir`](Self::sync_dir) of both
    /// folders.
    fn rename(&self, from: &Path, to: &Path) -> Result<()>;

    /// Gives a file another name in the same folder; [`What::AlreadyExists`] if anything has that name. Of several processes
    /// that try, on whatever machine, one succeeds. Durable after [`sync_dir`](Self::sync_dir) of the folder.
    ///
    /// The old name may stay, if it cannot be removed afterwards.
    fn rename_new(&self, from: &Path, to: &Path) -> Result<()>;

    /// Removes a file. Durable after [`sync_dir`](Self::sync_dir) of its folder.
    fn remove_file(&self, path: &Path) -> Result<()>;

    /// Creates one folder in an existing one. Durable after [`sync_dir`](Self::sync_dir) of the latter.
    fn create_dir(&self, path: &Path) -> Result<()>;

    /// Removes one empty folder. Durable after [`sync_dir`](Self::sync_dir) of its parent.
    fn remove_dir(&self, path: &Path) -> Result<()>;

    /// What a folder holds, sorted by name.
    fn list(&self, path: &Path) -> Result<Vec<DirEntry>>;

    /// What `path` is, symbolic links followed; [`What::NotFound`] if it is nothing.
    fn metadata(&self, path: &Path) -> Result<Metadata>;

    /// Locks the file at `path`, which is created if missing, against every other process; [`What::Locked`] if another
    /// has it. Released when the [`Lock`] is dropped or the process ends, however it ends.
    fn lock(&self, path: &Path) -> Result<Lock>;

    /// Creates a folder and those above it that are missing, all of them durable. Already there is Ok.
    ///
    /// Each level is synced before the next is created, and the deepest one that exists already is synced again: a
    /// process that died here has left at most that one undurable, so it is enough.
    fn create_dir_all(&self, path: &Path) -> Result<()> {
        let mut missing = Vec::new();
        let mut existing = None;
        for ancestor in path.ancestors().map(dir_or_dot) {
            if is_dir(self, ancestor)? {
                existing = Some(ancestor);
                break;
            }
            missing.push(ancestor);
        }
        if let Some(parent) = existing.and_then(parent_of) {
            match self.sync_dir(parent) {
                // A folder in one that we may not even open was not made by us.
                Err(error) if error.what() != What::Denied => return Err(error),
                Ok(()) | Err(_) => {}
            }
        }
        for dir in missing.into_iter().rev() {
            match self.create_dir(dir) {
                Err(error) if error.what() != What::AlreadyExists => return Err(error),
                Ok(()) | Err(_) => {}
            }
            if let Some(parent) = parent_of(dir) {
                self.sync_dir(parent)?;
            }
        }
        Ok(())
    }

    /// Removes a folder and all it holds, in no particular order. Not there is Ok. Symbolic links are removed, not
    /// followed. Durable after [`sync_dir`](Self::sync_dir) of its parent.
    fn remove_dir_all(&self, path: &Path) -> Result<()> {
        let Some(entries) = unless_not_found(self.list(path))? else { return Ok(()) };
        for entry in entries {
            let child = path.join(&entry.name);
            if entry.is_dir {
                self.remove_dir_all(&child)?;
            } else {
                unless_not_found(self.remove_file(&child))?;
            }
        }
        unless_not_found(self.remove_dir(path)).map(|_| ())
    }
}

/// A file that is being written. One system call an append: batch before.
///
/// After an error every later call fails too (rule 5).
pub trait DiskFile: Send + fmt::Debug {
    /// Writes all of `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the content so far durable; not the file's name, which is its folder's.
    fn sync(&mut self) -> Result<()>;

    /// Bytes in the file, durable or not.
    fn len(&self) -> u64;

    /// Whether it holds no bytes.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a folder holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirEntry {
    /// The name within the folder.
    pub name: OsString,
    /// Whether it is a folder; a symbolic link is not.
    pub is_dir: bool,
    /// Bytes of a file.
    pub len: u64,
}

/// What a path is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metadata {
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Bytes of a file.
    pub len: u64,
}

/// The folder that holds `path`, ready to be synced: `.` for a bare name, `None` for a root or `.` itself.
pub fn parent_of(path: &Path) -> Option<&Path> {
    if path == Path::new(".") { None } else { path.parent().map(dir_or_dot) }
}

/// `Ok(None)` where there was nothing of that name.
pub fn unless_not_found<T>(result: Result<T>) -> Result<Option<T>> {
    match result {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.what() == What::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The parent of a bare name is the empty path, which no system call takes.
fn dir_or_dot(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn is_dir<D: Disk + ?Sized>(disk: &D, path: &Path) -> Result<bool> {
    match unless_not_found(disk.metadata(path))? {
        None => Ok(false),
        Some(found) if found.is_dir => Ok(true),
        Some(_) => Err(Error::new(What::Other, Outcome::DidNotHappen, "create the folder", path.display())
            .with_detail("a file of that name is in the way; remove it or choose another directory")),
    }
}

/// Checks that `offset..offset + len` lies within a file of `file_len` bytes, before any memory is set aside for it.
pub fn check_range(path: &Path, offset: u64, len: u64, file_len: u64) -> Result<()> {
    match offset.checked_add(len) {
        Some(end) if end <= file_len => Ok(()),
        Some(_) | None => Err(cut_off("read", path, format!("{len} bytes at {offset} of {file_len}"))),
    }
}

fn cut_off(operation: &'static str, path: &Path, detail: String) -> Error {
    Error::new(What::CutOff, Outcome::DidNotHappen, operation, path.display()).with_detail(detail)
}

/// The error of every call on a file after one has failed (rule 5).
pub fn given_up(operation: &'static str, path: &Path) -> Error {
    Error::new(What::Other, Outcome::DidNotHappen, operation, path.display())
        .with_detail("an earlier write to it failed, so it must be written anew")
}
