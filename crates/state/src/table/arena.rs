//! The memory the tables live in: blocks cut out of large regions on huge pages.
//!
//! A subtask has a table per key group, and most of them are far smaller than a huge page; a random row then costs a
//! TLB miss on top of its cache miss, which halves the throughput. So the tables of a subtask share regions of many
//! huge pages, cut in units of 1 KiB. A region is mapped, not allocated: its pages cost nothing until they are
//! touched, and a block that was never handed out before is already zero. What a growing table leaves behind
//! coalesces by itself (a region is a bitmap of its units) and is taken by the next one to grow, because the first
//! touch of fresh memory is the most expensive part of growth.
//!
//! Tables below [`SMALLEST`] come from the global allocator: an operator with a thousand keys should not hold a huge
//! page.
//!
//! Invariants:
//! * a block is zeroed when it is handed out;
//! * a unit belongs to at most one block, and a region is given back only when none of its units does.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Granularity and alignment of a block within a region.
pub(super) const UNIT: usize = 1 << 10;

/// Blocks below this size come from the global allocator.
const SMALLEST: usize = 4 << 10;

/// Size and alignment of a huge page.
const HUGE_PAGE: usize = 2 << 20;

/// Address space of a region, unless a single block needs more.
const REGION: usize = 32 << 20;

/// Alignment of blocks from the global allocator: a cache line, so that slots of a power of two never straddle two.
pub(super) const CACHE_LINE: usize = 64;

/// Memory that was handed out: `bytes` zeroed bytes at `start`, to be given back with [`Arena::release`].
#[derive(Debug)]
pub(super) struct Block {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: a block is the only handle to its memory.
unsafe impl Send for Block {}

impl Block {
    /// A block without memory of its own, which points to what `stand_in` is.
    pub(super) fn stand_in(stand_in: &'static [u8]) -> Block {
        Block { start: NonNull::from(stand_in).cast(), bytes: 0 }
    }

    pub(super) fn start(&self) -> NonNull<u8> {
        self.start
    }
}

/// All memory of the tables of one subtask.
#[derive(Debug)]
pub(super) struct Arena {
    /// Alignment of what lives in the blocks: at most [`UNIT`].
    align: usize,
    regions: Vec<Region>,
    /// Bytes that the global allocator holds for blocks.
    small: usize,
    /// Bytes of the blocks that are handed out.
    used: usize,
}

impl Arena {
    pub(super) fn new(align: usize) -> Self {
        assert!(align <= UNIT, "alignment {align} of keys and states is beyond {UNIT}");
        Arena { align: align.max(CACHE_LINE), regions: Vec::new(), small: 0, used: 0 }
    }

    /// Bytes of memory held for blocks: handed out, or kept for those to come.
    pub(super) fn bytes(&self) -> usize {
        self.small + self.regions.iter().map(Region::resident).sum::<usize>()
    }

    /// Bytes of the blocks that are handed out.
    pub(super) fn used(&self) -> usize {
        self.used
    }

    /// Bytes between these blocks, where others were, beyond a part of a huge page: a region takes whole ones anyway.
    pub(super) fn holes(&self) -> usize {
        self.regions.iter().map(Region::holes).sum::<usize>().saturating_sub(HUGE_PAGE / 4)
    }

    /// A zeroed block. Aborts as every allocation does where there is no memory.
    pub(super) fn acquire(&mut self, bytes: usize) -> Block {
        if bytes == 0 {
            return Block { start: NonNull::dangling(), bytes: 0 };
        }
        self.used += bytes;
        if bytes < SMALLEST {
            self.small += bytes;
            let layout = self.small_layout(bytes);
            // SAFETY: the layout's size is not zero.
            let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
            return Block { start, bytes };
        }
        let units = bytes.div_ceil(UNIT);
        let start = self.regions.iter_mut().find_map(|region| region.acquire(units)).unwrap_or_else(|| {
            let mut region = Region::map(bytes.max(REGION).next_multiple_of(HUGE_PAGE));
            let start = region.acquire(units).expect("a fresh region has room for the block it was mapped for");
            self.regions.push(region);
            start
        });
        Block { start, bytes }
    }

    /// Takes back a block of this arena.
    pub(super) fn release(&mut self, block: Block) {
        if block.bytes == 0 {
            return;
        }
        self.used -= block.bytes;
        if block.bytes < SMALLEST {
            self.small -= block.bytes;
            // SAFETY: a block of this size came from the global allocator with this layout, and is given back once,
            // since a block cannot be copied.
            unsafe { dealloc(block.start.as_ptr(), self.small_layout(block.bytes)) };
            return;
        }
        let owner = self.regions.iter_mut().position(|region| region.contains(block.start));
        let owner = owner.expect("a block goes back to the arena it came from");
        self.regions[owner].release(&block);
        // One region without blocks is kept for the next growth, further ones go back to the system.
        let idle = self.regions.iter().filter(|region| region.is_idle()).count();
        if self.regions[owner].is_idle() && idle > 1 {
            self.regions.remove(owner);
        }
    }

    fn small_layout(&self, bytes: usize) -> Layout {
        Layout::from_size_align(bytes, self.align).expect("small blocks have a valid layout")
    }
}

/// A contiguous piece of address space, cut in units.
#[derive(Debug)]
struct Region {
    pages: Pages,
    /// A bit per unit: belongs to a block.
    taken: Vec<u64>,
    /// How many units do not.
    free: usize,
    /// No run of free units is longer than this: spares most searches.
    longest: usize,
    /// Units from here on were never handed out: untouched and zero.
    fresh: usize,
}

impl Region {
    fn map(bytes: usize) -> Self {
        let units = bytes / UNIT;
        Region { pages: Pages::map(bytes), taken: vec![0; units.div_ceil(64)], free: units, longest: units, fresh: 0 }
    }

    fn resident(&self) -> usize {
        (self.fresh * UNIT).next_multiple_of(HUGE_PAGE)
    }

    fn holes(&self) -> usize {
        let taken = self.pages.bytes - self.free * UNIT;
        self.fresh * UNIT - taken
    }

    fn is_idle(&self) -> bool {
        self.free * UNIT == self.pages.bytes
    }

    fn contains(&self, address: NonNull<u8>) -> bool {
        let start = self.pages.start.as_ptr().addr();
        (start..start + self.pages.bytes).contains(&address.as_ptr().addr())
    }

    /// The start of `units` zeroed units, at the lowest place where they fit.
    fn acquire(&mut self, units: usize) -> Option<NonNull<u8>> {
        if units > self.longest {
            return None;
        }
        let Some(first) = self.find(units) else {
            self.longest = units - 1;
            return None;
        };
        self.mark(first, units, true);
        self.free -= units;
        // SAFETY: `find` returned units within the region.
        let start = unsafe { self.pages.start.add(first * UNIT) };
        let used_before = self.fresh.saturating_sub(first).min(units);
        // SAFETY: these units lie within the region and belong to no block.
        unsafe { start.write_bytes(0, used_before * UNIT) };
        self.fresh = self.fresh.max(first + units);
        Some(start)
    }

    fn release(&mut self, block: &Block) {
        let first = (block.start.as_ptr().addr() - self.pages.start.as_ptr().addr()) / UNIT;
        let units = block.bytes.div_ceil(UNIT);
        self.mark(first, units, false);
        self.free += units;
        self.longest = self.free;
    }

    /// First fit: keeps what is touched at the low end of the region.
    fn find(&self, units: usize) -> Option<usize> {
        let end = self.pages.bytes / UNIT;
        let (mut start, mut unit) = (0, 0);
        while unit < end {
            let rest = self.taken[unit / 64] >> (unit % 64);
            if rest & 1 == 1 {
                unit += (!rest).trailing_zeros() as usize;
                start = unit;
            } else {
                unit = (unit + (rest.trailing_zeros() as usize).min(64 - unit % 64)).min(end);
                if unit - start >= units {
                    return Some(start);
                }
            }
        }
        None
    }

    fn mark(&mut self, first: usize, units: usize, taken: bool) {
        let mut unit = first;
        while unit < first + units {
            let (word, bit) = (unit / 64, unit % 64);
            let count = (64 - bit).min(first + units - unit);
            let mask = (u64::MAX >> (64 - count)) << bit;
            debug_assert_eq!(self.taken[word] & mask, if taken { 0 } else { mask }, "a unit has one owner");
            if taken {
                self.taken[word] |= mask;
            } else {
                self.taken[word] &= !mask;
            }
            unit += count;
        }
    }
}

/// Zeroed memory from the system, aligned to huge pages and backed by them where the system can.
#[derive(Debug)]
struct Pages {
    start: NonNull<u8>,
    bytes: usize,
}

// SAFETY: the pages are owned, and reached only through the region that holds them.
unsafe impl Send for Pages {}

#[cfg(all(target_os = "linux", not(miri)))]
impl Pages {
    /// Maps anonymous memory, because the global allocator would touch all of it to align and zero it.
    fn map(bytes: usize) -> Self {
        let layout = Layout::from_size_align(bytes, HUGE_PAGE).expect("a region fits the address space");
        let (protection, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE);
        // SAFETY: a new anonymous mapping touches no memory that exists.
        let mapped = unsafe { libc::mmap(std::ptr::null_mut(), bytes + HUGE_PAGE, protection, flags, -1, 0) };
        if mapped == libc::MAP_FAILED {
            handle_alloc_error(layout);
        }
        let before = mapped.addr().next_multiple_of(HUGE_PAGE) - mapped.addr();
        // SAFETY: start, and what is cut off before and after it, lie within the new mapping; both cuts are whole
        // pages. A failed cut or advice costs address space or speed, nothing else.
        unsafe {
            let start = mapped.byte_add(before);
            if before > 0 {
                libc::munmap(mapped, before);
            }
            libc::munmap(start.byte_add(bytes), HUGE_PAGE - before);
            libc::madvise(start, bytes, libc::MADV_HUGEPAGE);
            Pages { start: NonNull::new_unchecked(start.cast()), bytes }
        }
    }
}

#[cfg(all(target_os = "linux", not(miri)))]
impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: this is what `map` left mapped, and no block is in it any more.
        unsafe { libc::munmap(self.start.as_ptr().cast(), self.bytes) };
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Pages {
    fn layout(bytes: usize) -> Layout {
        Layout::from_size_align(bytes, HUGE_PAGE).expect("a region fits the address space")
    }

    fn map(bytes: usize) -> Self {
        let layout = Self::layout(bytes);
        // SAFETY: the layout's size is not zero.
        let start = NonNull::new(unsafe { alloc_zeroed(layout) }).unwrap_or_else(|| handle_alloc_error(layout));
        Pages { start, bytes }
    }
}

#[cfg(not(all(target_os = "linux", not(miri))))]
impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: `map` allocated this with the same layout, and no block is in it any more.
        unsafe { dealloc(self.start.as_ptr(), Self::layout(self.bytes)) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(block: &Block, byte: u8) {
        // SAFETY: the block is `bytes` long and alive.
        unsafe { block.start.write_bytes(byte, block.bytes) };
    }

    fn holds_only(block: &Block, byte: u8) -> bool {
        // SAFETY: the block is `bytes` long, initialized, and alive.
        unsafe { std::slice::from_raw_parts(block.start.as_ptr(), block.bytes) }.iter().all(|b| *b == byte)
    }

    /// Blocks of many sizes come and go; each is zero at first and keeps what was written until it goes.
    #[test]
    fn blocks_are_zero_and_do_not_overlap() {
        let mut arena = Arena::new(8);
        let mut live: Vec<(Block, u8)> = Vec::new();
        let mut random = 1u64;
        for round in 0..600 {
            random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pick = (random >> 33) as usize;
            if round % 3 == 2 {
                let (block, byte) = live.swap_remove(pick % live.len());
                assert!(holds_only(&block, byte));
                arena.release(block);
            } else {
                let block = arena.acquire(1 + pick % [100, 5_000, 200_000][pick % 3]);
                assert!(holds_only(&block, 0));
                assert!(block.start.as_ptr().addr().is_multiple_of(CACHE_LINE));
                let byte = (round % 255 + 1) as u8;
                write(&block, byte);
                live.push((block, byte));
            }
        }
        assert!(live.iter().all(|(block, byte)| holds_only(block, *byte)));
        live.into_iter().for_each(|(block, _)| arena.release(block));
        assert_eq!((arena.small, arena.used), (0, 0));
        assert_eq!(arena.regions.len(), 1, "one idle region is kept");
        assert!(arena.regions[0].is_idle());
    }

    #[test]
    fn what_was_released_coalesces_and_is_used_again() {
        let mut arena = Arena::new(8);
        let blocks: Vec<Block> = (0..100).map(|_| arena.acquire(64 * UNIT)).collect();
        let last = arena.acquire(64 * UNIT);
        let bytes = arena.bytes();
        blocks.into_iter().for_each(|block| arena.release(block));
        let large = arena.acquire(100 * 64 * UNIT);
        assert_eq!(arena.bytes(), bytes);
        arena.release(large);
        arena.release(last);
    }

    #[test]
    fn a_region_that_was_too_full_is_searched_again_after_a_release() {
        let mut arena = Arena::new(8);
        let most = arena.acquire(REGION - 64 * UNIT);
        let other = arena.acquire(65 * UNIT);
        assert_eq!(arena.regions.len(), 2);
        arena.release(most);
        let most = arena.acquire(REGION - 64 * UNIT);
        assert_eq!(arena.regions.len(), 2);
        arena.release(most);
        arena.release(other);
    }

    #[test]
    fn a_block_may_be_larger_than_a_region() {
        let mut arena = Arena::new(8);
        let large = arena.acquire(REGION + 1);
        assert_eq!(large.start.as_ptr().addr() % HUGE_PAGE, 0);
        let next = arena.acquire(SMALLEST);
        write(&next, 7);
        arena.release(large);
        assert!(holds_only(&next, 7));
        arena.release(next);
    }
}
