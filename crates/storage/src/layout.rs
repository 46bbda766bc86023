//! The one place that builds names in a checkpoint storage (Flink's layout):
//!
//! ```text
//! <job>/chk-<id>/_metadata        makes the checkpoint exist, written last
//! <job>/chk-<id>/data-<worker>    snapshots of the tasks of one worker
//! <job>/shared/                   files that several checkpoints may refer to
//! <job>/taskowned/                files that tasks, not the coordinator, delete
//! ```

use highwater_core::{CheckpointId, JobName};

/// Name of the file that makes a checkpoint exist (invariant I3).
pub const METADATA: &str = "_metadata";

const CHECKPOINT_PREFIX: &str = "chk-";

/// Name of a worker's data file within the folder of a checkpoint.
pub fn data_name(worker: u32) -> String {
    format!("data-{worker}")
}

/// Name of a checkpoint's folder within the folder of its job.
pub fn checkpoint_name(id: CheckpointId) -> String {
    format!("{CHECKPOINT_PREFIX}{id}")
}

/// The id in a folder's name; `None` if it is not exactly what [`checkpoint_name`] gives.
pub fn parse_checkpoint_name(name: &str) -> Option<CheckpointId> {
    let id = CheckpointId(name.strip_prefix(CHECKPOINT_PREFIX)?.parse().ok()?);
    // `parse` also takes "+7" and "007", which would be second names of the same checkpoint.
    (checkpoint_name(id) == name).then_some(id)
}

/// The paths of one job, relative to the storage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    job: JobName,
}

impl Layout {
    /// The layout of `job`.
    pub fn new(job: JobName) -> Self {
        Layout { job }
    }

    /// Folder of the job.
    pub fn job(&self) -> String {
        self.job.to_string()
    }

    /// Folder of a checkpoint.
    pub fn checkpoint(&self, id: CheckpointId) -> String {
        format!("{}/{}", self.job, checkpoint_name(id))
    }

    /// Folder of the files that several checkpoints may refer to.
    pub fn shared(&self) -> String {
        format!("{}/shared", self.job)
    }

    /// Folder of the files that tasks, not the coordinator, delete.
    pub fn taskowned(&self) -> String {
        format!("{}/taskowned", self.job)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_name_parses_back_and_nothing_else_does() {
        for id in [0, 1, 42, u64::MAX] {
            assert_eq!(parse_checkpoint_name(&checkpoint_name(CheckpointId(id))), Some(CheckpointId(id)));
        }
        for other in ["chk-", "chk-x", "chk-07", "chk-+7", "chk--7", "chk-7 ", "Chk-7", "7", "chk-18446744073709551616"]
        {
            assert_eq!(parse_checkpoint_name(other), None, "{other:?}");
        }
    }

    #[test]
    fn the_layout_is_part_of_the_stored_format() {
        let layout = Layout::new(JobName::parse("visitors").unwrap());
        assert_eq!(layout.checkpoint(CheckpointId(7)), "visitors/chk-7");
        assert_eq!((METADATA, data_name(3).as_str()), ("_metadata", "data-3"));
        assert_eq!((layout.shared().as_str(), layout.taskowned().as_str()), ("visitors/shared", "visitors/taskowned"));
    }
}
