//! The copies that a process keeps of its own files on a local disk (Flink's local recovery).
//!
//! A restart goes on from the newest completed checkpoint, so only what that refers to is kept. Each process sees to its own copies: it
//! knows what its tasks refer to, and nobody has to tell it.

use std::collections::{BTreeMap, BTreeSet};

use highwater_checkpoint::FileDigest;
use highwater_core::{CheckpointId, JobName};
use highwater_storage::{CheckpointStorage, layout};

/// The copies, during an attempt.
pub(crate) struct Copies<'a> {
    local: Option<&'a dyn CheckpointStorage>,
    /// The folder that they are in.
    shared: String,
    /// The files that each checkpoint refers to which has not completed.
    referred: BTreeMap<CheckpointId, BTreeSet<String>>,
}

impl<'a> Copies<'a> {
    /// At the start of an attempt, whose checkpoints begin with `first`: copies of these or of later ones are of another attempt.
    pub fn new(storage: Option<&'a dyn CheckpointStorage>, job: &JobName, first: CheckpointId) -> Self {
        let local = storage.and_then(|storage| storage.local_copies());
        let copies = Copies { local, shared: layout::shared_in(job.as_str()), referred: BTreeMap::new() };
        copies.remove(|by, _| by >= first);
        copies
    }

    /// A task has written all that a checkpoint has of it.
    pub fn acknowledged(&mut self, id: CheckpointId, files: &[FileDigest]) {
        if self.local.is_some() {
            let shared = files.iter().filter(|file| file.shared_by.is_some());
            self.referred.entry(id).or_default().extend(shared.map(|file| file.name.clone()));
        }
    }

    /// A checkpoint has completed.
    pub fn completed(&mut self, id: CheckpointId) {
        let Some(referred) = self.referred.remove(&id) else { return };
        self.referred.retain(|other, _| *other > id);
        // A savepoint refers to no shared files; nor does a checkpoint without any, which leaves nothing to save by removing.
        if !referred.is_empty() {
            self.remove(|by, name| by <= id && !referred.contains(name));
        }
    }

    /// Removes the copies of which `goes` says so, by the checkpoint that wrote them and their name.
    fn remove(&self, goes: impl Fn(CheckpointId, &str) -> bool) {
        let Some(local) = self.local else { return };
        let removed = local.list(&self.shared).and_then(|copies| {
            let names = copies.iter().map(|copy| copy.name.as_str());
            let mut gone = names.filter(|name| layout::parse_shared_name(name).is_some_and(|by| goes(by, name)));
            gone.try_for_each(|name| local.remove_file(&format!("{}/{name}", self.shared)))
        });
        // It takes room, and is tried again after the next checkpoint.
        if let Err(error) = removed {
            tracing::debug!(%error, "cannot remove local copies");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use highwater_storage::{LocalCopies, MemoryStorage};

    use super::*;

    #[test]
    fn copies_of_what_the_newest_checkpoint_refers_to_are_kept_and_no_others() {
        let local = Arc::new(MemoryStorage::new());
        let storage = LocalCopies::new(Arc::new(MemoryStorage::new()), local.clone());
        storage.create_dir("job/shared").unwrap();
        let write = |names: &[&str]| {
            for name in names {
                storage.create(&format!("job/shared/{name}")).unwrap().finish().unwrap();
            }
        };
        let kept = || {
            let mut names: Vec<_> = local.list("job/shared").unwrap().into_iter().map(|copy| copy.name).collect();
            names.sort();
            names
        };
        let file = |name: &str| FileDigest {
            name: name.into(),
            shared_by: layout::parse_shared_name(name),
            len: 0,
            crc32c: 0,
        };
        write(&["1-0", "2-0", "7-0"]);
        let mut copies = Copies::new(Some(&storage), &JobName::parse("job").unwrap(), CheckpointId(3));
        assert_eq!(kept(), ["1-0", "2-0"], "7 was given up by an earlier attempt");
        write(&["3-0", "3-1", "4-0"]);
        copies.acknowledged(CheckpointId(3), &[file("2-0"), file("3-0")]);
        copies.acknowledged(CheckpointId(3), &[file("3-1")]);
        copies.acknowledged(CheckpointId(4), &[file("3-0"), file("4-0")]);
        copies.completed(CheckpointId(3));
        assert_eq!(kept(), ["2-0", "3-0", "3-1", "4-0"], "4 may complete yet");
        // A savepoint.
        copies.acknowledged(CheckpointId(5), &[FileDigest { shared_by: None, ..file("data-0") }]);
        copies.completed(CheckpointId(5));
        assert_eq!(kept(), ["2-0", "3-0", "3-1", "4-0"]);
        write(&["6-0-1"]);
        copies.acknowledged(CheckpointId(6), &[file("4-0"), file("6-0-1")]);
        copies.completed(CheckpointId(6));
        assert_eq!(kept(), ["4-0", "6-0-1"]);
    }
}
