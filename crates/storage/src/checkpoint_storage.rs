//! What a job asks of the place its checkpoints lie in.
//!
//! Two ways to write, because a checkpoint needs two: large data files that nobody refers to yet are *created* and may
//! be left half-written, and the small file that makes them count is *published*, whole or not at all. Nothing is ever
//! overwritten, so a reader never sees two versions of one path.
//!
//! Paths are relative, separated by `/`, and checked by [`check_path`]: no `..`, nothing absolute, and no component
//! that starts with a dot, since those names are the storage's own.
//!
//! Invariants:
//! * What [`finish`](SnapshotWriter::finish), [`publish`](CheckpointStorage::publish),
//!   [`create_dir`](CheckpointStorage::create_dir) and the removals have reported as Ok survives a crash.
//! * What [`read`](CheckpointStorage::read) and [`list`](CheckpointStorage::list) have shown survives a crash too. Else
//!   a job could restore a checkpoint whose publisher died before the last sync, commit its output, and lose the
//!   checkpoint afterwards.
//! * An error whose outcome is [`Outcome::DidNotHappen`] left nothing that `read` or `list` would show as published.

use std::fmt;
use std::path::PathBuf;

use crate::error::{Error, Outcome, Result, What};
use crate::lock::Lock;

/// A place for checkpoints: a folder, memory, an object store.
///
/// Every implementation runs [`conformance::checkpoint_storage`](crate::conformance::checkpoint_storage).
pub trait CheckpointStorage: Send + Sync + fmt::Debug + 'static {
    /// Where this is, for people, without a slash at the end: `file:///checkpoints`.
    fn uri(&self) -> String;

    /// What [`open_uri`](crate::open_uri) opens the same place from in another process, options included.
    fn reopen_uri(&self) -> String {
        self.uri()
    }

    /// Creates a folder and those above it. Already there is Ok. Must be done before a file is written into it.
    fn create_dir(&self, dir: &str) -> Result<()>;

    /// Begins a new file; [`What::AlreadyExists`] if there is one.
    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>>;

    /// Writes a new file, atomically: after Ok it is whole and durable, before it is not visible.
    ///
    /// [`What::AlreadyExists`] if there is one, which stays as it is. Of several who publish the same path, threads of this
    /// process or other processes, one succeeds.
    ///
    /// After [`Outcome::MayHaveHappened`] look with [`read`](Self::read) before anything else is done about it.
    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()>;

    /// A whole file.
    fn read(&self, path: &str) -> Result<Vec<u8>>;

    /// Exactly `len` bytes from `offset`; [`What::CutOff`] if the file ends before.
    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>>;

    /// Where a file is among those of this machine, if that is where this storage has it: a second name for it is as good as a
    /// copy, since no file is ever changed.
    fn local_path(&self, _path: &str) -> Option<PathBuf> {
        None
    }

    /// How many reads one reader should have under way: one more than it works on, if not the answers but the way there
    /// takes the time.
    fn concurrent_reads(&self) -> usize {
        1
    }

    /// What a folder holds, sorted by name; the empty path is the storage itself. [`What::NotFound`] if there is no
    /// such folder, for an empty answer would let a job whose disk is not mounted start from nothing.
    fn list(&self, dir: &str) -> Result<Vec<Entry>>;

    /// Removes a file. Not there is Ok.
    fn remove_file(&self, path: &str) -> Result<()>;

    /// Removes a folder and all it holds, in no particular order. Not there is Ok.
    fn remove_dir_all(&self, dir: &str) -> Result<()>;

    /// Locks a folder, which is created if missing, against every other run that asks; [`What::Locked`] if one has it.
    fn lock(&self, dir: &str) -> Result<Lock>;

    /// Where copies of its files may be, under the same paths: old ones, damaged ones, or none. Who reads them verifies them.
    fn local_copies(&self) -> Option<&dyn CheckpointStorage> {
        None
    }
}

/// A file of a storage that is being written.
///
/// Dropped before it is finished, it may leave garbage under its path, to which nothing refers. After an error every
/// later call fails too.
pub trait SnapshotWriter: Send + fmt::Debug {
    /// Adds `bytes` at the end.
    fn append(&mut self, bytes: &[u8]) -> Result<()>;

    /// Makes the file durable, its name included.
    fn finish(self: Box<Self>) -> Result<()>;
}

/// What a folder holds under one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The name within the folder.
    pub name: String,
    /// Whether it is a folder.
    pub is_dir: bool,
    /// Bytes of a file; 0 for a folder.
    pub len: u64,
}

/// Refuses a path that does not stay within the storage or uses a name of its own.
///
/// # Errors
/// If it is empty or absolute, or a component of it is empty, starts with a dot, or holds a backslash or a control
/// character.
pub fn check_path(operation: &'static str, path: &str) -> Result<()> {
    let fits = |component: &str| {
        !component.is_empty()
            && !component.starts_with('.')
            && !component.contains(|c: char| c == '\\' || c.is_control())
    };
    if path.split('/').all(fits) {
        return Ok(());
    }
    // With escapes, so that a control character does not reach a terminal.
    Err(Error::new(What::Other, Outcome::DidNotHappen, operation, format_args!("{path:?}")).with_detail(
        "not a path within the storage: give names separated by '/', none empty, starting with '.' or holding '\\'",
    ))
}
