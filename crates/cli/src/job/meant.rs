//! Which job is meant, and the way to it: its socket, or the JobManager of its cluster.

use std::time::Duration;

use clap::Args;
use highwater_control::{Addresses, Answer, ClusterClient, Connection, Request, RunDir, RunningJob, Taken};
use highwater_core::{Error, ErrorKind, Result};
use serde::Serialize;

use crate::waiting::Waiting;

/// How long a leading JobManager is looked for: longer than the standbys take to agree on one.
const PATIENCE: Duration = Duration::from_secs(10);

/// Where running jobs are looked for.
#[derive(Debug, Args)]
pub(super) struct PlaceArgs {
    /// Directory of the jobs' control sockets, as in their own --run-dir (default: the user's own)
    #[arg(long, value_name = "DIR", env = "HIGHWATER_RUN_DIR")]
    run_dir: Option<String>,

    #[command(flatten)]
    cluster: ClusterArgs,
}

/// Which cluster.
#[derive(Debug, Args)]
pub(super) struct ClusterArgs {
    /// JobManagers of a cluster, as host:port with commas between them: asks the one that leads, instead of a job of this user
    #[arg(long, value_name = "ADDR", env = "HIGHWATER_JOBMANAGER")]
    jobmanager: Option<String>,
}

/// Which running job is meant.
#[derive(Debug, Args)]
pub(super) struct JobArgs {
    /// The job: its name, its name with its process as in visitors-1234, or the path of its socket
    job: String,

    #[command(flatten)]
    place: PlaceArgs,
}

/// Where jobs are.
pub(super) enum Place {
    Here(RunDir),
    Cluster(ClusterClient),
}

/// A job that can be asked.
pub(super) enum Job {
    Here(RunningJob),
    Cluster { client: Box<ClusterClient>, name: String },
}

/// What a job has done, as a document.
#[derive(Debug, Serialize)]
pub(super) struct Done {
    job: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pid: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    jobmanager: Option<String>,
    pub taken: Option<Taken>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pause_ms: Option<u64>,
}

impl ClusterArgs {
    fn client(&self) -> Result<Option<ClusterClient>> {
        let given = self.jobmanager.as_deref().filter(|addresses| !addresses.is_empty());
        given.map(|addresses| ClusterClient::new(Addresses::parse(addresses)?, PATIENCE)).transpose()
    }

    /// For a question that only a cluster can be asked.
    pub fn required(&self) -> Result<ClusterClient> {
        let missing =
            || Error::settings("only a cluster has TaskManagers: name its JobManagers with --jobmanager ADDR[,ADDR..]");
        self.client()?.ok_or_else(missing)
    }
}

impl PlaceArgs {
    pub fn find(&self) -> Result<Place> {
        let here = || Place::Here(RunDir::at(self.run_dir.as_deref().filter(|dir| !dir.is_empty())));
        Ok(self.cluster.client()?.map_or_else(here, Place::Cluster))
    }
}

impl JobArgs {
    pub fn find(&self) -> Result<Job> {
        match self.place.find()? {
            Place::Here(dir) => dir.find(&self.job).map(Job::Here),
            Place::Cluster(client) => Ok(Job::Cluster { client: Box::new(client), name: self.job.clone() }),
        }
    }
}

impl Job {
    /// For people: a name that is its own.
    fn full_name(&self) -> String {
        match self {
            Job::Here(job) => job.full_name(),
            Job::Cluster { name, .. } => name.clone(),
        }
    }

    /// Asks the job for a checkpoint, a savepoint, its end or another parallelism, and says on standard error how far it is with
    /// `what`.
    ///
    /// # Errors
    /// If the job does not do it, or ends without an answer.
    pub fn ask(&mut self, request: &Request, what: &str) -> Result<Done> {
        let name = self.full_name();
        let waiting = Waiting::start(format!("asking {name} for {what}"));
        match self {
            Job::Here(job) => {
                let mut connection = Connection::open(&job.socket)?;
                let (taken, pause_ms) = follow(connection.ask(request)?, &name, what, waiting)?;
                Ok(Done { job: job.name.clone(), pid: Some(job.pid), jobmanager: None, taken, pause_ms })
            }
            Job::Cluster { client, name } => {
                let (taken, pause_ms) = follow(client.ask(name, request)?, name, what, waiting)?;
                let jobmanager = Some(client.addresses().to_string());
                Ok(Done { job: name.clone(), pid: None, jobmanager, taken, pause_ms })
            }
        }
    }
}

/// Follows the answers to the last.
fn follow(
    answers: impl Iterator<Item = Result<Answer>>,
    name: &str,
    what: &str,
    mut waiting: Waiting,
) -> Result<(Option<Taken>, Option<u64>)> {
    let mut last: Option<Taken> = None;
    for answer in answers {
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
            Answer::Completed { taken, pause_ms } => return Ok((taken, pause_ms)),
            Answer::Failed { reason } => {
                return Err(Error::new(ErrorKind::Checkpoint, format!("{name} has not done it: {reason}")));
            }
            // Of a newer version, or none that was asked for.
            Answer::Status(_) | Answer::Unknown => {}
        }
    }
    Err(Error::new(ErrorKind::Cluster, format!("{name} did not answer to the end")))
}
