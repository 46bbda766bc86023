//! The calls of clients.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request as Call, Response, Status};

use super::service::Calls;
use super::{JobManagerHandler, Rejection};
use crate::proto::v1;
use crate::proto::v1::jobs_server::Jobs;
use crate::protocol::{Answer, Request, Savepoint};

/// More answers than a request has.
const ANSWERS: usize = 16;

/// Where the answers to a request go. The last one is [`Answer::Completed`] or [`Answer::Failed`].
#[derive(Clone, Debug)]
pub struct Answers(mpsc::Sender<Result<v1::Answer, Status>>);

impl Answers {
    /// Answers, without waiting. A client that is gone needs no answer.
    pub fn send(&self, answer: Answer) {
        let _ = self.0.try_send(Ok(answer.into()));
    }
}

type AnswerStream = ReceiverStream<Result<v1::Answer, Status>>;

impl Calls {
    /// The handler may take its time.
    async fn handle<T: Send + 'static>(
        &self,
        call: impl FnOnce(&dyn JobManagerHandler) -> Result<T, Rejection> + Send + 'static,
    ) -> Result<T, Status> {
        let handler = Arc::clone(&self.0.handler);
        let handled = tokio::task::spawn_blocking(move || call(&*handler)).await;
        handled.map_err(|_| Status::internal("the JobManager failed over this call"))?.map_err(Status::from)
    }

    async fn ask(&self, job: &str, request: Request) -> Result<Response<AnswerStream>, Status> {
        self.check(job)?;
        let (sender, answers) = mpsc::channel(ANSWERS);
        self.handle(move |handler| handler.ask(request, Answers(sender))).await?;
        Ok(Response::new(ReceiverStream::new(answers)))
    }

    fn check(&self, job: &str) -> Result<(), Status> {
        let ours = &self.0.identity.job;
        if job.is_empty() || job == ours {
            return Ok(());
        }
        Err(Status::not_found(format!("no job named {job} is in this cluster: its job is {ours}")))
    }
}

fn savepoint(target: String) -> Savepoint {
    Savepoint { target: Some(target).filter(|target| !target.is_empty()) }
}

#[tonic::async_trait]
impl Jobs for Calls {
    type TriggerCheckpointStream = AnswerStream;
    type TriggerSavepointStream = AnswerStream;
    type StopJobStream = AnswerStream;
    type CancelJobStream = AnswerStream;
    type RescaleJobStream = AnswerStream;

    async fn list_jobs(&self, _: Call<v1::ListJobsRequest>) -> Result<Response<v1::ListJobsResponse>, Status> {
        let job = self.handle(|handler| handler.job(0)).await?;
        Ok(Response::new(v1::ListJobsResponse { jobs: vec![job] }))
    }

    async fn get_job(&self, call: Call<v1::GetJobRequest>) -> Result<Response<v1::Job>, Status> {
        let v1::GetJobRequest { job, checkpoints } = call.into_inner();
        self.check(&job)?;
        let checkpoints = usize::try_from(checkpoints).unwrap_or(usize::MAX);
        self.handle(move |handler| handler.job(checkpoints)).await.map(Response::new)
    }

    async fn list_task_managers(
        &self,
        _: Call<v1::ListTaskManagersRequest>,
    ) -> Result<Response<v1::ListTaskManagersResponse>, Status> {
        let task_managers = self.handle(|handler| handler.task_managers()).await?;
        Ok(Response::new(v1::ListTaskManagersResponse { task_managers }))
    }

    async fn trigger_checkpoint(
        &self,
        call: Call<v1::TriggerCheckpointRequest>,
    ) -> Result<Response<AnswerStream>, Status> {
        self.ask(&call.into_inner().job, Request::Checkpoint {}).await
    }

    async fn trigger_savepoint(
        &self,
        call: Call<v1::TriggerSavepointRequest>,
    ) -> Result<Response<AnswerStream>, Status> {
        let v1::TriggerSavepointRequest { job, target } = call.into_inner();
        self.ask(&job, Request::Savepoint(savepoint(target))).await
    }

    async fn stop_job(&self, call: Call<v1::StopJobRequest>) -> Result<Response<AnswerStream>, Status> {
        let v1::StopJobRequest { job, drain, savepoint: last } = call.into_inner();
        self.ask(&job, Request::Stop { drain, savepoint: last.map(|last| savepoint(last.target)) }).await
    }

    async fn cancel_job(&self, call: Call<v1::CancelJobRequest>) -> Result<Response<AnswerStream>, Status> {
        self.ask(&call.into_inner().job, Request::Cancel {}).await
    }

    async fn rescale_job(&self, call: Call<v1::RescaleJobRequest>) -> Result<Response<AnswerStream>, Status> {
        let v1::RescaleJobRequest { job, parallelism } = call.into_inner();
        if parallelism == 0 {
            return Err(Status::invalid_argument("a parallelism of 0 is none: a job has at least one worker"));
        }
        self.ask(&job, Request::Rescale { parallelism }).await
    }
}
