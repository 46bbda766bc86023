//! The keyed state of one subtask in memory: a table per key group, and a snapshot that does not pause the task.
//!
//! Work comes in batches: the caller passes the keys of a batch with their hashes, and a closure sees the state of
//! each in turn. So the memory of rows ahead is fetched while earlier ones are worked on; that, huge pages (`arena`)
//! and one cache line a row (`group`) are what makes memory state fast. A table per key group makes growth a small
//! step each time, and restoring with another parallelism a matter of which groups to load.
//!
//! Invariants:
//! * a key is in the table of its key group and only there (I2), at most once;
//! * no row outlives the call that left its state empty;
//! * what a snapshot emits is exactly the content when it began (I1), see `snapshot`.
//!
//! If a user function panics, or a `Clone`, `Eq`, `Default` or `Drop` of keys and states does, the tables stay
//! memory-safe; the state is then whatever was reached, and has to be discarded with the attempt.

mod arena;
mod bucket;
mod group;
mod order;
mod snapshot;
#[cfg(test)]
mod tests;

use highwater_core::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism};

use self::arena::Arena;
use self::bucket::{Row, Slot};
use self::group::Group;
use self::snapshot::{Snapshot, Spare};
use crate::{DecodeError, Key, KeyedState};

/// How many rows ahead the home of a key is fetched: enough to hide a cache miss, few enough for the processor to
/// have in flight.
const FETCH_HOME: usize = 24;

/// How many rows ahead the home is looked at, to fetch the next bucket if the key is not in it. By then the home has
/// arrived.
const FETCH_OVERFLOW: usize = 10;

/// Tables of at most this many bytes stay in the processor's own cache, and fetching ahead costs more than it saves.
const CACHED_BYTES: usize = 512 << 10;

/// The rows, a key and its state each, of the key groups that one subtask owns.
pub struct KeyGroupTables<K: Key, S: KeyedState> {
    max: MaxParallelism,
    range: KeyGroupRange,
    groups: Vec<Group<K, S>>,
    arena: Arena,
    snapshot: Option<Snapshot>,
    spare: Spare,
}

impl<K: Key, S: KeyedState> KeyGroupTables<K, S> {
    /// Tables without rows for the key groups in `range`. A group without rows takes 32 bytes.
    pub fn new(max: MaxParallelism, range: KeyGroupRange) -> Self {
        let groups = range.iter().map(|_| Group::new()).collect();
        KeyGroupTables {
            max,
            range,
            groups,
            arena: Arena::new(Group::<K, S>::ALIGN),
            snapshot: None,
            spare: Spare::default(),
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.groups.iter().map(Group::len).sum()
    }

    /// Whether there is no row.
    pub fn is_empty(&self) -> bool {
        self.groups.iter().all(|group| group.len() == 0)
    }

    /// Bytes of memory that the tables hold, without what keys and states own on the heap and without chunks of a
    /// snapshot.
    pub fn allocated_bytes(&self) -> usize {
        self.groups.len() * size_of::<Group<K, S>>() + self.arena.bytes()
    }

    /// Calls `f` with the index and the state of each of `keys` in order, as inserted by default where there was none.
    ///
    /// `hashes[i]` is the hash of `keys[i]`. A state that `f` leaves empty is removed.
    ///
    /// # Errors
    /// Stops at the first error of `f` and returns it with its index.
    ///
    /// # Panics
    /// If there are not as many hashes as keys, or one of another subtask's key group (I2).
    #[inline]
    pub fn for_each<E>(
        &mut self,
        keys: &[K],
        hashes: &[KeyHash],
        f: impl FnMut(usize, &mut S) -> Result<(), E>,
    ) -> Result<(), (usize, E)> {
        assert_eq!(keys.len(), hashes.len(), "every key comes with its hash");
        if self.snapshot.is_none() {
            self.batch::<false, E>(keys, hashes, f)
        } else {
            self.batch::<true, E>(keys, hashes, f)
        }
    }

    fn batch<const COPY_ON_WRITE: bool, E>(
        &mut self,
        keys: &[K],
        hashes: &[KeyHash],
        mut f: impl FnMut(usize, &mut S) -> Result<(), E>,
    ) -> Result<(), (usize, E)> {
        let fetched = if self.arena.bytes() > CACHED_BYTES { hashes } else { &[] };
        for hash in fetched.iter().take(FETCH_HOME) {
            self.groups[self.index_of(*hash)].prefetch(*hash);
        }
        for (i, (key, hash)) in keys.iter().zip(hashes).enumerate() {
            if let Some(ahead) = fetched.get(i + FETCH_HOME) {
                self.groups[self.index_of(*ahead)].prefetch(*ahead);
            }
            if let Some(ahead) = fetched.get(i + FETCH_OVERFLOW) {
                self.groups[self.index_of(*ahead)].prefetch_overflow(*ahead);
            }
            self.change::<COPY_ON_WRITE, _>(*hash, key, |state| f(i, state)).map_err(|error| (i, error))?;
        }
        Ok(())
    }

    /// The state of one key.
    ///
    /// # Panics
    /// If the hash is of another subtask's key group (I2).
    pub fn get(&self, hash: KeyHash, key: &K) -> Option<&S> {
        let group = &self.groups[self.index_of(hash)];
        // SAFETY: a row was found there.
        group.find(hash, key).map(|slot| unsafe { &group.row(slot).state })
    }

    /// Calls `f` with the state of one key, as [`for_each`](Self::for_each) does.
    ///
    /// # Panics
    /// If the hash is of another subtask's key group (I2).
    pub fn with<R>(&mut self, hash: KeyHash, key: &K, f: impl FnOnce(&mut S) -> R) -> R {
        if self.snapshot.is_none() {
            self.change::<false, _>(hash, key, f)
        } else {
            self.change::<true, _>(hash, key, f)
        }
    }

    /// All rows with their key groups. The order is the same for the same history of calls, and means nothing else.
    pub fn iter(&self) -> impl Iterator<Item = (KeyGroup, &K, &S)> {
        self.range
            .iter()
            .zip(&self.groups)
            .flat_map(|(number, group)| group.rows().map(move |row| (number, &row.key, &row.state)))
    }

    /// Starts a snapshot of the content as it is now. Takes time with the number of key groups, not of rows.
    ///
    /// # Panics
    /// If one is in progress.
    pub fn begin_snapshot(&mut self) {
        assert!(!self.snapshot_in_progress(), "the snapshot before this one has to be finished or aborted first");
        self.snapshot = Some(Snapshot::begin(&self.groups, std::mem::take(&mut self.spare)));
    }

    /// Whether a snapshot has begun and is neither finished nor aborted.
    pub fn snapshot_in_progress(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Encodes about `budget` slots that are not yet, and passes finished chunks to `emit`: key group, number of
    /// entries, and the entries (key, then state) one after the other.
    ///
    /// A key group has any number of chunks, of about 256 KiB each, none if it had no rows. Returns whether all is
    /// out, so `true` without a snapshot in progress.
    pub fn advance_snapshot(&mut self, budget: usize, emit: &mut dyn FnMut(KeyGroup, u64, Vec<u8>)) -> bool {
        let Some(snapshot) = &mut self.snapshot else { return true };
        let finished = snapshot.sweep(&self.groups, budget);
        snapshot.drain(self.range.start(), emit);
        if finished {
            self.abort_snapshot();
        }
        finished
    }

    /// Takes back the memory of a chunk that was emitted, for later chunks.
    pub fn recycle(&mut self, chunk: Vec<u8>) {
        self.snapshot.as_mut().map_or(&mut self.spare, Snapshot::spare).give(chunk);
    }

    /// Gives up the snapshot in progress, if there is one.
    pub fn abort_snapshot(&mut self) {
        if let Some(mut snapshot) = self.snapshot.take() {
            self.spare = std::mem::take(snapshot.spare());
        }
    }

    /// Restores the entries of a chunk, and returns how many they are.
    ///
    /// # Errors
    /// If the bytes are not entries of this type, or hold a key of another key group, or one that is there already. The
    /// tables are then to be discarded: part of the chunk may be loaded.
    ///
    /// # Panics
    /// If `group` is not in the range (I2).
    pub fn load(&mut self, group: KeyGroup, bytes: &[u8]) -> Result<u64, DecodeError> {
        let index = self.range.index_of(group);
        let rows = decode::<K, S>(self.max, group, bytes)?;
        // Room for all at once: a table that grows row by row is moved again and again, each time to new memory.
        if !self.groups[index].has_room(rows.len()) {
            self.resize(index, self.groups[index].len() + rows.len());
        }
        let entries = rows.len() as u64;
        for (hash, row) in rows {
            if self.groups[index].find(hash, &row.key).is_some() {
                return Err(DecodeError::Duplicate { what: "key group" });
            }
            if !row.state.is_empty() {
                self.insert(index, hash, row);
            }
        }
        Ok(entries)
    }

    /// The index of the table a key belongs to: [`KeyGroupRange::index_of`], but with the panic out of line, and with
    /// one comparison that is the bounds check of the table as well. Three of these a row are worth a tenth of the
    /// throughput.
    #[inline]
    fn index_of(&self, hash: KeyHash) -> usize {
        let group = hash.key_group(self.max);
        let index = u32::from(group.0).wrapping_sub(self.range.start()) as usize;
        if index >= self.groups.len() {
            not_owned(group, self.range);
        }
        index
    }

    /// Lets `f` change the state of one key.
    #[inline(always)]
    fn change<const COPY_ON_WRITE: bool, R>(&mut self, hash: KeyHash, key: &K, f: impl FnOnce(&mut S) -> R) -> R {
        let (group, slot) = self.find_or_insert::<COPY_ON_WRITE>(hash, key);
        // SAFETY: the row was found or inserted there just now.
        let state = unsafe { self.groups[group].state_mut(slot) };
        let result = f(state);
        if state.is_empty() {
            self.remove(group, slot);
        }
        result
    }

    /// Removes a row that was just found or inserted.
    fn remove(&mut self, group: usize, slot: Slot) {
        // SAFETY: the row is there, since nothing but its state was changed.
        unsafe { self.groups[group].remove(slot) };
        if self.groups[group].is_sparse() {
            self.resize(group, self.groups[group].len());
        }
    }

    #[inline(always)]
    fn find_or_insert<const COPY_ON_WRITE: bool>(&mut self, hash: KeyHash, key: &K) -> (usize, Slot) {
        let group = self.index_of(hash);
        let Some(slot) = self.groups[group].find(hash, key) else {
            return (group, self.insert_default(group, hash, key));
        };
        if COPY_ON_WRITE {
            self.before_change(group, slot);
        }
        (group, slot)
    }

    /// Out of line, to keep the path of a key that is there short.
    #[inline(never)]
    fn insert_default(&mut self, group: usize, hash: KeyHash, key: &K) -> Slot {
        self.insert(group, hash, Row { key: key.clone(), state: S::default() })
    }

    /// Inserts a row of a key that is not there.
    #[inline]
    fn insert(&mut self, group: usize, hash: KeyHash, row: Row<K, S>) -> Slot {
        let slot = self.groups[group].vacancy(hash).unwrap_or_else(|| {
            self.resize(group, self.groups[group].len() + 1);
            self.groups[group].vacancy(hash).expect("a table that was resized has room")
        });
        self.before_change(group, slot);
        // SAFETY: this is the vacancy for the hash, and the table did not change since.
        unsafe { self.groups[group].insert(slot, hash, row) };
        slot
    }

    #[inline]
    fn before_change(&mut self, group: usize, slot: Slot) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.before_change(group, &self.groups[group], slot);
        }
    }

    /// Gives a table the size for this many rows.
    #[cold]
    fn resize(&mut self, group: usize, rows: usize) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.before_resize(group, &self.groups[group]);
        }
        // The golden section again: any number of groups is spread evenly over the 32 phases, neighbours far apart.
        let phase = ((self.range.start() + group as u32).wrapping_mul(0x9E37_79B9) >> 27) as usize;
        self.groups[group].resize(rows, phase, &mut self.arena);
    }
}

/// A row with the hash of its key.
type Hashed<K, S> = (KeyHash, Row<K, S>);

/// The entries of a chunk of `group`.
fn decode<K: Key, S: KeyedState>(
    max: MaxParallelism,
    group: KeyGroup,
    bytes: &[u8],
) -> Result<Vec<Hashed<K, S>>, DecodeError> {
    let (mut rest, mut rows) = (bytes, Vec::new());
    while !rest.is_empty() {
        let before = rest.len();
        let row = Row { key: K::decode(&mut rest)?, state: S::decode(&mut rest)? };
        let hash = row.key.key_hash();
        let owner = hash.key_group(max);
        if owner != group || rest.len() == before {
            return Err(DecodeError::Invalid { what: "key of this key group", found: u64::from(owner.0) });
        }
        rows.push((hash, row));
    }
    Ok(rows)
}

#[cold]
#[inline(never)]
fn not_owned(group: KeyGroup, range: KeyGroupRange) -> ! {
    panic!("key group {} is not in {range}", group.0)
}

impl<K: Key, S: KeyedState> Drop for KeyGroupTables<K, S> {
    fn drop(&mut self) {
        for group in &mut self.groups {
            group.clear(&mut self.arena);
        }
    }
}
