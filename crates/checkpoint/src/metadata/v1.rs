//! Version 1 of the metadata, and what it means in the present one. Never to be changed.
//!
//! Every checkpoint was whole within its folder, and a block held the entries of one key group.

use highwater_core::{
    CheckpointId, JobName, KeyGroup, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex,
};
use serde::Deserialize;

use super::{Location, Redistribution, SnapshotKind};
use crate::config::CheckpointingMode;
use crate::lineage::{Lineage, Segment};
use crate::times::CheckpointTimes;

#[derive(Deserialize)]
pub(super) struct Metadata {
    job: JobName,
    id: CheckpointId,
    created_unix_ms: i64,
    mode: CheckpointingMode,
    operators: Vec<OperatorSnapshot>,
    files: Vec<FileDigest>,
    times: CheckpointTimes,
}

#[derive(Deserialize)]
struct FileDigest {
    name: String,
    len: u64,
    crc32c: u32,
}

#[derive(Deserialize)]
struct OperatorSnapshot {
    uid: OperatorUid,
    name: String,
    parallelism: Parallelism,
    max_parallelism: MaxParallelism,
    subtasks: Vec<(SubtaskIndex, TaskSnapshot)>,
}

#[derive(Deserialize)]
struct TaskSnapshot {
    keyed: Vec<KeyedSnapshot>,
    operator_state: Vec<OperatorState>,
}

#[derive(Deserialize)]
struct KeyedSnapshot {
    name: String,
    max_parallelism: MaxParallelism,
    range: KeyGroupRange,
    schema: String,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    group: KeyGroup,
    entries: u64,
    location: Location,
}

#[derive(Deserialize)]
struct OperatorState {
    name: String,
    schema: String,
    elements: Vec<Vec<u8>>,
}

impl From<Metadata> for super::Metadata {
    fn from(old: Metadata) -> Self {
        let id = old.id;
        let files = old.files.into_iter().map(|FileDigest { name, len, crc32c }| super::FileDigest {
            name,
            shared_by: None,
            len,
            crc32c,
        });
        super::Metadata {
            job: old.job,
            id,
            kind: SnapshotKind::Checkpoint,
            created_unix_ms: old.created_unix_ms,
            mode: old.mode,
            operators: old.operators.into_iter().map(|operator| operator.read(id)).collect(),
            files: files.collect(),
            times: old.times,
        }
    }
}

impl OperatorSnapshot {
    fn read(self, id: CheckpointId) -> super::OperatorSnapshot {
        super::OperatorSnapshot {
            uid: self.uid,
            name: self.name,
            parallelism: self.parallelism,
            max_parallelism: self.max_parallelism,
            subtasks: self.subtasks.into_iter().map(|(subtask, task)| (subtask, task.read(id))).collect(),
        }
    }
}

impl TaskSnapshot {
    fn read(self, id: CheckpointId) -> super::TaskSnapshot {
        let operator_state = self.operator_state.into_iter().map(|state| super::OperatorState {
            name: state.name,
            schema: state.schema,
            redistribution: Redistribution::Split,
            elements: state.elements,
        });
        super::TaskSnapshot {
            keyed: self.keyed.into_iter().map(|state| state.read(id)).collect(),
            operator_state: operator_state.collect(),
        }
    }
}

impl KeyedSnapshot {
    fn read(self, id: CheckpointId) -> super::KeyedSnapshot {
        let blocks = self.blocks.into_iter().map(|Block { group, entries, location }| super::Block {
            range: KeyGroupRange::new(u32::from(group.0)..u32::from(group.0) + 1),
            entries,
            location,
        });
        let segment = Segment { id, blocks: blocks.collect() };
        // Not yet validated: a range that is out of bounds must not take the memory it says.
        let groups = self.range.end().saturating_sub(self.range.start()).min(MaxParallelism::UPPER_BOUND);
        super::KeyedSnapshot {
            name: self.name,
            max_parallelism: self.max_parallelism,
            range: self.range,
            schema: self.schema,
            lineage: Lineage { since: vec![id; groups as usize], segments: vec![segment] },
            store: None,
        }
    }
}
