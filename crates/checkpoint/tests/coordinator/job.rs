//! The job of these tests: one operator, `count`, with three tasks.

use std::time::Duration;

use highwater_checkpoint::{
    CheckpointConfig, CompletedCheckpoint, Coordinator, Event, FileDigest, JobPlan, KeyedSnapshot, Lineage,
    OperatorPlan, Request, RequestId, RequestKind, TaskSnapshot,
};
use highwater_core::{CheckpointId, JobName, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex, TaskId};

pub const TASKS: u32 = 3;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn task(index: u32) -> TaskId {
    TaskId { operator: OperatorUid::parse("count").unwrap(), subtask: SubtaskIndex(index) }
}

pub fn plan() -> JobPlan {
    let count = OperatorPlan {
        uid: OperatorUid::parse("count").unwrap(),
        name: "count visitors".to_owned(),
        parallelism: Parallelism::new(TASKS).unwrap(),
        max_parallelism: MaxParallelism::new(8).unwrap(),
    };
    JobPlan::new(JobName::parse("visitors").unwrap(), vec![count]).unwrap()
}

pub fn coordinator(config: &CheckpointConfig, next_id: CheckpointId, restored: Vec<CheckpointId>) -> Coordinator {
    coordinator_after(config, next_id, restored.into_iter().map(without_shared_files).collect())
}

pub fn coordinator_after(
    config: &CheckpointConfig,
    next_id: CheckpointId,
    restored: Vec<CompletedCheckpoint>,
) -> Coordinator {
    Coordinator::new(config.clone(), plan(), next_id, restored).unwrap()
}

pub fn without_shared_files(id: CheckpointId) -> CompletedCheckpoint {
    CompletedCheckpoint { id, shared_files: Default::default() }
}

/// A request by somebody who is not waiting for its end.
pub fn request(kind: RequestKind) -> Event {
    Event::Request(Request { id: RequestId(0), kind })
}

/// The acknowledgement of a task that owns its key groups and wrote `files`.
pub fn acknowledgement(id: CheckpointId, index: u32, files: Vec<FileDigest>) -> Event {
    let max_parallelism = MaxParallelism::new(8).unwrap();
    let range = max_parallelism.range_of(SubtaskIndex(index), Parallelism::new(TASKS).unwrap());
    let keyed = KeyedSnapshot {
        name: "state".to_owned(),
        max_parallelism,
        range,
        schema: "{}".to_owned(),
        lineage: Lineage { since: vec![id; range.count()], segments: vec![] },
        store: None,
    };
    let snapshot = TaskSnapshot { keyed: vec![keyed], operator_state: vec![] };
    Event::Acknowledged { id, task: task(index), snapshot, files, bytes: 10 }
}

/// The file in which checkpoint `by` wrote what has changed in the state of a task.
pub fn shared_file(by: CheckpointId, index: u32) -> FileDigest {
    FileDigest { shared_by: Some(by), ..file(&format!("by{by}-{index}")) }
}

pub fn file(name: &str) -> FileDigest {
    FileDigest { name: name.to_owned(), shared_by: None, len: 10, crc32c: 1 }
}
