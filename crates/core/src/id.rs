//! Newtypes for what is numbered or named and travels between tasks, processes and storage.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number! {
    /// Number of a checkpoint, and of the epoch that ends with it: the same number. Never goes back, also not across attempts.
    CheckpointId(u64), ""
}
number! {
    /// Which of the parallel instances of an operator: `0..parallelism`.
    SubtaskIndex(u32), ""
}
number! {
    /// Which of the processes of a job: `0..processes`. Process 0 holds the coordinator.
    ProcessIndex(u32), ""
}

impl CheckpointId {
    /// The id after this one.
    #[must_use]
    pub fn next(self) -> Self {
        CheckpointId(self.0 + 1)
    }
}

/// How many parallel instances an operator has: at least one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Parallelism(u32);

impl Parallelism {
    /// `None` for zero.
    pub fn new(count: u32) -> Option<Self> {
        (count > 0).then_some(Parallelism(count))
    }

    /// The number of instances.
    pub fn count(self) -> u32 {
        self.0
    }
}

impl fmt::Display for Parallelism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The stable name of an operator: what ties its state in a snapshot to the operator of the program that restores it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct OperatorUid(Arc<str>);

impl OperatorUid {
    /// A uid of 1 to 200 visible characters.
    ///
    /// # Errors
    /// If it is empty, too long, or holds white space or control characters.
    pub fn parse(uid: &str) -> Result<Self> {
        if uid.is_empty() || uid.chars().count() > 200 || uid.chars().any(|c| c.is_whitespace() || c.is_control()) {
            return Err(Error::settings(format!(
                "operator uid {uid:?} is not usable: give 1 to 200 characters without white space"
            )));
        }
        Ok(OperatorUid(uid.into()))
    }

    /// The uid as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperatorUid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Name of a job, which is also the name of its folder in the checkpoint directory.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct JobName(Arc<str>);

impl JobName {
    /// A name of 1 to 100 letters, digits, `-`, `_` or `.`, not starting with a dot.
    ///
    /// # Errors
    /// If it is anything else.
    pub fn parse(name: &str) -> Result<Self> {
        let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(fits) {
            return Err(Error::settings(format!(
                "job name {name:?} is not usable: give 1 to 100 letters, digits, '-', '_' or '.', not starting with a dot"
            )));
        }
        Ok(JobName(name.into()))
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for JobName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// One parallel instance of one operator: what acknowledges a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskId {
    /// The operator.
    pub operator: OperatorUid,
    /// Which of its instances.
    pub subtask: SubtaskIndex,
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}[{}]", self.operator, self.subtask)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_would_break_paths_are_refused() {
        for bad in ["", ".", "..", "a/b", "a b", &"x".repeat(101)] {
            assert!(JobName::parse(bad).is_err(), "{bad:?}");
        }
        assert_eq!(JobName::parse("visitors-2.1").unwrap().as_str(), "visitors-2.1");
        assert!(OperatorUid::parse("count by\taddress").is_err());
    }
}
