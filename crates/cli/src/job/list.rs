//! `highwater list`

use clap::Args;
use highwater_control::proto::v1;
use highwater_control::{RunningJob, Status};
use serde::Serialize;

use super::cluster::ClusterJob;
use super::info::status;
use super::meant::{Place, PlaceArgs};
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::table::Table;

/// Where jobs are listed.
#[derive(Debug, Args)]
pub struct ListArgs {
    #[command(flatten)]
    place: PlaceArgs,
}

#[derive(Debug, Serialize)]
struct Listing {
    jobs: Vec<Listed>,
}

/// A job that listens.
#[derive(Debug, Serialize)]
struct Listed {
    job: String,
    pid: u32,
    socket: String,
    /// `null` if it does not say.
    status: Option<Status>,
    /// Why it does not say.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
}

/// Runs the command.
pub fn run(args: &ListArgs, out: &mut Output) -> Result<Finding, Failure> {
    let dir = match args.place.find()? {
        Place::Here(dir) => dir,
        Place::Cluster(mut client) => return cluster(client.jobs()?, out),
    };
    let listing = Listing { jobs: dir.jobs()?.iter().map(Listed::of).collect() };
    if out.is_json() {
        out.document(&listing)?;
    } else if listing.jobs.is_empty() {
        out.line(format!("no jobs are running in {}", dir.path().display()))?;
    } else {
        out.table(&listing.table())?;
    }
    Ok(Finding::Fine)
}

#[derive(Serialize)]
struct ClusterListing {
    jobs: Vec<ClusterJob>,
}

/// The jobs of a cluster.
fn cluster(jobs: Vec<v1::Job>, out: &mut Output) -> Result<Finding, Failure> {
    let jobs: Vec<_> = jobs.into_iter().map(ClusterJob::from).collect();
    if out.is_json() {
        out.document(&ClusterListing { jobs })?;
        return Ok(Finding::Fine);
    }
    let header = ["JOB", "PHASE", "PARALLELISM", "ATTEMPTS", "RESTARTS", "CHECKPOINTS", "FAILED", "SAVEPOINTS"];
    let mut table = Table::new(header);
    for job in jobs {
        let numbers = [job.attempts, job.restarts, job.checkpoints_completed, job.checkpoints_failed, job.savepoints];
        let [attempts, restarts, completed, failed, savepoints] = numbers.map(|number| number.to_string());
        table.row([job.job, job.phase, job.parallelism.to_string(), attempts, restarts, completed, failed, savepoints]);
    }
    out.table(&table)?;
    Ok(Finding::Fine)
}

impl Listed {
    fn of(found: &RunningJob) -> Self {
        let (job, pid, socket) = (found.name.clone(), found.pid, found.socket.display().to_string());
        let (status, reason) = match status(found) {
            Ok(status) => (Some(status), None),
            Err(error) => (None, Some(error.to_string())),
        };
        Listed { job, pid, socket, status, reason }
    }
}

impl Listing {
    fn table(&self) -> Table {
        let header = ["JOB", "PID", "PHASE", "ATTEMPTS", "RECORDS", "CHECKPOINTS", "FAILED", "LAST", "SAVEPOINTS"];
        let mut table = Table::new(header);
        for Listed { job, pid, status, reason, .. } in &self.jobs {
            let (job, pid) = (job.clone(), pid.to_string());
            table.row(match status {
                Some(status) => [
                    job,
                    pid,
                    status.phase.clone(),
                    status.attempts.to_string(),
                    status.records.to_string(),
                    status.checkpoints_completed.to_string(),
                    status.checkpoints_failed.to_string(),
                    status.last_checkpoint.map_or("-".to_owned(), |id| id.to_string()),
                    status.savepoints.to_string(),
                ],
                None => {
                    let why = format!("unknown: {}", reason.as_deref().unwrap_or_default());
                    let none = String::new;
                    [job, pid, why, none(), none(), none(), none(), none(), none()]
                }
            });
        }
        table
    }
}
