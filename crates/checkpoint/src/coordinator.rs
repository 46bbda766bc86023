//! The checkpoint coordinator: facts and the time in, commands out.
//!
//! A checkpoint is started (**init**: [`Command::Locate`]), triggered at the tasks (**prepare**), acknowledged by them
//! (**confirm**), published and notified (**complete**); or it is aborted on the way. One coordinator serves one attempt of a
//! job, and hands the next id on to the coordinator of the next.
//!
//! Invariants, each checked after every step of the enumerated and random runs in `tests/coordinator`:
//!
//! * ids grow by one and are never used again, whatever becomes of them: an id is an epoch, and epochs never go back;
//! * at most `max_concurrent` checkpoints are pending, at most one of them in init, at most one publishing: so triggers, and
//!   completions too, are in the order of the ids;
//! * I1 (its half here): a checkpoint is published only when every task has acknowledged this very id;
//! * I3: it completes only when its metadata is durable. Nothing is discarded that is pending, retained or in doubt. A
//!   publish that may have happened is never treated as one that did not: the checkpoint is neither notified as aborted, for
//!   a sink would roll back what a restore commits, nor discarded;
//! * I4 (its half here): tasks hear of the completion of a checkpoint after that, once, and not of its abortion;
//! * a savepoint belongs to its user: once it exists, or may, nothing of it is discarded; it takes no checkpoint's place and no
//!   checkpoint takes its. Only the last one is notified. That one fails says nothing about checkpoints, and does not count.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use highwater_core::{CheckpointId, Error, ErrorKind, Result, TaskId};

use crate::config::CheckpointConfig;
use crate::metadata::{FileDigest, TaskSnapshot};
use crate::pending::Pending;
use crate::plan::JobPlan;
use crate::protocol::{CheckpointKind, Command, Event, FailureReason, Outcome, Request, RequestId, RequestKind};
use crate::recovery;
use crate::retention::{CompletedCheckpoint, Retention};
use crate::times::Phase;

/// A last checkpoint that failed is tried again after this long, or the minimum pause if that is longer.
const FINAL_RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Decides when checkpoints start, complete, fail and go.
#[derive(Debug)]
pub struct Coordinator {
    config: CheckpointConfig,
    plan: JobPlan,
    tasks: BTreeSet<TaskId>,
    now: Duration,
    stage: Stage,
    /// When the interval has passed; `None` if there are no periodic checkpoints, or no more.
    periodic_due: Option<Duration>,
    /// In the order in which they start.
    waiting: VecDeque<Waiting>,
    last: LastCheckpoint,
    first_id: CheckpointId,
    next_id: CheckpointId,
    pending: BTreeMap<CheckpointId, Pending>,
    retention: Retention,
    /// Those that exist, or may.
    savepoints: BTreeSet<CheckpointId>,
    last_end: Option<Duration>,
    consecutive_failures: u32,
    commands: Vec<Command>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Not all tasks run yet.
    Starting,
    Running,
    /// Shut down, or failed: nothing starts any more.
    Stopped,
}

/// Requests that have not led to a checkpoint yet, and get one together.
#[derive(Clone, Debug)]
struct Waiting {
    kind: RequestKind,
    /// None, if the driver itself waits for it.
    requests: Vec<RequestId>,
    not_before: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum LastCheckpoint {
    NotRequested,
    Requested,
    Completed,
}

impl Coordinator {
    /// A coordinator for one attempt of the job `plan`.
    ///
    /// `restored` are the completed checkpoints that this job owns, oldest first: they are discarded as newer ones complete,
    /// so one that belongs to somebody else, such as a savepoint to start from, must not be among them. `next_id` is above
    /// every id that was ever used, see [`recovery::next_id`].
    ///
    /// # Errors
    /// If a setting is wrong; [`ErrorKind::Internal`] if the ids are not in order.
    pub fn new(
        config: CheckpointConfig,
        plan: JobPlan,
        next_id: CheckpointId,
        restored: Vec<CompletedCheckpoint>,
    ) -> Result<Self> {
        config.validate()?;
        let ids: Vec<CheckpointId> = restored.iter().map(|checkpoint| checkpoint.id).collect();
        let sorted = ids.is_sorted_by(|a, b| a < b) && ids.last().is_none_or(|last| *last < next_id);
        if !sorted || next_id.0 == 0 || next_id > recovery::MAX_ID {
            return Err(Error::internal(format!(
                "checkpoint ids are not in order: next is {next_id}, restored are {ids:?}"
            )));
        }
        Ok(Coordinator {
            retention: Retention::new(config.retained as usize, restored),
            tasks: plan.tasks(),
            config,
            plan,
            now: Duration::ZERO,
            stage: Stage::Starting,
            periodic_due: None,
            waiting: VecDeque::new(),
            last: LastCheckpoint::NotRequested,
            first_id: next_id,
            next_id,
            pending: BTreeMap::new(),
            savepoints: BTreeSet::new(),
            last_end: None,
            consecutive_failures: 0,
            commands: Vec::new(),
        })
    }

    /// Takes a fact and the monotonic time it is observed at, and decides what to do now, in this order.
    #[must_use = "a command that is not carried out stops the protocol"]
    pub fn step(&mut self, event: Event, now: Duration) -> Vec<Command> {
        self.now = self.now.max(now);
        match event {
            Event::Running => self.run(),
            Event::Tick => {}
            Event::Request(request) => self.request(request),
            Event::Located { id, created_unix_ms } => self.locate(id, created_unix_ms),
            Event::LocateFailed { id, error } => self.locate_failed(id, error),
            Event::Prepared { id, task } => self.prepare(id, &task),
            Event::Acknowledged { id, task, snapshot, files, bytes } => {
                self.acknowledge(id, task, snapshot, files, bytes);
            }
            Event::Declined { id, task, reason } => self.decline(id, task, reason),
            Event::Published { id } => self.publish_succeeded(id),
            Event::PublishFailed { id, error, may_have_happened } => self.publish_failed(id, error, may_have_happened),
            Event::Shutdown => self.stop(),
        }
        self.expire();
        self.publish_next();
        self.start_due();
        std::mem::take(&mut self.commands)
    }

    /// When an [`Event::Tick`] is wanted, if nothing else happens before: never, if `None`.
    pub fn next_wake(&self) -> Option<Duration> {
        let expiries = self.pending.values().filter_map(|pending| pending.expires_at(self.config.timeout));
        expiries.chain(self.next_start().map(|(at, _)| at)).min()
    }

    /// The id of the next checkpoint: above every id used so far.
    pub fn next_id(&self) -> CheckpointId {
        self.next_id
    }

    /// The completed checkpoints that are retained, oldest first.
    pub fn completed(&self) -> impl Iterator<Item = &CompletedCheckpoint> {
        self.retention.completed()
    }

    fn run(&mut self) {
        if self.stage == Stage::Starting {
            self.stage = Stage::Running;
            self.resume_periodic();
        }
    }

    /// Periodic checkpoints begin an interval from now, if there are any.
    fn resume_periodic(&mut self) {
        if self.last == LastCheckpoint::NotRequested {
            self.periodic_due = self.config.interval.map(|interval| self.now.saturating_add(interval));
        }
    }

    fn request(&mut self, request: Request) {
        let refuse = |why| Command::Refuse { request, why };
        match (self.last, request.kind) {
            _ if self.stage == Stage::Stopped => self.commands.push(refuse("the attempt has ended")),
            (LastCheckpoint::Completed, _) => self.commands.push(refuse("the last checkpoint has completed")),
            (LastCheckpoint::Requested, RequestKind::Manual | RequestKind::Savepoint | RequestKind::FinalSavepoint) => {
                self.commands.push(refuse("the last checkpoint is under way"))
            }
            (LastCheckpoint::Requested, RequestKind::Final) => self.join_last(request),
            (LastCheckpoint::NotRequested, RequestKind::Manual | RequestKind::Savepoint) => self.wait(request),
            (LastCheckpoint::NotRequested, RequestKind::Final | RequestKind::FinalSavepoint) => {
                self.last = LastCheckpoint::Requested;
                self.periodic_due = None;
                self.wait(request);
            }
        }
    }

    /// Requests of one kind that wait get one checkpoint together, but each savepoint goes where its request says.
    fn wait(&mut self, Request { id, kind }: Request) {
        let together = |waiting: &&mut Waiting| waiting.kind == kind && !CheckpointKind::from(kind).is_savepoint();
        if let Some(waiting) = self.waiting.iter_mut().find(together) {
            return waiting.requests.push(id);
        }
        let mut requests = vec![id];
        if kind == RequestKind::Final {
            let waiting = std::mem::take(&mut self.waiting).into_iter();
            let (manual, others): (VecDeque<_>, _) = waiting.partition(|waiting| waiting.kind == RequestKind::Manual);
            self.waiting = others;
            requests.extend(manual.into_iter().flat_map(|waiting| waiting.requests));
        }
        self.waiting.push_back(Waiting { kind, requests, not_before: self.now });
    }

    /// The last checkpoint is asked for again: it is on its way, or will be if the savepoint on its way fails.
    fn join_last(&mut self, request: Request) {
        match self.pending.values_mut().find(|pending| pending.kind() == CheckpointKind::Final) {
            Some(pending) => pending.join([request.id]),
            None => self.wait(request),
        }
    }

    /// The earliest moment a checkpoint may start, and which, if nothing else happens before.
    fn next_start(&self) -> Option<(Duration, CheckpointKind)> {
        let initialising = self.pending.values().any(|pending| pending.phase() == Phase::Init);
        if self.stage != Stage::Running || initialising || self.pending.len() >= self.config.concurrency() {
            return None;
        }
        let savepoint = self.pending.values().any(|pending| pending.kind().is_savepoint());
        if let Some(Waiting { kind, not_before, .. }) = self.waiting.front().filter(|_| !savepoint) {
            return Some((*not_before, (*kind).into()));
        }
        let rested = self.last_end.map_or(Duration::ZERO, |end| end.saturating_add(self.config.min_pause));
        self.periodic_due.map(|due| (due.max(rested), CheckpointKind::Periodic))
    }

    fn start_due(&mut self) {
        let Some((at, kind)) = self.next_start() else { return };
        if at > self.now {
            return;
        }
        let requests = match kind {
            CheckpointKind::Periodic => {
                self.periodic_due = self.periodic_after_now();
                Vec::new()
            }
            CheckpointKind::Manual
            | CheckpointKind::Savepoint
            | CheckpointKind::Final
            | CheckpointKind::FinalSavepoint => self.waiting.pop_front().map_or(Vec::new(), |waiting| waiting.requests),
        };
        let id = self.next_id;
        self.next_id = id.next();
        let savepoint = requests.last().copied().filter(|_| kind.is_savepoint());
        self.pending.insert(id, Pending::start(id, kind, requests, &self.tasks, self.now));
        self.commands.push(Command::Locate { id, savepoint });
    }

    /// Keeps to the grid of the interval, so that a late tick does not shift all later ones; starts it anew if a whole
    /// interval was missed, so that missed checkpoints are not made up for in a burst.
    fn periodic_after_now(&self) -> Option<Duration> {
        let (due, interval) = (self.periodic_due?, self.config.interval?);
        let on_grid = due.saturating_add(interval);
        Some(if on_grid > self.now { on_grid } else { self.now.saturating_add(interval) })
    }

    fn locate(&mut self, id: CheckpointId, created_unix_ms: i64) {
        match self.pending.get_mut(&id) {
            Some(pending) => {
                if pending.locate(created_unix_ms, self.now) {
                    self.commands.push(Command::Trigger { id, kind: pending.kind() });
                }
            }
            None => self.discard_leftovers(id),
        }
    }

    fn locate_failed(&mut self, id: CheckpointId, error: String) {
        if self.pending.get(&id).is_some_and(|pending| pending.phase() == Phase::Init) {
            self.abort(id, FailureReason::LocateFailed { error });
        }
    }

    fn prepare(&mut self, id: CheckpointId, task: &TaskId) {
        if let Some(pending) = self.pending.get_mut(&id) {
            pending.prepare(task, self.now);
        }
    }

    fn acknowledge(
        &mut self,
        id: CheckpointId,
        task: TaskId,
        snapshot: TaskSnapshot,
        files: Vec<FileDigest>,
        bytes: u64,
    ) {
        for file in &files {
            if let Some(by) = file.shared_by {
                self.retention.written(&file.name, by);
            }
        }
        let leaves_files = files.iter().any(|file| file.shared_by.is_none());
        match self.pending.get_mut(&id) {
            Some(pending) => {
                if let Err(error) = pending.acknowledge(task, snapshot, files, bytes, self.now) {
                    self.abort(id, FailureReason::Inconsistent { error });
                }
            }
            None if leaves_files => self.discard_leftovers(id),
            None => {}
        }
    }

    /// What came after checkpoint `id` was aborted, or subsumed, has been written after its folder was deleted.
    fn discard_leftovers(&mut self, id: CheckpointId) {
        let ours = (self.first_id..self.next_id).contains(&id);
        let kept = self.pending.contains_key(&id) || self.retention.keeps(id) || self.savepoints.contains(&id);
        if ours && !kept {
            self.commands.push(Command::Discard { id });
        }
    }

    fn decline(&mut self, id: CheckpointId, task: TaskId, reason: String) {
        let undecided = self.pending.get(&id).is_some_and(|pending| pending.phase() < Phase::Complete);
        if undecided && self.tasks.contains(&task) {
            self.abort(id, FailureReason::Declined { task, reason });
        }
    }

    fn expire(&mut self) {
        let (now, timeout) = (self.now, self.config.timeout);
        let expired = |pending: &&Pending| pending.expires_at(timeout).is_some_and(|at| at <= now);
        while let Some(pending) = self.pending.values().find(expired) {
            let (id, missing) = (pending.id(), pending.missing().cloned().collect());
            self.abort(id, FailureReason::Expired { timeout, missing });
        }
    }

    /// Publishes the oldest fully acknowledged checkpoint, one after the other: else an older one could complete after a
    /// newer one, which has subsumed it.
    fn publish_next(&mut self) {
        if self.pending.values().any(Pending::is_publishing) {
            return;
        }
        while let Some(pending) = self.pending.values_mut().find(|pending| pending.phase() == Phase::Complete) {
            let (id, kind) = (pending.id(), pending.kind());
            match pending.publish(&self.plan, self.config.mode, self.now) {
                Ok(metadata) => return self.commands.push(Command::Publish { metadata: Box::new(metadata), kind }),
                Err(error) => self.abort(id, FailureReason::Inconsistent { error }),
            }
        }
    }

    fn publish_succeeded(&mut self, id: CheckpointId) {
        let Some(mut completed) = self.take_publishing(id) else { return };
        let kind = completed.kind();
        if kind.is_final() {
            self.last = LastCheckpoint::Completed;
            // Asked for again meanwhile: it is answered by this one.
            completed.join(std::mem::take(&mut self.waiting).into_iter().flat_map(|waiting| waiting.requests));
        }
        let report = Command::Report(completed.report(Outcome::Completed, self.now));
        if kind == CheckpointKind::Savepoint {
            self.savepoints.insert(id);
            return self.commands.push(report);
        }
        self.commands.push(Command::NotifyComplete { id });
        self.commands.push(report);
        let is_older = |pending: &&Pending| pending.id() < id && !pending.kind().is_savepoint();
        let older: Vec<CheckpointId> = self.pending.values().filter(is_older).map(Pending::id).collect();
        for older in older {
            self.abort(older, FailureReason::Subsumed { by: id });
        }
        if kind.is_savepoint() {
            self.savepoints.insert(id);
            return;
        }
        self.consecutive_failures = 0;
        let released = self.retention.complete(completed.completed());
        self.commands.extend(released.checkpoints.into_iter().map(|id| Command::Discard { id }));
        if !released.shared_files.is_empty() {
            self.commands.push(Command::DeleteShared { names: released.shared_files });
        }
    }

    fn publish_failed(&mut self, id: CheckpointId, error: String, may_have_happened: bool) {
        if !may_have_happened {
            if self.pending.get(&id).is_some_and(Pending::is_publishing) {
                self.abort(id, FailureReason::PublishFailed { error });
            }
            return;
        }
        let Some(mut doubtful) = self.take_publishing(id) else { return };
        if doubtful.kind().is_savepoint() {
            self.savepoints.insert(id);
        } else {
            self.retention.doubt(doubtful.completed());
        }
        let why = format!("its metadata may not have been written: {error}");
        let again = self.requests_of_retry(&mut doubtful, true);
        self.commands.push(Command::Report(doubtful.report(Outcome::InDoubt { error }, self.now)));
        self.go_on_after(&doubtful, again, Some(why));
    }

    fn take_publishing(&mut self, id: CheckpointId) -> Option<Pending> {
        if !self.pending.get(&id)?.is_publishing() {
            return None;
        }
        self.take(id)
    }

    fn take(&mut self, id: CheckpointId) -> Option<Pending> {
        let ended = self.pending.remove(&id)?;
        if !ended.kind().is_savepoint() {
            self.last_end = Some(self.now);
        }
        Some(ended)
    }

    /// Ends a pending checkpoint that certainly does not exist.
    fn abort(&mut self, id: CheckpointId, reason: FailureReason) {
        let Some(mut aborted) = self.take(id) else { return };
        if aborted.was_triggered() {
            self.commands.push(Command::NotifyAborted { id, reason: reason.clone() });
        }
        self.commands.push(Command::Discard { id });
        let why = reason.counts().then(|| reason.to_string());
        let again = self.requests_of_retry(&mut aborted, why.is_some());
        self.commands.push(Command::Report(aborted.report(Outcome::Failed(reason), self.now)));
        self.go_on_after(&aborted, again, why);
    }

    /// The requests for which a checkpoint that failed is tried again: they are not answered by it.
    fn requests_of_retry(&self, failed: &mut Pending, counts: bool) -> Vec<RequestId> {
        let is_tolerated = self.consecutive_failures < self.config.tolerable_failures;
        let again = failed.kind() == CheckpointKind::Final && self.stage != Stage::Stopped && counts && is_tolerated;
        if again { failed.take_requests() } else { Vec::new() }
    }

    /// What follows from a failure; `why` says what counts, and `again` who waits for another try.
    fn go_on_after(&mut self, failed: &Pending, again: Vec<RequestId>, why: Option<String>) {
        if failed.kind().is_savepoint() {
            return self.go_on_after_savepoint(failed.kind());
        }
        let Some(why) = why else { return };
        self.consecutive_failures = self.consecutive_failures.saturating_add(1);
        if self.stage == Stage::Stopped {
            return;
        }
        let (failures, tolerable) = (self.consecutive_failures, self.config.tolerable_failures);
        if failures > tolerable {
            let message = format!(
                "checkpoint {} failed, {failures} in a row now with {tolerable} tolerated: {why}; \
                 remove the cause, or raise the number of tolerable failures",
                failed.id()
            );
            self.commands.push(Command::FailJob { error: Error::new(ErrorKind::Checkpoint, message) });
            self.stop();
        } else if failed.kind() == CheckpointKind::Final {
            let not_before = self.now.saturating_add(FINAL_RETRY_PAUSE.max(self.config.min_pause));
            self.waiting.push_back(Waiting { kind: RequestKind::Final, requests: again, not_before });
        }
    }

    /// A savepoint that failed changes nothing; the last one leaves the job as if nobody had asked for it.
    fn go_on_after_savepoint(&mut self, kind: CheckpointKind) {
        let still_wanted = self.waiting.iter().any(|waiting| waiting.kind == RequestKind::Final);
        if kind.is_final() && self.stage != Stage::Stopped && !still_wanted {
            self.last = LastCheckpoint::NotRequested;
            self.resume_periodic();
        }
    }

    /// Ends everything but a publish under way, which may have happened.
    fn stop(&mut self) {
        self.stage = Stage::Stopped;
        self.periodic_due = None;
        for Waiting { kind, requests, .. } in std::mem::take(&mut self.waiting) {
            let refuse = |id| Command::Refuse { request: Request { id, kind }, why: "the attempt has ended" };
            self.commands.extend(requests.into_iter().map(refuse));
        }
        let undecided: Vec<CheckpointId> =
            self.pending.values().filter(|pending| !pending.is_publishing()).map(Pending::id).collect();
        for id in undecided {
            self.abort(id, FailureReason::Shutdown);
        }
    }
}
