//! Checkpoints in HDFS, through a client in Rust; no JVM.
//!
//! HDFS has what publishing needs: a rename that is atomic, refuses to replace, and is in the NameNode's journal before
//! it is answered. So every file is written in the classical sequence: write a temporary file of a name that comes once,
//! sync it, close it, rename it. An answer that was lost is found out: the temporary name is nobody else's, so if it is
//! gone and the name is there, the rename has happened.
//!
//! A file is synced to the disks of its DataNodes (`hsync`) before it is closed. Files with erasure coding know no
//! sync; there the close is what counts.
//!
//! Invariant: a name without a leading dot stands for a file that was synced and closed before the name appeared.

mod answer;
mod file;
mod lease_files;
mod namespace;

use std::sync::Arc;

use highwater_core::Result as OpenResult;

use crate::checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter, check_path};
use crate::error::Result;
use crate::lock::Lock;
use crate::remote::{CONCURRENT_READS, Leases, RemoteUri};
use file::{HdfsWriter, NewFile};
use lease_files::HdfsLeases;
use namespace::Namespace;

const OPTIONS: &str = "user, replication, timeout and lease";

/// A folder of an HDFS.
#[derive(Debug)]
pub struct HdfsStorage {
    namespace: Arc<Namespace>,
    leases: Leases,
}

impl HdfsStorage {
    /// The folder that `uri` names, which is created if missing and must be writable; see
    /// [`open_uri`](crate::open_uri) for its form.
    ///
    /// # Errors
    /// [`Settings`](highwater_core::ErrorKind::Settings) for a URI that is not understood,
    /// [`Storage`](highwater_core::ErrorKind::Storage) if the folder cannot be used, with the way out.
    pub(crate) fn open(uri: RemoteUri<'_>) -> OpenResult<Self> {
        let storage = Self::existing(uri)?;
        storage.namespace.probe()?;
        Ok(storage)
    }

    /// The folder that `uri` names as it is, to be read: nothing is created, and it need not be writable.
    ///
    /// # Errors
    /// [`Settings`](highwater_core::ErrorKind::Settings) for a URI that is not understood.
    pub(crate) fn existing(uri: RemoteUri<'_>) -> OpenResult<Self> {
        let namespace = Arc::new(Namespace::new(uri, OPTIONS)?);
        let limits = *namespace.io.limits();
        let files = HdfsLeases::new(Arc::clone(&namespace));
        let renewed = HdfsLeases::new(Arc::new(namespace.apart(limits.for_renewal())?));
        let leases = Leases::new(namespace.uri(), Arc::new(files), Arc::new(renewed), limits.lease);
        Ok(HdfsStorage { leases, namespace })
    }

    /// Refuses a path that is not the storage's to give, or below a lease that was lost.
    fn check_change(&self, operation: &'static str, path: &str) -> Result<()> {
        check_path(operation, path)?;
        self.leases.check(operation, path)
    }
}

impl CheckpointStorage for HdfsStorage {
    fn uri(&self) -> String {
        self.namespace.uri()
    }

    fn reopen_uri(&self) -> String {
        self.namespace.reopen_uri()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.check_change("create the folder", dir)?;
        self.namespace.create_dir(dir)
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        self.check_change("create", path)?;
        self.namespace.check_free("create", path)?;
        let file = NewFile::create(&self.namespace, "create", path)?;
        Ok(Box::new(HdfsWriter::new(file)))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        self.check_change("publish", path)?;
        self.namespace.check_free("publish", path)?;
        file::publish(&self.namespace, path, bytes, || self.leases.check("publish", path))
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        check_path("read", path)?;
        self.namespace.read(path)
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        check_path("read", path)?;
        self.namespace.read_range(path, offset, len)
    }

    fn concurrent_reads(&self) -> usize {
        CONCURRENT_READS
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        if !dir.is_empty() {
            check_path("list", dir)?;
        }
        let mut entries = self.namespace.list(dir)?;
        entries.retain(|entry| !entry.name.starts_with('.'));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.check_change("remove", path)?;
        self.namespace.remove("remove", path, false)
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        self.check_change("remove the folder", dir)?;
        self.namespace.remove("remove the folder", dir, true)
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        check_path("lock", dir)?;
        self.namespace.create_dir(dir)?;
        self.leases.lock(dir)
    }
}
