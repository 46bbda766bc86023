//! What must hold of [`Metadata`] beyond its types, checked before it is written and after it was read.
//!
//! Nothing here trusts a value because its type would not let a program build it: deserialization goes around constructors.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::frame::{self, HEADER_LEN};
use highwater_core::{JobName, MaxParallelism, OperatorUid, Parallelism, SubtaskIndex};

use crate::metadata::{BLOCK, Block, KeyedSnapshot, Location, Metadata, OperatorSnapshot, TaskSnapshot};
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
            operator.validate(&files).map_err(|what| format!("operator {}: {what}", operator.uid))?;
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
        }
        Ok(files)
    }
}

impl OperatorSnapshot {
    fn validate(&self, files: &Files<'_>) -> Verdict {
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
            task.validate(self, files).map_err(|what| format!("subtask {subtask}: {what}"))?;
        }
        self.validate_schemas()?;
        check_coverage(self).map_err(|error| error.message().to_owned())
    }

    /// All subtasks ran the same program, so a state has one schema.
    fn validate_schemas(&self) -> Verdict {
        let mut schemas = BTreeMap::new();
        for (subtask, task) in &self.subtasks {
            let keyed = task.keyed.iter().map(|state| ("keyed", &state.name, &state.schema));
            let operator = task.operator_state.iter().map(|state| ("operator", &state.name, &state.schema));
            for (kind, name, schema) in keyed.chain(operator) {
                if *schemas.entry((kind, name)).or_insert(schema) != schema {
                    return Err(format!("subtask {subtask} has another schema for {kind} state {name:?}"));
                }
            }
        }
        Ok(())
    }
}

impl TaskSnapshot {
    fn validate(&self, operator: &OperatorSnapshot, files: &Files<'_>) -> Verdict {
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
                .validate(operator.max_parallelism, files)
                .map_err(|what| format!("state {:?}: {what}", state.name))?;
        }
        Ok(())
    }
}

impl KeyedSnapshot {
    fn validate(&self, max_parallelism: MaxParallelism, files: &Files<'_>) -> Verdict {
        if self.max_parallelism != max_parallelism {
            return Err(format!("max parallelism is {}, the operator's is {max_parallelism}", self.max_parallelism));
        }
        // A range that ends before it starts leaves a gap in the coverage.
        if self.range.end() > max_parallelism.count() {
            return Err(format!("{} are not within 0..{max_parallelism}", self.range));
        }
        for block in &self.blocks {
            if !self.range.contains(block.group) {
                return Err(format!("a block of key group {} is not in {}", block.group.0, self.range));
            }
            block.validate(files).map_err(|what| format!("key group {}: {what}", block.group.0))?;
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
