//! The table of one key group: open addressing over buckets, with linear probing.
//!
//! The bucket in which a key is searched first, its home, follows from its hash alone, so that it can be fetched
//! ahead. A row whose home is full goes to the next bucket that is not.
//!
//! The home is the hash *scaled* to the number of buckets, which need not be a power of two: a table grows by half.
//! Scaling also keeps rows in the order of their hashes, so growth reads one array and writes the other front to
//! back. The price of that: who fills a table in the order in which another one lies in memory fills it from one end,
//! where linear probing is quadratic. So rows do not leave a table in that order, see [`GoldenOrder`].
//!
//! Invariants:
//! * from a row's home up to the bucket before its own, no bucket has an empty lane;
//! * `len` lanes hold a row, `used` are not empty, and unless there are no buckets one is empty, so that probing ends.
//!
//! Rows whose hashes share the lower 32 bits share a home: they work, and cost linear time. The hash is fixed and
//! public, so who chooses the keys can produce such.

use highwater_core::KeyHash;

use super::arena::Arena;
use super::bucket::{Buckets, Row, Slot, Slots};
use super::order::GoldenOrder;
use super::snapshot::Scope;
use super::tag::{Fingerprint, Standing, Tag, about_home};

/// Up to this many buckets a table doubles, and does not shrink.
const SMALL: usize = 64;

/// The rows of one key group. Their memory goes back to the arena with [`clear`](Group::clear).
pub(super) struct Group<K, S> {
    buckets: Buckets<K, S>,
    len: u32,
    used: u32,
}

impl<K, S> Group<K, S> {
    /// Alignment that the arena has to provide.
    pub(super) const ALIGN: usize = Buckets::<K, S>::ALIGN;
    /// Slots per page, at most: the unit of copy on write and of iteration.
    pub(super) const PAGE_SLOTS: usize = Buckets::<K, S>::PAGE_SLOTS;

    pub(super) fn new() -> Self {
        Group { buckets: Buckets::none(), len: 0, used: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    fn used(&self) -> usize {
        self.used as usize
    }

    fn slots(&self) -> usize {
        self.buckets.count() * Buckets::<K, S>::LANES
    }

    pub(super) fn pages(&self) -> usize {
        self.buckets.pages()
    }

    #[inline]
    pub(super) fn page_of(slot: Slot) -> usize {
        Buckets::<K, S>::page_of(slot.bucket)
    }

    /// All rows.
    pub(super) fn rows(&self) -> impl Iterator<Item = &Row<K, S>> {
        let slots = GoldenOrder::new(self.pages()).flat_map(|page| self.slots_of(page, Scope::Full));
        // SAFETY: these slots hold a row.
        slots.map(|slot| unsafe { self.buckets.row(slot) })
    }

    /// The buckets in a page.
    pub(super) fn buckets_of(&self, page: usize) -> std::ops::Range<usize> {
        self.buckets.page(page)
    }

    /// The slots of a page that hold a row of this scope.
    #[inline]
    pub(super) fn slots_of(&self, page: usize, scope: Scope) -> impl Iterator<Item = Slot> {
        self.buckets.page(page).flat_map(move |bucket| self.slots_in(bucket, scope))
    }

    /// The slots of a bucket that hold a row of this scope.
    #[inline]
    pub(super) fn slots_in(&self, bucket: usize, scope: Scope) -> Slots {
        match scope {
            Scope::Full | Scope::Aside => self.buckets.occupied(bucket),
            Scope::Changed => self.buckets.changed(bucket),
        }
    }

    /// Passes the rows of this scope in a page to `f`. From then on they are as the snapshots have them, unless this one is aside.
    #[inline]
    pub(super) fn capture(&mut self, page: usize, scope: Scope, mut f: impl FnMut(&Row<K, S>)) {
        for bucket in self.buckets.page(page) {
            for slot in self.slots_in(bucket, scope) {
                // SAFETY: the slot holds a row.
                unsafe {
                    f(self.buckets.row(slot));
                    if scope != Scope::Aside {
                        self.buckets.store(slot);
                    }
                }
            }
        }
    }

    /// A bit per page: clear if all of its rows are as the snapshots have them. To be cleared by who captures the page.
    pub(super) fn changed_pages(&mut self) -> &mut [u64] {
        self.buckets.changed_pages()
    }

    /// The page in which the keys are whose hash is this part of all, in units of 2^-32; `None` if it is all of them.
    pub(super) fn page_at(&self, part: u64) -> Option<usize> {
        let bucket = ((u128::from(part) * self.buckets.count() as u128) >> 32) as usize;
        (bucket < self.buckets.count()).then(|| Buckets::<K, S>::page_of(bucket))
    }

    /// The part of all hashes whose keys are in a page or before it: it stays true when the table is resized.
    pub(super) fn part_through(&self, page: usize) -> u64 {
        let (end, count) = (self.buckets.page(page).end as u128, self.buckets.count() as u128);
        (end << 32).div_ceil(count) as u64
    }

    /// Asks for the memory in which `hash` is searched first.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        self.buckets.prefetch(about_home(hash, self.buckets.count()));
    }

    /// Asks for the memory where the search goes on if the home of `hash`, which should have arrived, is full of
    /// others.
    #[inline]
    pub(super) fn prefetch_overflow(&self, hash: KeyHash) {
        let fingerprint = Fingerprint::of(hash);
        let home = fingerprint.home(self.buckets.count());
        if self.buckets.passes(home, fingerprint) {
            self.buckets.prefetch(self.buckets.after(home));
        }
    }

    /// Searches `key`.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, key: &K) -> Option<Slot>
    where
        K: Eq,
    {
        let fingerprint = Fingerprint::of(hash);
        let mut bucket = fingerprint.home(self.buckets.count());
        loop {
            if let Some(slot) = self.find_in(bucket, fingerprint, key) {
                return Some(slot);
            }
            if self.buckets.vacant(bucket, Tag::EMPTY).next().is_some() {
                return None;
            }
            bucket = self.buckets.after(bucket);
        }
    }

    #[inline]
    fn find_in(&self, bucket: usize, fingerprint: Fingerprint, key: &K) -> Option<Slot>
    where
        K: Eq,
    {
        // SAFETY: a slot that matches the fingerprint of a row holds one.
        self.buckets.matching(bucket, fingerprint).find(|slot| unsafe { self.buckets.row(*slot) }.key == *key)
    }

    /// Where the row of a key that is not in the table goes, or `None` if the table has to be [resized](Self::resize)
    /// first.
    pub(super) fn vacancy(&self, hash: KeyHash) -> Option<Slot> {
        let mut bucket = Fingerprint::of(hash).home(self.buckets.count());
        loop {
            if let Some(tombstone) = self.buckets.vacant(bucket, Tag::TOMBSTONE).next() {
                return Some(tombstone);
            }
            if let Some(empty) = self.buckets.vacant(bucket, Tag::EMPTY).next() {
                return (self.used() < self.slots() * 3 / 4).then_some(empty);
            }
            bucket = self.buckets.after(bucket);
        }
    }

    /// Searches `key`, and on the same way where its row goes if it is not there: a table that [has
    /// room](Self::has_room).
    #[inline]
    pub(super) fn find_or_vacancy(&self, hash: KeyHash, key: &K) -> Result<Slot, Slot>
    where
        K: Eq,
    {
        let fingerprint = Fingerprint::of(hash);
        let mut bucket = fingerprint.home(self.buckets.count());
        let mut tombstone = None;
        loop {
            if let Some(slot) = self.find_in(bucket, fingerprint, key) {
                return Ok(slot);
            }
            tombstone = tombstone.or_else(|| self.buckets.vacant(bucket, Tag::TOMBSTONE).next());
            if let Some(empty) = self.buckets.vacant(bucket, Tag::EMPTY).next() {
                return Err(tombstone.unwrap_or(empty));
            }
            bucket = self.buckets.after(bucket);
        }
    }

    /// The row in a slot.
    ///
    /// # Safety
    /// A row was found or inserted in this slot, and neither was it removed nor the table resized since.
    #[inline]
    pub(super) unsafe fn row(&self, slot: Slot) -> &Row<K, S> {
        // SAFETY: by the contract.
        unsafe { self.buckets.row(slot) }
    }

    /// The row in a slot, of which the caller notes a [change](Self::note_change).
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    #[inline]
    pub(super) unsafe fn row_mut(&mut self, slot: Slot) -> &mut Row<K, S> {
        // SAFETY: by the contract.
        unsafe { self.buckets.row_mut(slot) }
    }

    /// Notes that the row in a slot changes.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    #[inline]
    pub(super) unsafe fn note_change(&mut self, slot: Slot) {
        // SAFETY: by the contract.
        unsafe { self.buckets.change(slot) };
    }

    /// Whether no snapshot has the row in a slot, one that was found or inserted.
    pub(super) fn is_fresh(&self, slot: Slot) -> bool {
        self.buckets.tag(slot).standing() == Standing::Fresh
    }

    /// Whether the row in a slot may lie in the tier below.
    #[inline]
    pub(super) fn is_spilled(&self, slot: Slot) -> bool {
        self.buckets.tag(slot).is_spilled()
    }

    /// Notes that the row in a slot may lie in the tier below.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    pub(super) unsafe fn spill(&mut self, slot: Slot) {
        // SAFETY: by the contract.
        unsafe { self.buckets.spill(slot) };
    }

    /// Notes that the eviction came by the row in a slot; whether the row was changed since it last did.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    pub(super) unsafe fn take_use(&mut self, slot: Slot) -> bool {
        // SAFETY: by the contract.
        unsafe { self.buckets.take_use(slot) }
    }

    /// Inserts a row.
    ///
    /// # Safety
    /// The slot is the [vacancy](Self::vacancy) for the hash, and the table did not change since.
    #[inline]
    pub(super) unsafe fn insert(&mut self, slot: Slot, hash: KeyHash, standing: Standing, row: Row<K, S>) {
        self.len += 1;
        self.used += u32::from(self.buckets.tag(slot) == Tag::EMPTY);
        // SAFETY: by the contract, the slot is of this table and holds no row.
        unsafe { self.buckets.put(slot, Tag::new(Fingerprint::of(hash), standing), row) };
    }

    /// Puts the row that a snapshot has in the place of the one in a slot, of the same key.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    pub(super) unsafe fn restore(&mut self, slot: Slot, row: Row<K, S>) {
        // SAFETY: by the contract.
        unsafe {
            self.buckets.store(slot);
            *self.buckets.row_mut(slot) = row;
        }
    }

    /// Removes the row in a slot.
    ///
    /// # Safety
    /// As for [`row`](Self::row).
    pub(super) unsafe fn remove(&mut self, slot: Slot) {
        // Nothing has overflowed from a bucket with an empty lane, so another one makes no search end too early.
        let has_empty = self.buckets.vacant(slot.bucket, Tag::EMPTY).next().is_some();
        self.len -= 1;
        self.used -= u32::from(has_empty);
        // SAFETY: by the contract, the slot holds a row. It is dropped here, last, because that may run code of the
        // user.
        drop(unsafe { self.buckets.take(slot, if has_empty { Tag::EMPTY } else { Tag::TOMBSTONE }) });
    }

    /// Whether it has far more buckets than its rows need.
    #[inline]
    pub(super) fn is_sparse(&self) -> bool {
        self.buckets.count() > SMALL && self.len() < self.slots() / 16
    }

    /// Whether this many more rows can be inserted as it is.
    pub(super) fn has_room(&self, rows: usize) -> bool {
        self.used() + rows <= self.slots() * 3 / 4
    }

    /// Moves all rows to new buckets, as many as are good for `rows` rows in all, and leaves tombstones behind. What has
    /// changed is still so.
    ///
    /// `phase`, from 0 to 31, spreads the moments at which the groups of a subtask grow, which with evenly distributed
    /// keys would else be nearly the same one.
    #[cold]
    #[inline(never)]
    pub(super) fn resize(&mut self, rows: usize, phase: usize, arena: &mut Arena) {
        debug_assert!(rows >= self.len());
        let is_far_too_large = rows < self.slots() / 8;
        let mut count = if is_far_too_large { 0 } else { self.buckets.count() };
        // Five eighths full at most: a single step of growth leaves less, and it is enough below full that moving pays.
        while count * Buckets::<K, S>::LANES * 5 <= rows * 8 {
            count = larger::<K, S>(count, phase);
        }
        self.move_to(count, arena);
    }

    /// Whether [`compact`](Self::compact) would save an eighth.
    pub(super) fn is_loose(&self) -> bool {
        self.fitting() * 8 <= self.buckets.count() * 7
    }

    /// As many buckets as are filled five eighths by the rows.
    fn fitting(&self) -> usize {
        if self.len == 0 { 0 } else { self.len() * 8 / (Buckets::<K, S>::LANES * 5) + 1 }
    }

    /// Moves all rows to as few buckets as [`resize`](Self::resize) would accept, and leaves tombstones behind.
    pub(super) fn compact(&mut self, arena: &mut Arena) {
        match self.fitting() {
            0 => self.clear(arena),
            count => self.move_to(count, arena),
        }
    }

    fn move_to(&mut self, count: usize, arena: &mut Arena) {
        let new = Buckets::acquire(count, arena);
        let old = std::mem::replace(self, Group { buckets: new, len: self.len, used: self.len });
        old.buckets.into_rows(arena, |tag, row| self.buckets.append(tag, row));
    }

    /// Drops all rows and gives the memory back to the arena it came from.
    pub(super) fn clear(&mut self, arena: &mut Arena) {
        std::mem::replace(self, Group::new()).buckets.into_rows(arena, |_, row| drop(row));
    }
}

/// The number of buckets after `buckets`: doubles while small, then grows by half.
fn larger<K, S>(buckets: usize, phase: usize) -> usize {
    match buckets {
        0 => 4usize.div_ceil(Buckets::<K, S>::LANES),
        1..SMALL => buckets * 2,
        // From 80 to 118, evenly over a factor of one and a half.
        SMALL => 80 + phase * 5 / 4,
        _ => buckets + buckets / 2,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    impl<K: Eq, S> Group<K, S> {
        /// Checks the invariants at the head of this module, for the rows that `hash` is of.
        pub(in super::super) fn assert_invariants(&self, hash: impl Fn(&K) -> KeyHash) {
            let count_of =
                |tag| (0..self.buckets.count()).map(|bucket| self.buckets.vacant(bucket, tag).count()).sum::<usize>();
            let (empty, tombstones) = (count_of(Tag::EMPTY), count_of(Tag::TOMBSTONE));
            assert_eq!(self.used(), self.slots() - empty);
            assert_eq!(self.len(), self.slots() - empty - tombstones);
            assert!(self.slots() == 0 || empty > 0);
            assert_eq!(self.rows().count(), self.len());
            assert!(self.rows().all(|row| self.find(hash(&row.key), &row.key).is_some()));
        }

        /// Checks that no row has changed in a page whose bit is clear.
        pub(in super::super) fn assert_changes_are_noted(&mut self) {
            for page in 0..self.pages() {
                let has_changed = self.slots_of(page, Scope::Changed).next().is_some();
                assert!(!has_changed || self.changed_pages()[page / 64] >> (page % 64) & 1 == 1, "page {page}");
            }
        }
    }

    #[test]
    fn tables_grow_by_at_most_doubling_and_always_have_an_empty_lane() {
        fn check<K, S>() {
            for phase in 0..32 {
                let sizes: Vec<usize> =
                    std::iter::successors(Some(0), |size| Some(larger::<K, S>(*size, phase))).take(30).collect();
                let first = sizes[1] * Buckets::<K, S>::LANES;
                assert!((1..first).contains(&(first * 3 / 4)), "{first}");
                assert!(sizes[1..].windows(2).all(|pair| pair[0] < pair[1] && pair[1] <= 2 * pair[0]), "{sizes:?}");
            }
        }
        check::<(), ()>();
        check::<u32, u32>();
        check::<u64, u64>();
        check::<u64, Option<u64>>();
        check::<u64, [u64; 100]>();
    }

    /// With evenly distributed keys, only a few of many tables are due to grow at the same number of rows.
    #[test]
    fn phases_differ_evenly_over_one_step_of_growth() {
        let mut sizes: Vec<usize> = (0..32).map(|phase| larger::<u64, u64>(SMALL, phase)).collect();
        sizes.dedup();
        assert_eq!(sizes.len(), 32);
        assert_eq!((sizes[0], sizes[31]), (80, 118));
    }
}
