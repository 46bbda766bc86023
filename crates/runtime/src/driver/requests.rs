//! What the driver is asked for from outside, and who waits for which answer.

use std::collections::BTreeMap;
use std::sync::mpsc::Sender;

use highwater_checkpoint::{CheckpointReport, Event, Outcome, Request, RequestId, RequestKind, SavepointLocation};
use highwater_core::{CheckpointId, Error, ErrorKind, Result};

use super::{Driver, End, Stopping};
use crate::checkpoint_io::Work;
use crate::client::{Answer, JobRequest, SavepointTarget, Taken};
use crate::control::Ending;
use crate::status::JobPhase;
use crate::wire::Order;

/// The requests of one attempt.
#[derive(Debug, Default)]
pub(crate) struct Requests {
    last_id: u64,
    waiting: BTreeMap<RequestId, Waiting>,
    /// Who asked for the end of the job, which is about to come, and hears of it then.
    ending: Vec<(Sender<Answer>, Option<Taken>)>,
    /// Where the savepoints of this attempt are.
    locations: BTreeMap<CheckpointId, SavepointLocation>,
    /// Whether sources were told to raise their watermark to the maximum: there is no way back from that.
    pub(super) draining: bool,
}

#[derive(Debug)]
struct Waiting {
    reply: Sender<Answer>,
    /// The storage of the savepoint.
    target: Option<String>,
}

impl Requests {
    /// A request that nobody waits for.
    pub(super) fn unattended(&mut self, kind: RequestKind) -> Request {
        self.last_id += 1;
        Request { id: RequestId(self.last_id), kind }
    }

    fn attended(&mut self, kind: RequestKind, reply: Sender<Answer>, target: Option<String>) -> Request {
        let request = self.unattended(kind);
        say(&reply, Answer::Accepted);
        self.waiting.insert(request.id, Waiting { reply, target });
        request
    }

    /// The folder of a savepoint has been created.
    pub(super) fn located(&mut self, id: CheckpointId, location: SavepointLocation) {
        self.locations.insert(id, location);
    }

    /// Where a savepoint is.
    pub(super) fn location(&self, id: CheckpointId) -> Option<&SavepointLocation> {
        self.locations.get(&id)
    }
}

impl Driver<'_> {
    /// Somebody asks for something.
    pub(super) fn take_request(&mut self, request: JobRequest, reply: Sender<Answer>) -> Result<()> {
        if !self.starting.is_empty() {
            say(&reply, failed("the job is starting: ask again when it runs"));
            return Ok(());
        }
        match request {
            JobRequest::Checkpoint => self.begin_checkpoint(RequestKind::Manual, None, reply),
            JobRequest::Savepoint(target) => self.begin_checkpoint(RequestKind::Savepoint, Some(target), reply),
            JobRequest::Stop { drain, savepoint } => {
                self.begin_stop(if drain { Ending::Drain } else { Ending::Suspend }, savepoint, reply)
            }
            // Those are not about one attempt, and the JobManager sees to them.
            JobRequest::Cancel | JobRequest::Rescale(_) => Ok(()),
        }
    }

    /// Passes a request on to the coordinator.
    fn begin_checkpoint(
        &mut self,
        kind: RequestKind,
        target: Option<SavepointTarget>,
        reply: Sender<Answer>,
    ) -> Result<()> {
        match self.target(target) {
            Ok(target) => {
                let request = self.requests.attended(kind, reply, target);
                self.coordinate(Event::Request(request))
            }
            Err(reason) => {
                say(&reply, failed(reason));
                Ok(())
            }
        }
    }

    /// The storage that a savepoint goes to.
    fn target(&self, target: Option<SavepointTarget>) -> Result<Option<String>, &'static str> {
        if self.checkpoints.is_none() {
            return Err("the job takes no checkpoints, and so no savepoints: start it with a checkpoint directory \
                        (--checkpoint-dir)");
        }
        let Some(target) = target else { return Ok(None) };
        let target = match target {
            SavepointTarget::Dir(dir) => Some(dir),
            SavepointTarget::Configured => self.savepoint_dir.clone(),
        };
        target
            .map(Some)
            .ok_or("there is no place for the savepoint: name a directory, or start the job with --savepoint-dir")
    }

    fn begin_stop(&mut self, ending: Ending, savepoint: Option<SavepointTarget>, reply: Sender<Answer>) -> Result<()> {
        if self.stopping.is_some() || self.sources.is_empty() {
            say(&reply, failed("the job is about to end already"));
            return Ok(());
        }
        let stopping = Stopping { ending, only_with_savepoint: savepoint.is_some(), signals: 0 };
        if savepoint.is_none() && self.checkpoints.is_none() {
            say(&reply, Answer::Accepted);
            self.requests.ending.push((reply, None));
            self.enter_stop(stopping);
            self.end_streams();
            return Ok(());
        }
        if let Err(reason) = self.target(savepoint.clone()) {
            say(&reply, failed(reason));
            return Ok(());
        }
        self.enter_stop(stopping);
        let kind = if savepoint.is_some() { RequestKind::FinalSavepoint } else { RequestKind::Final };
        self.begin_checkpoint(kind, savepoint, reply)
    }

    fn enter_stop(&mut self, stopping: Stopping) {
        tracing::info!(?stopping, "stop");
        self.status.enter(JobPhase::Stopping);
        self.stopping = Some(stopping);
    }

    /// Fixes the location of a checkpoint, or of the savepoint that a request asks for.
    pub(super) fn locate(&self, id: CheckpointId, savepoint: Option<RequestId>) {
        let target = savepoint.and_then(|request| self.requests.waiting.get(&request)?.target.clone());
        self.ask(match target {
            Some(target) => Work::LocateSavepoint { id, target },
            None => Work::Locate(id),
        });
        if let Some(waiting) = savepoint.and_then(|request| self.requests.waiting.get(&request)) {
            say(&waiting.reply, Answer::Started { checkpoint: id });
        }
    }

    /// The coordinator does not do what it was asked for.
    pub(super) fn refuse(&mut self, request: Request, why: &'static str) {
        match self.requests.waiting.remove(&request.id) {
            Some(waiting) => say(&waiting.reply, failed(why)),
            None => tracing::debug!(?request, why, "no checkpoint is taken"),
        }
    }

    /// Answers those who asked for the checkpoint that has ended.
    pub(super) fn answer(&mut self, report: &CheckpointReport) {
        for request in &report.requests {
            let Some(Waiting { reply, .. }) = self.requests.waiting.remove(request) else { continue };
            match self.outcome(report) {
                Ok(taken) if report.kind.is_final() => {
                    say(&reply, Answer::Ending(taken.clone()));
                    self.requests.ending.push((reply, Some(taken)));
                }
                Ok(taken) => say(&reply, Answer::Completed(Some(taken))),
                Err(reason) => say(&reply, failed(reason)),
            }
        }
    }

    fn outcome(&self, report: &CheckpointReport) -> Result<Taken, String> {
        let location = self.requests.location(report.id).map(ToString::to_string);
        let own = || self.checkpoints.as_ref().map(|checkpoints| checkpoints.store.path_of(report.id));
        let path = location.or_else(own).unwrap_or_default();
        let what = if report.kind.is_savepoint() { "savepoint" } else { "checkpoint" };
        match &report.outcome {
            Outcome::Completed => {
                Ok(Taken { checkpoint: report.id, path, bytes: report.bytes, duration: report.times.total() })
            }
            Outcome::Failed(reason) => Err(format!("{what} {} failed: {reason}", report.id)),
            Outcome::InDoubt { error } => {
                Err(format!("nobody knows whether {what} {path} exists, so look at it before it is used: {error}"))
            }
        }
    }

    /// The savepoint that the job was to end with has failed: it goes on as if nobody had asked.
    pub(super) fn go_on_without_savepoint(&mut self, report: &CheckpointReport) -> Result<()> {
        if self.requests.draining {
            let reason = self.outcome(report).err().unwrap_or_default();
            return Err(Error::new(
                ErrorKind::Checkpoint,
                format!("{reason}; the job was drained for it, and has to go back to its newest checkpoint"),
            ));
        }
        if self.stopping.is_some_and(|stopping| !stopping.only_with_savepoint) {
            // A last checkpoint was asked for as well, and comes next.
            return Ok(());
        }
        self.stopping = None;
        self.status.enter(JobPhase::Running);
        self.voice.say(Order::Resume);
        // The last source may have come to its end meanwhile.
        if self.sources.is_empty() { self.finish() } else { Ok(()) }
    }

    /// The attempt is over: whoever still waits hears how.
    pub(super) fn answer_the_rest(&mut self, end: &End) {
        let Requests { waiting, ending, .. } = std::mem::take(&mut self.requests);
        let reason = match end {
            End::Finished | End::Stopped => "the job has ended".to_owned(),
            End::Failed(error) | End::Unreachable(error, _) | End::Damaged(error) => {
                format!("the attempt failed: {error}")
            }
            End::Aborted(why) => format!("the attempt ended: {why}"),
        };
        for (reply, taken) in ending {
            match end {
                End::Finished | End::Stopped => say(&reply, Answer::Completed(taken)),
                End::Failed(_) | End::Unreachable(..) | End::Damaged(_) | End::Aborted(_) => {
                    say(&reply, failed(reason.as_str()))
                }
            }
        }
        waiting.into_values().for_each(|waiting| say(&waiting.reply, failed(reason.as_str())));
    }
}

fn failed(reason: impl Into<String>) -> Answer {
    Answer::Failed { reason: reason.into() }
}

/// Nobody has to listen.
fn say(reply: &Sender<Answer>, answer: Answer) {
    let _ = reply.send(answer);
}
