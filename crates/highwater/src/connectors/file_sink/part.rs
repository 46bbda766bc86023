//! A part file that is being written.
//!
//! The task's thread appends to it, and another thread syncs it for a checkpoint. The task does not wait for that as long as its
//! buffer has room.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use highwater_storage::disk::DiskFile;
use highwater_storage::error::Result;

use super::name::PartFile;

/// Records are gathered up to this many bytes before they go to the disk.
const BUFFER_BYTES: usize = 256 * 1024;

/// .. and, while the file is being synced, up to this many.
const BUFFER_LIMIT_BYTES: usize = 4 * 1024 * 1024;

/// An open file that two threads use.
#[derive(Debug)]
pub(super) struct SharedFile {
    file: Mutex<Box<dyn DiskFile>>,
    durable_len: AtomicU64,
}

impl SharedFile {
    /// Makes the content durable: how many bytes of it. The name is not.
    pub(super) fn sync(&self) -> Result<u64> {
        let mut file = self.lock();
        file.sync()?;
        Ok(file.len())
    }

    /// Remembers that the first `len` bytes are durable, and the name as well.
    pub(super) fn confirm(&self, len: u64) {
        self.durable_len.fetch_max(len, Ordering::AcqRel);
    }

    fn append(&self, bytes: &[u8]) -> Result<()> {
        self.lock().append(bytes)
    }

    fn is_busy(&self) -> bool {
        matches!(self.file.try_lock(), Err(TryLockError::WouldBlock))
    }

    fn lock(&self) -> MutexGuard<'_, Box<dyn DiskFile>> {
        // Whoever panicked with it: a file that failed refuses everything from then on by itself.
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part file in progress.
#[derive(Debug)]
pub(super) struct OpenPart {
    name: String,
    file: Arc<SharedFile>,
    buffer: Vec<u8>,
    appended: u64,
    begun: Duration,
}

impl OpenPart {
    /// The part file `name`, which was created at the monotonic time `begun`.
    pub(super) fn new(name: String, file: Box<dyn DiskFile>, begun: Duration) -> Self {
        let file = Arc::new(SharedFile { file: Mutex::new(file), durable_len: AtomicU64::new(0) });
        OpenPart { name, file, buffer: Vec::with_capacity(2 * BUFFER_BYTES), appended: 0, begun }
    }

    /// Bytes written to it.
    pub(super) fn len(&self) -> u64 {
        self.appended + self.buffer.len() as u64
    }

    /// Monotonic time when it was created.
    pub(super) fn begun(&self) -> Duration {
        self.begun
    }

    /// Writes what `append` appends.
    #[inline]
    pub(super) fn write(&mut self, append: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        append(&mut self.buffer);
        match self.buffer.len() {
            0..BUFFER_BYTES => Ok(()),
            BUFFER_BYTES..BUFFER_LIMIT_BYTES if self.file.is_busy() => Ok(()),
            BUFFER_BYTES.. => self.flush(),
        }
    }

    /// Hands everything written to the disk.
    pub(super) fn flush(&mut self) -> Result<()> {
        if !self.buffer.is_empty() {
            self.file.append(&self.buffer)?;
            self.appended += self.buffer.len() as u64;
            self.buffer.clear();
        }
        Ok(())
    }

    /// What it is now, all of it handed to the disk.
    pub(super) fn close(mut self) -> Result<ClosedPart> {
        self.flush()?;
        Ok(ClosedPart { part: self.describe(), file: self.file })
    }

    /// What has been handed to the disk so far, for a checkpoint.
    pub(super) fn describe(&self) -> PartFile {
        PartFile { name: self.name.clone(), len: self.appended }
    }

    pub(super) fn file(&self) -> Arc<SharedFile> {
        self.file.clone()
    }
}

/// A part file that is complete.
#[derive(Debug)]
pub(super) struct ClosedPart {
    pub(super) part: PartFile,
    pub(super) file: Arc<SharedFile>,
}

impl ClosedPart {
    pub(super) fn is_durable(&self) -> bool {
        self.file.durable_len.load(Ordering::Acquire) >= self.part.len
    }
}
