//! A checkpoint storage that lets a test look on.

use std::fmt;
use std::sync::Arc;

use highwater_storage::{CheckpointStorage, Entry, Lock, Result, SnapshotWriter};

type OnRead = dyn Fn(&str, &mut Vec<u8>) + Send + Sync;
type BeforePublish = dyn Fn(&str) + Send + Sync;

/// A storage that passes every call on to another one, and tells of reads and publishes.
#[derive(Clone)]
pub struct HookedStorage {
    inner: Arc<dyn CheckpointStorage>,
    on_read: Arc<OnRead>,
    before_publish: Arc<BeforePublish>,
}

impl HookedStorage {
    /// Tells nobody yet.
    pub fn new(inner: Arc<dyn CheckpointStorage>) -> Self {
        HookedStorage { inner, on_read: Arc::new(|_, _| {}), before_publish: Arc::new(|_| {}) }
    }

    /// Calls `hook` with each path that was read and the bytes, which it may change.
    #[must_use]
    pub fn on_read(mut self, hook: impl Fn(&str, &mut Vec<u8>) + Send + Sync + 'static) -> Self {
        self.on_read = Arc::new(hook);
        self
    }

    /// Calls `hook` with each path before it is published.
    #[must_use]
    pub fn before_publish(mut self, hook: impl Fn(&str) + Send + Sync + 'static) -> Self {
        self.before_publish = Arc::new(hook);
        self
    }

    fn seen(&self, path: &str, mut bytes: Vec<u8>) -> Vec<u8> {
        (self.on_read)(path, &mut bytes);
        bytes
    }
}

impl fmt::Debug for HookedStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HookedStorage").field("inner", &self.inner).finish_non_exhaustive()
    }
}

impl CheckpointStorage for HookedStorage {
    fn uri(&self) -> String {
        self.inner.uri()
    }

    fn reopen_uri(&self) -> String {
        self.inner.reopen_uri()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        self.inner.create_dir(dir)
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        self.inner.create(path)
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        (self.before_publish)(path);
        self.inner.publish(path, bytes)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        Ok(self.seen(path, self.inner.read(path)?))
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        Ok(self.seen(path, self.inner.read_range(path, offset, len)?))
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        self.inner.list(dir)
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        self.inner.remove_file(path)
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        self.inner.remove_dir_all(dir)
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        self.inner.lock(dir)
    }
}
