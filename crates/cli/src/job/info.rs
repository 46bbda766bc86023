//! `highwater info`

use std::time::Duration;

use clap::Args;
use highwater_control::{Answer, Connection, Request, RunningJob, Status};
use highwater_core::{Error, ErrorKind, Result};

use super::cluster::ClusterJob;
use super::meant::{Job, JobArgs};
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// A job answers this question at once, whatever it is doing: one that takes longer is stopped or in trouble.
const PATIENCE: Duration = Duration::from_secs(2);

/// Which job.
#[derive(Debug, Args)]
pub struct InfoArgs {
    #[command(flatten)]
    job: JobArgs,

    /// In a cluster, how many of the newest checkpoints are shown
    #[arg(long, value_name = "COUNT", default_value_t = 10)]
    checkpoints: u32,
}

/// Runs the command.
pub fn run(args: &InfoArgs, out: &mut Output) -> Result<Finding, Failure> {
    let job = match args.job.find()? {
        Job::Here(job) => job,
        Job::Cluster { mut client, name } => {
            let job = ClusterJob::from(client.job(&name, args.checkpoints)?);
            return match out.is_json() {
                true => Ok(out.document(&job).map(|()| Finding::Fine)?),
                false => Ok(job.show(out).map(|()| Finding::Fine)?),
            };
        }
    };
    let status = status(&job)?;
    if out.is_json() {
        out.document(&status)?;
        return Ok(Finding::Fine);
    }
    let none = || "none".to_owned();
    for (what, value) in [
        ("job", status.job),
        ("process", status.pid.to_string()),
        ("socket", job.socket.display().to_string()),
        ("phase", status.phase),
        ("attempts", status.attempts.to_string()),
        ("records", status.records.to_string()),
        ("checkpoints", format!("{} completed, {} failed", status.checkpoints_completed, status.checkpoints_failed)),
        ("last checkpoint", status.last_checkpoint.map_or_else(none, |id| id.to_string())),
        ("savepoints", status.savepoints.to_string()),
        ("restored from", status.restored.unwrap_or_else(none)),
    ] {
        out.line(format!("{what:16} {value}"))?;
    }
    Ok(Finding::Fine)
}

/// How a job goes.
///
/// # Errors
/// If it does not say.
pub(super) fn status(job: &RunningJob) -> Result<Status> {
    let mut connection = Connection::open(&job.socket)?;
    connection.wait_at_most(PATIENCE)?;
    for answer in connection.ask(&Request::Status {})? {
        match answer? {
            Answer::Status(status) => return Ok(status),
            Answer::Failed { reason } => return Err(Error::new(ErrorKind::Cluster, reason)),
            Answer::Accepted
            | Answer::Started { .. }
            | Answer::Ending { .. }
            | Answer::Completed { .. }
            | Answer::Unknown => {}
        }
    }
    Err(Error::new(ErrorKind::Cluster, format!("{} does not say how it goes", job.full_name())))
}
