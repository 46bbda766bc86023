//! A store that keeps its rows in a map: for tests, which it spares an engine on disk.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, Result};

use super::{
    EachRow, LocalSnapshot, RowExpiry, RowStore, RowStoreFactory, RowVisit, SnapshotFile, SortedKeys, SortedRows,
    StoreReader, StoreUsage, StoredRows,
};
use crate::Data;

type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

const KIND: &str = "memory";

/// The name of the one file of a snapshot.
const FILE: &str = "rows";

/// Opens stores that keep their rows in memory, and put the files of snapshots below a folder.
#[derive(Clone, Debug)]
pub struct MemoryRowStores {
    kind: &'static str,
    folder: Arc<PathBuf>,
    snapshots: Arc<AtomicU64>,
}

impl MemoryRowStores {
    /// Stores whose snapshots are below `folder`.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        MemoryRowStores { kind: KIND, folder: Arc::new(folder.into()), snapshots: Arc::default() }
    }

    /// The same, under the name of another engine: for tests of who only looks at the name.
    #[must_use]
    pub fn in_the_name_of(mut self, kind: &'static str) -> Self {
        self.kind = kind;
        self
    }

    /// The rows of a snapshot.
    fn read(&self, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Rows> {
        let folder = self.next_folder();
        fs::create_dir_all(&folder).map_err(|error| io("create", &folder, error))?;
        let filled = LocalSnapshot { kind: self.kind, folder, files: Vec::new() };
        fill(&filled.folder)?;
        let path = filled.folder.join(FILE);
        let bytes = fs::read(&path).map_err(|error| io("read", &path, error))?;
        Rows::decode(&mut &bytes[..]).map_err(|error| {
            Error::new(ErrorKind::Corrupt, format!("{} is no snapshot of a store", path.display())).with_source(error)
        })
    }

    fn next_folder(&self) -> PathBuf {
        self.folder.join(format!("snapshot-{}", self.snapshots.fetch_add(1, Ordering::Relaxed)))
    }
}

impl RowStoreFactory for MemoryRowStores {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn open(&self, _name: &str) -> Result<Arc<dyn RowStore>> {
        Ok(Arc::new(MemoryRowStore { stores: self.clone(), rows: Mutex::default(), expiry: OnceLock::new() }))
    }

    fn restore(&self, name: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Arc<dyn RowStore>> {
        let rows = self.read(fill).map_err(|error| error.context(format!("store {name}")))?;
        Ok(Arc::new(MemoryRowStore { stores: self.clone(), rows: Mutex::new(rows), expiry: OnceLock::new() }))
    }
}

impl StoreReader for MemoryRowStores {
    fn kind(&self) -> &'static str {
        self.kind
    }

    fn open(&self, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Box<dyn StoredRows>> {
        Ok(Box::new(View(self.read(fill)?)))
    }
}

/// Rows in a map.
#[derive(Debug)]
pub struct MemoryRowStore {
    stores: MemoryRowStores,
    rows: Mutex<Rows>,
    expiry: OnceLock<Arc<dyn RowExpiry>>,
}

impl MemoryRowStore {
    fn with<R>(&self, f: impl FnOnce(&mut Rows) -> R) -> R {
        // A map is whole also after a panic of another thread.
        f(&mut self.rows.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl RowStore for MemoryRowStore {
    fn get_many(&self, keys: SortedKeys<'_>, found: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        self.with(|rows| {
            // As an engine would in the background, at any moment.
            if let Some(expiry) = self.expiry.get() {
                rows.retain(|_, row| !expiry.has_expired(row));
            }
            keys.iter().try_for_each(|(position, key)| rows.get(key).map_or(Ok(()), |row| found(position, row)))
        })
    }

    fn write(&self, batch: SortedRows<'_>) -> Result<()> {
        self.with(|rows| {
            for (key, row) in batch.iter() {
                match row {
                    Some(row) => rows.insert(key.to_vec(), row.to_vec()),
                    None => rows.remove(key),
                };
            }
        });
        Ok(())
    }

    fn load(&self, fill: &mut dyn FnMut(&mut EachRow<'_>) -> Result<()>) -> Result<()> {
        let mut loaded = Rows::new();
        fill(&mut |group, key, row| {
            loaded.insert([&group.0.to_be_bytes(), key].concat(), row.to_vec());
            Ok(())
        })?;
        self.with(|rows| rows.append(&mut loaded));
        Ok(())
    }

    fn delete(&self, groups: KeyGroupRange) -> Result<()> {
        self.with(|rows| rows.retain(|key, _| !groups.contains(split(key).0)));
        Ok(())
    }

    fn scan(&self, groups: KeyGroupRange, row: &mut EachRow<'_>) -> Result<()> {
        self.with(|rows| {
            for (key, state) in rows.iter() {
                let (group, key) = split(key);
                if groups.contains(group) {
                    row(group, key, state)?;
                }
            }
            Ok(())
        })
    }

    fn snapshot(&self) -> Result<LocalSnapshot> {
        let mut bytes = Vec::new();
        self.with(|rows| rows.encode(&mut bytes));
        let folder = self.stores.next_folder();
        fs::create_dir_all(&folder).map_err(|error| io("create", &folder, error))?;
        let files = vec![SnapshotFile { name: FILE.to_owned(), len: bytes.len() as u64, is_shared: false }];
        let snapshot = LocalSnapshot { kind: self.stores.kind, folder, files };
        let path = snapshot.folder.join(FILE);
        fs::write(&path, bytes).map_err(|error| io("write", &path, error))?;
        Ok(snapshot)
    }

    fn view(&self) -> Result<Box<dyn StoredRows>> {
        Ok(Box::new(View(self.with(|rows| rows.clone()))))
    }

    fn drop_expired(&self, expiry: Arc<dyn RowExpiry>) {
        let is_first = self.expiry.set(expiry).is_ok();
        debug_assert!(is_first, "a store is told once what expires");
    }

    fn usage(&self) -> StoreUsage {
        self.with(|rows| {
            let memory_bytes = rows.iter().map(|(key, row)| (key.len() + row.len()) as u64).sum();
            StoreUsage { memory_bytes, disk_bytes: 0, rows: rows.len() as u64 }
        })
    }
}

/// The rows of a moment.
#[derive(Debug)]
struct View(Rows);

impl StoredRows for View {
    fn scan(&self, from: &[u8], row: &mut RowVisit<'_>) -> Result<()> {
        for (key, state) in self.0.range::<[u8], _>((Bound::Included(from), Bound::Unbounded)) {
            let (group, key) = split(key);
            if row(group, key, state)?.is_break() {
                break;
            }
        }
        Ok(())
    }
}

fn split(key: &[u8]) -> (KeyGroup, &[u8]) {
    let (group, key) = key.split_first_chunk().expect("a key begins with its key group");
    (KeyGroup(u16::from_be_bytes(*group)), key)
}

fn io(what: &str, path: &Path, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("cannot {what} {}", path.display())).with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spill::conformance;

    #[test]
    fn it_conforms() {
        let folder = tempfile::tempdir().unwrap();
        conformance::row_store(&MemoryRowStores::new(folder.path()));
        conformance::tiered_tables(&(Arc::new(MemoryRowStores::new(folder.path())) as _), 150);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "snapshots that were dropped are gone");
    }
}
