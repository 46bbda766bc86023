//! How much keys and states own on the heap, estimated by how long they encode.

use crate::table::KeyGroupTables;
use crate::{Key, KeyedState};

/// What an allocator takes for a row beyond what is asked of it, about: a key and a value with an allocation each.
const OVERHEAD: usize = 32;

/// After this many rows newer ones weigh more.
const MEMORY: usize = 1 << 14;

/// A page is looked at every so many calls: a call is a batch, which has more rows than a page.
const SAMPLED_CALLS: usize = 15;

/// The mean of the rows that were looked at, newer ones first.
#[derive(Debug, Default)]
pub(super) struct HeapEstimate {
    bytes: usize,
    rows: usize,
    calls: usize,
    scratch: Vec<u8>,
}

impl HeapEstimate {
    /// Looks at some rows now and then, if rows of this type own anything at all.
    pub fn sample<K: Key, S: KeyedState>(&mut self, table: &KeyGroupTables<K, S>) {
        self.calls = self.calls.wrapping_add(1);
        let knows_little = self.rows < MEMORY / 16;
        if !owns_heap::<K, S>() || !(knows_little || self.calls.is_multiple_of(SAMPLED_CALLS)) {
            return;
        }
        table.sample(self.calls, |key, state| {
            self.scratch.clear();
            key.encode(&mut self.scratch);
            state.encode(&mut self.scratch);
            self.bytes += self.scratch.len();
            self.rows += 1;
        });
        if self.rows > MEMORY {
            (self.bytes, self.rows) = (self.bytes / 2, self.rows / 2);
        }
    }

    /// Bytes that the rows of a table own.
    pub fn bytes<K: Key, S: KeyedState>(&self, table: &KeyGroupTables<K, S>) -> usize {
        if !owns_heap::<K, S>() {
            return 0;
        }
        table.len() * (self.bytes / self.rows.max(1) + OVERHEAD)
    }
}

/// What owns memory has to give it back.
const fn owns_heap<K, S>() -> bool {
    std::mem::needs_drop::<K>() || std::mem::needs_drop::<S>()
}
