//! One store: the rows of a subtask's keyed state in a RocksDB of their own.
//!
//! They are in the default column family; a subtask has one keyed state that grows, and its timers stay in memory.
//! Look-ups are sorted and come in one call for many keys, so that RocksDB reads each block once and RocksDB's own
//! per-call costs are shared.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, KeyGroupRange, Result};
use highwater_state::spill::{
    EachRow, LocalSnapshot, RowExpiry, RowStore, SnapshotFile, SortedKeys, SortedRows, StoreUsage, StoredRows,
};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::properties::{
    CUR_SIZE_ALL_MEM_TABLES, ESTIMATE_NUM_KEYS, ESTIMATE_TABLE_READERS_MEM, TOTAL_SST_FILES_SIZE,
};
use rocksdb::{ColumnFamily, ColumnFamilyDescriptor, DB, ReadOptions, WriteBatch};

use crate::expired::{Expired, Expiry, period_secs};
use crate::load::Loader;
use crate::options::{LOOK_UP_KEYS, scan_options, write_options};
use crate::stores::Inner;
use crate::view::{View, split};

/// What snapshots of these stores are called.
pub(crate) const KIND: &str = "rocksdb";

/// The column family that every RocksDB has.
const ROWS: &str = "default";

/// Rows in a RocksDB, whose files are removed when this is dropped.
pub struct RocksDBRowStore {
    // First, so that it is closed before its files are removed.
    db: Option<DB>,
    expiry: Expiry,
    folder: PathBuf,
    /// For people.
    name: String,
    process: Arc<Inner>,
}

impl std::fmt::Debug for RocksDBRowStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RocksDBRowStore").field("name", &self.name).field("folder", &self.folder).finish()
    }
}

impl RocksDBRowStore {
    pub(crate) fn open(process: &Arc<Inner>, folder: PathBuf, name: &str) -> Result<Self> {
        let expiry = Expiry::default();
        let mut options = process.shared.options();
        options.set_compaction_filter_factory(Expired(Arc::clone(&expiry)));
        let rows = ColumnFamilyDescriptor::new(ROWS, options.clone());
        let opened = DB::open_cf_descriptors(&options, &folder, [rows]);
        let mut store =
            RocksDBRowStore { db: None, expiry, folder, name: name.to_owned(), process: Arc::clone(process) };
        store.db = Some(opened.map_err(|error| store.error("open", error))?);
        Ok(store)
    }

    fn db(&self) -> &DB {
        self.db.as_ref().expect("a store is open until it is dropped")
    }

    fn rows(&self) -> &ColumnFamily {
        self.db().cf_handle(ROWS).expect("the default column family is always there")
    }

    fn error(&self, what: &str, error: rocksdb::Error) -> Error {
        let kind = match error.kind() {
            rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
            _ => ErrorKind::Storage,
        };
        let place = self.folder.display();
        Error::new(kind, format!("RocksDB cannot {what} the rows of {} in {place}", self.name)).with_source(error)
    }

    /// Waits until what is to be written has a place in memory.
    fn make_room(&self) -> Result<()> {
        let shared = &self.process.shared;
        if shared.is_short_of_write_buffers()
            && self.property(CUR_SIZE_ALL_MEM_TABLES) > shared.write_buffer_bytes() as u64 / 4
        {
            self.db().flush().map_err(|error| self.error("flush", error))?;
        }
        Ok(())
    }

    fn property(&self, name: &rocksdb::properties::PropName) -> u64 {
        self.db().property_int_value(name).ok().flatten().unwrap_or(0)
    }
}

impl RowStore for RocksDBRowStore {
    fn get_many(&self, keys: SortedKeys<'_>, found: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
        let options = ReadOptions::default();
        for part in keys.chunks(LOOK_UP_KEYS) {
            let only_keys = part.iter().map(|(_, key)| key);
            let rows = self.db().batched_multi_get_cf_opt(self.rows(), only_keys, true, &options);
            for ((position, _), row) in part.iter().zip(rows) {
                if let Some(row) = row.map_err(|error| self.error("read", error))? {
                    found(position, &row)?;
                }
            }
        }
        Ok(())
    }

    fn write(&self, rows: SortedRows<'_>) -> Result<()> {
        self.make_room()?;
        let mut batch = WriteBatch::default();
        for (key, row) in rows.iter() {
            match row {
                Some(row) => batch.put(key, row),
                None => batch.delete(key),
            }
        }
        self.db().write_opt(batch, &write_options()).map_err(|error| self.error("write", error))
    }

    fn load(&self, fill: &mut dyn FnMut(&mut EachRow<'_>) -> Result<()>) -> Result<()> {
        let options = self.process.shared.options();
        let mut loader = Loader::new(&options, &self.process.working_dir)?;
        fill(&mut |group, key, row| loader.put(group, key, row))?;
        loader.finish(self.db())
    }

    fn delete(&self, groups: KeyGroupRange) -> Result<()> {
        if groups.count() == 0 {
            return Ok(());
        }
        let first = |group: u32| u16::try_from(group).map_or([u8::MAX; 2], u16::to_be_bytes);
        let (start, end) = (first(groups.start()), first(groups.end()));
        let failed = |error| self.error("delete", error);
        // Files that have nothing else go at once. The last key of the range is not known; one beyond it would be of others.
        let last = [&first(groups.end() - 1)[..], &[u8::MAX; 32]].concat();
        self.db().delete_file_in_range_cf(self.rows(), &start[..], &last[..]).map_err(failed)?;
        self.db().delete_range_cf_opt(self.rows(), start, end, &write_options()).map_err(failed)
    }

    fn scan(&self, groups: KeyGroupRange, row: &mut EachRow<'_>) -> Result<()> {
        let mut options = scan_options();
        let bound = |group: u32| u16::try_from(group).ok().map(|group| group.to_be_bytes().to_vec());
        let Some(start) = bound(groups.start()) else { return Ok(()) };
        if let Some(end) = bound(groups.end()) {
            options.set_iterate_upper_bound(end);
        }
        let mut rows = self.db().raw_iterator_cf_opt(self.rows(), options);
        rows.seek(start);
        while let Some((key, state)) = rows.item() {
            let (group, key) = split(key, &self.folder)?;
            row(group, key, state)?;
            rows.next();
        }
        rows.status().map_err(|error| self.error("scan", error))
    }

    /// Writes what is in memory to files, and links all files into a folder.
    fn snapshot(&self) -> Result<LocalSnapshot> {
        let folder = self.process.working_dir.next_folder("snapshot");
        let checkpoint = Checkpoint::new(self.db()).map_err(|error| self.error("snapshot", error))?;
        let mut snapshot = LocalSnapshot { kind: KIND, folder, files: Vec::new() };
        checkpoint.create_checkpoint(&snapshot.folder).map_err(|error| self.error("snapshot", error))?;
        snapshot.files = files(&snapshot.folder).map_err(|error| {
            Error::new(ErrorKind::Storage, format!("cannot list {}", snapshot.folder.display())).with_source(error)
        })?;
        Ok(snapshot)
    }

    fn view(&self) -> Result<Box<dyn StoredRows>> {
        let (options, working_dir) = (self.process.shared.options(), &self.process.working_dir);
        Ok(Box::new(View::open(&options, self.snapshot()?, working_dir)?))
    }

    fn drop_expired(&self, expiry: Arc<dyn RowExpiry>) {
        let period = period_secs(&*expiry).to_string();
        let is_first = self.expiry.set(expiry).is_ok();
        debug_assert!(is_first, "a store is told once what expires");
        // Without it compaction still drops what it comes by.
        let _ = self.db().set_options(&[("periodic_compaction_seconds", &period)]);
    }

    fn usage(&self) -> StoreUsage {
        StoreUsage {
            memory_bytes: self.process.shared.cache.get_usage() as u64 + self.property(ESTIMATE_TABLE_READERS_MEM),
            disk_bytes: self.property(TOTAL_SST_FILES_SIZE),
            rows: self.property(ESTIMATE_NUM_KEYS),
        }
    }
}

impl Drop for RocksDBRowStore {
    fn drop(&mut self) {
        if let Some(db) = self.db.take() {
            db.cancel_all_background_work(true);
        }
        // What cannot be removed now goes with the working directory.
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// The files of a snapshot. A table file is written once, under a number that its store gives to no other.
fn files(folder: &Path) -> std::io::Result<Vec<SnapshotFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        files.push(SnapshotFile { is_shared: name.ends_with(".sst"), len: entry.metadata()?.len(), name });
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use highwater_core::KeyGroup;
    use highwater_state::spill::{RowBatch, RowStoreFactory};

    use super::*;
    use crate::RocksDBRowStores;

    /// Rows that begin with a zero have expired; one that begins with a nine cannot be told.
    #[derive(Debug)]
    struct Zeros;

    impl RowExpiry for Zeros {
        fn has_expired(&self, row: &[u8]) -> bool {
            if row[0] == 9 {
                // A panic without the message of one.
                std::panic::resume_unwind(Box::new("a row that cannot be told"));
            }
            row[0] == 0
        }
        fn longest_ttl(&self) -> std::time::Duration {
            std::time::Duration::from_secs(3_600)
        }
    }

    fn rows(store: &RocksDBRowStore) -> usize {
        let mut rows = 0;
        let all = KeyGroupRange::new(0..1 << 15);
        store
            .scan(all, &mut |_, _, _| {
                rows += 1;
                Ok(())
            })
            .unwrap();
        rows
    }

    #[test]
    fn compaction_drops_what_has_expired_and_nothing_that_was_written_over_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let stores = RocksDBRowStores::new(folder.path(), 0).unwrap();
        let store = RocksDBRowStore::open(stores.inner(), folder.path().join("store"), "test").unwrap();
        let write = |first: u8| {
            let mut batch = RowBatch::default();
            for key in 0..300_u16 {
                let state = if key.is_multiple_of(3) { first } else { 7 };
                batch.put(KeyGroup(key % 4), |out| out.extend(key.to_be_bytes()), |out| out.extend([state; 100]));
            }
            store.write(batch.sorted()).unwrap();
            store.db().flush().unwrap();
        };
        let compact = || store.db().compact_range(None::<&[u8]>, None::<&[u8]>);
        // Older versions of all rows are in the files.
        write(1);
        write(0);
        compact();
        assert_eq!(rows(&store), 300, "nobody has said what expires");
        write(1);
        write(0);
        store.drop_expired(Arc::new(Zeros));
        compact();
        assert_eq!(rows(&store), 200);
        write(9);
        compact();
        assert_eq!(rows(&store), 300, "what cannot be told stays");
        assert!(stores.open("another").is_ok());
    }
}
