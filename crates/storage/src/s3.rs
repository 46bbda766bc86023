//! Checkpoints in a bucket of S3, or of a server that speaks its protocol.
//!
//! An object appears whole or not at all, and is durable when the put is answered; listing shows it from then on. What
//! publishing needs beyond that is the *conditional* put (`If-None-Match: *`): of several who create the same object
//! one succeeds. A server that ignores the condition is refused when the storage is opened.
//!
//! A put whose answer was lost is found out: every object that is published carries, in its metadata, a number that
//! comes once. If the next attempt finds the object there, that number tells whose it is.
//!
//! There are no folders in S3. One exists here if it holds something, and an empty one holds the object `.dir`.
//!
//! Invariant: a key without a leading dot in its name stands for a whole object.

mod answer;
mod bucket;
mod lease_files;
mod writer;

use std::sync::Arc;

use highwater_core::Result as OpenResult;

use crate::checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter, check_path};
use crate::error::Result;
use crate::lock::Lock;
use crate::remote::{CONCURRENT_READS, Leases, Operation, RemoteUri};
use bucket::Bucket;
use lease_files::S3Leases;
use writer::S3Writer;

const OPTIONS: &str = "endpoint, region, path_style, allow_http, timeout and lease";

/// A prefix of a bucket.
#[derive(Debug)]
pub struct S3Storage {
    bucket: Arc<Bucket>,
    leases: Leases,
}

impl S3Storage {
    /// The prefix that `uri` names, which must be writable; see [`open_uri`](crate::open_uri) for its form.
    pub(crate) fn open(uri: RemoteUri<'_>) -> OpenResult<Self> {
        let storage = Self::existing(uri)?;
        storage.bucket.probe()?;
        Ok(storage)
    }

    /// The prefix that `uri` names as it is, to be read: it need not be writable.
    pub(crate) fn existing(mut uri: RemoteUri<'_>) -> OpenResult<Self> {
        let bucket = Bucket::new(&mut uri)?;
        uri.nothing_left(OPTIONS)?;
        let limits = *bucket.io.limits();
        let renewed = S3Leases::new(Arc::new(bucket.apart(limits.for_renewal())?));
        let bucket = Arc::new(bucket);
        let files = S3Leases::new(Arc::clone(&bucket));
        let leases = Leases::new(bucket.uri(), Arc::new(files), Arc::new(renewed), limits.lease);
        Ok(S3Storage { bucket, leases })
    }

    /// Refuses a path that is not the storage's to give, or below a lease that was lost.
    fn check_change(&self, operation: &'static str, path: &str) -> Result<()> {
        check_path(operation, path)?;
        self.leases.check(operation, path)
    }
}

impl CheckpointStorage for S3Storage {
    fn uri(&self) -> String {
        self.bucket.uri()
    }

    fn reopen_uri(&self) -> String {
        self.bucket.reopen_uri()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.check_change("create the folder", dir)?;
        self.bucket.create_dir(dir)
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        self.check_change("create", path)?;
        self.bucket.check_free("create", path)?;
        Ok(Box::new(S3Writer::new(Arc::clone(&self.bucket), path)))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_path("publish", path)?;
        self.bucket.check_free("publish", path)?;
        // As late as can be: what is looked at before may take its time.
        self.leases.check("publish", path)?;
        let place = self.bucket.place_of(path);
        self.bucket.put_new(Operation::writes("publish", &place), path, bytes.to_vec().into())
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        check_path("read", path)?;
        self.bucket.read(path)
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        check_path("read", path)?;
        self.bucket.read_range(path, offset, len)
    }

    fn concurrent_reads(&self) -> usize {
        CONCURRENT_READS
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        if !dir.is_empty() {
            check_path("list", dir)?;
        }
        let mut entries = self.bucket.list(dir)?;
        entries.retain(|entry| !entry.name.starts_with('.'));
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.check_change("remove", path)?;
        self.bucket.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        self.check_change("remove the folder", dir)?;
        self.bucket.remove_dir_all(dir)
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        check_path("lock", dir)?;
        self.bucket.create_dir(dir)?;
        self.leases.lock(dir)
    }
}
