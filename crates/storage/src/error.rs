//! What can go wrong with a storage, and whether it happened all the same.
//!
//! The [`Outcome`] is the important half: a disk that answers "input/output error" to an fsync, or a connection that
//! breaks before the answer, leaves open whether the operation took effect. Whoever decides on an error (deletes, tries
//! again, reuses a name) looks at the outcome first.
//!
//! Invariant: [`Outcome::DidNotHappen`] is a promise. Where there is any doubt the outcome is
//! [`Outcome::MayHaveHappened`].

use std::fmt;
use std::io;

use highwater_core::{BoxError, ErrorKind};

/// The result of a storage operation.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What stood in the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum What {
    /// The file or folder does not exist.
    NotFound,
    /// Something of that name exists and is not overwritten.
    AlreadyExists,
    /// No space, or no quota, is left.
    Full,
    /// This user may not do that there.
    Denied,
    /// It exceeds a limit of this storage.
    TooLarge,
    /// The file ends before the bytes that were asked for: it is damaged.
    CutOff,
    /// Another run holds the lock.
    Locked,
    /// Anything else; the source says more.
    Other,
}

impl What {
    fn of(source: &io::Error) -> Self {
        match source.kind() {
            io::ErrorKind::NotFound => What::NotFound,
            io::ErrorKind::AlreadyExists => What::AlreadyExists,
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => What::Full,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => What::Denied,
            io::ErrorKind::FileTooLarge => What::TooLarge,
            io::ErrorKind::UnexpectedEof => What::CutOff,
            // `io::ErrorKind` is open-ended; what it may grow is for people to read in the source.
            _ => What::Other,
        }
    }

    fn reason(self) -> Option<&'static str> {
        match self {
            What::NotFound => Some("it does not exist"),
            What::AlreadyExists => Some("it already exists"),
            What::Full => Some("no space is left; free some or use another directory"),
            What::Denied => Some("this user may not; change the permissions or use another directory"),
            What::TooLarge => Some("it is too large"),
            What::CutOff => Some("the file ends too early"),
            What::Locked => Some("it is in use"),
            What::Other => None,
        }
    }
}

/// Whether the operation that reported an error took effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It certainly did not, and never will.
    DidNotHappen,
    /// It may have, wholly or in part, or may still: look before you act on it.
    MayHaveHappened,
}

/// A storage operation that failed: what was being done, on which path, why, and whether it happened all the same.
///
/// ```
/// use highwater_storage::{Error, Outcome, What};
/// let error = Error::new(What::NotFound, Outcome::DidNotHappen, "read", "visitors/chk-7/_metadata");
/// assert_eq!(error.to_string(), "cannot read visitors/chk-7/_metadata: it does not exist");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    what: What,
    outcome: Outcome,
    operation: &'static str,
    path: String,
    detail: Option<String>,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `operation` (a verb, as in "cannot read ..") on `path`.
    pub fn new(what: What, outcome: Outcome, operation: &'static str, path: impl fmt::Display) -> Self {
        let path = path.to_string();
        Error(Box::new(Inner { what, outcome, operation, path, detail: None, source: None }))
    }

    /// What the operating system said about `operation` on `path`.
    ///
    /// Only the answers by which a system refuses before it acts (no such file, already there, not permitted) count as
    /// [`Outcome::DidNotHappen`]; whoever knows better says so with [`with_outcome`](Self::with_outcome).
    pub fn io(operation: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        let what = What::of(&source);
        let refused = matches!(what, What::NotFound | What::AlreadyExists | What::Denied)
            || source.kind() == io::ErrorKind::NotADirectory;
        let outcome = if refused { Outcome::DidNotHappen } else { Outcome::MayHaveHappened };
        let error = Error::new(what, outcome, operation, path.display());
        let error = match source.kind() {
            io::ErrorKind::NotADirectory => error.with_detail("a part of the path is a file, where a folder is needed"),
            _ => error,
        };
        error.with_source(source)
    }

    /// Adds what `what` alone does not tell: numbers, the way out.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<String>) -> Self {
        self.0.detail = Some(detail.into());
        self
    }

    /// Attaches what caused this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Replaces the outcome, by one who knows what the failed step means for the whole operation.
    #[must_use]
    pub fn with_outcome(mut self, outcome: Outcome) -> Self {
        self.0.outcome = outcome;
        self
    }

    /// What stood in the way.
    pub fn what(&self) -> What {
        self.0.what
    }

    /// Whether it happened all the same.
    pub fn outcome(&self) -> Outcome {
        self.0.outcome
    }

    /// The path it was about.
    pub fn path(&self) -> &str {
        &self.0.path
    }
}

impl fmt::Display for Error {
    // Without the source, as usual for an error that hands its source out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.0.operation, self.0.path)?;
        let mut separator = ": ";
        for part in [self.0.what.reason(), self.0.detail.as_deref()].into_iter().flatten() {
            write!(f, "{separator}{part}")?;
            separator = "; ";
        }
        match self.0.outcome {
            Outcome::DidNotHappen => Ok(()),
            Outcome::MayHaveHappened => f.write_str(" (it may have happened all the same)"),
        }
    }
}

impl fmt::Debug for Error {
    // What a failed `expect` or `main` shows: the sentence and its cause.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")?;
        self.0.source.iter().try_for_each(|source| write!(f, ": {source}"))
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

impl From<Error> for highwater_core::Error {
    /// For reporting: the outcome is only in the text afterwards, so decide on it before.
    ///
    /// [`What::CutOff`] becomes [`ErrorKind::Corrupt`], everything else [`ErrorKind::Storage`].
    fn from(error: Error) -> Self {
        let kind = match error.what() {
            What::CutOff => ErrorKind::Corrupt,
            What::NotFound
            | What::AlreadyExists
            | What::Full
            | What::Denied
            | What::TooLarge
            | What::Locked
            | What::Other => ErrorKind::Storage,
        };
        let converted = highwater_core::Error::new(kind, error.to_string());
        match error.0.source {
            Some(source) => converted.with_source(source),
            None => converted,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn doubt_is_never_reported_as_certainty() {
        let outcome = |kind: io::ErrorKind| Error::io("rename", Path::new("x"), kind.into()).outcome();
        for refused in [io::ErrorKind::NotFound, io::ErrorKind::AlreadyExists, io::ErrorKind::PermissionDenied] {
            assert_eq!(outcome(refused), Outcome::DidNotHappen, "{refused:?}");
        }
        for open in [io::ErrorKind::Other, io::ErrorKind::StorageFull, io::ErrorKind::TimedOut] {
            assert_eq!(outcome(open), Outcome::MayHaveHappened, "{open:?}");
        }
    }

    #[test]
    fn a_full_disk_is_told_with_path_and_way_out() {
        let error = Error::io("append to", Path::new("/c/data-0"), io::Error::from_raw_os_error(28));
        assert_eq!(error.what(), What::Full);
        let told = highwater_core::Error::from(error);
        assert_eq!(told.kind(), ErrorKind::Storage);
        let text = told.to_string();
        assert!(text.starts_with("cannot append to /c/data-0: no space is left; free some"), "{text}");
        assert!(text.contains("may have happened") && text.ends_with("(os error 28)"), "{text}");
    }
}
