//! Where rows go that do not fit in memory: stores of encoded rows, ordered by key group and key.
//!
//! [`RowStore`] is the contract, [`conformance`] the suite that every implementation runs. A store is the second tier
//! of the working state ([`tier`](crate::tier)): it is asked for batches of rows, never for one a record, because an
//! embedded store answers some hundred thousand rows a second where memory answers tens of millions.
//!
//! A key is stored as its key group, big endian, and then its encoding, so that the rows of a key group lie together
//! in order, and those of a subtask do. A row is stored as its [`KeyedState`](crate::KeyedState) encodes.
//!
//! Invariants:
//! * durability is the checkpoint's: a store need not keep anything past the end of the process, and starts empty or
//!   from the files of a snapshot;
//! * a snapshot is the content when [`RowStore::snapshot`] was called, as files that never change again.

mod batch;
pub mod conformance;
mod memory;

use std::fmt;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use highwater_core::{KeyGroup, KeyGroupRange, Result};

pub use batch::{KeyBatch, RowBatch, SortedKeys, SortedRows};
pub use memory::{MemoryRowStore, MemoryRowStores};

/// What is called with the key group, the encoded key and the encoded state of a row.
pub type EachRow<'a> = dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<()> + 'a;

/// What is called with the key group, the encoded key and the encoded state of a row, and says whether to go on.
pub type RowVisit<'a> = dyn FnMut(KeyGroup, &[u8], &[u8]) -> Result<ControlFlow<()>> + 'a;

/// The rows of one keyed state of one subtask that do not fit in memory.
///
/// Every method may be called from any thread; a write is seen by each look-up that begins after it has returned.
pub trait RowStore: Send + Sync + fmt::Debug {
    /// Calls `found` with the position in the batch and the row of every key that is there, in any order.
    ///
    /// # Errors
    /// If a row cannot be read; the first error of `found`.
    fn get_many(&self, keys: SortedKeys<'_>, found: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()>;

    /// Puts and deletes the rows of a batch, all or none of them.
    ///
    /// # Errors
    /// If they cannot be written. The store has then to be given up with the attempt.
    fn write(&self, rows: SortedRows<'_>) -> Result<()>;

    /// Puts rows that come in order, none of whose keys is there. `fill` passes them on; if it fails, none is put.
    ///
    /// Of many rows that takes a store less than batches do.
    ///
    /// # Errors
    /// The error of `fill`; if they cannot be written. The store has then to be given up with the attempt.
    fn load(&self, fill: &mut dyn FnMut(&mut EachRow<'_>) -> Result<()>) -> Result<()>;

    /// Deletes all rows of some key groups.
    ///
    /// # Errors
    /// If that cannot be written. The store has then to be given up with the attempt.
    fn delete(&self, groups: KeyGroupRange) -> Result<()>;

    /// Calls `row` with every row of some key groups, in order.
    ///
    /// # Errors
    /// If a row cannot be read; the first error of `row`.
    fn scan(&self, groups: KeyGroupRange, row: &mut EachRow<'_>) -> Result<()>;

    /// Makes a snapshot of the content, as files in a folder of their own.
    ///
    /// May take its time, and goes on another thread than look-ups. The content is the one at a moment within the call,
    /// so whoever wants a certain one writes nothing meanwhile.
    ///
    /// # Errors
    /// If the files cannot be made.
    fn snapshot(&self) -> Result<LocalSnapshot>;

    /// The content, to be gone through while the store goes on.
    ///
    /// As [`snapshot`](Self::snapshot) may take its time, has the content of a moment within the call, and goes on
    /// another thread than look-ups.
    ///
    /// # Errors
    /// If it cannot be made.
    fn view(&self) -> Result<Box<dyn StoredRows>>;

    /// From now on the store may drop rows that have expired, whenever it comes by them. Called once at most.
    fn drop_expired(&self, expiry: Arc<dyn RowExpiry>);

    /// What the store takes at the moment.
    fn usage(&self) -> StoreUsage;
}

/// The rows of a store as they were at one moment. They may be gone through in parts, as slowly as need be.
pub trait StoredRows: Send + fmt::Debug {
    /// Calls `row` with the rows in order, from the first on whose key, behind its key group, is not less than `from`;
    /// until it breaks.
    ///
    /// # Errors
    /// If a row cannot be read; the first error of `row`.
    fn scan(&self, from: &[u8], row: &mut RowVisit<'_>) -> Result<()>;
}

/// Which rows of a store have expired, so that they are as good as deleted.
pub trait RowExpiry: Send + Sync + fmt::Debug {
    /// Whether nothing of a row would be seen any more. Called on threads of the store.
    fn has_expired(&self, row: &[u8]) -> bool;

    /// How long it takes a row to expire, at most: what a store goes by that looks for them.
    fn longest_ttl(&self) -> Duration;
}

/// Opens stores: the working state's choice of an engine.
pub trait RowStoreFactory: Send + Sync + fmt::Debug {
    /// What its snapshots are called in a checkpoint: only a factory of the same kind opens them.
    fn kind(&self) -> &'static str;

    /// An empty store. `name` tells it from the others of the process, for people; it may come again.
    ///
    /// # Errors
    /// If it cannot be opened, with the way out.
    fn open(&self, name: &str) -> Result<Arc<dyn RowStore>>;

    /// A store with the content of a snapshot, whose files `fill` puts into the folder it is given, under the names
    /// they had. They may be a checkpoint's files under second names: the store may remove them there, and never writes
    /// into them.
    ///
    /// # Errors
    /// The error of `fill`; if the files are not a snapshot of this engine.
    fn restore(&self, name: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Arc<dyn RowStore>>;
}

/// Opens snapshots of stores to look into them, without the job that wrote them.
pub trait StoreReader: Send + Sync + fmt::Debug {
    /// The [kind](RowStoreFactory::kind) of stores whose snapshots these are.
    fn kind(&self) -> &'static str;

    /// The rows of a snapshot, whose files `fill` puts into the folder it is given, under the names they had. They are
    /// never written into.
    ///
    /// # Errors
    /// The error of `fill`; if the files are not a snapshot of this kind, or it cannot be opened, with the way out.
    fn open(&self, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Box<dyn StoredRows>>;
}

/// A file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotFile {
    /// Its name in the snapshot's folder.
    pub name: String,
    /// How many bytes it has.
    pub len: u64,
    /// Whether a file of this name in another snapshot of this store is the same, so that it need not be kept twice.
    pub is_shared: bool,
}

/// The files of a snapshot, in a folder that is removed when this is dropped.
#[derive(Debug)]
pub struct LocalSnapshot {
    /// The [kind](RowStoreFactory::kind) of the store.
    pub kind: &'static str,
    /// Where the files are.
    pub folder: PathBuf,
    /// All of them, in order of their names.
    pub files: Vec<SnapshotFile>,
}

impl Drop for LocalSnapshot {
    fn drop(&mut self) {
        // What cannot be removed now goes with the working directory of the process.
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

/// What a store takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StoreUsage {
    /// Bytes of memory. What stores of a process share is counted for each of them.
    pub memory_bytes: u64,
    /// Bytes of files.
    pub disk_bytes: u64,
    /// Rows, estimated.
    pub rows: u64,
}
