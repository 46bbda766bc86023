//! Buckets: as many rows as fit in one cache line, or a few, behind their tags.
//!
//! ```text
//! u64 -> u64      | tag tag tag  -  | key state | key state | key state |      64 bytes
//! String -> u64   | tag tag tag  -  | key state | key state | key state | - |  128 bytes
//! ```
//!
//! A bucket never straddles a cache line it does not fill, so a look-up costs one cache miss; and the tags of a
//! bucket are compared all together, without a branch per slot that the processor would guess wrong every third time.
//!
//! Behind the last bucket follows a bit per page, a page being so many buckets as have about 64 lanes: whether one of its
//! rows has changed. So a snapshot of what has changed passes over the rest without looking at its tags.
//!
//! Invariants:
//! * a lane's row is initialized if and only if its tag is [`Tag::is_row`]; memory of zeros is empty buckets;
//! * the bit of a page is set if one of its rows is not [`Standing::Stored`], unless a snapshot has taken it over.

use std::marker::PhantomData;

use super::arena::{Arena, Block, CACHE_LINE, UNIT};
use super::tag::{self, FLAG_BITS, Fingerprint, Four, Standing, Tag};

/// Lanes of a page, at most.
const PAGE_LANES: usize = 64;

/// A place for a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Slot {
    pub(super) bucket: usize,
    lane: u32,
}

/// Some of the slots of a bucket.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slots {
    bucket: usize,
    /// A bit per lane.
    lanes: u32,
}

impl Iterator for Slots {
    type Item = Slot;

    #[inline]
    fn next(&mut self) -> Option<Slot> {
        let slot = Slot { bucket: self.bucket, lane: self.lanes.trailing_zeros() };
        self.lanes &= self.lanes.wrapping_sub(1);
        (slot.lane < u32::BITS).then_some(slot)
    }
}

/// A key with its state.
pub(super) struct Row<K, S> {
    pub(super) key: K,
    pub(super) state: S,
}

/// How many rows a bucket has, and where.
struct Shape {
    lanes: usize,
    rows_at: usize,
    bytes: usize,
}

impl Shape {
    /// The fewest cache lines of which at least three quarters are used, else the fullest of up to four, else as many
    /// as a row needs.
    const fn of(row: usize, align: usize) -> Shape {
        let line = if align > CACHE_LINE { align } else { CACHE_LINE };
        let mut best = Shape::with_bytes((16usize.next_multiple_of(align) + row).next_multiple_of(line), row, align);
        let mut lines = 4;
        while lines > 0 {
            let shape = Shape::with_bytes(lines * line, row, align);
            if shape.used(row) * best.bytes > best.used(row) * shape.bytes || shape.used(row) * 4 >= shape.bytes * 3 {
                best = shape;
            }
            lines -= 1;
        }
        best
    }

    const fn with_bytes(bytes: usize, row: usize, align: usize) -> Shape {
        // Not more tags than a cache line has: those `NO_BUCKETS` can stand in for.
        let mut lanes = CACHE_LINE / size_of::<Tag>();
        loop {
            let rows_at = lanes.next_multiple_of(4) * size_of::<Tag>();
            let rows_at = rows_at.next_multiple_of(align);
            if lanes == 0 || rows_at + lanes * row <= bytes {
                return Shape { lanes, rows_at, bytes };
            }
            lanes -= 1;
        }
    }

    const fn used(&self, row: usize) -> usize {
        self.lanes * (size_of::<Tag>() + row)
    }
}

/// An array of buckets. Its memory belongs to an arena, and goes back there with
/// [`into_rows`](Buckets::into_rows).
pub(super) struct Buckets<K, S> {
    block: Block,
    count: usize,
    rows: PhantomData<Row<K, S>>,
}

/// What an array without buckets points to, so that the first look-up in it needs no branch: an empty bucket's tags.
#[repr(align(1024))]
struct NoBuckets([u8; UNIT]);

static NO_BUCKETS: NoBuckets = NoBuckets([0; UNIT]);

impl<K, S> Buckets<K, S> {
    const SHAPE: Shape = {
        assert!(align_of::<Row<K, S>>() <= UNIT, "keys and states cannot be aligned to more than 1 KiB");
        Shape::of(size_of::<Row<K, S>>(), align_of::<Row<K, S>>())
    };
    /// Rows per bucket.
    pub(super) const LANES: usize = Self::SHAPE.lanes;
    const ALL_LANES: u32 = u32::MAX >> (32 - Self::LANES);
    /// Buckets per page: a power of two, so that the page of a bucket is a shift away.
    const PAGE_BUCKETS: usize = 1 << (PAGE_LANES / Self::LANES).ilog2();
    /// Rows per page.
    pub(super) const PAGE_SLOTS: usize = Self::PAGE_BUCKETS * Self::LANES;
    /// Beyond this number, some would be home to no key: see [`Fingerprint`].
    const MOST: usize = if Self::LANES < 16 { 1 << (32 - FLAG_BITS) } else { u32::MAX as usize / Self::LANES };
    /// Alignment that the arena has to provide.
    pub(super) const ALIGN: usize = align_of::<Row<K, S>>();

    /// No buckets; as a table of one empty bucket to [`matching`](Self::matching), whose home every tag has.
    pub(super) fn none() -> Self {
        Buckets { block: Block::stand_in(&NO_BUCKETS.0), count: 0, rows: PhantomData }
    }

    /// `count` buckets without rows.
    pub(super) fn acquire(count: usize, arena: &mut Arena) -> Self {
        let changed_bytes = Self::pages_of(count).div_ceil(64) * size_of::<u64>();
        let bytes = count.checked_mul(Self::SHAPE.bytes).and_then(|bytes| bytes.checked_add(changed_bytes));
        let bytes = bytes.filter(|_| count <= Self::MOST);
        let bytes =
            bytes.expect("a key group has room for a quarter of a billion buckets: use a higher max parallelism");
        Buckets { block: arena.acquire(bytes), count, rows: PhantomData }
    }

    fn pages_of(buckets: usize) -> usize {
        buckets.div_ceil(Self::PAGE_BUCKETS)
    }

    /// How many pages there are.
    pub(super) fn pages(&self) -> usize {
        Self::pages_of(self.count)
    }

    /// The page that a bucket is in.
    #[inline]
    pub(super) fn page_of(bucket: usize) -> usize {
        bucket / Self::PAGE_BUCKETS
    }

    /// The buckets in a page.
    #[inline]
    pub(super) fn page(&self, page: usize) -> std::ops::Range<usize> {
        page * Self::PAGE_BUCKETS..((page + 1) * Self::PAGE_BUCKETS).min(self.count)
    }

    /// How many buckets there are.
    #[inline]
    pub(super) fn count(&self) -> usize {
        self.count
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> *mut u8 {
        debug_assert!(bucket < self.count.max(1));
        self.block.start().as_ptr().wrapping_add(bucket * Self::SHAPE.bytes)
    }

    #[inline]
    fn tag_at(&self, slot: Slot) -> *mut Tag {
        self.bucket(slot.bucket).cast::<Tag>().wrapping_add(slot.lane as usize)
    }

    /// The tag of a slot of this array, or of the bucket that stands in for none.
    #[inline]
    pub(super) fn tag(&self, slot: Slot) -> Tag {
        debug_assert!((slot.lane as usize) < Self::LANES);
        // SAFETY: the tag is in the block, whose memory was zeroed, or in `NO_BUCKETS`.
        unsafe { self.tag_at(slot).read() }
    }

    #[inline]
    fn row_at(&self, slot: Slot) -> *mut Row<K, S> {
        self.bucket(slot.bucket).wrapping_add(Self::SHAPE.rows_at).cast::<Row<K, S>>().wrapping_add(slot.lane as usize)
    }

    /// Asks for the cache lines of a bucket: the first two at most, for wider ones would crowd out those of other rows.
    #[inline]
    pub(super) fn prefetch(&self, bucket: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch does not access memory, whatever the address.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            let start = self.bucket(bucket).cast::<i8>();
            _mm_prefetch::<_MM_HINT_T0>(start);
            if Self::SHAPE.bytes > CACHE_LINE {
                _mm_prefetch::<_MM_HINT_T0>(start.wrapping_add(CACHE_LINE));
            }
        }
        // Other architectures have no stable intrinsic; there the processor's own run-ahead has to do.
        #[cfg(not(target_arch = "x86_64"))]
        let _ = bucket;
    }

    /// The lanes of a bucket of which `which` holds.
    #[inline]
    fn lanes(&self, bucket: usize, which: impl Fn(&Four) -> u32) -> u32 {
        let tags = self.bucket(bucket).cast::<Four>();
        let mut lanes = 0;
        for four in 0..Self::LANES.div_ceil(4) {
            // SAFETY: there are tags of four lanes, or their room; it was zeroed, in the block or in `NO_BUCKETS`.
            lanes |= which(unsafe { &*tags.wrapping_add(four) }) << (4 * four);
        }
        lanes & Self::ALL_LANES
    }

    /// The slots of a bucket that may hold the row with this fingerprint: they hold one that has it.
    #[inline]
    pub(super) fn matching(&self, bucket: usize, fingerprint: Fingerprint) -> Slots {
        Slots { bucket, lanes: self.lanes(bucket, |tags| tag::matching(tags, fingerprint)) }
    }

    /// The slots of a bucket without a row, and for this reason.
    #[inline]
    pub(super) fn vacant(&self, bucket: usize, reason: Tag) -> Slots {
        debug_assert!(!reason.is_row());
        Slots { bucket, lanes: self.lanes(bucket, |tags| tag::equal(tags, reason)) }
    }

    /// The slots of a bucket that hold a row.
    #[inline]
    pub(super) fn occupied(&self, bucket: usize) -> Slots {
        Slots { bucket, lanes: self.lanes(bucket, tag::vacant) ^ Self::ALL_LANES }
    }

    /// The slots of a bucket that hold a row which is not as stored.
    #[inline]
    pub(super) fn changed(&self, bucket: usize) -> Slots {
        Slots { bucket, lanes: self.lanes(bucket, tag::changed) }
    }

    /// Whether a search that comes to a bucket goes on to the next one.
    #[inline]
    pub(super) fn passes(&self, bucket: usize, fingerprint: Fingerprint) -> bool {
        self.lanes(bucket, |tags| tag::matching(tags, fingerprint) | tag::equal(tags, Tag::EMPTY)) == 0
    }

    /// The row in a slot.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    #[inline]
    pub(super) unsafe fn row(&self, slot: Slot) -> &Row<K, S> {
        // SAFETY: by the contract.
        unsafe { &*self.row_at(slot) }
    }

    /// The row in a slot.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    #[inline]
    pub(super) unsafe fn row_mut(&mut self, slot: Slot) -> &mut Row<K, S> {
        // SAFETY: by the contract, and since `self` alone refers to its block.
        unsafe { &mut *self.row_at(slot) }
    }

    /// Puts a row into a slot.
    ///
    /// # Safety
    /// The slot is one of this array, and holds no row. The tag is that of a row.
    #[inline]
    pub(super) unsafe fn put(&mut self, slot: Slot, tag: Tag, row: Row<K, S>) {
        debug_assert!(tag.is_row());
        // SAFETY: by the contract; the row goes first, so that the tag never promises what is not there.
        unsafe {
            self.row_at(slot).write(row);
            self.tag_at(slot).write(tag);
        }
        if tag.standing() != Standing::Stored {
            self.note_change(slot.bucket);
        }
    }

    /// Notes that the row in a slot changes.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    #[inline]
    pub(super) unsafe fn change(&mut self, slot: Slot) {
        let tag = self.tag(slot).changed();
        debug_assert!(tag.is_row());
        // SAFETY: by the contract.
        unsafe { self.tag_at(slot).write(tag) };
        self.note_change(slot.bucket);
    }

    /// Notes that the row in a slot is as the snapshots have it.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    #[inline]
    pub(super) unsafe fn store(&mut self, slot: Slot) {
        let tag = self.tag(slot).stored();
        // SAFETY: by the contract.
        unsafe { self.tag_at(slot).write(tag) };
    }

    /// Notes that the eviction came by the row in a slot; whether the row was changed since it last did.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    pub(super) unsafe fn take_use(&mut self, slot: Slot) -> bool {
        let tag = self.tag(slot);
        // SAFETY: by the contract.
        unsafe { self.tag_at(slot).write(tag.unused()) };
        tag.is_used()
    }

    /// Notes that the row in a slot may lie in the tier below.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row.
    pub(super) unsafe fn spill(&mut self, slot: Slot) {
        let tag = self.tag(slot).spilled();
        // SAFETY: by the contract.
        unsafe { self.tag_at(slot).write(tag) };
    }

    #[inline]
    fn note_change(&mut self, bucket: usize) {
        debug_assert!(bucket < self.count);
        let page = Self::page_of(bucket);
        // SAFETY: there is a bit for every page, and `self` alone refers to its block.
        unsafe { *self.changed_words().wrapping_add(page / 64) |= 1 << (page % 64) };
    }

    #[inline]
    fn changed_words(&self) -> *mut u64 {
        self.block.start().as_ptr().wrapping_add(self.count * Self::SHAPE.bytes).cast()
    }

    /// A bit per page: whether one of its rows has changed.
    pub(super) fn changed_pages(&mut self) -> &mut [u64] {
        // SAFETY: the block has a bit for every page behind its buckets, of zeroed memory that is aligned to a cache line
        // there; without buckets the slice is empty. `self` alone refers to the block.
        unsafe { std::slice::from_raw_parts_mut(self.changed_words(), self.pages().div_ceil(64)) }
    }

    /// Takes the row out of a slot, and leaves the tag `left` there.
    ///
    /// # Safety
    /// The slot is one of this array, and holds a row. `left` is not the tag of a row.
    #[inline]
    pub(super) unsafe fn take(&mut self, slot: Slot, left: Tag) -> Row<K, S> {
        debug_assert!(!left.is_row());
        // SAFETY: by the contract.
        unsafe {
            self.tag_at(slot).write(left);
            self.row_at(slot).read()
        }
    }

    /// Puts a row in the first empty slot from its home on. There has to be one.
    #[inline]
    pub(super) fn append(&mut self, tag: Tag, row: Row<K, S>) {
        let mut bucket = tag.fingerprint().home(self.count);
        loop {
            if let Some(slot) = self.vacant(bucket, Tag::EMPTY).next() {
                // SAFETY: the slot is one of this array, and empty.
                return unsafe { self.put(slot, tag, row) };
            }
            bucket = self.after(bucket);
        }
    }

    /// The bucket in which a search goes on.
    #[inline]
    pub(super) fn after(&self, bucket: usize) -> usize {
        if bucket + 1 == self.count { 0 } else { bucket + 1 }
    }

    /// Passes every row to `f`, in the order of their homes, and gives the memory back to the arena it came from.
    ///
    /// If `f` panics, what is left is leaked.
    pub(super) fn into_rows(self, arena: &mut Arena, mut f: impl FnMut(Tag, Row<K, S>)) {
        for bucket in 0..self.count {
            for slot in self.occupied(bucket) {
                // SAFETY: the tag says that there is a row, and `self` is not used again, so it is read once.
                f(self.tag(slot), unsafe { self.row_at(slot).read() });
            }
        }
        arena.release(self.block);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape<K, S>() -> (usize, usize, usize) {
        let Shape { lanes, rows_at, bytes } = Buckets::<K, S>::SHAPE;
        (lanes, rows_at, bytes)
    }

    #[test]
    fn usual_rows_fill_their_cache_lines() {
        assert_eq!(shape::<u64, u64>(), (3, 16, 64));
        assert_eq!(shape::<u64, Option<u64>>(), (2, 16, 64));
        assert_eq!(shape::<u32, u32>(), (4, 16, 64));
        assert_eq!(shape::<String, u64>(), (3, 16, 128));
        assert_eq!(shape::<String, Option<u64>>(), (4, 16, 192));
        assert_eq!(shape::<u64, [u64; 100]>(), (1, 16, 832));
        assert_eq!(shape::<(), ()>(), (16, 64, 64));
    }

    #[test]
    fn every_row_has_room_behind_the_tags() {
        for align in [1, 2, 4, 8, 16, 64, 128, 1024] {
            for row in (0..2_000).map(|size: usize| size.next_multiple_of(align)) {
                let Shape { lanes, rows_at, bytes } = Shape::of(row, align);
                assert!((1..=16).contains(&lanes), "{row} {align}");
                assert!(rows_at >= lanes.next_multiple_of(4) * 4 && rows_at.is_multiple_of(align), "{row} {align}");
                assert!(rows_at + lanes * row <= bytes && bytes.is_multiple_of(align.max(CACHE_LINE)), "{row} {align}");
            }
        }
    }
}
