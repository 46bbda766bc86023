//! Checkpoints in memory: for tests, and for jobs whose state is small and may be lost with the process.
//!
//! Nothing survives the process, so "durable" means here: for as long as a handle is alive. A limit per file keeps a
//! job that has outgrown this storage from filling memory unnoticed (Flink's `JobManagerCheckpointStorage` has the
//! same).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter, check_path};
use crate::disk::check_range;
use crate::error::{Error, Outcome, Result, What};
use crate::lock::{Lock, LockTable};

/// Bytes a file may have unless set otherwise: 5 MiB, Flink's `DEFAULT_MAX_STATE_SIZE`.
pub const DEFAULT_MAX_FILE_BYTES: u64 = 5 * 1024 * 1024;

/// Checkpoints in memory. A clone is another handle to the same files.
#[derive(Clone, Debug)]
pub struct MemoryStorage {
    nodes: Arc<Mutex<BTreeMap<String, Node>>>,
    locks: LockTable,
    max_file_bytes: u64,
}

#[derive(Clone, Debug)]
enum Node {
    Dir,
    File(Arc<[u8]>),
}

impl MemoryStorage {
    /// An empty storage for files of at most [`DEFAULT_MAX_FILE_BYTES`].
    pub fn new() -> Self {
        MemoryStorage { nodes: Arc::default(), locks: LockTable::default(), max_file_bytes: DEFAULT_MAX_FILE_BYTES }
    }

    /// The same files, with another limit for what is written through this handle.
    #[must_use]
    pub fn with_max_file_bytes(mut self, max_file_bytes: u64) -> Self {
        self.max_file_bytes = max_file_bytes;
        self
    }

    fn nodes(&self) -> MutexGuard<'_, BTreeMap<String, Node>> {
        self.nodes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Fails unless `path` is free and its folder exists.
    fn check_free(&self, operation: &'static str, path: &str) -> Result<()> {
        let nodes = self.nodes();
        if nodes.contains_key(path) {
            return Err(refused(What::AlreadyExists, operation, path));
        }
        match path.rsplit_once('/') {
            Some((dir, _)) if !matches!(nodes.get(dir), Some(Node::Dir)) => {
                Err(refused(What::NotFound, operation, dir))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn check_size(&self, operation: &'static str, path: &str, len: u64) -> Result<()> {
        if len <= self.max_file_bytes {
            return Ok(());
        }
        Err(refused(What::TooLarge, operation, path).with_detail(format!(
            "{len} bytes where a file in memory may have {}: use a directory for checkpoints, or raise the limit",
            self.max_file_bytes
        )))
    }

    fn insert(&self, operation: &'static str, path: &str, bytes: &[u8]) -> Result<()> {
        match self.nodes().entry(path.to_owned()) {
            std::collections::btree_map::Entry::Vacant(free) => {
                free.insert(Node::File(bytes.into()));
                Ok(())
            }
            std::collections::btree_map::Entry::Occupied(_) => Err(refused(What::AlreadyExists, operation, path)),
        }
    }

    fn file(&self, path: &str) -> Result<Arc<[u8]>> {
        check_path("read", path)?;
        match self.nodes().get(path) {
            Some(Node::File(bytes)) => Ok(Arc::clone(bytes)),
            Some(Node::Dir) => Err(refused(What::Other, "read", path).with_detail("it is a folder")),
            None => Err(refused(What::NotFound, "read", path)),
        }
    }
}

impl Default for MemoryStorage {
    fn default() -> Self {
        Self::new()
    }
}

impl CheckpointStorage for MemoryStorage {
    fn uri(&self) -> String {
        "memory:".to_owned()
    }

    fn create_dir(&self, dir: &str) -> Result<()> {
        let operation = "create the folder";
        check_path(operation, dir)?;
        let mut nodes = self.nodes();
        let prefixes = || dir.match_indices('/').map(|(end, _)| &dir[..end]).chain([dir]);
        // All before any, so that a refusal leaves nothing behind.
        if let Some(file) = prefixes().find(|prefix| matches!(nodes.get(*prefix), Some(Node::File(_)))) {
            return Err(refused(What::Other, operation, file).with_detail("a file of that name is in the way"));
        }
        for prefix in prefixes() {
            nodes.insert(prefix.to_owned(), Node::Dir);
        }
        Ok(())
    }

    fn create(&self, path: &str) -> Result<Box<dyn SnapshotWriter>> {
        check_path("create", path)?;
        self.check_free("create", path)?;
        let (storage, path) = (self.clone(), path.to_owned());
        Ok(Box::new(MemoryWriter { storage, path, bytes: Vec::new(), failed: false }))
    }

    fn publish(&self, path: &str, bytes: &[u8]) -> Result<()> {
        check_path("publish", path)?;
        self.check_free("publish", path)?;
        self.check_size("publish", path, bytes.len() as u64)?;
        self.insert("publish", path, bytes)
    }

    fn read(&self, path: &str) -> Result<Vec<u8>> {
        self.file(path).map(|bytes| bytes.to_vec())
    }

    fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        let bytes = self.file(path)?;
        check_range(Path::new(path), offset, len, bytes.len() as u64)?;
        // In range, so both fit a usize.
        Ok(bytes[offset as usize..(offset + len) as usize].to_vec())
    }

    fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        let nodes = self.nodes();
        if !dir.is_empty() {
            check_path("list", dir)?;
            if !matches!(nodes.get(dir), Some(Node::Dir)) {
                return Err(refused(What::NotFound, "list", dir));
            }
        }
        let prefix = if dir.is_empty() { String::new() } else { format!("{dir}/") };
        let entry = |(path, node): (&String, &Node)| {
            let name = path.strip_prefix(&prefix).filter(|name| !name.contains('/'))?.to_owned();
            Some(match node {
                Node::Dir => Entry { name, is_dir: true, len: 0 },
                Node::File(bytes) => Entry { name, is_dir: false, len: bytes.len() as u64 },
            })
        };
        Ok(nodes.iter().filter_map(entry).collect())
    }

    fn remove_file(&self, path: &str) -> Result<()> {
        check_path("remove", path)?;
        let mut nodes = self.nodes();
        if let Some(Node::Dir) = nodes.get(path) {
            return Err(refused(What::Other, "remove", path).with_detail("it is a folder"));
        }
        nodes.remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, dir: &str) -> Result<()> {
        check_path("remove the folder", dir)?;
        let mut nodes = self.nodes();
        if let Some(Node::File(_)) = nodes.get(dir) {
            return Err(refused(What::Other, "remove the folder", dir).with_detail("it is a file"));
        }
        let below = format!("{dir}/");
        nodes.retain(|path, _| path != dir && !path.starts_with(&below));
        Ok(())
    }

    fn lock(&self, dir: &str) -> Result<Lock> {
        self.create_dir(dir)?;
        self.locks.lock(&Path::new(dir).join(".lock"))
    }
}

#[derive(Debug)]
struct MemoryWriter {
    storage: MemoryStorage,
    path: String,
    bytes: Vec<u8>,
    failed: bool,
}

impl SnapshotWriter for MemoryWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.failed {
            return Err(crate::disk::given_up("append to", Path::new(&self.path)));
        }
        let result = self.storage.check_size("append to", &self.path, (self.bytes.len() + bytes.len()) as u64);
        self.failed = result.is_err();
        result.map(|()| self.bytes.extend_from_slice(bytes))
    }

    fn finish(self: Box<Self>) -> Result<()> {
        if self.failed {
            return Err(crate::disk::given_up("finish", Path::new(&self.path)));
        }
        self.storage.insert("finish", &self.path, &self.bytes)
    }
}

/// Memory is never in doubt.
fn refused(what: What, operation: &'static str, path: &str) -> Error {
    Error::new(what, Outcome::DidNotHappen, operation, path)
}
