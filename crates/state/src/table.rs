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
//! * what a snapshot emits is exactly the content when it began (I1), or what had changed of it since the one before
//!   began, see `snapshot`;
//! * whoever gets a state to change is noted before: in the row's tag and for its page, see `tag` and `bucket`.
//!
//! If a user function panics, or a `Clone`, `Eq`, `Default` or `Drop` of keys and states does, the tables stay
//! memory-safe; the state is then whatever was reached, and has to be discarded with the attempt.

mod arena;
mod bucket;
mod evict;
mod group;
mod load;
mod order;
mod removals;
mod snapshot;
mod sweep;
mod tag;
#[cfg(test)]
mod tests;

use highwater_core::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism};

use self::arena::Arena;
use self::bucket::{Row, Slot};
pub(crate) use self::evict::Lower;
use self::group::Group;
use self::removals::Removals;
pub use self::snapshot::{Chunk, ChunkKind, Scope};
use self::snapshot::{Snapshot, Spare};
use self::sweep::Cursor;
use self::tag::Standing;
use crate::{Key, KeyedState};

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
    removals: Removals,
    /// Whether a snapshot was given up, with what was noted of changes before it.
    changes_lost: bool,
    cursor: Cursor,
    /// What a tier below has of the rows that are loaded.
    lower: Lower,
    /// Where the eviction goes on.
    hand: Cursor,
    /// Keys that are gone here and may lie in the tier below, encoded behind their key groups.
    cleared: Vec<Box<[u8]>>,
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
            removals: Removals::default(),
            changes_lost: false,
            cursor: Cursor::default(),
            lower: Lower::Nothing,
            hand: Cursor::default(),
            cleared: Vec::new(),
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

    /// Bytes of memory that the tables hold, without what keys and states own on the heap, without chunks of a snapshot
    /// and without the keys of removed rows that the next one will have.
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

    /// Starts a snapshot of the content as it is now: of each key group all of it, or what has changed since the
    /// snapshot before this one began. Rows that were [loaded](Self::load) count as unchanged.
    ///
    /// Who restores a key group loads a [full](Scope::Full) snapshot of it and those of [changes](Scope::Changed) that
    /// followed without a gap, in this order. If the snapshot before was [given up](Self::abort_snapshot), this one is
    /// full in every key group, whatever `scope` says. One that is [aside](Scope::Aside) is not among those before and after.
    ///
    /// Takes time with the number of key groups and a 4096th of that of rows.
    ///
    /// # Panics
    /// If one is in progress.
    pub fn begin_snapshot(&mut self, mut scope: impl FnMut(KeyGroup) -> Scope) {
        assert!(!self.snapshot_in_progress(), "the snapshot before this one has to be finished or aborted first");
        let is_full = self.changes_lost;
        let scope = |group| match scope(group) {
            Scope::Aside => Scope::Aside,
            Scope::Full | Scope::Changed if is_full => Scope::Full,
            scope => scope,
        };
        let scopes: Vec<Scope> = self.range.iter().map(scope).collect();
        self.changes_lost &= scopes.contains(&Scope::Aside);
        let spare = std::mem::take(&mut self.spare);
        let snapshot = Snapshot::begin(&mut self.groups, self.range.start(), &scopes, &mut self.removals, spare);
        self.snapshot = Some(snapshot);
    }

    /// Whether a snapshot has begun and is neither finished nor aborted.
    pub fn snapshot_in_progress(&self) -> bool {
        self.snapshot.is_some()
    }

    /// Encodes about `budget` slots that are not yet, fewer if they have many bytes, and passes finished chunks to `emit`.
    ///
    /// A key group has any number of chunks, of about 256 KiB each, none if there is nothing to say of it. Those of kind
    /// [`Removed`](ChunkKind::Removed) come before those with [rows](ChunkKind::Rows), since a key that was removed may
    /// have come back. Returns whether all is out, so `true` without a snapshot in progress.
    pub fn advance_snapshot(&mut self, budget: usize, emit: &mut dyn FnMut(Chunk)) -> bool {
        let Some(snapshot) = &mut self.snapshot else { return true };
        let finished = snapshot.sweep(&mut self.groups, budget);
        snapshot.drain(emit);
        if finished {
            self.end_snapshot();
        }
        finished
    }

    /// Takes back the memory of a chunk that was emitted, for later chunks.
    pub fn recycle(&mut self, chunk: Vec<u8>) {
        self.snapshot.as_mut().map_or(&mut self.spare, Snapshot::spare).give(chunk);
    }

    /// Gives up the snapshot in progress, if there is one. Unless it was aside from the others, what has changed is not known
    /// then, so the next one is full in every key group.
    pub fn abort_snapshot(&mut self) {
        if self.snapshot.as_ref().is_some_and(Snapshot::is_aside) {
            self.end_snapshot();
        } else if self.snapshot.is_some() {
            self.lose_changes();
            self.end_snapshot();
        }
    }

    /// Forgets what has changed, so that the next snapshot is full in every key group.
    pub(crate) fn lose_changes(&mut self) {
        self.changes_lost = true;
        self.removals.clear();
    }

    fn end_snapshot(&mut self) {
        if let Some(mut snapshot) = self.snapshot.take() {
            self.spare = std::mem::take(snapshot.spare());
        }
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
        let (index, slot) = self.find_or_insert::<COPY_ON_WRITE>(hash, key);
        let group = &mut self.groups[index];
        // SAFETY: the row was found or inserted there just now.
        let state = unsafe {
            group.note_change(slot);
            &mut group.row_mut(slot).state
        };
        let result = f(state);
        if state.is_empty() {
            self.remove(index, slot);
        }
        result
    }

    /// Removes a row that was just found or inserted, and whose page was captured.
    fn remove(&mut self, index: usize, slot: Slot) {
        self.take_out(index, slot);
        self.shrink(index);
    }

    /// Removes a row as [`remove`](Self::remove) does, and leaves all others where they are.
    fn take_out(&mut self, index: usize, slot: Slot) {
        if self.groups[index].is_spilled(slot) {
            self.note_cleared(index, slot);
        }
        self.forget(index, slot);
    }

    /// Removes a row that a tier below goes on to hold, or that none does.
    fn forget(&mut self, index: usize, slot: Slot) {
        let number = self.number(index);
        let group = &mut self.groups[index];
        // SAFETY: the row is there, since nothing but its state was changed.
        unsafe {
            if !group.is_fresh(slot) && !self.changes_lost {
                self.removals.push(&group.row(slot).key, number, index, self.range.count());
            }
            group.remove(slot);
        }
    }

    /// The key group of a table.
    fn number(&self, index: usize) -> KeyGroup {
        KeyGroup((self.range.start() as usize + index) as u16)
    }

    fn shrink(&mut self, index: usize) {
        if self.groups[index].is_sparse() {
            self.resize(index, self.groups[index].len());
        }
    }

    #[inline(always)]
    fn find_or_insert<const COPY_ON_WRITE: bool>(&mut self, hash: KeyHash, key: &K) -> (usize, Slot) {
        let group = self.index_of(hash);
        let Some(slot) = self.groups[group].find(hash, key) else {
            return (group, self.insert_default(group, hash, key));
        };
        if COPY_ON_WRITE {
            self.before_change(group, Group::<K, S>::page_of(slot));
        }
        (group, slot)
    }

    /// Inserts a row for a key that is not there. Out of line, to keep the path of a key that is there short.
    #[inline(never)]
    fn insert_default(&mut self, group: usize, hash: KeyHash, key: &K) -> Slot {
        self.insert(group, hash, Row { key: key.clone(), state: S::default() })
    }

    /// Inserts a row for a key that is not there.
    fn insert(&mut self, group: usize, hash: KeyHash, row: Row<K, S>) -> Slot {
        let slot = self.groups[group].vacancy(hash).unwrap_or_else(|| {
            self.resize(group, self.groups[group].len() + 1);
            self.groups[group].vacancy(hash).expect("a table that was resized has room")
        });
        self.before_change(group, Group::<K, S>::page_of(slot));
        // SAFETY: this is the vacancy for the hash, and the table did not change since.
        unsafe { self.groups[group].insert(slot, hash, Standing::Fresh, row) };
        slot
    }

    /// To be called before anything in this page changes.
    #[inline]
    fn before_change(&mut self, group: usize, page: usize) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.before_change(group, &mut self.groups[group], page);
        }
    }

    /// Gives a table the size for this many rows.
    #[cold]
    fn resize(&mut self, group: usize, rows: usize) {
        if let Some(snapshot) = &mut self.snapshot {
            snapshot.before_resize(group, &mut self.groups[group]);
        }
        // The golden section again: any number of groups is spread evenly over the 32 phases, neighbours far apart.
        let phase = ((self.range.start() + group as u32).wrapping_mul(0x9E37_79B9) >> 27) as usize;
        self.groups[group].resize(rows, phase, &mut self.arena);
    }
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
