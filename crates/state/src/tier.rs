//! The keyed state of one subtask in two tiers: a table in memory, and a store for the rows that do not fit.
//!
//! A store answers some hundred thousand rows a second, memory tens of millions. So what counts is how seldom the store
//! is asked: the rows in use are in the table, within a [budget of bytes](MemoryBudget), and no store is opened as long
//! as all rows are. A batch is looked up in the table, what is missing there in the store in one sorted call, and put
//! into the table, where the user's function changes it. Between batches the rows that were not used for longest go to
//! the store, sorted and many at once.
//!
//! What state a key has: the row in the table; else none, if it was cleared; else the row in the store.
//!
//! # Snapshots
//!
//! The snapshot of an epoch is that of the table, in chunks, and that of the store, in files. Restoring, what the chunks
//! have wins; of what they do not have, the store has the state. So to the chunks a row that leaves the table is removed,
//! which then says: look in the store. That makes these the invariants, for the barrier of an epoch:
//!
//! * a row in the table that was changed since it came back from the store is in the chunks, as it is at the barrier,
//!   and then it does not matter which state the store has;
//! * a row that is not in the table is in the store as it is at the barrier, because it was written when it left;
//! * a row that was cleared is in neither: what is cleared and not deleted is deleted before the store's snapshot begins;
//! * from the barrier until the store's snapshot is taken nothing is written to it. Else a row that came back before the
//!   barrier, was changed after it and left again would be in the snapshot as it is after the barrier. Looking up goes
//!   on meanwhile, and keys of rows that are cleared wait ([`StoreSnapshot`]).

mod below;
mod budget;
mod expiry;
mod heap;
mod hold;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::Arc;

use highwater_core::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism, Result};

use self::below::Below;
pub use self::budget::MemoryBudget;
use self::budget::Share;
use self::expiry::StoreExpiry;
use self::heap::HeapEstimate;
pub use self::hold::StoreSnapshot;
use crate::keyed::ttl::TtlClocks;
use crate::spill::{EachRow, RowStore, RowStoreFactory};
use crate::table::{Chunk, ChunkKind, KeyGroupTables, Lower, Scope};
use crate::{DecodeError, Key, KeyedState};

/// Slots that one call of [`TieredTables::relieve`] goes over, and rows that it moves, at most: about what one batch
/// brings in, several times over.
const RELIEVE_SLOTS: usize = 64 << 10;
const RELIEVE_ROWS: usize = 4 << 10;

/// Rows that a visit of all brings into memory at once.
const VISITED_ROWS: usize = 1024;

/// Slots between two writes.
const WRITE_SLOTS: usize = 8 << 10;

/// The rows, a key and its state each, of the key groups that one subtask owns, in memory or below.
pub struct TieredTables<K: Key, S: KeyedState> {
    table: KeyGroupTables<K, S>,
    spilling: Option<Box<Spilling>>,
    below: Option<Box<Below>>,
    /// What the store goes by that drops what has expired.
    expiry: Option<Arc<StoreExpiry<S>>>,
}

/// Passes on a row of a store, given as key group, encoded key and encoded state, as it is to be now.
pub type Convert<'a> = dyn FnMut(KeyGroup, &[u8], &[u8], &mut EachRow<'_>) -> Result<()> + 'a;

/// How [`TieredTables::relieve`] has left the memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Relief {
    /// Within the budget.
    Enough,
    /// Beyond it: more calls make more room.
    More,
    /// Beyond it by more than an eighth, and no room can be made until the store's snapshot is taken: nothing that brings
    /// in rows should be done before.
    Held,
}

/// What a tier below is opened with, once memory is short.
#[derive(Debug)]
struct Spilling {
    stores: Arc<dyn RowStoreFactory>,
    /// Whose rows they are, for people.
    name: String,
    share: Share,
    heap: HeapEstimate,
}

/// Why a batch was not worked on to its end.
#[derive(Debug)]
pub enum Failure<E> {
    /// The function failed for the key with this index.
    Function(usize, E),
    /// The store did.
    Store(highwater_core::Error),
}

impl<E> From<highwater_core::Error> for Failure<E> {
    fn from(error: highwater_core::Error) -> Self {
        Failure::Store(error)
    }
}

impl<K: Key, S: KeyedState> fmt::Debug for TieredTables<K, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TieredTables").field("rows", &self.table.len()).field("below", &self.below).finish()
    }
}

impl<K: Key, S: KeyedState> TieredTables<K, S> {
    /// Tables without rows for the key groups in `range`, with as much memory as they need.
    pub fn in_memory(max: MaxParallelism, range: KeyGroupRange) -> Self {
        TieredTables { table: KeyGroupTables::new(max, range), spilling: None, below: None, expiry: None }
    }

    /// Tables without rows for the key groups in `range`, with a share of `budget`. When it is used up, a store of
    /// `stores` takes the rest; `name` says whose rows they are.
    pub fn spilling(
        max: MaxParallelism,
        range: KeyGroupRange,
        budget: &MemoryBudget,
        stores: Arc<dyn RowStoreFactory>,
        name: impl Into<String>,
    ) -> Self {
        let spilling = Spilling { stores, name: name.into(), share: budget.share(), heap: HeapEstimate::default() };
        let (table, spilling) = (KeyGroupTables::new(max, range), Some(Box::new(spilling)));
        TieredTables { table, spilling, below: None, expiry: None }
    }

    /// The rows in memory.
    pub fn table(&self) -> &KeyGroupTables<K, S> {
        &self.table
    }

    /// The store, if there is one: if memory was short, or a snapshot with one was restored.
    pub fn store(&self) -> Option<&Arc<dyn RowStore>> {
        self.below.as_ref().map(|below| below.store())
    }

    /// About how many rows there are. Those in memory of which the store has an older state count twice.
    pub fn rows_estimate(&self) -> u64 {
        self.table.len() as u64 + self.store().map_or(0, |store| store.usage().rows)
    }

    /// Calls `f` with the index and the state of each of `keys` in order: [`KeyGroupTables::for_each`].
    ///
    /// # Errors
    /// Stops at the first error of `f`, or of the store. After one of the store the tables are to be discarded.
    ///
    /// # Panics
    /// As the table does.
    #[inline]
    pub fn for_each<E>(
        &mut self,
        keys: &[K],
        hashes: &[KeyHash],
        f: impl FnMut(usize, &mut S) -> Result<(), E>,
    ) -> Result<(), Failure<E>> {
        if let Some(below) = &mut self.below {
            below.bring_back(&mut self.table, keys, hashes)?;
        }
        let result = self.table.for_each(keys, hashes, f).map_err(|(index, error)| Failure::Function(index, error));
        if let Some(below) = &mut self.below {
            below.end_batch(&mut self.table, keys, hashes);
        }
        result
    }

    /// Calls `f` with the state of one key, as [`for_each`](Self::for_each) does.
    ///
    /// # Errors
    /// If the store fails. The tables are then to be discarded.
    ///
    /// # Panics
    /// As the table does.
    pub fn with<R>(&mut self, hash: KeyHash, key: &K, f: impl FnOnce(&mut S) -> R) -> Result<R> {
        let Some(below) = &mut self.below else { return Ok(self.table.with(hash, key, f)) };
        below.bring_back(&mut self.table, std::slice::from_ref(key), &[hash])?;
        let result = self.table.with(hash, key, f);
        below.end_batch(&mut self.table, std::slice::from_ref(key), &[hash]);
        Ok(result)
    }

    /// Calls `f` with every key and its state, in memory or below, in no order that means anything. What is below comes into
    /// memory for that, some at a time. A state that `f` leaves empty is removed.
    ///
    /// # Errors
    /// Stops at the first error of `f`, with the number of rows visited before in that key group, or of the store. After
    /// one of the store the tables are to be discarded.
    pub fn visit_all<E>(&mut self, mut f: impl FnMut(&K, &mut S) -> Result<(), E>) -> Result<(), Failure<E>> {
        for group in self.table.range().iter() {
            let mut keys: Vec<K> = self.table.keys_of(group).cloned().collect();
            if let Some(below) = &self.below {
                below.keys_only_here(&self.table, group, &mut keys)?;
            }
            for keys in keys.chunks(VISITED_ROWS) {
                let hashes: Vec<KeyHash> = keys.iter().map(K::key_hash).collect();
                self.for_each(keys, &hashes, |index, state| f(&keys[index], state))?;
                while let relief @ (Relief::More | Relief::Held) = self.relieve()? {
                    if let (Relief::Held, Some(below)) = (relief, &self.below) {
                        below.hold().wait();
                    }
                }
            }
        }
        Ok(())
    }

    /// Has the store drop rows that have expired by `clocks`, in its own time: to be called between batches, now and then.
    pub fn expire_below(&mut self, clocks: &TtlClocks) {
        let Some(below) = self.below.as_ref().filter(|below| !below.hold().is_held()) else { return };
        match &self.expiry {
            Some(expiry) => expiry.set(clocks),
            None => {
                let expiry = Arc::new(StoreExpiry::new(clocks));
                below.store().drop_expired(Arc::clone(&expiry) as _);
                self.expiry = Some(expiry);
            }
        }
    }

    /// Visits rows in memory between batches: [`KeyGroupTables::sweep_rows`]. Those in the store are left alone.
    pub fn sweep_rows(&mut self, budget: usize, f: impl FnMut(&K, &mut S) -> bool) {
        self.table.sweep_rows(budget, f);
        if let Some(below) = &mut self.below {
            below.take_cleared(&mut self.table);
        }
    }

    /// Makes room if there is more in memory than the budget allows: to be called between batches.
    ///
    /// # Errors
    /// If the store cannot be opened or written. The tables are then to be discarded.
    pub fn relieve(&mut self) -> Result<Relief> {
        let Some(spilling) = &mut self.spilling else { return Ok(Relief::Enough) };
        spilling.heap.sample(&self.table);
        let over = spilling.over(&self.table);
        if over == 0 && self.below.is_none() {
            return Ok(Relief::Enough);
        }
        let below = match &mut self.below {
            Some(below) => below,
            none => {
                self.table.set_lower(Lower::Loaded);
                none.insert(Box::new(Below::new(spilling.stores.open(&spilling.name)?)))
            }
        };
        if below.hold().is_held() {
            // A little more memory for a short while.
            let is_little = over < spilling.share.budget_bytes() / 8;
            return Ok(if is_little { Relief::Enough } else { Relief::Held });
        }
        below.write_cleared()?;
        make_room(spilling, below, &mut self.table, over)
    }

    /// Starts a snapshot of the content as it is now: [`KeyGroupTables::begin_snapshot`]. What is below is in the store's
    /// snapshot that is returned, if there is a store.
    ///
    /// # Errors
    /// If the store cannot be written. The tables are then to be discarded.
    ///
    /// # Panics
    /// If one of the table is in progress.
    pub fn begin_snapshot(&mut self, scope: impl FnMut(KeyGroup) -> Scope) -> Result<Option<StoreSnapshot>> {
        let store = match &mut self.below {
            Some(below) => Some(below.begin_snapshot()?),
            None => None,
        };
        self.table.begin_snapshot(scope);
        Ok(store)
    }

    /// Whether a snapshot of the table has begun and is neither finished nor aborted.
    pub fn snapshot_in_progress(&self) -> bool {
        self.table.snapshot_in_progress()
    }

    /// Goes on with the snapshot of the table: [`KeyGroupTables::advance_snapshot`].
    pub fn advance_snapshot(&mut self, budget: usize, emit: &mut dyn FnMut(Chunk)) -> bool {
        self.table.advance_snapshot(budget, emit)
    }

    /// Takes back the memory of a chunk that was emitted, for later chunks.
    pub fn recycle(&mut self, chunk: Vec<u8>) {
        self.table.recycle(chunk);
    }

    /// Gives up the snapshot of the table in progress, if there is one: [`KeyGroupTables::abort_snapshot`].
    pub fn abort_snapshot(&mut self) {
        self.table.abort_snapshot();
    }

    /// Puts a store below, with the rows of these key groups: the one that was restored from the files of a snapshot.
    /// Comes before what is [loaded](Self::load).
    ///
    /// # Panics
    /// If there is a store, or a row.
    pub fn restore_store(&mut self, store: Arc<dyn RowStore>) {
        assert!(self.below.is_none() && self.table.is_empty(), "a store is restored before anything else is");
        self.table.set_lower(Lower::Snapshot);
        self.below = Some(Box::new(Below::new(store)));
    }

    /// Copies the rows of `groups` from a store that other subtasks wrote, or in another shape: `entry` passes on each
    /// row as it is to be now. Comes before what is [loaded](Self::load).
    ///
    /// # Errors
    /// If a store fails; the first error of `entry`. The tables are then to be discarded.
    pub fn import(&mut self, from: &dyn RowStore, groups: KeyGroupRange, entry: &mut Convert<'_>) -> Result<()> {
        if self.below.is_none() {
            let spilling = self.spilling.as_ref().ok_or_else(needs_spilling)?;
            self.restore_store(spilling.stores.open(&spilling.name)?);
        }
        self.below.as_mut().expect("there is a store now").copy(from, groups, entry)
    }

    /// Makes room for the rows of a group that will be loaded: [`KeyGroupTables::reserve`]. With a budget it is not known
    /// how many of them will stay, and nothing is done.
    ///
    /// # Panics
    /// If `group` is not in the range (I2).
    pub fn reserve(&mut self, group: KeyGroup, rows: usize) {
        if self.spilling.is_none() {
            self.table.reserve(group, rows);
        }
    }

    /// Restores the entries of a chunk: [`KeyGroupTables::load`].
    ///
    /// # Errors
    /// As the table's. The tables are then to be discarded.
    ///
    /// # Panics
    /// If `group` is not in the range (I2).
    pub fn load(&mut self, group: KeyGroup, kind: ChunkKind, bytes: &[u8]) -> Result<u64, DecodeError> {
        let entries = self.table.load(group, kind, bytes)?;
        if let Some(below) = &mut self.below {
            below.take_cleared(&mut self.table);
        }
        Ok(entries)
    }

    /// Makes room after what was [loaded](Self::load). Once that has opened a store, the next snapshot is full in every key
    /// group, whatever is asked for.
    ///
    /// Above a store that was restored nothing leaves memory yet, because a later chunk may remove it, which then says that
    /// the store has the state: so restoring takes what the rows in memory took when the snapshot was made.
    ///
    /// # Errors
    /// If the store cannot be opened or written. The tables are then to be discarded.
    pub fn relieve_load(&mut self) -> Result<()> {
        if self.table.lower() == Lower::Snapshot {
            return Ok(());
        }
        while self.relieve()? == Relief::More {}
        if self.below.is_some() {
            self.table.lose_changes();
        }
        Ok(())
    }
}

impl Spilling {
    /// Bytes of memory that the rows take beyond what they may.
    fn over<K: Key, S: KeyedState>(&mut self, table: &KeyGroupTables<K, S>) -> usize {
        self.share.take(table.budgeted_bytes() + self.heap.bytes(table))
    }
}

/// Moves rows below until no more than may be are above, or as many as one call moves.
fn make_room<K: Key, S: KeyedState>(
    spilling: &mut Spilling,
    below: &mut Below,
    table: &mut KeyGroupTables<K, S>,
    mut over: usize,
) -> Result<Relief> {
    let (mut slots, mut rows) = (0, 0);
    while over > 0 && !table.is_empty() {
        if slots >= RELIEVE_SLOTS || rows >= RELIEVE_ROWS {
            return Ok(Relief::More);
        }
        let (visited, moved) = below.evict(table, WRITE_SLOTS)?;
        (slots, rows) = (slots + visited, rows + moved);
        over = spilling.over(table);
    }
    Ok(Relief::Enough)
}

fn needs_spilling() -> highwater_core::Error {
    highwater_core::Error::new(
        highwater_core::ErrorKind::Incompatible,
        "the checkpoint has rows in a store on disk, and this job keeps its state in memory; \
         restore it with the state backend that wrote it",
    )
}
