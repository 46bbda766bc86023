//! The end of a client: asks the JobManager that leads.
//!
//! Invariant: what is asked for is asked for once. Only the search for the leader is repeated; a call whose connection broke may
//! have been heard, and is an error that says so.

use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Response, Status, Streaming};

use crate::endpoint::{Addresses, Round, Unanswered, connect, words};
use crate::network::{Network, OPENING};
use crate::proto::v1;
use crate::proto::v1::jobs_client::JobsClient;
use crate::protocol::{Answer, Request, Savepoint};

/// Between two rounds over all addresses.
const PAUSE: Duration = Duration::from_millis(100);

/// A client's way to a cluster.
#[derive(Debug)]
pub struct ClusterClient {
    network: Network,
    addresses: Addresses,
    patience: Duration,
    /// Who led when it was last heard of.
    leader: Option<String>,
}

/// The answers to a request to a cluster.
#[derive(Debug)]
pub struct ClusterAnswers {
    network: Network,
    stream: Streaming<v1::Answer>,
    is_over: bool,
}

impl ClusterClient {
    /// To the cluster of the JobManagers at `addresses`, whose leader is looked for as long as `patience`.
    ///
    /// # Errors
    /// If the system has no threads.
    pub fn new(addresses: Addresses, patience: Duration) -> Result<Self> {
        Ok(ClusterClient { network: Network::start()?, addresses, patience, leader: None })
    }

    /// Its JobManagers, as they were given.
    pub fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Its jobs.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn jobs(&mut self) -> Result<Vec<v1::Job>> {
        let listed = self.call(async |mut client| client.list_jobs(v1::ListJobsRequest {}).await)?;
        Ok(listed.jobs)
    }

    /// How a job goes, with so many of its newest checkpoints; an empty name means the only job.
    ///
    /// # Errors
    /// If nobody answers, or there is no such job.
    pub fn job(&mut self, job: &str, checkpoints: u32) -> Result<v1::Job> {
        let request = v1::GetJobRequest { job: job.to_owned(), checkpoints };
        self.call(async |mut client| client.get_job(request.clone()).await)
    }

    /// The TaskManagers.
    ///
    /// # Errors
    /// If nobody answers.
    pub fn task_managers(&mut self) -> Result<Vec<v1::TaskManager>> {
        let request = v1::ListTaskManagersRequest {};
        Ok(self.call(async |mut client| client.list_task_managers(request).await)?.task_managers)
    }

    /// Asks a job for something other than its status; an empty name means the only job. The answers come as they are given, the
    /// last one last.
    ///
    /// # Errors
    /// If nobody answers, there is no such job, or it is refused.
    pub fn ask(&mut self, job: &str, request: &Request) -> Result<ClusterAnswers> {
        let job = || job.to_owned();
        let target = |savepoint: &Savepoint| savepoint.target.clone().unwrap_or_default();
        let stream = match request {
            Request::Status {} => return Err(Error::internal("the status of a job in a cluster is asked for by name")),
            Request::Checkpoint {} => {
                let request = v1::TriggerCheckpointRequest { job: job() };
                self.call(async |mut client| client.trigger_checkpoint(request.clone()).await)
            }
            Request::Savepoint(savepoint) => {
                let request = v1::TriggerSavepointRequest { job: job(), target: target(savepoint) };
                self.call(async |mut client| client.trigger_savepoint(request.clone()).await)
            }
            Request::Stop { drain, savepoint } => {
                let savepoint = savepoint.as_ref().map(|last| v1::StopSavepoint { target: target(last) });
                let request = v1::StopJobRequest { job: job(), drain: *drain, savepoint };
                self.call(async |mut client| client.stop_job(request.clone()).await)
            }
            Request::Cancel {} => {
                let request = v1::CancelJobRequest { job: job() };
                self.call(async |mut client| client.cancel_job(request.clone()).await)
            }
            Request::Rescale { parallelism } => {
                let request = v1::RescaleJobRequest { job: job(), parallelism: *parallelism };
                self.call(async |mut client| client.rescale_job(request.clone()).await)
            }
        }?;
        Ok(ClusterAnswers { network: self.network.clone(), stream, is_over: false })
    }

    /// Calls the leader, once it is found.
    fn call<T>(&mut self, call: impl AsyncFn(JobsClient<Channel>) -> Result<Response<T>, Status>) -> Result<T> {
        let network = self.network.clone();
        network.handle().block_on(async {
            let began = Instant::now();
            loop {
                let mut round = Round::new(&self.addresses, self.leader.as_deref());
                while let Some(address) = round.next() {
                    match try_at(&address, &call).await {
                        Ok(answer) => {
                            self.leader = Some(address);
                            return answer;
                        }
                        Err(why) => round.failed(address, why),
                    }
                }
                self.leader = None;
                let searched = began.elapsed();
                if searched >= self.patience {
                    return Err(round.nobody(&self.addresses, searched));
                }
                sleep(PAUSE).await;
            }
        })
    }
}

/// Calls the JobManager at `address`: the answer of a leader, or why it is none.
async fn try_at<T>(
    address: &str,
    call: &impl AsyncFn(JobsClient<Channel>) -> Result<Response<T>, Status>,
) -> Result<Result<T>, Unanswered> {
    let client = JobsClient::new(connect(address).await?);
    let failed = |kind: ErrorKind, words: &str| Err(Error::new(kind, words.to_owned()));
    let status = match timeout(OPENING, call(client)).await {
        Ok(Ok(answer)) => return Ok(Ok(answer.into_inner())),
        Ok(Err(status)) => status,
        Err(_) => {
            return Ok(failed(
                ErrorKind::Cluster,
                &format!("the JobManager at {address} does not answer: is it halted?"),
            ));
        }
    };
    match (status.code(), Unanswered::from(status)) {
        (_, standby @ Unanswered::Standby(_)) => Err(standby),
        (Code::NotFound | Code::FailedPrecondition | Code::InvalidArgument, Unanswered::Answered(status)) => {
            Ok(failed(ErrorKind::Settings, status.message()))
        }
        (_, Unanswered::Answered(status)) => {
            Ok(failed(ErrorKind::Cluster, &format!("the JobManager at {address} {}", words(&status))))
        }
        (_, Unanswered::Failed(why)) => Ok(failed(
            ErrorKind::Cluster,
            &format!(
                "the connection to the JobManager at {address} broke ({why}): it may have heard what it was asked for"
            ),
        )),
    }
}

impl Iterator for ClusterAnswers {
    type Item = Result<Answer>;

    /// Waits for the next answer; none after the last.
    fn next(&mut self) -> Option<Result<Answer>> {
        if self.is_over {
            return None;
        }
        let answer = match self.network.handle().block_on(self.stream.message()) {
            Ok(Some(answer)) => Answer::try_from(answer),
            Ok(None) => Err(Error::new(ErrorKind::Cluster, "the JobManager ended without an answer")),
            Err(status) => {
                let message = format!("the JobManager is lost ({}): ask the next one how the job goes", words(&status));
                Err(Error::new(ErrorKind::Cluster, message))
            }
        };
        self.is_over = answer.as_ref().map_or(true, Answer::is_last);
        Some(answer)
    }
}
