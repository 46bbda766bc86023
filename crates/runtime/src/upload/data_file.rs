//! The file that a worker writes at a checkpoint.

use highwater_checkpoint::block::BLOCK;
use highwater_checkpoint::metadata::{FileDigest, Location};
use highwater_core::{CheckpointId, Result, frame};
use highwater_storage::layout::{data_name, shared_name};
use highwater_storage::{JobStore, SnapshotDir, SnapshotWriter};

/// A file of blocks, one directly after the other.
pub(super) struct DataFile {
    digest: FileDigest,
    writer: Box<dyn SnapshotWriter>,
    /// What went wrong: after that nothing in the file counts.
    failure: Option<String>,
}

impl DataFile {
    /// Begins the file of `worker` for checkpoint `id`.
    pub fn create(store: &JobStore, id: CheckpointId, worker: u32) -> Result<DataFile> {
        DataFile::create_named(store, id, shared_name(id, worker))
    }

    /// Begins a shared file of checkpoint `id`.
    pub fn create_named(store: &JobStore, id: CheckpointId, name: String) -> Result<DataFile> {
        let writer = store.create_shared(&name)?;
        Ok(DataFile { digest: FileDigest { name, shared_by: Some(id), len: 0, crc32c: 0 }, writer, failure: None })
    }

    /// Begins the file of `worker` for a savepoint.
    pub fn create_in(savepoint: &SnapshotDir, worker: u32) -> Result<DataFile> {
        let (name, writer) = (data_name(worker), savepoint.create_data(worker)?);
        Ok(DataFile { digest: FileDigest { name, shared_by: None, len: 0, crc32c: 0 }, writer, failure: None })
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.digest.name
    }

    /// Appends a block around `payload`; where it is.
    pub fn append(&mut self, payload: &[u8]) -> Result<Location> {
        let header = frame::header(BLOCK, payload);
        self.append_frame(&[&header, payload])
    }

    /// Appends bytes, in parts; where they are.
    pub fn append_frame(&mut self, parts: &[&[u8]]) -> Result<Location> {
        let offset = self.digest.len;
        for bytes in parts {
            self.writer.append(bytes).inspect_err(|error| self.failure = Some(error.to_string()))?;
            self.digest.crc32c = crc32c::crc32c_append(self.digest.crc32c, bytes);
            self.digest.len += bytes.len() as u64;
        }
        Ok(Location::File { name: self.digest.name.clone(), offset, len: self.digest.len - offset })
    }

    /// Makes the file durable.
    ///
    /// # Errors
    /// What went wrong with it, now or before.
    pub fn finish(self) -> Result<FileDigest, String> {
        match self.failure {
            Some(failure) => Err(failure),
            None => self.writer.finish().map(|()| self.digest).map_err(|error| error.to_string()),
        }
    }
}
