//! What must hold of [`Metadata`] beyond its types, checked before it is written and after it was read.
//!
//! Nothing here trusts a value because its type would not let a program build it: deserialization goes around constructors.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::frame::{self, HEADER_LEN};
use highwater_core::{CheckpointId, JobName, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex};

use crate::block::BLOCK;
use crate::lineage::Lineage;
use crate::metadata::{Block, KeyedSnapshot, Location, Metadata, OperatorSnapshot, SnapshotKind, TaskSnapshot};
use crate::rescale::check_coverage;

/// Says what is wrong, in words that follow the place.
type Verdict = Result<(), String>;

/// Length of each file by its name.
type Files<'a> = BTreeMap<&'a str, u64>;

impl Metadata {
    /// Checks the invariants of the module [`metadata`](crate::metadata).
    pub(crate) fn validate(&self) -> Verdict {
        JobName::parse(self.job.as_str()).map_err(|error| error.to_string())?;
        let files = self.validate_files()?;
        let mut uids = BTreeSet::new();
        for operator in &self.operators {
            if !uids.insert(&operator.uid) {
                return Err(format!("operator {} is there twice", operator.uid));
            }
            operator.validate(self.id, &files).map_err(|what| format!("operator {}: {what}", operator.uid))?;
        }
        Ok(())
    }

    fn validate_files(&self) -> Result<Files<'_>, String> {
        let mut files = Files::new();
        for file in &self.files {
            validate_file_name(&file.name)?;
            if files.insert(&file.name, file.len).is_some() {
                return Err(format!("file {} is listed twice", file.name));
            }
            match file.shared_by {
                Some(_) if self.kind == SnapshotKind::Savepoint => {
                    return Err(format!("file {} of a savepoint is not in its folder", file.name));
                }
                Some(by) if by > self.id => {
                    return Err(format!("file {} was written by checkpoint {by}, which came later", file.name));
                }
                _ => {}
            }
        }
        Ok(files)
    }
}

impl OperatorSnapshot {
    fn validate(&self, id: CheckpointId, files: &Files<'_>) -> Verdict {
        OperatorUid::parse(self.uid.as_str()).map_err(|error| error.to_string())?;
        MaxParallelism::new(self.max_parallelism.count()).map_err(|error| error.to_string())?;
        let parallelism = self.parallelism.count();
        if Parallelism::new(parallelism).is_none() || parallelism > self.max_parallelism.count() {
            return Err(format!("parallelism is {parallelism}, max parallelism {}", self.max_parallelism));
        }
        let expected = (0..parallelism).map(SubtaskIndex);
        if !self.subtasks.iter().map(|(subtask, _)| *subtask).eq(expected) {
            return Err(format!("its {} snapshots are not those of subtasks 0..{parallelism}", self.subtasks.len()));
        }
        for (subtask, task) in &self.subtasks {
            task.validate(self, id, files).map_err(|what| format!("subtask {subtask}: {what}"))?;
        }
        self.validate_schemas()?;
        check_coverage(self).map_err(|error| error.message().to_owned())
    }

    /// All subtasks ran the same program, so a state has one schema, and one way to be redistributed.
    fn validate_schemas(&self) -> Verdict {
        let mut schemas = BTreeMap::new();
        for (subtask, task) in &self.subtasks {
            let keyed = task.keyed.iter().map(|state| ("keyed", &state.name, &state.schema, None));
            let operator = task
                .operator_state
                .iter()
                .map(|state| ("operator", &state.name, &state.schema, Some(state.redistribution)));
            for (kind, name, schema, redistribution) in keyed.chain(operator) {
                if *schemas.entry((kind, name)).or_insert((schema, redistribution)) != (schema, redistribution) {
                    return Err(format!("subtask {subtask} has another schema for {kind} state {name:?}"));
                }
            }
        }
        Ok(())
    }
}

impl TaskSnapshot {
    fn validate(&self, operator: &OperatorSnapshot, id: CheckpointId, files: &Files<'_>) -> Verdict {
        let mut names = BTreeSet::new();
        for state in &self.operator_state {
            if !names.insert(&state.name) {
                return Err(format!("operator state {:?} is there twice", state.name));
            }
        }
        let mut names = BTreeSet::new();
        for state in &self.keyed {
            if !names.insert(&state.name) {
                return Err(format!("keyed state {:?} is there twice", state.name));
            }
            state
                .validate(operator.max_parallelism, id, files)
                .map_err(|what| format!("state {:?}: {what}", state.name))?;
        }
        Ok(())
    }
}

impl KeyedSnapshot {
    fn validate(&self, max_parallelism: MaxParallelism, id: CheckpointId, files: &Files<'_>) -> Verdict {
        if self.max_parallelism != max_parallelism {
            return Err(format!("max parallelism is {}, the operator's is {max_parallelism}", self.max_parallelism));
        }
        if self.range.start() > self.range.end() || self.range.end() > max_parallelism.count() {
            return Err(format!("{} are not within 0..{max_parallelism}", self.range));
        }
        if self.lineage.since.len() != self.range.count() {
            return Err(format!("{} of {} key groups have a base", self.lineage.since.len(), self.range.count()));
        }
        self.lineage.validate(max_parallelism, id, files)?;
        let stored = self.store.iter().flat_map(|store| &store.files);
        match stored.map(|(_, name)| name).find(|name| !files.contains_key(name.as_str())) {
            Some(name) => Err(format!("file {name:?} is not listed")),
            None => Ok(()),
        }
    }
}

impl Lineage {
    fn validate(&self, max_parallelism: MaxParallelism, id: CheckpointId, files: &Files<'_>) -> Verdict {
        if let Some(since) = self.since.iter().find(|since| **since > id) {
            return Err(format!("a key group was written in full by checkpoint {since}, which came later"));
        }
        if !self.segments.is_sorted_by(|a, b| a.id < b.id) {
            return Err("its segments are out of order".to_owned());
        }
        for segment in &self.segments {
            if segment.id > id {
                return Err(format!("a segment was written by checkpoint {}, which came later", segment.id));
            }
            for block in &segment.blocks {
                let range = block.range;
                if range.start() >= range.end() || range.end() > max_parallelism.count() {
                    return Err(format!("a block of {range} is not within 0..{max_parallelism}"));
                }
                block.validate(files).map_err(|what| format!("{range}: {what}"))?;
            }
        }
        Ok(())
    }
}

impl Block {
    fn validate(&self, files: &Files<'_>) -> Verdict {
        match &self.location {
            Location::Inline(bytes) => match frame::open(BLOCK, bytes, "inline") {
                Ok(opened) if opened.len == bytes.len() => Ok(()),
                Ok(opened) => Err(format!("{} bytes follow the inline block", bytes.len() - opened.len)),
                Err(error) => Err(error.to_string()),
            },
            Location::File { name, offset, len } => {
                let Some(file_len) = files.get(name.as_str()) else {
                    return Err(format!("file {name:?} is not listed"));
                };
                let fits = offset.checked_add(*len).is_some_and(|end| end <= *file_len);
                if !fits || *len < HEADER_LEN as u64 {
                    return Err(format!("{len} bytes at {offset} are no block of {name}, which has {file_len} bytes"));
                }
                Ok(())
            }
        }
    }
}

/// Names that mean the same on every storage and cannot leave the folder.
fn validate_file_name(name: &str) -> Verdict {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > 200 || name.starts_with('.') || !name.chars().all(fits) || name == "_metadata" {
        return Err(format!("{name:?} is not the name of a file of a checkpoint"));
    }
    Ok(())
}
