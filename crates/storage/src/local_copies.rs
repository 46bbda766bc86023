//! A checkpoint storage with a secondary copy of its large files on a local disk (Flink's local recovery).
//!
//! After a failure most tasks start again where they ran, and read back what they wrote themselves: from the local disk that is
//! faster, and costs the storage nothing. The storage stays the truth: a checkpoint exists if it does there, and whatever goes
//! wrong with a copy is logged and otherwise of no consequence. Who reads a copy verifies it, and falls back to the storage.
//!
//! Each process has a folder of its own, and in it the files that it wrote. It removes what it has no more use for: whoever removes a
//! file from the storage may be on another machine.

use std::path::PathBuf;
use std::sync::Arc;

use crate::checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter};
use crate::error::{Error, Result};
use crate::lock::Lock;

/// A storage, and where its local copies are.
#[derive(Debug)]
pub struct LocalCopies {
    storage: Arc<dyn CheckpointStorage>,
    local: Arc<dyn CheckpointStorage>,
}

impl LocalCopies {
    /// `storage` with copies in `local`.
    pub fn new(storage: Arc<dyn CheckpointStorage>, local: Arc<dyn CheckpointStorage>) -> Self {
        LocalCopies { storage, local }
    }

    /// Begins a copy, in place of one that was left over.
    fn begin_copy(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        if let Some((dir, _)) = path.rsplit_once('/') {
            self.local.create_dir(dir)?;
        }
        self.local.remove_file(path)?;
        self.local.create(path)
    }
}

fn ignore<T>(what: &str, path: &str, result: Result<T>) -> Option<T> {
    result.inspect_err(|error: &Error| tracing::debug!(path, %error, "cannot {what} the local copy")).ok()
}

impl CheckpointStorage for LocalCopies {
    fn uri(&self) -> String {
        self.storage.uri()
    }

    fn reopen_uri(&self) -> String {
        self.storage.reopen_uri()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.storage.create_dir(dir)
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        let writer = self.storage.create(path)?;
        let copy = self.begin_copy(path);
        if let Err(error) = &copy {
            tracing::warn!(path, %error, "no local copy is written: a restore will read from the checkpoint storage");
        }
        Ok(Box::new(WriterWithCopy { path: path.to_owned(), writer, copy: copy.ok() }))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.storage.publish(path, bytes)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.storage.read(path)
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        self.storage.read_range(path, offset, len)
    }

    fn local_path(&self, path: &str) -> Option<PathBuf> {
        self.storage.local_path(path)
    }

    fn concurrent_reads(&self) -> usize {
        self.storage.concurrent_reads()
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        self.storage.list(dir)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.storage.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        self.storage.remove_dir_all(dir)
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        self.storage.lock(dir)
    }

    fn local_copies(&self) -> Option<&dyn CheckpointStorage> {
        Some(&*self.local)
    }
}

/// Writes a file and, as long as that goes well, its copy.
#[derive(Debug)]
struct WriterWithCopy {
    path: String,
    writer: Box<dyn SnapshotWriter>,
    copy: Option<Box<dyn SnapshotWriter>>,
}

impl SnapshotWriter for WriterWithCopy {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer.append(bytes)?;
        if let Some(copy) = &mut self.copy
            && ignore("write", &self.path, copy.append(bytes)).is_none()
        {
            self.copy = None;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<()> {
        self.writer.finish()?;
        if let Some(copy) = self.copy {
            ignore("finish", &self.path, copy.finish());
        }
        Ok(())
    }
}
