//! What the driver of an attempt and its tasks say to each other.
//!
//! The driver tells all tasks of a process through a few numbers that only grow ([`Control`]); a task looks at them whenever it
//! is scheduled, and the driver wakes the tasks after it has changed one. A task tells the driver through [`TaskEvent`]s.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use highwater_checkpoint::SavepointLocation;
use highwater_checkpoint::metadata::{FileDigest, TaskSnapshot};
use highwater_core::{CheckpointId, Clock, Error, ErrorKind, Result, TaskId};
use highwater_jobmaster::{AttemptToken, TaskManagerId};
use timely::scheduling::SyncActivator;

use crate::job_manager::{NotPrepared, PreparationId, Prepared};
use crate::link::{Link, LinkId};
use crate::restore::StateTimes;
use crate::wire::Order;

/// What tasks and workers tell the driver.
#[derive(Debug)]
pub enum TaskEvent {
    /// A worker has the keyed state of all its tasks: what was stored of it has verified.
    Restored {
        /// Which worker of the job.
        worker: u32,
    },
    /// A worker has built its dataflow.
    Ready {
        /// Which worker of the job.
        worker: u32,
    },
    /// A keyed task has restored its state.
    StateRestored {
        /// Who.
        task: TaskId,
        /// How many keys it has.
        keys: u64,
        /// How many bytes were read.
        bytes: u64,
        /// How long that took.
        times: StateTimes,
    },
    /// The synchronous part of a snapshot is done.
    Prepared {
        /// The checkpoint.
        id: CheckpointId,
        /// Who.
        task: TaskId,
        /// How long the task stood still for it.
        pause: Duration,
    },
    /// A snapshot is durable.
    Acknowledged {
        /// The checkpoint.
        id: CheckpointId,
        /// Who.
        task: TaskId,
        /// Where everything is.
        snapshot: TaskSnapshot,
        /// Files that were completed with this acknowledgement.
        files: Vec<FileDigest>,
        /// Bytes written for this task.
        bytes: u64,
    },
    /// A snapshot could not be written.
    Declined {
        /// The checkpoint.
        id: CheckpointId,
        /// Who.
        task: TaskId,
        /// Why.
        reason: String,
    },
    /// A snapshot's copy-on-write has ended: the longest time that it kept the task from its records at one stretch.
    LongestPause {
        /// Who.
        task: TaskId,
        /// How long.
        pause: Duration,
    },
    /// A source has read everything there will ever be.
    SourceEnded {
        /// Which.
        task: TaskId,
    },
    /// This process and others of the attempt do not reach each other: the attempt is over.
    Unreachable {
        /// Which others, by their index.
        processes: Vec<u32>,
        /// What was tried.
        error: Error,
    },
    /// A task or worker failed: the attempt is over.
    Failed {
        /// Which worker of the job; the first of its process if that could not begin.
        worker: u32,
        /// Where and why.
        error: Error,
    },
    /// A worker has finished its dataflow, or dropped it after an abort.
    WorkerDone {
        /// Which worker of the job.
        worker: u32,
    },
}

/// What comes in to a process with workers.
#[derive(Debug)]
pub(crate) enum Incoming {
    /// From one of its own tasks or workers.
    Task(TaskEvent),
    /// From the JobManager.
    Order {
        /// The attempt that it is about, where late words of another have to be told from it.
        attempt: Option<AttemptToken>,
        order: Order,
    },
    /// Someone asks this process to stop.
    Stop,
    /// The connection to the JobManager was lost.
    Lost(Error),
    /// A JobManager that leads has taken this process in.
    Connected(crate::cluster::Connection),
    /// The JobManager fell silent, and no other has come: what this process has of an attempt is of no use.
    Alone,
    /// No JobManager will ever take this process in.
    Refused(Error),
}

/// Everything that the JobManager waits for.
#[derive(Debug)]
pub(crate) enum Signal {
    /// A process with workers has connected, and fits to the job.
    Registered {
        id: TaskManagerId,
        /// Where other processes reach it.
        address: String,
        slots: u32,
        link: Arc<dyn Link>,
        /// Its part of an attempt, which it has from an earlier leader or connection.
        held: Option<Held>,
    },
    /// A process says that it lives.
    Heartbeat { id: TaskManagerId },
    /// The connection `link` to a process was lost.
    Lost { id: TaskManagerId, link: LinkId, error: Error },
    /// From a task or worker of an attempt.
    Task { id: TaskManagerId, token: AttemptToken, event: TaskEvent },
    /// A process has nothing more of an attempt.
    Released { id: TaskManagerId, token: AttemptToken },
    /// The storage has told what an attempt goes on from.
    Prepared { id: PreparationId, result: std::result::Result<Prepared, NotPrepared> },
    /// The storage does not answer, and is asked again what the attempt goes on from.
    StorageAway { id: PreparationId, why: String },
    /// A process wants to leave, and waits for a while that its part of an attempt is ended for that.
    Leaving { id: TaskManagerId },
    /// From the checkpoint storage.
    Storage(highwater_checkpoint::Event),
    /// Someone asks to stop.
    Stop,
    /// Someone asks this process to leave the job to others.
    Leave,
    /// What the leader with this token wanted to make known was not recorded: it leads no longer.
    Fenced { token: u64, why: String },
    /// Of the election of leaders.
    Leadership(highwater_ha::LeadershipEvent),
    /// Someone asks for something and waits for answers.
    Request { request: crate::client::JobRequest, reply: Sender<crate::client::Answer> },
    /// The folder of a savepoint has been created.
    SavepointLocated { id: CheckpointId, location: SavepointLocation },
}

/// How far a process's part of an attempt is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Held {
    pub token: AttemptToken,
    /// Which of its processes this one is.
    pub process: u32,
    /// Workers that have their state.
    pub restored: BTreeSet<u32>,
    /// Workers that have built their dataflow.
    pub ready: BTreeSet<u32>,
    /// Workers that have finished their dataflow.
    pub done: BTreeSet<u32>,
    /// Sources that have read everything.
    pub ended_sources: BTreeSet<TaskId>,
    /// Checkpoints that were triggered, and neither completed nor were given up.
    pub pending: BTreeSet<CheckpointId>,
    /// The newest that was triggered.
    pub triggered: Option<CheckpointId>,
    /// The newest that has completed.
    pub completed: Option<CheckpointId>,
    /// Set if sources emit nothing after the newest checkpoint.
    pub last: Option<Ending>,
    /// Whether sources were told to end their streams.
    pub finishing: bool,
}

impl Held {
    /// An attempt that begins.
    pub fn new(token: AttemptToken, process: u32) -> Self {
        let (restored, ready, done) = Default::default();
        let (ended_sources, pending) = Default::default();
        let (triggered, completed, last, finishing) = (None, None, None, false);
        Held { token, process, restored, ready, done, ended_sources, pending, triggered, completed, last, finishing }
    }

    /// Follows what the JobManager says.
    pub fn obey(&mut self, order: &Order) {
        match order {
            Order::Trigger(trigger) => {
                self.pending.insert(trigger.id);
                self.triggered = self.triggered.max(Some(trigger.id));
                self.last = trigger.last.or(self.last);
            }
            Order::Resume => self.last = None,
            Order::Complete { id } => {
                self.pending = self.pending.split_off(&id.next());
                self.completed = self.completed.max(Some(*id));
            }
            Order::GiveUp { id } => drop(self.pending.remove(id)),
            Order::Finish { .. } => self.finishing = true,
            Order::Start { .. } | Order::Attach { .. } | Order::Restored | Order::Abort { .. } | Order::End { .. } => {}
        }
    }

    /// Follows what the tasks say.
    pub fn hear(&mut self, event: &TaskEvent) {
        match event {
            TaskEvent::Restored { worker } => drop(self.restored.insert(*worker)),
            TaskEvent::Ready { worker } => drop(self.ready.insert(*worker)),
            TaskEvent::WorkerDone { worker } => drop(self.done.insert(*worker)),
            TaskEvent::SourceEnded { task } => drop(self.ended_sources.insert(task.clone())),
            TaskEvent::StateRestored { .. }
            | TaskEvent::Prepared { .. }
            | TaskEvent::Acknowledged { .. }
            | TaskEvent::Declined { .. }
            | TaskEvent::LongestPause { .. }
            | TaskEvent::Unreachable { .. }
            | TaskEvent::Failed { .. } => {}
        }
    }
}

/// A checkpoint is triggered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trigger {
    pub id: CheckpointId,
    /// Set if sources emit nothing after it.
    pub last: Option<Ending>,
    /// Where it goes, if it is a savepoint.
    pub savepoint: Option<SavepointLocation>,
}

/// What the last checkpoint leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// Everything as it is, to go on from.
    Suspend,
    /// The state after all input: sources raise their watermark to the maximum in its epoch.
    Drain,
}

/// No checkpoint is the last one yet.
const NO_LAST: u64 = u64::MAX;

/// The driver's word to all tasks of one process in one attempt.
pub struct Control {
    first_epoch: CheckpointId,
    /// Sources move on to this epoch.
    epoch: AtomicU64,
    /// The newest completed checkpoint of this attempt; 0 before.
    completed: AtomicU64,
    /// The checkpoint after which sources emit nothing more.
    last: AtomicU64,
    /// Whether sources raise their watermark to the maximum before they end that epoch.
    drain: AtomicBool,
    /// Where those of the checkpoints go that are savepoints.
    savepoints: Mutex<BTreeMap<CheckpointId, SavepointLocation>>,
    aborted: Mutex<BTreeSet<CheckpointId>>,
    finish: AtomicBool,
    ended: AtomicBool,
    abort: AtomicBool,
    /// Whether every worker of the job has its state, and those who wait for that.
    restored: Mutex<bool>,
    restored_changed: Condvar,
    wakers: Mutex<Vec<SyncActivator>>,
    inbox: Sender<Incoming>,
    clock: Arc<dyn Clock>,
    /// Where a user function was when it panicked, said by whoever unwound.
    panic_note: Mutex<Option<String>>,
}

impl Control {
    /// For an attempt whose first epoch is `first_epoch`.
    pub(crate) fn new(first_epoch: CheckpointId, inbox: Sender<Incoming>, clock: Arc<dyn Clock>) -> Self {
        Control {
            first_epoch,
            epoch: AtomicU64::new(first_epoch.0),
            completed: AtomicU64::new(0),
            last: AtomicU64::new(NO_LAST),
            drain: AtomicBool::new(false),
            savepoints: Mutex::default(),
            aborted: Mutex::default(),
            finish: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            abort: AtomicBool::new(false),
            restored: Mutex::default(),
            restored_changed: Condvar::new(),
            wakers: Mutex::default(),
            inbox,
            clock,
            panic_note: Mutex::default(),
        }
    }

    /// The epoch in which the attempt begins.
    pub fn first_epoch(&self) -> CheckpointId {
        self.first_epoch
    }

    /// The clock of the process.
    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    // What the driver says.

    /// A checkpoint is triggered: sources end its epoch.
    pub(crate) fn trigger(&self, Trigger { id, last, savepoint }: &Trigger) {
        if let Some(ending) = last {
            self.drain.store(*ending == Ending::Drain, Ordering::Release);
            self.last.store(id.0, Ordering::Release);
        }
        if let Some(location) = savepoint {
            lock(&self.savepoints).insert(*id, location.clone());
        }
        self.epoch.fetch_max(id.0 + 1, Ordering::Release);
        self.wake();
    }

    /// The last checkpoint was not the last: sources go on.
    pub fn resume(&self) {
        self.last.store(NO_LAST, Ordering::Release);
        self.wake();
    }

    /// Checkpoint `id` has completed: sinks commit.
    pub fn complete(&self, id: CheckpointId) {
        self.completed.fetch_max(id.0, Ordering::Release);
        self.wake();
    }

    /// Checkpoint `id` was given up: nobody needs to write it any more.
    pub fn give_up(&self, id: CheckpointId) {
        lock(&self.aborted).insert(id);
    }

    /// Sources end their streams: nothing more will be asked of the dataflow. `ended` says that their input has.
    pub fn finish(&self, ended: bool) {
        self.ended.store(ended, Ordering::Release);
        self.finish.store(true, Ordering::Release);
        self.wake();
    }

    /// Every worker of the job has the state of its tasks: they may begin.
    pub fn restored(&self) {
        *lock(&self.restored) = true;
        self.restored_changed.notify_all();
    }

    /// The attempt is over: every task drops what it has.
    pub fn abort(&self) {
        self.abort.store(true, Ordering::Release);
        // Under the lock, so that nobody goes to sleep between looking and this.
        let restored = lock(&self.restored);
        self.restored_changed.notify_all();
        drop(restored);
        self.wake();
    }

    fn wake(&self) {
        for waker in lock(&self.wakers).iter() {
            // A worker that is gone needs no waking.
            let _ = waker.activate();
        }
    }

    // What tasks hear.

    /// Waits until every worker of the job has the state of its tasks; false if the attempt is over before.
    pub(crate) fn wait_until_restored(&self) -> bool {
        let waits = |restored: &mut bool| !*restored && !self.is_aborted();
        let waited = self.restored_changed.wait_while(lock(&self.restored), waits);
        drop(waited.unwrap_or_else(PoisonError::into_inner));
        !self.is_aborted()
    }

    /// The epoch that sources should be in.
    pub fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// The newest completed checkpoint of this attempt.
    pub fn completed(&self) -> Option<CheckpointId> {
        let id = self.completed.load(Ordering::Acquire);
        (id > 0).then_some(CheckpointId(id))
    }

    /// Whether `id` is the last checkpoint of the attempt.
    pub fn is_last(&self, id: CheckpointId) -> bool {
        self.last.load(Ordering::Acquire) == id.0
    }

    /// Whether sources raise their watermark to the maximum before they end the epoch of checkpoint `id`.
    pub fn is_drained_by(&self, id: CheckpointId) -> bool {
        self.is_last(id) && self.drain.load(Ordering::Acquire)
    }

    /// Where checkpoint `id` goes, if it is a savepoint. Whoever sees its barrier sees this.
    pub(crate) fn savepoint(&self, id: CheckpointId) -> Option<SavepointLocation> {
        lock(&self.savepoints).get(&id).cloned()
    }

    /// Whether a source in `epoch` may emit no more.
    pub fn is_past_last(&self, epoch: u64) -> bool {
        epoch > self.last.load(Ordering::Acquire)
    }

    /// Whether checkpoint `id` was given up.
    pub fn is_given_up(&self, id: CheckpointId) -> bool {
        lock(&self.aborted).contains(&id)
    }

    /// Whether streams should end.
    pub fn is_finishing(&self) -> bool {
        self.finish.load(Ordering::Acquire)
    }

    /// Whether streams end because all input was read.
    pub fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether the attempt is over.
    pub fn is_aborted(&self) -> bool {
        self.abort.load(Ordering::Acquire)
    }

    /// Has `waker` called after each word of the driver.
    pub fn register(&self, waker: SyncActivator) {
        lock(&self.wakers).push(waker);
    }

    /// Tells the driver.
    pub fn tell(&self, event: TaskEvent) {
        // The inbox outlives the attempt; if it is gone the process is ending.
        let _ = self.inbox.send(Incoming::Task(event));
    }

    /// Ends the attempt because of `error` in `worker`.
    pub fn fail(&self, worker: u32, error: Error) {
        // In this order: the driver must hear the reason before it hears of workers that end because of the abort.
        self.tell(TaskEvent::Failed { worker, error });
        self.abort();
    }

    /// Leaves a word on where a user function was when it panicked.
    pub(crate) fn note_panic(&self, note: String) {
        *lock(&self.panic_note) = Some(note);
    }

    /// Runs a step of `task`; its error, or its panic, ends the attempt. Does nothing once the attempt is over.
    pub fn guard(&self, task: &TaskId, step: impl FnOnce() -> Result<()>) {
        if self.is_aborted() {
            return;
        }
        let error = match catch_unwind(AssertUnwindSafe(step)) {
            Ok(Ok(())) => return,
            Ok(Err(error)) => error,
            Err(panic) => {
                let place = lock(&self.panic_note).take().map(|note| format!(" {note}")).unwrap_or_default();
                Error::new(ErrorKind::UserFunction, format!("operator {task} panicked{place}: {}", message_of(&*panic)))
            }
        };
        self.fail(task.subtask.0, error);
    }
}

/// What a panic said.
pub(crate) fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_string());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "no message".to_string())
}

/// Locks a mutex whose data is whole after each step, so that a panic elsewhere does not spread.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
