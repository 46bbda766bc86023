//! An append of a leader that was not confirmed.

use std::fmt;

use highwater_core::{Error, ErrorKind};
use highwater_storage::Outcome;

/// What a leader wanted to record, and is not known to count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRecorded {
    outcome: Outcome,
    why: String,
}

impl NotRecorded {
    /// It does not count, and never will.
    pub(crate) fn fenced(why: impl Into<String>) -> Self {
        NotRecorded { outcome: Outcome::DidNotHappen, why: why.into() }
    }

    /// Whether it counts is what the next leader finds.
    pub(crate) fn in_doubt(why: impl Into<String>) -> Self {
        NotRecorded { outcome: Outcome::MayHaveHappened, why: why.into() }
    }

    /// [`Outcome::DidNotHappen`] if it never counts. After [`Outcome::MayHaveHappened`] the next leader finds out: what was
    /// to be recorded must be neither relied upon nor deleted.
    pub fn outcome(&self) -> Outcome {
        self.outcome
    }
}

impl fmt::Display for NotRecorded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.why)?;
        match self.outcome {
            Outcome::DidNotHappen => Ok(()),
            Outcome::MayHaveHappened => f.write_str(" (it may count all the same, which the next leader finds out)"),
        }
    }
}

impl std::error::Error for NotRecorded {}

impl From<NotRecorded> for Error {
    /// For reporting: the outcome is only in the text afterwards.
    fn from(error: NotRecorded) -> Self {
        Error::new(ErrorKind::Cluster, error.to_string())
    }
}
