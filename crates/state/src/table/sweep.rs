//! Visiting all rows bit by bit between batches, round after round: for what concerns rows that no record comes for,
//! such as expired state.

use super::KeyGroupTables;
use super::group::Group;
use super::snapshot::Scope;
use crate::{Key, KeyedState};

/// Where the sweep goes on.
#[derive(Default)]
pub(super) struct Cursor {
    /// Index of the table.
    pub(super) index: usize,
    /// The part of its keys, by hash, that was visited in this round: it means the same once the table was resized.
    pub(super) part: u64,
}

impl<K: Key, S: KeyedState> KeyGroupTables<K, S> {
    /// Calls `f` with the rows in about `budget` slots, and goes on next time where it stopped, round after round. Key
    /// groups without rows cost one slot. A call ends at the latest where it comes to the key group it began with.
    ///
    /// `f` returns whether it has changed the state, so that the next snapshot of changes has it. A state that is empty
    /// then is removed. Rows that are inserted or moved by growth during a round may be visited twice in it or not at
    /// all.
    pub fn sweep_rows(&mut self, budget: usize, mut f: impl FnMut(&K, &mut S) -> bool) {
        let mut budget = budget;
        for _ in 0..self.groups.len() {
            while let Some(page) = self.groups[self.cursor.index].page_at(self.cursor.part) {
                if budget == 0 {
                    return self.shrink(self.cursor.index);
                }
                self.cursor.part = self.groups[self.cursor.index].part_through(page);
                self.sweep_page(self.cursor.index, page, &mut f);
                budget = budget.saturating_sub(Group::<K, S>::PAGE_SLOTS);
            }
            self.shrink(self.cursor.index);
            self.cursor = Cursor { index: (self.cursor.index + 1) % self.groups.len(), part: 0 };
            budget = budget.saturating_sub(1);
        }
    }

    fn sweep_page(&mut self, index: usize, page: usize, f: &mut impl FnMut(&K, &mut S) -> bool) {
        // Whoever gets a state may change it, so this cannot wait for what `f` returns.
        self.before_change(index, page);
        for bucket in self.groups[index].buckets_of(page) {
            for slot in self.groups[index].slots_in(bucket, Scope::Full) {
                // SAFETY: the slot held a row when the bucket was looked at, and only rows visited since were removed.
                let row = unsafe { self.groups[index].row_mut(slot) };
                let is_changed = f(&row.key, &mut row.state);
                if row.state.is_empty() {
                    self.take_out(index, slot);
                } else if is_changed {
                    // SAFETY: as above.
                    unsafe { self.groups[index].note_change(slot) };
                }
            }
        }
    }
}
