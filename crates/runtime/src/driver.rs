//! The driver of one attempt: carries out what the coordinator decides, and ends the attempt one way or the other.
//!
//! It belongs to the JobManager, which passes it the [`Signal`]s that are about the attempt. What it says goes through [`Voice`], to the
//! processes of the attempt.

mod requests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::{
    CheckpointKind, CheckpointReport, Command, Coordinator, Event, FailureReason, Outcome, RequestKind,
};
use highwater_core::{CheckpointId, Clock, Error, ErrorKind, Result, TaskId};
use highwater_jobmaster::TaskManagerId;
use highwater_storage::{JobStore, SnapshotDir};

pub(crate) use self::requests::Requests;
use crate::checkpoint_io::{CheckpointIo, Work};
use crate::control::{Ending, Signal, TaskEvent, Trigger};
use crate::job::stopped_at_once;
use crate::link::Link;
use crate::restore::StateTimes;
use crate::status::{JobPhase, JobStatus};
use crate::wire::Order;

/// How an attempt ended.
#[derive(Debug)]
pub(crate) enum End {
    /// All input was read and all output committed.
    Finished,
    /// A stop was asked for, and everything up to it is in a completed checkpoint and committed.
    Stopped,
    /// What was to be restored is damaged; nothing has run, and nobody has seen anything of it.
    Damaged(Error),
    /// It failed.
    Failed(Error),
    /// It could not begin: who does not reach whom.
    Unreachable(Error, Vec<(TaskManagerId, TaskManagerId)>),
    /// The JobMaster has ended it, for this reason.
    Aborted(String),
}

/// Says the same to all processes of the attempt.
pub(crate) struct Voice(pub Vec<Arc<dyn Link>>);

impl Voice {
    fn say(&self, order: Order) {
        self.0.iter().for_each(|link| link.send(order.clone()));
    }
}

/// Checkpointing of one attempt: absent if the job has none.
pub(crate) struct Checkpoints {
    pub coordinator: Coordinator,
    pub io: CheckpointIo,
    pub store: Arc<JobStore>,
}

/// A stop that is under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stopping {
    /// What it leaves behind.
    pub ending: Ending,
    /// Whether the job goes on if it fails: it is to end with a savepoint, and nobody has asked for less.
    pub only_with_savepoint: bool,
    /// How often a signal or a stop handle asked for it.
    pub signals: u32,
}

/// What earlier attempts have left behind.
pub(crate) struct Tidy {
    /// Checkpoints of a course that the job does not go on with.
    pub superseded: Vec<CheckpointId>,
    /// The snapshot that was restored, if it is the job's to delete.
    pub claimed: Option<SnapshotDir>,
    /// Checkpoints before this one are not of this attempt.
    pub before: CheckpointId,
}

/// Drives one attempt.
pub(crate) struct Driver<'a> {
    pub voice: Voice,
    pub clock: Arc<dyn Clock>,
    pub checkpoints: Option<Checkpoints>,
    pub status: &'a JobStatus,
    /// Where savepoints go whose request does not say.
    pub savepoint_dir: Option<String>,
    /// Sources that have not yet read everything.
    pub sources: BTreeSet<TaskId>,
    /// Workers of the whole job whose state is not yet known to be good: none if nothing is restored.
    pub restoring: BTreeSet<u32>,
    /// Workers of the whole job that have not yet said that they are ready.
    pub starting: BTreeSet<u32>,
    /// Workers of the whole job that have not yet finished.
    pub running: BTreeSet<u32>,
    /// Since when all tasks run; or when one failed that had been running before the others were.
    pub running_since: Option<Duration>,
    /// What to tidy up when a checkpoint of this attempt has completed.
    pub tidy: Option<Tidy>,
    /// Whether the streams have been told to end.
    pub finishing: bool,
    /// Whether a stop was asked for.
    pub stopping: Option<Stopping>,
    /// Who asked for what, and waits for answers.
    pub requests: Requests,
}

impl Driver<'_> {
    /// When a [tick](Event::Tick) is wanted, if nothing comes before.
    pub fn next_wake(&self) -> Option<Duration> {
        self.checkpoints.as_ref()?.coordinator.next_wake()
    }

    /// Takes a signal that is about the attempt; how the attempt has ended, if it has.
    ///
    /// # Errors
    /// If it has failed.
    pub fn handle(&mut self, signal: Signal) -> Result<Option<End>> {
        match signal {
            Signal::Task { event, .. } => self.handle_task(event),
            Signal::Storage(event) => self.coordinate(event).map(|()| None),
            Signal::Stop => self.stop().map(|()| None),
            Signal::Request { request, reply } => self.take_request(request, reply).map(|()| None),
            Signal::SavepointLocated { id, location } => {
                self.requests.located(id, location);
                Ok(None)
            }
            // Those are about processes.
            Signal::Registered { .. }
            | Signal::Heartbeat { .. }
            | Signal::Lost { .. }
            | Signal::Released { .. }
            | Signal::Leaving { .. }
            | Signal::Prepared { .. }
            | Signal::StorageAway { .. }
            | Signal::Leave
            | Signal::Fenced { .. }
            | Signal::Leadership(_) => Ok(None),
        }
    }

    /// The attempt is over: pending checkpoints are discarded, and whoever still waits is answered.
    pub fn end(&mut self, end: &End) {
        self.wind_up();
        self.answer_the_rest(end);
    }

    /// The attempt is another leader's: as [`end`](Self::end), and whatever the storage still has to do, nobody waits for it.
    pub fn let_go(&mut self, end: &End) {
        self.end(end);
        if let Some(checkpoints) = &mut self.checkpoints {
            checkpoints.io.let_go();
        }
    }

    fn handle_task(&mut self, event: TaskEvent) -> Result<Option<End>> {
        match event {
            TaskEvent::Restored { worker } => {
                if self.restoring.remove(&worker) && self.restoring.is_empty() {
                    self.voice.say(Order::Restored);
                }
            }
            TaskEvent::Ready { worker } => {
                self.starting.remove(&worker);
                if self.starting.is_empty() {
                    self.begin()?;
                }
            }
            TaskEvent::StateRestored { task, keys, bytes, times } => {
                let StateTimes { init, prepare, confirm, complete } = times;
                let total = times.total();
                tracing::info!(%task, keys, bytes, ?total, ?init, ?prepare, ?confirm, ?complete, "state restored");
            }
            TaskEvent::Prepared { id, task, pause } => {
                self.status.paused(pause);
                self.coordinate(Event::Prepared { id, task })?;
            }
            TaskEvent::Acknowledged { id, task, snapshot, files, bytes } => {
                self.coordinate(Event::Acknowledged { id, task, snapshot, files, bytes })?;
            }
            TaskEvent::Declined { id, task, reason } => self.coordinate(Event::Declined { id, task, reason })?,
            TaskEvent::LongestPause { pause, .. } => self.status.paused(pause),
            TaskEvent::SourceEnded { task } => {
                self.sources.remove(&task);
                if self.sources.is_empty() && self.stopping.is_none() {
                    self.finish()?;
                }
            }
            TaskEvent::Failed { error, .. } if !self.restoring.is_empty() && error.kind() == ErrorKind::Corrupt => {
                return Ok(Some(End::Damaged(error)));
            }
            // The JobManager has heard it.
            TaskEvent::Unreachable { error, .. } => return Err(error),
            TaskEvent::Failed { worker, error } => {
                if !self.starting.contains(&worker) {
                    // It failed at its work, though others may not have been ready for theirs.
                    self.running_since.get_or_insert_with(|| self.clock.monotonic());
                }
                return Err(error);
            }
            TaskEvent::WorkerDone { worker } => {
                self.running.remove(&worker);
                if !self.finishing {
                    return Err(Error::internal(format!("worker {worker} ended before its input did")));
                }
                if self.running.is_empty() {
                    return Ok(Some(if self.is_suspending() { End::Stopped } else { End::Finished }));
                }
            }
        }
        Ok(None)
    }

    /// All workers are up.
    fn begin(&mut self) -> Result<()> {
        self.running_since = Some(self.clock.monotonic());
        self.status.enter(JobPhase::Running);
        self.coordinate(Event::Running)
    }

    /// An attempt of an earlier leader is taken over: everybody works. The first checkpoint is not waited for, since the last that counts
    /// may be some time ago.
    pub fn take_over(&mut self) -> Result<()> {
        self.begin()?;
        if self.sources.is_empty() {
            return self.finish();
        }
        if self.next_wake().is_none() {
            return Ok(());
        }
        let request = self.requests.unattended(RequestKind::Manual);
        self.coordinate(Event::Request(request))
    }

    /// A stop: with checkpoints the last one first.
    fn stop(&mut self) -> Result<()> {
        let is_first = self.stopping.is_none();
        let before = Stopping { ending: Ending::Suspend, only_with_savepoint: false, signals: 0 };
        let stopping = self.stopping.get_or_insert(before);
        stopping.signals += 1;
        if stopping.signals > 1 {
            return Err(stopped_at_once());
        }
        self.status.enter(JobPhase::Stopping);
        let was_only_with_savepoint = std::mem::take(&mut stopping.only_with_savepoint);
        if self.sources.is_empty() {
            // The end of the input has asked for the last checkpoint already.
            return Ok(());
        }
        if is_first {
            tracing::info!("stop: taking a last checkpoint; ask again to stop at once");
        }
        // A savepoint that is under way may fail, and then a checkpoint is the last.
        if is_first || was_only_with_savepoint { self.finish() } else { Ok(()) }
    }

    /// Whether the job ends to go on later from where it is.
    fn is_suspending(&self) -> bool {
        self.stopping.is_some_and(|stopping| stopping.ending == Ending::Suspend)
    }

    /// No more records are wanted: the last checkpoint, then the end of the streams.
    fn finish(&mut self) -> Result<()> {
        if self.checkpoints.is_some() {
            let request = self.requests.unattended(RequestKind::Final);
            return self.coordinate(Event::Request(request));
        }
        self.end_streams();
        Ok(())
    }

    fn end_streams(&mut self) {
        self.finishing = true;
        self.voice.say(Order::Finish { ended: !self.is_suspending() });
    }

    /// Tells the coordinator a fact and carries out its commands.
    fn coordinate(&mut self, event: Event) -> Result<()> {
        let now = self.clock.monotonic();
        let Some(checkpoints) = &mut self.checkpoints else { return Ok(()) };
        let commands = checkpoints.coordinator.step(event, now);
        commands.into_iter().try_for_each(|command| self.carry_out(command))
    }

    fn carry_out(&mut self, command: Command) -> Result<()> {
        match command {
            Command::Locate { id, savepoint } => self.locate(id, savepoint),
            Command::Publish { metadata, kind } => {
                let ends_job = kind == CheckpointKind::FinalSavepoint;
                self.ask(Work::Publish { metadata, ends_job });
            }
            Command::Discard { id } => self.ask(Work::Discard(id)),
            Command::DeleteShared { names } => self.ask(Work::DeleteShared(names)),
            Command::Trigger { id, kind } => {
                let ending = self.stopping.map_or(Ending::Suspend, |stopping| stopping.ending);
                let savepoint = self.requests.location(id).cloned();
                let last = kind.is_final().then_some(ending);
                self.requests.draining |= last == Some(Ending::Drain);
                self.voice.say(Order::Trigger(Trigger { id, last, savepoint }));
            }
            Command::NotifyComplete { id } => self.voice.say(Order::Complete { id }),
            Command::NotifyAborted { id, reason } => {
                tracing::debug!(checkpoint = %id, %reason, "checkpoint aborted");
                self.voice.say(Order::GiveUp { id });
            }
            Command::Report(report) => return self.report(report),
            Command::Refuse { request, why } => self.refuse(request, why),
            Command::FailJob { error } => return Err(error),
        }
        Ok(())
    }

    fn ask(&self, work: Work) {
        if let Some(checkpoints) = &self.checkpoints {
            checkpoints.io.ask(work);
        }
    }

    fn report(&mut self, report: CheckpointReport) -> Result<()> {
        log(&report, self.requests.location(report.id).map(ToString::to_string));
        let (kind, is_completed) = (report.kind, report.outcome == Outcome::Completed);
        self.answer(&report);
        self.status.checkpoint(report.clone());
        if is_completed && !kind.is_savepoint() {
            self.tidy_up();
        }
        match kind {
            CheckpointKind::Final | CheckpointKind::FinalSavepoint if is_completed => self.end_streams(),
            CheckpointKind::FinalSavepoint => return self.go_on_without_savepoint(&report),
            // One that failed is tried again, or the coordinator fails the job.
            CheckpointKind::Final => {}
            CheckpointKind::Periodic | CheckpointKind::Manual | CheckpointKind::Savepoint => {}
        }
        Ok(())
    }

    /// Deletes what the first checkpoint of this attempt has made useless.
    fn tidy_up(&mut self) {
        let Some(Tidy { superseded, claimed, before }) = self.tidy.take() else { return };
        superseded.into_iter().for_each(|id| self.ask(Work::Discard(id)));
        if let Some(snapshot) = claimed {
            self.ask(Work::DiscardClaimed(snapshot));
        }
        self.ask(Work::SweepShared { before });
    }

    /// Leaves nothing half done: pending checkpoints are discarded, a publish under way is seen through.
    fn wind_up(&mut self) {
        let now = self.clock.monotonic();
        let Some(checkpoints) = &mut self.checkpoints else { return };
        for command in checkpoints.coordinator.step(Event::Shutdown, now) {
            match command {
                Command::Discard { id } => checkpoints.io.ask(Work::Discard(id)),
                Command::Report(report) => {
                    log(&report, self.requests.location(report.id).map(ToString::to_string));
                    self.status.checkpoint(report);
                }
                other => tracing::debug!(?other, "not carried out: the attempt has ended"),
            }
        }
    }

    /// The id after every one this attempt has used.
    pub fn next_id(&self) -> Option<CheckpointId> {
        self.checkpoints.as_ref().map(|checkpoints| checkpoints.coordinator.next_id())
    }
}

/// Says how a checkpoint ended, or a savepoint, which has a path of its own.
fn log(report: &CheckpointReport, savepoint: Option<String>) {
    let CheckpointReport { id, times, bytes, .. } = report;
    let (total, init, prepare) = (times.total(), times.init, times.prepare);
    let (confirm, complete) = (times.confirm, times.complete);
    let what = if report.kind.is_savepoint() { "savepoint" } else { "checkpoint" };
    match &report.outcome {
        Outcome::Completed => {
            tracing::info!(
                checkpoint = %id, savepoint, bytes, ?total, ?init, ?prepare, ?confirm, ?complete, "{what} completed"
            );
        }
        Outcome::Failed(FailureReason::Subsumed { .. } | FailureReason::Shutdown) => {
            tracing::debug!(checkpoint = %id, ?total, "{what} dropped");
        }
        Outcome::Failed(reason) => {
            tracing::warn!(
                checkpoint = %id, %reason, ?total, ?init, ?prepare, ?confirm, ?complete, "{what} failed"
            );
        }
        Outcome::InDoubt { error } => {
            tracing::warn!(checkpoint = %id, savepoint, %error, ?total, "{what} in doubt: it may exist, and is kept");
        }
    }
}
