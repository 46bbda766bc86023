//! What makes the tables the first tier of two: rows leave for the tier below when memory is short, and come back when
//! they are asked for.
//!
//! Which rows leave is decided by a clock (Corbató: "A Paging Experiment with the Multics System", 1968): a hand goes
//! over the pages, round after round, and takes the rows that were not changed since it came by last. That a row came in
//! and was changed for it counts as nothing yet. So a key that comes once leaves in the same round, and makes no other
//! key leave that comes again; and of keys that come evenly the hand takes nearly all rows of a table, which together are
//! a larger part of those below them, so that the tier below rewrites less for each.
//!
//! A table gets smaller only as a whole, so it is fitted to its rows when the hand leaves it.
//!
//! Invariants:
//! * to the snapshots a row that leaves is one that is removed: the tier below has it then;
//! * a row that may lie in the tier below is flagged so, and when it is cleared its key is kept for that tier.

use highwater_core::{KeyGroup, KeyGroupRange, KeyHash};

use super::bucket::{Row, Slot};
use super::group::Group;
use super::snapshot::Scope;
use super::sweep::Cursor;
use super::{FETCH_HOME, KeyGroupTables};
use crate::{Key, KeyedState};

/// What a tier below has of the rows that are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lower {
    /// There is none.
    Nothing,
    /// What it had when the snapshot was taken: of a key that a chunk removes it has the state.
    Snapshot,
    /// Rows of chunks that were loaded before: a key that a chunk removes is gone there too.
    Loaded,
}

impl<K: Key, S: KeyedState> KeyGroupTables<K, S> {
    /// Tells what the tier below has of the rows that are loaded from now on.
    pub(crate) fn set_lower(&mut self, lower: Lower) {
        self.lower = lower;
    }

    /// What the tier below has of the rows that are loaded.
    pub(crate) fn lower(&self) -> Lower {
        self.lower
    }

    /// Has the tier below forget a key that a chunk says is gone.
    pub(super) fn clear_below(&mut self, index: usize, key: &K) {
        let mut bytes = self.number(index).0.to_be_bytes().to_vec();
        key.encode(&mut bytes);
        self.cleared.push(bytes.into());
    }

    /// Bytes of memory in use: [`allocated_bytes`](Self::allocated_bytes) without what was given back by tables and
    /// waits for others.
    pub(crate) fn used_bytes(&self) -> usize {
        self.groups.len() * size_of::<Group<K, S>>() + self.arena.used()
    }

    /// Bytes of memory to keep within a budget: those in use, and the most of what waits between them.
    ///
    /// Not all of it, because making room does not lessen the sum: what is in use then waits. With a part it does, until
    /// what waits has room for what comes. What waits is about a fifth, so the budget is exceeded by about a twentieth.
    pub(crate) fn budgeted_bytes(&self) -> usize {
        let used = self.used_bytes();
        used + self.arena.holes().min(used / 2) / 4 * 3
    }

    /// Calls `f` with the index of each of `keys` that has no row.
    pub(crate) fn missing(&self, keys: &[K], hashes: &[KeyHash], mut f: impl FnMut(usize)) {
        for (i, (key, hash)) in keys.iter().zip(hashes).enumerate() {
            if let Some(ahead) = hashes.get(i + FETCH_HOME) {
                self.groups[self.index_of(*ahead)].prefetch(*ahead);
            }
            if self.groups[self.index_of(*hash)].find(*hash, key).is_none() {
                f(i);
            }
        }
    }

    /// The key group of a key.
    pub(crate) fn group_of(&self, hash: KeyHash) -> KeyGroup {
        self.number(self.index_of(hash))
    }

    /// The keys that a key group has rows of.
    pub(crate) fn keys_of(&self, group: KeyGroup) -> impl Iterator<Item = &K> {
        self.groups[self.range.index_of(group)].rows().map(|row| &row.key)
    }

    /// The key groups that these are the tables of.
    pub(crate) fn range(&self) -> KeyGroupRange {
        self.range
    }

    /// Puts back the row of a key that is not there, as the tier below has it.
    pub(crate) fn bring_back(&mut self, hash: KeyHash, key: K, state: S) {
        let index = self.index_of(hash);
        let slot = self.insert(index, hash, Row { key, state });
        // SAFETY: the row was inserted there just now.
        unsafe { self.groups[index].spill(slot) };
    }

    /// Takes the row of a key as not used yet, if there is one: it came in, and was used for this only.
    pub(crate) fn take_use(&mut self, hash: KeyHash, key: &K) {
        let group = self.index_of(hash);
        if let Some(slot) = self.groups[group].find(hash, key) {
            // SAFETY: the row was found there just now.
            unsafe { self.groups[group].take_use(slot) };
        }
    }

    /// Moves the hand over about `slots` slots of one table, and takes out the rows that were not changed since it came
    /// by last, each right after `f` has seen it. Returns how many slots it went over, one at least.
    pub(crate) fn evict(&mut self, slots: usize, mut f: impl FnMut(KeyGroup, &K, &S)) -> usize {
        let index = self.hand.index;
        let mut visited = 0;
        while let Some(page) = self.groups[index].page_at(self.hand.part) {
            if visited >= slots {
                return visited;
            }
            self.hand.part = self.groups[index].part_through(page);
            self.evict_page(index, page, &mut f);
            visited += Group::<K, S>::PAGE_SLOTS;
        }
        self.fit(index);
        self.hand = Cursor { index: (index + 1) % self.groups.len(), part: 0 };
        visited.max(1)
    }

    fn evict_page(&mut self, index: usize, page: usize, f: &mut impl FnMut(KeyGroup, &K, &S)) {
        self.before_change(index, page);
        let number = self.number(index);
        for bucket in self.groups[index].buckets_of(page) {
            for slot in self.groups[index].slots_in(bucket, Scope::Full) {
                // SAFETY: the slot held a row when the bucket was looked at, and only rows visited since were removed.
                unsafe {
                    if self.groups[index].take_use(slot) {
                        continue;
                    }
                    let row = self.groups[index].row(slot);
                    f(number, &row.key, &row.state);
                }
                self.forget(index, slot);
            }
        }
    }

    fn fit(&mut self, index: usize) {
        if self.groups[index].is_loose() {
            if let Some(snapshot) = &mut self.snapshot {
                snapshot.before_resize(index, &mut self.groups[index]);
            }
            self.groups[index].compact(&mut self.arena);
        }
    }

    /// Calls `f` with the rows of a page somewhere in the tables: another one for each `number`.
    pub(crate) fn sample(&self, number: usize, mut f: impl FnMut(&K, &S)) {
        let group = &self.groups[number % self.groups.len()];
        // The golden section, scaled: numbers that follow each other come to pages that are far apart.
        let part = (number / self.groups.len()) as u32;
        if let Some(page) = group.page_at(u64::from(part.wrapping_mul(0x9E37_79B9))) {
            for slot in group.slots_of(page, Scope::Full) {
                // SAFETY: the slot holds a row.
                let row = unsafe { group.row(slot) };
                f(&row.key, &row.state);
            }
        }
    }

    /// Keeps the key of a row that is removed for the tier below.
    #[cold]
    pub(super) fn note_cleared(&mut self, index: usize, slot: Slot) {
        let mut bytes = self.number(index).0.to_be_bytes().to_vec();
        // SAFETY: the caller is about to remove the row there.
        unsafe { self.groups[index].row(slot) }.key.encode(&mut bytes);
        self.cleared.push(bytes.into());
    }

    /// The keys, encoded behind their key groups, of rows that were removed and may lie in the tier below.
    pub(crate) fn drain_cleared(&mut self) -> std::vec::Drain<'_, Box<[u8]>> {
        self.cleared.drain(..)
    }
}
