//! How a command ends, and the exit code that says so.

use std::io;
use std::process::ExitCode;

use highwater_core::{Error, ErrorKind};

/// What a command that did its work has found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Finding {
    /// All is well.
    Fine,
    /// Something is damaged, different, incompatible or not there.
    Amiss,
}

impl Finding {
    /// [`Amiss`](Finding::Amiss) if `amiss`.
    pub fn amiss_if(amiss: bool) -> Finding {
        if amiss { Finding::Amiss } else { Finding::Fine }
    }
}

/// Why a command could not do its work.
#[derive(Debug)]
pub enum Failure {
    /// What it was to look at, or how it was called.
    Error(Error),
    /// Nobody takes its output.
    Output(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Error(error)
    }
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Failure::Output(error)
    }
}

impl Failure {
    /// Says it on standard error; the exit code.
    pub fn report(&self) -> ExitCode {
        match self {
            // As with `highwater .. | head`: whoever closed it has seen enough.
            Failure::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
            Failure::Output(error) => {
                eprintln!("error: cannot write to standard output: {error}");
                ExitCode::from(2)
            }
            Failure::Error(error) => {
                eprintln!("error: {error}");
                ExitCode::from(match error.kind() {
                    ErrorKind::Corrupt | ErrorKind::Incompatible => 1,
                    ErrorKind::Settings
                    | ErrorKind::Input
                    | ErrorKind::UserFunction
                    | ErrorKind::Storage
                    | ErrorKind::Cluster
                    | ErrorKind::Checkpoint
                    | ErrorKind::Internal => 2,
                })
            }
        }
    }
}
