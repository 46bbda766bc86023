//! Which checkpoints are kept.
//!
//! Invariants (I3): the newest `retained` completed checkpoints are kept. One in doubt is treated as if it existed: it goes
//! when it would go if it had completed, with `retained` newer ones that certainly have.

use std::collections::{BTreeSet, VecDeque};

use highwater_core::CheckpointId;

#[derive(Debug)]
pub(crate) struct Retention {
    retained: usize,
    /// Oldest first.
    completed: VecDeque<CheckpointId>,
    in_doubt: BTreeSet<CheckpointId>,
}

impl Retention {
    /// `completed` are the checkpoints there are, oldest first.
    pub(crate) fn new(retained: usize, completed: Vec<CheckpointId>) -> Self {
        Retention { retained, completed: completed.into(), in_doubt: BTreeSet::new() }
    }

    /// `id` has completed. Returns what is no longer kept.
    pub(crate) fn complete(&mut self, id: CheckpointId) -> Vec<CheckpointId> {
        assert!(self.completed.back().is_none_or(|last| *last < id), "checkpoint {id} completed after a newer one");
        self.completed.push_back(id);
        let excess = self.completed.len().saturating_sub(self.retained);
        let mut released: Vec<CheckpointId> = self.completed.drain(..excess).collect();
        if self.completed.len() == self.retained {
            let oldest_kept = self.completed.front().copied().unwrap_or(id);
            let newer = self.in_doubt.split_off(&oldest_kept);
            released.extend(std::mem::replace(&mut self.in_doubt, newer));
        }
        released
    }

    /// Nobody knows whether `id` exists.
    pub(crate) fn doubt(&mut self, id: CheckpointId) {
        self.in_doubt.insert(id);
    }

    /// Whether `id` is kept, so that nothing of it may be deleted.
    pub(crate) fn keeps(&self, id: CheckpointId) -> bool {
        self.in_doubt.contains(&id) || self.completed.contains(&id)
    }

    /// The completed checkpoints that are kept, oldest first.
    pub(crate) fn completed(&self) -> impl Iterator<Item = CheckpointId> {
        self.completed.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<CheckpointId> {
        ids.iter().copied().map(CheckpointId).collect()
    }

    #[test]
    fn the_newest_are_kept() {
        let mut retention = Retention::new(2, ids(&[3, 5, 6]));
        assert_eq!(retention.complete(CheckpointId(9)), ids(&[3, 5]));
        assert_eq!(retention.complete(CheckpointId(10)), ids(&[6]));
        assert_eq!(retention.completed().collect::<Vec<_>>(), ids(&[9, 10]));
    }

    #[test]
    fn one_in_doubt_goes_when_enough_newer_ones_are_certain() {
        let mut retention = Retention::new(2, ids(&[1]));
        retention.doubt(CheckpointId(2));
        assert_eq!(retention.complete(CheckpointId(3)), ids(&[]), "1 and 3 are kept, and 2 might be between them");
        assert!(retention.keeps(CheckpointId(2)));
        assert_eq!(retention.complete(CheckpointId(4)), ids(&[1, 2]));
        assert!(!retention.keeps(CheckpointId(2)));

        let mut retention = Retention::new(2, vec![]);
        retention.doubt(CheckpointId(1));
        assert_eq!(retention.complete(CheckpointId(2)), ids(&[]), "1 might be the second of the two newest");
        assert_eq!(retention.complete(CheckpointId(3)), ids(&[1]));
    }
}
