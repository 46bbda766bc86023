//! One error type for the whole project.
//!
//! The [`ErrorKind`] says what the caller can do about it; the message says what was being done, on what, and the way
//! out, in lower case and without a trailing stop. The cause, if any, is the [`source`](std::error::Error::source).

use std::fmt;

/// Any error a user function may return.
pub type BoxError = Box<dyn std::error::Error + Send + Sync + 'static>;

/// The result of everything in Highwater that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What kind of thing went wrong, by what the reader of the error can do about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum ErrorKind {
    /// A setting, flag, uid or graph is wrong: change the program or its configuration. Restarting does not help.
    Settings,
    /// A source's input or a sink's output is missing, unreadable or unwritable.
    Input,
    /// A user function returned an error or panicked.
    UserFunction,
    /// The checkpoint storage failed; trying again may help.
    Storage,
    /// Bytes read back do not verify: the named file is damaged.
    Corrupt,
    /// A snapshot was written by a newer version, another job, or with another state type.
    Incompatible,
    /// Another process of the job, or the connection to it, was lost.
    Cluster,
    /// A checkpoint could not be completed within the limits that were set.
    Checkpoint,
    /// A broken invariant of Highwater itself: please report it.
    Internal,
}

impl ErrorKind {
    /// Whether a new attempt of the job can be expected to go better.
    pub fn is_recoverable(self) -> bool {
        match self {
            ErrorKind::Settings | ErrorKind::Incompatible => false,
            ErrorKind::Input
            | ErrorKind::UserFunction
            | ErrorKind::Storage
            | ErrorKind::Corrupt
            | ErrorKind::Cluster
            | ErrorKind::Checkpoint
            | ErrorKind::Internal => true,
        }
    }
}

impl fmt::Display for ErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ErrorKind::Settings => "settings",
            ErrorKind::Input => "input",
            ErrorKind::UserFunction => "user function",
            ErrorKind::Storage => "storage",
            ErrorKind::Corrupt => "corrupt",
            ErrorKind::Incompatible => "incompatible",
            ErrorKind::Cluster => "cluster",
            ErrorKind::Checkpoint => "checkpoint",
            ErrorKind::Internal => "internal",
        })
    }
}

/// An error with its kind, a message for people, and its cause.
///
/// ```
/// use highwater_core::{Error, ErrorKind};
/// let cause = std::io::Error::other("disk full");
/// let error = Error::new(ErrorKind::Storage, "cannot write chk-7/_metadata").with_source(cause);
/// assert_eq!(error.to_string(), "cannot write chk-7/_metadata: disk full");
/// ```
pub struct Error(Box<Inner>);

struct Inner {
    kind: ErrorKind,
    message: String,
    source: Option<BoxError>,
}

impl Error {
    /// An error of `kind` whose `message` says what, where, and what to do.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Error(Box::new(Inner { kind, message: message.into(), source: None }))
    }

    /// Shorthand for [`ErrorKind::Settings`].
    pub fn settings(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Settings, message)
    }

    /// Shorthand for [`ErrorKind::Internal`].
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(ErrorKind::Internal, message)
    }

    /// Attaches what caused this error.
    #[must_use]
    pub fn with_source(mut self, source: impl Into<BoxError>) -> Self {
        self.0.source = Some(source.into());
        self
    }

    /// Puts this error into a wider context: same kind, `message` in front, this error as the cause.
    #[must_use]
    pub fn context(self, message: impl Into<String>) -> Self {
        Error::new(self.kind(), message).with_source(self)
    }

    /// What the caller can do about it.
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// The message without its causes.
    pub fn message(&self) -> &str {
        &self.0.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)?;
        if let Some(source) = &self.0.source {
            write!(f, ": {source}")?;
            let mut cause = source.source();
            // An `Error` already prints its own causes.
            if !source.is::<Error>() {
                while let Some(next) = cause {
                    write!(f, ": {next}")?;
                    cause = next.source();
                }
            }
        }
        Ok(())
    }
}

impl fmt::Debug for Error {
    // `fn main() -> Result<()>` prints the error through `Debug`: show people the sentence, not the struct.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} error: {self}", self.0.kind)
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.0.source.as_ref().map(|source| &**source as &(dyn std::error::Error + 'static))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn display_shows_the_whole_chain_once() {
        let inner = Error::new(ErrorKind::Corrupt, "bad checksum").with_source(std::io::Error::other("short read"));
        let outer = inner.context("cannot restore chk-3");
        assert_eq!(outer.to_string(), "cannot restore chk-3: bad checksum: short read");
        assert_eq!(outer.kind(), ErrorKind::Corrupt);
        assert_eq!(format!("{outer:?}"), "corrupt error: cannot restore chk-3: bad checksum: short read");
    }
}
