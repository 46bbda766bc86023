//! Running jobs: which there are, and what they are asked for over their control sockets.
//!
//! What a job has begun it finishes, also if this command ends before.

mod info;
mod list;
mod savepoint;
mod stop;

use std::path::Path;

use clap::Args;
use highwater_control::{Answer, Connection, Request, RunDir, RunningJob, Taken};
use highwater_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::waiting::Waiting;

pub use info::{InfoArgs, run as info};
pub use list::{ListArgs, run as list};
pub use savepoint::{SavepointArgs, TriggerArgs, run as savepoint, trigger};
pub use stop::{StopArgs, run as stop};

/// Where running jobs are looked for.
#[derive(Debug, Args)]
struct RunDirArgs {
    /// Directory of the jobs' control sockets, as in their own --run-dir (default: the user's own)
    #[arg(long, value_name = "DIR", env = "HIGHWATER_RUN_DIR")]
    run_dir: Option<String>,
}

impl RunDirArgs {
    fn dir(&self) -> RunDir {
        RunDir::at(self.run_dir.as_deref().filter(|dir| !dir.is_empty()))
    }
}

/// Which running job is meant.
#[derive(Debug, Args)]
struct JobArgs {
    /// The job: its name, its name with its process as in visitors-1234, or the path of its socket
    job: String,

    #[command(flatten)]
    run_dir: RunDirArgs,
}

impl JobArgs {
    fn find(&self) -> Result<RunningJob> {
        self.run_dir.dir().find(&self.job)
    }
}

/// What a job has done, as a document.
#[derive(Debug, Serialize)]
struct Done {
    job: String,
    pid: u32,
    taken: Option<Taken>,
}

/// Asks `job` for a checkpoint, a savepoint or its end, and says on standard error how far it is with `what`.
///
/// # Errors
/// If the job does not do it, or ends without an answer.
fn ask(job: &RunningJob, request: &Request, what: &str) -> Result<Option<Taken>> {
    let name = job.full_name();
    let mut waiting = Waiting::start(format!("asking {name} for {what}"));
    let mut connection = Connection::open(&job.socket)?;
    let mut last: Option<Taken> = None;
    for answer in connection.ask(request)? {
        let answer = answer.map_err(|error| match &last {
            Some(taken) => {
                error.context(format!("{} exists, but {name} did not say whether all went well", taken.path))
            }
            None => error,
        })?;
        match answer {
            Answer::Accepted => waiting.say(format!("{name} goes about {what}")),
            Answer::Started { checkpoint } => waiting.say(format!("{name} takes {what}, number {checkpoint}")),
            Answer::Ending { taken } => {
                waiting.say(format!("{name} is ending"));
                last = Some(taken);
            }
            Answer::Completed { taken } => return Ok(taken),
            Answer::Failed { reason } => {
                return Err(Error::new(ErrorKind::Checkpoint, format!("{name} has not done it: {reason}")));
            }
            // Of a newer version, or none that was asked for.
            Answer::Status(_) | Answer::Unknown => {}
        }
    }
    Err(Error::new(ErrorKind::Cluster, format!("{name} did not answer to the end")))
}

/// The directory that the job is to use: it has a working directory of its own.
fn target(dir: &str) -> Result<String> {
    if dir.contains("://") || dir == "memory:" {
        return Ok(dir.to_owned());
    }
    let absolute = std::path::absolute(Path::new(dir)).map_err(|error| {
        Error::new(ErrorKind::Settings, format!("directory {dir:?} for the savepoint is not usable")).with_source(error)
    })?;
    match absolute.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(path) => Err(Error::settings(format!("directory {path:?} for the savepoint is not UTF-8"))),
    }
}
