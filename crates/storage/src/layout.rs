//! The one place that builds names in a checkpoint storage (Flink's layout):
//!
//! ```text
//! <job>/chk-<id>/_metadata        makes the checkpoint exist, written last
//! <job>/chk-<id>/_savepoint       instead: where the savepoint is that the job has ended with
//! <job>/chk-<id>/data-<worker>    snapshots of the tasks of one worker, where it shares nothing
//! <job>/shared/<id>-<worker>      what the tasks of one worker wrote at checkpoint <id>; later ones may refer to it
//! <job>/shared/<id>-<worker>-<n>  a file of a store on local disk, likewise
//! <job>/taskowned/                files that tasks, not the coordinator, delete
//! savepoint-<job>-<id>-<time>/    a savepoint: the same as a checkpoint's folder, in a storage that its user chose
//! ```

use highwater_core::{CheckpointId, JobName};

/// Name of the file that makes a checkpoint exist (invariant I3).
pub const METADATA: &str = "_metadata";

/// Name of the file that says with which savepoint the job has ended.
pub const SAVEPOINT: &str = "_savepoint";

const CHECKPOINT_PREFIX: &str = "chk-";

/// Name of a worker's data file within the folder of a savepoint.
pub fn data_name(worker: u32) -> String {
    format!("data-{worker}")
}

const SHARED: &str = "shared";
const TASKOWNED: &str = "taskowned";

/// The folders that a job's folder has from the beginning.
pub const JOB_FOLDERS: [&str; 2] = [SHARED, TASKOWNED];

/// Path of the folder of shared files within a job's folder; the empty path is the storage itself.
pub fn shared_in(job: &str) -> String {
    if job.is_empty() { SHARED.to_owned() } else { format!("{job}/{SHARED}") }
}

/// Name of the file in the folder of shared files that a worker writes at a checkpoint.
pub fn shared_name(id: CheckpointId, worker: u32) -> String {
    format!("{id}-{worker}")
}

/// Name of the file in the folder of shared files that holds a file of a store on local disk: the `number`th that a worker
/// writes in an attempt, at a checkpoint.
pub fn store_file_name(id: CheckpointId, worker: u32, number: u64) -> String {
    format!("{id}-{worker}-{number}")
}

/// The checkpoint that wrote a shared file, from its name; `None` if the name does not begin as [`shared_name`] does.
pub fn parse_shared_name(name: &str) -> Option<CheckpointId> {
    parse_id(name.split_once('-')?.0)
}

/// Path of a shared file of the job in whose folder the folder of a checkpoint lies.
pub fn shared_beside(checkpoint: &str, name: &str) -> String {
    let job = checkpoint.rsplit_once('/').map_or("", |(job, _)| job);
    format!("{}/{name}", shared_in(job))
}

/// Name of a checkpoint's folder within the folder of its job.
pub fn checkpoint_name(id: CheckpointId) -> String {
    format!("{CHECKPOINT_PREFIX}{id}")
}

/// Name of the folder of a savepoint in the storage that its user chose. Unlike ids, times differ between jobs of one name.
pub fn savepoint_name(job: &JobName, id: CheckpointId, created_unix_ms: i64) -> String {
    format!("savepoint-{job}-{id}-{created_unix_ms:x}")
}

/// The id in a folder's name; `None` if it is not exactly what [`checkpoint_name`] gives.
pub fn parse_checkpoint_name(name: &str) -> Option<CheckpointId> {
    parse_id(name.strip_prefix(CHECKPOINT_PREFIX)?)
}

/// `parse` also takes "+7" and "007", which would be second names of the same checkpoint.
fn parse_id(digits: &str) -> Option<CheckpointId> {
    let id = CheckpointId(digits.parse().ok()?);
    (id.to_string() == digits).then_some(id)
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
        shared_in(self.job.as_str())
    }

    /// Folder of the files that tasks, not the coordinator, delete.
    pub fn taskowned(&self) -> String {
        format!("{}/{TASKOWNED}", self.job)
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
    fn a_shared_file_tells_who_wrote_it() {
        assert_eq!(parse_shared_name("7-3"), Some(CheckpointId(7)));
        assert_eq!(parse_shared_name("18-0-000012.sst"), Some(CheckpointId(18)));
        assert!(["7", "x-3", "-3", "07-3", "+7-3"].iter().all(|name| parse_shared_name(name).is_none()));
    }

    #[test]
    fn the_layout_is_part_of_the_stored_format() {
        let layout = Layout::new(JobName::parse("visitors").unwrap());
        assert_eq!(layout.checkpoint(CheckpointId(7)), "visitors/chk-7");
        assert_eq!(
            (METADATA, SAVEPOINT, data_name(3).as_str(), shared_name(CheckpointId(7), 3).as_str()),
            ("_metadata", "_savepoint", "data-3", "7-3")
        );
        let savepoint = savepoint_name(&JobName::parse("visitors").unwrap(), CheckpointId(7), 1_700_000_000_000);
        assert_eq!(savepoint, "savepoint-visitors-7-18bcfe56800");
        assert_eq!(shared_beside("visitors/chk-7", "7-3"), "visitors/shared/7-3");
        assert_eq!(shared_beside("chk-7", "7-3"), "shared/7-3");
        assert_eq!((layout.shared().as_str(), layout.taskowned().as_str()), ("visitors/shared", "visitors/taskowned"));
    }
}
