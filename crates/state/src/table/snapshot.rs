//! Copy on write: the content of the tables at one moment, or what has changed of it, encoded while they go on changing.
//!
//! A table is cut in pages of about 64 slots. When a snapshot begins, no page of it is captured. A page is captured, that
//! is its rows are encoded, right before the first change to one of its slots, or when the sweep that runs between two
//! batches comes to it, whichever is first. A table that has to be resized is captured as a whole before.
//!
//! For a snapshot of changes, pages without any count as captured from the start, and of the others only the rows with
//! changes are encoded. What is captured counts as stored: from then on a change is one for the next snapshot. The bits
//! that say which pages have changes are taken over at the begin, so the two snapshots never mix. A snapshot aside from the
//! others captures all pages, and leaves both flags and bits as they are.
//!
//! Invariants:
//! * every page that existed when the snapshot began is captured at most once, and unchanged until then; those not
//!   captured in the end have nothing that is asked for: so what comes out is exactly the content at that moment;
//! * a table keeps its pages (it is neither moved nor resized) while one of them is not captured;
//! * a row is as the snapshots have it, or flagged, or in a page that is not captured.

use highwater_core::KeyGroup;

use super::group::Group;
use super::order::GoldenOrder;
use super::removals::Removals;
use crate::{Key, KeyedState};

/// A chunk is closed at the end of the page in which it reaches this size.
pub(super) const CHUNK_BYTES: usize = 256 << 10;

/// So many encoded bytes take as long as a slot: rows that hold lists or long texts use a budget up sooner.
const BYTES_PER_SLOT: usize = 32;

/// How much of a key group a snapshot holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Every row.
    Full,
    /// What changed since the snapshot before this one began.
    Changed,
    /// Every row, aside from the other snapshots: none builds on this one, and what has changed stays noted for the next.
    Aside,
}

/// What a chunk holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkKind {
    /// Keys with their states: the key's encoding, then the state's.
    Rows,
    /// Keys alone, of rows that are gone: the key's encoding, or a zero byte if that is empty.
    Removed,
}

/// A piece of a snapshot: entries of one key group, one after the other.
#[derive(Debug)]
pub struct Chunk {
    /// The key group of all of its keys.
    pub group: KeyGroup,
    /// What the entries are.
    pub kind: ChunkKind,
    /// How many they are, never none.
    pub entries: u64,
    /// The entries. The memory can be [given back](super::KeyGroupTables::recycle).
    pub bytes: Vec<u8>,
}

/// How far one table is.
struct Capture {
    scope: Scope,
    /// Where its bits begin in [`Snapshot::captured`].
    first_word: usize,
    /// How many pages are not captured.
    pages_left: usize,
    /// How many rows it had that are not captured.
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
    /// Number of the first table's key group.
    start: u32,
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
    /// Marks the moment: takes over what was noted of changes.
    pub(super) fn begin<K: Key, S: KeyedState>(
        groups: &mut [Group<K, S>],
        start: u32,
        scopes: &[Scope],
        removals: &mut Removals,
        spare: Spare,
    ) -> Self {
        let (mut captured, mut closed) = (Vec::new(), Vec::new());
        removals.drain(start, scopes, &mut closed);
        let capture = |(group, scope): (&mut Group<K, S>, &Scope)| Capture::begin(group, *scope, &mut captured);
        let captures = groups.iter_mut().zip(scopes).map(capture).collect();
        let sweep = (0, GoldenOrder::new(groups.first().map_or(0, Group::pages)));
        Snapshot { captures, captured, sweep, start, closed, spare }
    }

    /// Whether it leaves nothing behind: all of it is aside from the other snapshots.
    pub(super) fn is_aside(&self) -> bool {
        self.captures.iter().all(|capture| capture.scope == Scope::Aside)
    }

    /// Memory to keep for the next snapshot.
    pub(super) fn spare(&mut self) -> &mut Spare {
        &mut self.spare
    }

    /// To be called before a slot in this page of table `index` changes.
    #[inline]
    pub(super) fn before_change<K: Key, S: KeyedState>(&mut self, index: usize, group: &mut Group<K, S>, page: usize) {
        if self.captures[index].pages_left > 0 {
            self.capture(index, group, page);
        }
    }

    /// To be called before table `index` is resized.
    pub(super) fn before_resize<K: Key, S: KeyedState>(&mut self, index: usize, group: &mut Group<K, S>) {
        if self.captures[index].pages_left > 0 {
            for page in GoldenOrder::new(group.pages()) {
                self.capture(index, group, page);
            }
        }
    }

    /// Visits pages until those captured have `budget` slots, or bytes that are worth as many, and returns whether none is left.
    pub(super) fn sweep<K: Key, S: KeyedState>(&mut self, groups: &mut [Group<K, S>], budget: usize) -> bool {
        let mut budget = budget;
        while self.sweep.0 < groups.len() {
            let index = self.sweep.0;
            while self.captures[index].pages_left > 0 {
                if budget == 0 {
                    return false;
                }
                let page = self.sweep.1.next().expect("a page that is not captured was not visited");
                // Passing over a captured page is not free either.
                let cost = match self.capture(index, &mut groups[index], page) {
                    Some(bytes) => Group::<K, S>::PAGE_SLOTS.max(bytes / BYTES_PER_SLOT),
                    None => 1,
                };
                budget = budget.saturating_sub(cost);
            }
            self.sweep = (index + 1, GoldenOrder::new(groups.get(index + 1).map_or(0, Group::pages)));
        }
        true
    }

    /// Hands out the chunks that are closed.
    pub(super) fn drain(&mut self, emit: &mut dyn FnMut(Chunk)) {
        self.closed.drain(..).for_each(emit);
    }

    /// Captures a page unless it is; returns how many bytes it has encoded if it was not.
    #[inline]
    fn capture<K: Key, S: KeyedState>(&mut self, index: usize, group: &mut Group<K, S>, page: usize) -> Option<usize> {
        let word = &mut self.captured[self.captures[index].first_word + page / 64];
        let bit = 1 << (page % 64);
        if *word & bit != 0 {
            return None;
        }
        *word |= bit;
        Some(self.encode(index, group, page))
    }

    #[inline(never)]
    fn encode<K: Key, S: KeyedState>(&mut self, index: usize, group: &mut Group<K, S>, page: usize) -> usize {
        let capture = &mut self.captures[index];
        if capture.bytes.capacity() == 0 {
            capture.reserve(group, page, &mut self.spare);
        }
        let (mut rows, before) = (0, capture.bytes.len());
        group.capture(page, capture.scope, |row| {
            row.key.encode(&mut capture.bytes);
            row.state.encode(&mut capture.bytes);
            rows += 1;
        });
        capture.rows += rows as u64;
        capture.rows_left -= rows;
        capture.pages_left -= 1;
        let encoded = capture.bytes.len() - before;
        if (capture.pages_left == 0 && capture.rows > 0) || capture.bytes.len() >= CHUNK_BYTES {
            let (entries, bytes) = (std::mem::take(&mut capture.rows), std::mem::take(&mut capture.bytes));
            let group = KeyGroup((self.start as usize + index) as u16);
            self.closed.push(Chunk { group, kind: ChunkKind::Rows, entries, bytes });
        }
        encoded
    }
}

impl Capture {
    /// Marks the moment for one table, whose bits are appended to `captured`.
    fn begin<K: Key, S: KeyedState>(group: &mut Group<K, S>, scope: Scope, captured: &mut Vec<u64>) -> Self {
        let first_word = captured.len();
        captured.extend(group.changed_pages().iter_mut().map(|changed| match scope {
            Scope::Full => {
                *changed = 0;
                0
            }
            Scope::Changed => !std::mem::take(changed),
            Scope::Aside => 0,
        }));
        let pages_left = match scope {
            _ if group.len() == 0 => 0,
            Scope::Full | Scope::Aside => group.pages(),
            Scope::Changed => captured[first_word..].iter().map(|word| word.count_zeros() as usize).sum(),
        };
        Capture { scope, first_word, pages_left, rows_left: group.len(), rows: 0, bytes: Vec::new() }
    }

    /// Gets memory for the chunk that begins with a page: for what is left of the table if nothing is on the heap.
    fn reserve<K: Key, S: KeyedState>(&mut self, group: &Group<K, S>, page: usize, spare: &mut Spare) {
        let rows = match self.scope {
            Scope::Full | Scope::Aside => self.rows_left,
            // Taken that the other pages have as many.
            Scope::Changed => self.rows_left.min(group.slots_of(page, self.scope).count() * self.pages_left),
        };
        let row = size_of::<K>() + size_of::<S>();
        if rows * row >= CHUNK_BYTES {
            self.bytes = spare.0.pop().unwrap_or_default();
        }
        self.bytes.reserve((rows * row).min(CHUNK_BYTES + Group::<K, S>::PAGE_SLOTS * row));
    }
}
