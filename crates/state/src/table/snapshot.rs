//! Copy on write: the content of the tables at one moment, encoded while they go on changing.
//!
//! A table is cut in pages of 64 slots. When a snapshot begins, no page of it is captured. A page is captured, that
//! is all its rows are encoded, right before the first change to one of its slots, or when the sweep that runs
//! between two batches comes to it, whichever is first. A table that has to be resized is captured as a whole before.
//!
//! Invariants:
//! * every page that existed when the snapshot began is captured exactly once, and unchanged until then: so what
//!   comes out is exactly the content at that moment;
//! * a table keeps its pages (it is neither moved nor resized) while one of them is not captured.

use highwater_core::KeyGroup;

use super::bucket::Slot;
use super::group::{Group, PAGE_SLOTS};
use super::order::GoldenOrder;
use crate::{Key, KeyedState};

/// A chunk is closed at the end of the page in which it reaches this size.
const CHUNK_BYTES: usize = 256 << 10;

/// Encoded rows of one key group.
struct Chunk {
    group: usize,
    rows: u64,
    bytes: Vec<u8>,
}

/// How far one table is.
struct Capture {
    /// Where its bits begin in [`Snapshot::captured`].
    first_word: usize,
    /// How many pages are not captured.
    pages_left: usize,
    /// How many rows it has that are not captured.
    rows_left: usize,
    /// The chunk being filled.
    rows: u64,
    bytes: Vec<u8>,
}

/// A snapshot in progress.
pub(super) struct Snapshot {
    captures: Vec<Capture>,
    /// A bit per page of every table.
    captured: Vec<u64>,
    /// What the sweep has still to visit: the pages of this table, then all later tables.
    sweep: (usize, GoldenOrder),
    closed: Vec<Chunk>,
    spare: Spare,
}

/// Memory of chunks that were written, for chunks to come: fresh memory costs more than what is encoded into it.
#[derive(Default)]
pub(super) struct Spare(Vec<Vec<u8>>);

/// How many chunks are kept: 16 MiB.
const SPARE_CHUNKS: usize = 64;

impl Spare {
    pub(super) fn give(&mut self, mut chunk: Vec<u8>) {
        if chunk.capacity() >= CHUNK_BYTES && self.0.len() < SPARE_CHUNKS {
            chunk.clear();
            self.0.push(chunk);
        }
    }
}

impl Snapshot {
    /// Marks the moment.
    pub(super) fn begin<K: Key, S: KeyedState>(groups: &[Group<K, S>], spare: Spare) -> Self {
        let mut words = 0;
        let captures = groups
            .iter()
            .map(|group| {
                let first_word = words;
                let pages_left = if group.len() == 0 { 0 } else { group.pages() };
                words += pages_left.div_ceil(64);
                Capture { first_word, pages_left, rows_left: group.len(), rows: 0, bytes: Vec::new() }
            })
            .collect();
        let sweep = (0, GoldenOrder::new(groups.first().map_or(0, Group::pages)));
        Snapshot { captures, captured: vec![0; words], sweep, closed: Vec::new(), spare }
    }

    /// Memory to keep for the next snapshot.
    pub(super) fn spare(&mut self) -> &mut Spare {
        &mut self.spare
    }

    /// To be called before a slot of table `index` changes.
    #[inline]
    pub(super) fn before_change<K: Key, S: KeyedState>(&mut self, index: usize, group: &Group<K, S>, slot: Slot) {
        if self.captures[index].pages_left > 0 {
            self.capture(index, group, Group::<K, S>::page_of(slot));
        }
    }

    /// To be called before table `index` is resized.
    pub(super) fn before_resize<K: Key, S: KeyedState>(&mut self, index: usize, group: &Group<K, S>) {
        if self.captures[index].pages_left > 0 {
            for page in GoldenOrder::new(group.pages()) {
                self.capture(index, group, page);
            }
        }
    }

    /// Visits pages until those captured have `budget` slots, and returns whether none is left.
    pub(super) fn sweep<K: Key, S: KeyedState>(&mut self, groups: &[Group<K, S>], budget: usize) -> bool {
        let mut budget = budget;
        while self.sweep.0 < groups.len() {
            let index = self.sweep.0;
            while self.captures[index].pages_left > 0 {
                if budget == 0 {
                    return false;
                }
                let page = self.sweep.1.next().expect("a page that is not captured was not visited");
                // Passing over a captured page is not free either.
                let cost = if self.capture(index, &groups[index], page) { PAGE_SLOTS } else { 1 };
                budget = budget.saturating_sub(cost);
            }
            self.sweep = (index + 1, GoldenOrder::new(groups.get(index + 1).map_or(0, Group::pages)));
        }
        true
    }

    /// Hands out the chunks that are closed.
    pub(super) fn drain(&mut self, start: u32, emit: &mut dyn FnMut(KeyGroup, u64, Vec<u8>)) {
        for chunk in self.closed.drain(..) {
            emit(KeyGroup((start as usize + chunk.group) as u16), chunk.rows, chunk.bytes);
        }
    }

    /// Captures a page unless it is; returns whether it was not.
    #[inline]
    fn capture<K: Key, S: KeyedState>(&mut self, index: usize, group: &Group<K, S>, page: usize) -> bool {
        let word = &mut self.captured[self.captures[index].first_word + page / 64];
        let bit = 1 << (page % 64);
        if *word & bit != 0 {
            return false;
        }
        *word |= bit;
        self.encode(index, group, page);
        true
    }

    #[inline(never)]
    fn encode<K: Key, S: KeyedState>(&mut self, index: usize, group: &Group<K, S>, page: usize) {
        let capture = &mut self.captures[index];
        if capture.bytes.capacity() == 0 {
            // What the rest of the table takes if nothing of a row is on the heap.
            let estimate = capture.rows_left * (size_of::<K>() + size_of::<S>());
            if estimate >= CHUNK_BYTES {
                capture.bytes = self.spare.0.pop().unwrap_or_default();
            }
            capture.bytes.reserve(estimate.min(CHUNK_BYTES + PAGE_SLOTS * (size_of::<K>() + size_of::<S>())));
        }
        let mut rows = 0;
        for row in group.page(page) {
            row.key.encode(&mut capture.bytes);
            row.state.encode(&mut capture.bytes);
            rows += 1;
        }
        capture.rows += rows as u64;
        capture.rows_left -= rows;
        capture.pages_left -= 1;
        if (capture.pages_left == 0 && capture.rows > 0) || capture.bytes.len() >= CHUNK_BYTES {
            let (rows, bytes) = (std::mem::take(&mut capture.rows), std::mem::take(&mut capture.bytes));
            self.closed.push(Chunk { group: index, rows, bytes });
        }
    }
}
