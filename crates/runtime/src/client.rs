//! Asking a running job for something from another thread: a checkpoint, a savepoint, a stop.
//!
//! Invariants: every request is answered, last and once with [`Answer::Completed`] or [`Answer::Failed`], whatever becomes of the
//! job; nobody has to listen.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind, Parallelism, Result};

use crate::control::{Signal, lock};
use crate::status::{JobPhase, JobStatus};

/// What a running job can be asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum JobRequest {
    /// A checkpoint now.
    Checkpoint,
    /// A savepoint; the job goes on.
    Savepoint(SavepointTarget),
    /// The end of the job, with everything up to it committed.
    Stop {
        /// Whether the sources end as if their input had: the watermark passes all time and event-time timers fire. Without, the job
        /// can be resumed exactly.
        drain: bool,
        /// Where the savepoint goes that it ends with, in the place of a last checkpoint.
        savepoint: Option<SavepointTarget>,
    },
    /// The end of the job at once, without a last checkpoint.
    Cancel,
    /// Another parallelism, from the next checkpoint on; the job goes on.
    Rescale(Parallelism),
}

/// The directory in which a savepoint gets a folder of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SavepointTarget {
    /// [`JobConfig::savepoint_dir`](crate::JobConfig::savepoint_dir).
    #[default]
    Configured,
    /// This path or URI.
    Dir(String),
}

/// What a request is answered with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The job does what it was asked for.
    Accepted,
    /// The checkpoint or savepoint has begun.
    Started {
        /// Its number.
        checkpoint: CheckpointId,
    },
    /// The last checkpoint or savepoint exists; the job is about to end.
    Ending(Taken),
    /// It is done. A job that was asked to stop has ended.
    Completed(Option<Taken>),
    /// The job runs with the parallelism that was asked for.
    Rescaled {
        /// How long no records flowed for it.
        pause: Duration,
    },
    /// It was not done, and will not be. A job that was asked to stop goes on, or has failed.
    Failed {
        /// Why, and what to do.
        reason: String,
    },
}

/// A checkpoint or savepoint that was taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub checkpoint: CheckpointId,
    /// Its folder.
    pub path: String,
    /// Bytes that were written for it.
    pub bytes: u64,
    /// How long it took.
    pub duration: Duration,
}

/// A way to ask a job, from any thread and at any time.
#[derive(Clone, Debug, Default)]
pub struct JobClient {
    driver: Arc<Mutex<Option<Sender<Signal>>>>,
    status: Arc<JobStatus>,
}

/// The answers to one request.
#[derive(Debug)]
pub struct Answers {
    receiver: Receiver<Answer>,
    is_over: bool,
}

impl JobClient {
    /// A client of the job that shows itself in `status`.
    pub fn new(status: Arc<JobStatus>) -> Self {
        JobClient { driver: Arc::default(), status }
    }

    /// The job's numbers.
    pub fn status(&self) -> &Arc<JobStatus> {
        &self.status
    }

    /// Asks for something. A job that does not run answers at once with what it does instead.
    pub fn ask(&self, request: JobRequest) -> Answers {
        let (reply, receiver) = channel();
        let refuse = |reason: &str| drop(reply.send(Answer::Failed { reason: reason.to_owned() }));
        match (&*lock(&self.driver), self.status.phase()) {
            // An attempt may be over before it hears of this: then the way to the receiver is dropped, which is an answer too.
            (Some(driver), phase)
                if matches!(phase, JobPhase::Running | JobPhase::Stopping)
                    || (request == JobRequest::Cancel && phase != JobPhase::Ended) =>
            {
                let _ = driver.send(Signal::Request { request, reply: reply.clone() });
            }
            (_, JobPhase::Waiting) => {
                refuse("the job waits for TaskManagers or for its storage: ask again when it runs")
            }
            (_, JobPhase::Starting) => refuse("the job is starting: ask again when it runs"),
            (_, JobPhase::Restarting) => refuse("the job is restarting after a failure: ask again when it runs"),
            (_, JobPhase::Running | JobPhase::Stopping | JobPhase::Ended) => refuse("the job has ended"),
        }
        Answers { receiver, is_over: false }
    }

    /// Takes a savepoint and returns its path; the job goes on.
    ///
    /// # Errors
    /// If it could not be taken, which leaves the job as it was.
    pub fn savepoint(&self, target: SavepointTarget) -> Result<String> {
        self.ask(JobRequest::Savepoint(target)).path()
    }

    /// Ends the job with a savepoint and returns its path.
    ///
    /// # Errors
    /// If it could not be taken: then the job goes on; one that was to be drained restarts from its newest checkpoint.
    pub fn stop_with_savepoint(&self, target: SavepointTarget, drain: bool) -> Result<String> {
        self.ask(JobRequest::Stop { drain, savepoint: Some(target) }).path()
    }

    /// Has later requests sent to the driver of an attempt; to nobody between attempts.
    pub(crate) fn connect(&self, driver: Option<Sender<Signal>>) {
        *lock(&self.driver) = driver;
    }
}

impl From<Answer> for highwater_control::Answer {
    fn from(answer: Answer) -> Self {
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let taken = |taken: Taken| highwater_control::Taken {
            checkpoint: taken.checkpoint.0,
            path: taken.path,
            bytes: taken.bytes,
            duration_ms: millis(taken.duration),
        };
        match answer {
            Answer::Accepted => Self::Accepted,
            Answer::Started { checkpoint } => Self::Started { checkpoint: checkpoint.0 },
            Answer::Ending(last) => Self::Ending { taken: taken(last) },
            Answer::Completed(done) => Self::Completed { taken: done.map(taken), pause_ms: None },
            Answer::Rescaled { pause } => Self::Completed { taken: None, pause_ms: Some(millis(pause)) },
            Answer::Failed { reason } => Self::Failed { reason },
        }
    }
}

impl Answers {
    fn path(self) -> Result<String> {
        let failed = |reason: String| Error::new(ErrorKind::Checkpoint, reason);
        match self.last() {
            Some(Answer::Completed(Some(taken))) => Ok(taken.path),
            Some(Answer::Failed { reason }) => Err(failed(reason)),
            Some(_) | None => Err(failed("the job has ended without a savepoint".to_owned())),
        }
    }
}

impl Iterator for Answers {
    type Item = Answer;

    /// Waits for the next answer; none after the last.
    fn next(&mut self) -> Option<Answer> {
        if self.is_over {
            return None;
        }
        let lost = |_| Answer::Failed { reason: "the attempt ended before it could be done".to_owned() };
        let answer = self.receiver.recv().unwrap_or_else(lost);
        self.is_over = matches!(answer, Answer::Completed(_) | Answer::Failed { .. });
        Some(answer)
    }
}
