//! Which checkpoints are kept, and which shared files with them.
//!
//! Invariants (I3):
//! * the newest `retained` completed checkpoints are kept. One in doubt is treated as if it existed: it goes when it would go
//!   if it had completed, with `retained` newer ones that certainly have;
//! * a shared file goes only when no checkpoint that is kept refers to it, and none to come can: a task leaves a file out of its
//!   lineage for good, so what a completed checkpoint does not refer to, of the files written up to then, no later one will.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use highwater_core::CheckpointId;

/// A completed checkpoint, and the shared files it refers to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CompletedCheckpoint {
    /// Its id.
    pub id: CheckpointId,
    /// By name, with the checkpoint that wrote each.
    pub shared_files: BTreeMap<String, CheckpointId>,
}

/// What is no longer kept. The checkpoints have to go first.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Released {
    pub(crate) checkpoints: Vec<CheckpointId>,
    pub(crate) shared_files: Vec<String>,
}

#[derive(Debug)]
pub(crate) struct Retention {
    retained: usize,
    /// Oldest first.
    completed: VecDeque<CompletedCheckpoint>,
    in_doubt: BTreeMap<CheckpointId, BTreeMap<String, CheckpointId>>,
    /// Every shared file that is known to exist, with the checkpoint that wrote it.
    files: BTreeMap<String, CheckpointId>,
}

impl Retention {
    /// `completed` are the checkpoints there are, oldest first.
    pub(crate) fn new(retained: usize, completed: Vec<CompletedCheckpoint>) -> Self {
        let files = completed.iter().flat_map(|checkpoint| checkpoint.shared_files.clone()).collect();
        Retention { retained, completed: completed.into(), in_doubt: BTreeMap::new(), files }
    }

    /// A shared file has been written, by a checkpoint that need not have completed.
    pub(crate) fn written(&mut self, name: &str, by: CheckpointId) {
        self.files.insert(name.to_owned(), by);
    }

    /// A checkpoint has completed. Returns what is no longer kept.
    pub(crate) fn complete(&mut self, completed: CompletedCheckpoint) -> Released {
        let id = completed.id;
        assert!(self.completed.back().is_none_or(|last| last.id < id), "checkpoint {id} completed after a newer one");
        self.files.extend(completed.shared_files.clone());
        self.completed.push_back(completed);
        let excess = self.completed.len().saturating_sub(self.retained);
        let mut checkpoints: Vec<CheckpointId> = self.completed.drain(..excess).map(|old| old.id).collect();
        if self.completed.len() == self.retained {
            let oldest_kept = self.completed.front().map_or(id, |oldest| oldest.id);
            let newer = self.in_doubt.split_off(&oldest_kept);
            checkpoints.extend(std::mem::replace(&mut self.in_doubt, newer).into_keys());
        }
        Released { checkpoints, shared_files: self.release_files(id) }
    }

    /// The files written up to checkpoint `newest` that nothing kept refers to.
    fn release_files(&mut self, newest: CheckpointId) -> Vec<String> {
        let kept = self.completed.iter().map(|checkpoint| &checkpoint.shared_files);
        let kept: BTreeSet<&String> = kept.chain(self.in_doubt.values()).flat_map(BTreeMap::keys).collect();
        let is_garbage = |(name, by): &(&String, &CheckpointId)| **by <= newest && !kept.contains(name);
        let garbage: Vec<String> = self.files.iter().filter(is_garbage).map(|(name, _)| name.clone()).collect();
        self.files.retain(|name, _| !garbage.contains(name));
        garbage
    }

    /// Nobody knows whether a checkpoint exists.
    pub(crate) fn doubt(&mut self, doubtful: CompletedCheckpoint) {
        self.in_doubt.insert(doubtful.id, doubtful.shared_files);
    }

    /// Whether `id` is kept, so that nothing of it may be deleted.
    pub(crate) fn keeps(&self, id: CheckpointId) -> bool {
        self.in_doubt.contains_key(&id) || self.completed.iter().any(|checkpoint| checkpoint.id == id)
    }

    /// The completed checkpoints that are kept, oldest first.
    pub(crate) fn completed(&self) -> impl Iterator<Item = &CompletedCheckpoint> {
        self.completed.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u64]) -> Vec<CheckpointId> {
        ids.iter().copied().map(CheckpointId).collect()
    }

    /// A checkpoint that refers to the files of these checkpoints, one of each.
    fn completed(id: u64, files: &[u64]) -> CompletedCheckpoint {
        let shared_files = files.iter().map(|by| (by.to_string(), CheckpointId(*by))).collect();
        CompletedCheckpoint { id: CheckpointId(id), shared_files }
    }

    fn complete(retention: &mut Retention, id: u64) -> Vec<CheckpointId> {
        retention.complete(completed(id, &[])).checkpoints
    }

    #[test]
    fn the_newest_are_kept() {
        let mut retention = Retention::new(2, [3, 5, 6].map(|id| completed(id, &[])).into());
        assert_eq!(complete(&mut retention, 9), ids(&[3, 5]));
        assert_eq!(complete(&mut retention, 10), ids(&[6]));
        assert_eq!(retention.completed().map(|kept| kept.id).collect::<Vec<_>>(), ids(&[9, 10]));
    }

    #[test]
    fn one_in_doubt_goes_when_enough_newer_ones_are_certain() {
        let mut retention = Retention::new(2, vec![completed(1, &[])]);
        retention.doubt(completed(2, &[]));
        assert_eq!(complete(&mut retention, 3), ids(&[]), "1 and 3 are kept, and 2 might be between them");
        assert!(retention.keeps(CheckpointId(2)));
        assert_eq!(complete(&mut retention, 4), ids(&[1, 2]));
        assert!(!retention.keeps(CheckpointId(2)));

        let mut retention = Retention::new(2, vec![]);
        retention.doubt(completed(1, &[]));
        assert_eq!(complete(&mut retention, 2), ids(&[]), "1 might be the second of the two newest");
        assert_eq!(complete(&mut retention, 3), ids(&[1]));
    }

    #[test]
    fn a_shared_file_goes_with_the_last_checkpoint_that_refers_to_it() {
        let mut retention = Retention::new(2, vec![completed(1, &[1])]);
        assert_eq!(retention.complete(completed(2, &[1, 2])), Released::default());
        assert_eq!(retention.complete(completed(3, &[2, 3])).shared_files, Vec::<String>::new(), "2 needs it");
        let released = retention.complete(completed(4, &[3, 4]));
        assert_eq!(released, Released { checkpoints: ids(&[2]), shared_files: vec!["1".into()] });
        assert_eq!(retention.complete(completed(5, &[5])).shared_files, ["2"]);
    }

    #[test]
    fn files_of_checkpoints_that_did_not_complete_are_kept_while_one_may_come_that_refers_to_them() {
        let mut retention = Retention::new(1, vec![]);
        retention.complete(completed(1, &[1]));
        for by in [2, 3, 5] {
            retention.written(&by.to_string(), CheckpointId(by));
        }
        let released = retention.complete(completed(4, &[1, 3]));
        assert_eq!(released.shared_files, ["2"], "3 is in use, and 5 is for a checkpoint to come");
        assert_eq!(retention.complete(completed(6, &[5])).shared_files, ["1", "3"]);
    }

    #[test]
    fn files_of_a_checkpoint_in_doubt_are_kept_with_it() {
        let mut retention = Retention::new(1, vec![completed(1, &[1])]);
        retention.written("2", CheckpointId(2));
        retention.doubt(completed(2, &[1, 2]));
        let mut retention_of_two = Retention::new(2, vec![completed(1, &[1])]);
        retention_of_two.doubt(completed(2, &[2]));
        assert_eq!(retention_of_two.complete(completed(3, &[3])), Released::default());
        let released = retention.complete(completed(3, &[3]));
        assert_eq!(released, Released { checkpoints: ids(&[1, 2]), shared_files: vec!["1".into(), "2".into()] });
    }
}
