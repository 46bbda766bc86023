//! A keyed operator as a task: aligned inputs, state by key group, timers, and a snapshot that is copied while it goes on.
//!
//! What it runs, and behind how many inputs, is a [`KeyedOperator`]. The task aligns all inputs together: the barrier of an epoch
//! has arrived when it has on each of them, and the watermark is the minimum of theirs.
//!
//! At the barrier of an epoch the task takes the synchronous part of its snapshot (mark every page of the state table as not yet
//! copied, copy the timers) and goes on at once. From then on a page is copied before it is changed, and a few more between
//! batches, until the table as it was at the barrier is with the upload thread (I1).

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

use highwater_checkpoint::metadata::OperatorState;
use highwater_core::{CheckpointId, KeyHash, Result};
use highwater_state::table::Scope;
use highwater_state::tier::Relief;
use highwater_state::{Key, KeyedState};

use crate::alignment::Alignment;
use crate::batch::{Batch, NO_TIME, Record};
use crate::control::TaskEvent;
use crate::graph::{Builder, Site, Task};
use crate::inputs::Receiver;
use crate::keyed_contents::{KeyedContents, STATE, TIMERS};
use crate::keyed_edge::{KeyedScope, PanicNote, key_error, store_error};
use crate::mark::{Frontier, Mark};
use crate::memory::StateSize;
use crate::metrics::TaskMetrics;
use crate::output::Output;
use crate::process::{Context, TimeDomain, Timer, UserResult};
use crate::streams::StreamId;
use crate::upload::{KeyedFrame, LineageHandle, SnapshotFrame};

/// Slots of the table copied after a batch, and in a step without one; fewer if they have many bytes.
const SWEEP_BUSY: usize = 8 * 1024;
const SWEEP_IDLE: usize = 64 * 1024;
/// Copied bytes that may wait for the disk before the sweep pauses.
const SWEEP_BACKLOG: usize = 64 << 20;
/// How long the sweep pauses then.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

/// How long the task trusts the clock without looking at it.
const LONGEST_SLEEP_MS: i64 = 60_000;
/// Slots of the table cleaned up after a batch, and in a step without one.
const CLEAN_UP_BUSY: usize = 1024;
const CLEAN_UP_IDLE: usize = 16 * 1024;

/// After so many timers room is made for the rows they bring into memory.
const RELIEVE_TIMERS: usize = 1024;

/// What a keyed task runs: a user's function behind the inputs that it has.
pub(crate) trait KeyedOperator<K: Key>: 'static {
    /// A batch of any of its inputs.
    type Batch: 'static;
    /// The declared state of one key.
    type State: KeyedState;
    /// What it emits.
    type Out: Record;

    /// Before the first record: restores what it keeps beside the keyed state, and opens the user function.
    fn open(&mut self, task: &Task) -> Result<()>;

    /// Processes a batch; how many records it had.
    fn process(&mut self, batch: Self::Batch, scope: KeyedScope<'_, K, Self::State, Self::Out>) -> Result<usize>;

    /// A timer is due.
    fn on_timer(
        &mut self,
        timer: Timer,
        state: &mut Self::State,
        context: &mut Context<'_, K, Self::Out>,
    ) -> UserResult;

    /// What it keeps beside the keyed state, for a checkpoint.
    fn operator_state(&self, task: &Task) -> Vec<OperatorState>;

    /// The stream has ended.
    fn close(&mut self) -> UserResult;
}

/// A keyed operator with its state, opened: whatever can fail has happened, since timely has no way back from a dataflow operator
/// that was begun.
pub(crate) struct OpenKeyed<K: Key, O: KeyedOperator<K>> {
    task: Task,
    contents: KeyedContents<K, O::State>,
    operator: O,
}

impl<K: Key, O: KeyedOperator<K>> OpenKeyed<K, O> {
    /// Takes the state of this worker's instance, which was restored, and opens its user function.
    pub fn new(builder: &Builder<'_>, site: &Site<'_>, mut operator: O) -> Result<Self> {
        let task = builder.stateful_task(site);
        let contents = builder.take_restored(site)?;
        operator.open(&task)?;
        Ok(OpenKeyed { task, contents, operator })
    }

    /// Builds the task behind the inputs of `dataflow`; `read` takes in what has arrived on them while there is room.
    pub fn build<'s>(
        self,
        builder: &Builder<'s>,
        site: &Site<'_>,
        mut dataflow: OperatorBuilder<'s, Mark>,
        output: StreamId<Batch<O::Out>>,
        mut read: impl FnMut(&mut KeyedTask<K, O>) -> Result<()> + 'static,
    ) {
        let OpenKeyed { task, contents, operator } = self;
        let mut out = Output::open(&mut dataflow, builder, site, output);
        let activator = builder.scope.activator_for(dataflow.operator_info().address);
        let metrics = TaskMetrics::new(&task);
        let size = task.attempt.sizes.of(&task.id);
        dataflow.build(move |capabilities| {
            let epoch = task.control().first_epoch().0;
            out.hold(capabilities, epoch);
            let mut keyed = KeyedTask {
                alignment: Alignment::new(task.attempt.mode, epoch),
                out,
                contents,
                operator,
                snapshot: None,
                activator,
                armed: None,
                closed: false,
                is_held: false,
                is_firing: false,
                spills: false,
                metrics,
                size,
                task: task.clone(),
            };
            move |frontiers| {
                task.control().guard(&task.id, || {
                    read(&mut keyed)?;
                    let frontiers = frontiers.iter().map(|frontier| Frontier::of(frontier.frontier().iter()));
                    keyed.progress(frontiers.fold(Frontier::Closed, Frontier::and))
                });
            }
        });
    }
}

/// A snapshot that is being copied.
struct Copying {
    id: CheckpointId,
    frame: SnapshotFrame,
    /// Whether it holds everything and leaves no trace in the lineages.
    is_savepoint: bool,
    /// The longest time at one stretch that the task had for nothing else.
    longest: Duration,
}

/// One subtask of a keyed operator.
pub(crate) struct KeyedTask<K: Key, O: KeyedOperator<K>> {
    task: Task,
    alignment: Alignment<O::Batch>,
    contents: KeyedContents<K, O::State>,
    operator: O,
    out: Output<O::Out>,
    snapshot: Option<Copying>,
    activator: Activator,
    /// When the activation for the next processing-time timer or clean-up comes, in monotonic time.
    armed: Option<Duration>,
    closed: bool,
    /// Whether memory is short and no room can be made until the store's snapshot is taken.
    is_held: bool,
    /// Whether event-time timers are due that there was no room for: until they were called no record is taken in.
    is_firing: bool,
    /// Whether some rows are in a store.
    spills: bool,
    metrics: TaskMetrics,
    size: Arc<StateSize>,
}

impl<K: Key, O: KeyedOperator<K>> Receiver for KeyedTask<K, O> {
    type Batch = O::Batch;

    fn has_room(&self) -> bool {
        self.may_emit() && !self.is_firing
    }

    fn receive(&mut self, mark: Mark, batch: O::Batch) -> Result<()> {
        match self.alignment.admit(mark, batch) {
            Some(batch) => self.process(batch),
            None => Ok(()),
        }
    }
}

impl<K: Key, O: KeyedOperator<K>> KeyedTask<K, O> {
    fn may_emit(&self) -> bool {
        self.out.has_room() && !self.is_held
    }

    fn process(&mut self, batch: O::Batch) -> Result<()> {
        let began = self.snapshot.as_ref().map(|_| self.now());
        let watermark = self.alignment.mark().watermark;
        if O::State::HAS_TTL {
            self.contents.ttl.set_processing_time(self.task.control().clock().unix_ms());
        }
        let scope = KeyedScope { task: &self.task, watermark, contents: &mut self.contents, out: &mut self.out };
        let rows = self.operator.process(batch, scope)?;
        self.metrics.processed(rows);
        if O::State::HAS_TTL {
            self.contents.ttl.clean_up(&mut self.contents.rows, CLEAN_UP_BUSY);
        }
        self.relieve()?;
        self.sweep(SWEEP_BUSY);
        if let (Some(began), Some(snapshot)) = (began, &mut self.snapshot) {
            let took = self.task.control().clock().monotonic().saturating_sub(began);
            snapshot.longest = snapshot.longest.max(took);
        }
        Ok(())
    }

    /// Goes as far as the frontier allows: barriers, watermark, timers, the end.
    fn progress(&mut self, frontier: Frontier) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        self.relieve()?;
        if self.is_firing && !self.fire_event_time()? {
            return Ok(());
        }
        loop {
            while self.has_room()
                && let Some(batch) = self.alignment.released()
            {
                self.process(batch)?;
            }
            let event_time = self.task.event_time(frontier, self.alignment.mark().epoch);
            self.alignment.advance_watermark(event_time);
            if !self.fire_event_time()? {
                return Ok(());
            }
            if O::State::HAS_TTL {
                self.contents.ttl.advance_event_time(self.alignment.mark().watermark);
            }
            self.advance_mark();
            if !self.alignment.barrier(frontier) {
                break;
            }
            self.begin_snapshot()?;
            self.alignment.next_epoch();
            self.advance_mark();
        }
        let table = self.contents.rows.table();
        self.size.set(table.len(), table.allocated_bytes());
        self.fire_processing_time()?;
        self.clean_up();
        self.sweep(SWEEP_IDLE);
        self.out.flush();
        if frontier == Frontier::Closed {
            self.close(frontier)?;
        }
        Ok(())
    }

    fn advance_mark(&mut self) {
        self.out.advance(self.alignment.mark());
    }

    /// Calls the event-time timers that are due; whether none is left. What comes after their watermark waits for them.
    fn fire_event_time(&mut self) -> Result<bool> {
        let was_firing = self.is_firing;
        self.is_firing = !self.fire(TimeDomain::EventTime, self.alignment.mark().watermark)?;
        if self.is_firing {
            // The consumer activates this operator when there is room; until then its mark stays where it was.
            self.sweep(SWEEP_BUSY);
        } else if was_firing {
            // Input that was left unread wakes nobody.
            self.activator.activate();
        }
        Ok(!self.is_firing)
    }

    fn fire_processing_time(&mut self) -> Result<()> {
        let Some(next) = self.contents.timers.next_processing_time() else { return Ok(()) };
        let now = self.task.control().clock().unix_ms();
        if next <= now && !self.fire(TimeDomain::ProcessingTime, now)? {
            return Ok(());
        }
        if let Some(next) = self.contents.timers.next_processing_time() {
            self.wake_at(next, now);
        }
        Ok(())
    }

    /// Cleans up expired state in a step without a batch, and has the next round begin without one.
    fn clean_up(&mut self) {
        if !O::State::HAS_TTL {
            return;
        }
        let now = self.task.control().clock().unix_ms();
        let contents = &mut self.contents;
        contents.ttl.set_processing_time(now);
        if contents.ttl.clean_up(&mut contents.rows, CLEAN_UP_IDLE) {
            self.activator.activate();
        } else if let Some(next) = contents.ttl.next_round_ms()
            && !contents.rows.table().is_empty()
        {
            self.wake_at(next, now);
        }
    }

    /// Has the task activated when the clock, which shows `now_ms`, reaches `next_ms`: or before, to look at it again, since it may
    /// be set meanwhile.
    fn wake_at(&mut self, next_ms: i64, now_ms: i64) {
        let delay = Duration::from_millis(next_ms.saturating_sub(now_ms).clamp(1, LONGEST_SLEEP_MS) as u64);
        let now = self.now();
        if self.armed.is_none_or(|armed| armed <= now || now + delay < armed) {
            self.armed = Some(now + delay);
            self.activator.activate_after(delay);
        }
    }

    /// Calls the timers that are due, as long as there is room for what they emit; whether none is left.
    fn fire(&mut self, domain: TimeDomain, now_ms: i64) -> Result<bool> {
        if O::State::HAS_TTL && self.contents.timers.is_due(domain, now_ms) {
            self.contents.ttl.set_processing_time(self.task.control().clock().unix_ms());
        }
        let mut fired = 0;
        while self.contents.timers.is_due(domain, now_ms) {
            if fired == RELIEVE_TIMERS {
                fired = 0;
                self.relieve()?;
            }
            fired += 1;
            if !self.may_emit() {
                return Ok(false);
            }
            let Some((time_ms, hash, key)) = self.contents.timers.pop_due(domain, now_ms) else { break };
            self.call_on_timer(Timer { time_ms, domain }, hash, &key)?
                .map_err(|error| key_error(&self.task, &key, "", error))?;
        }
        Ok(true)
    }

    fn call_on_timer(&mut self, timer: Timer, hash: KeyHash, key: &K) -> Result<UserResult> {
        let keys = std::slice::from_ref(key);
        let _note = PanicNote::new(&self.task, keys);
        let mut context = Context {
            key,
            time: timer.time_ms,
            watermark: self.alignment.mark().watermark,
            output: &mut self.out.outlet,
            sides: &mut self.out.sides,
            timers: &mut self.contents.timers,
            clock: &**self.task.attempt.control.clock(),
            late: &self.out.late,
        };
        let (operator, ttl) = (&mut self.operator, &mut self.contents.ttl);
        let called = self.contents.rows.with(hash, key, |state| {
            if O::State::HAS_TTL {
                let time_ms = if timer.domain == TimeDomain::EventTime { timer.time_ms } else { NO_TIME };
                ttl.advance_event_time(time_ms);
                ttl.hand_out(state, time_ms);
            }
            operator.on_timer(timer, state, &mut context)
        });
        called.map_err(|error| store_error(&self.task, error))
    }

    /// Moves rows to the store if there are more in memory than may be.
    fn relieve(&mut self) -> Result<()> {
        let relief = self.contents.rows.relieve().map_err(|error| store_error(&self.task, error))?;
        let was_held = std::mem::replace(&mut self.is_held, relief == Relief::Held);
        match relief {
            // Input that was left unread wakes nobody.
            Relief::Enough if was_held => self.activator.activate(),
            Relief::Enough => {}
            Relief::More => self.activator.activate(),
            Relief::Held => self.activator.activate_after(SWEEP_PAUSE),
        }
        if !self.spills && self.contents.rows.store().is_some() {
            self.spills = true;
            let (operator, task) = (&self.task.name, &self.task.id);
            tracing::info!(%operator, %task, "the state is larger than its memory: the rest is in a store on disk");
        }
        Ok(())
    }

    /// The synchronous part of the snapshot of the epoch that ends.
    fn begin_snapshot(&mut self) -> Result<()> {
        let id = CheckpointId(self.alignment.mark().epoch);
        self.drop_given_up_savepoint();
        if let Some(older) = self.snapshot.as_ref().filter(|older| self.task.control().is_given_up(older.id)) {
            // It took too long already: to hurry now would only stall the task. What it copies counts for the next one.
            let reason = format!("the state is still being copied for checkpoint {}, which was given up", older.id);
            self.task.control().tell(TaskEvent::Declined { id, task: self.task.id.clone(), reason });
            return Ok(());
        }
        // One copy at a time: whatever is left of an older one has to be out before its pages may be marked anew.
        while self.snapshot.is_some() {
            self.sweep_now(usize::MAX);
        }
        let began = self.now();
        let (max, range) = (self.task.attempt.max_parallelism, self.contents.range);
        let is_savepoint = self.task.control().savepoint(id).is_some();
        // A savepoint holds everything, and no lineage hears of it: the next checkpoint has what changed since the last one.
        let begin = |lineage: &mut LineageHandle| match is_savepoint {
            true => vec![true; range.count()],
            false => lineage.begin(),
        };
        let full = begin(&mut self.contents.rows_lineage);
        let store = self.contents.rows.begin_snapshot(|group| match full[range.index_of(group)] {
            _ if is_savepoint => Scope::Aside,
            true => Scope::Full,
            false => Scope::Changed,
        });
        if let Some(store) = store.map_err(|error| store_error(&self.task, error))? {
            // First of all, since nothing is written to the store until it is taken.
            self.task.uploads.store(id, &self.task.id, STATE, store);
        }
        let timers_full = begin(&mut self.contents.timers_lineage);
        let timers = match is_savepoint {
            true => self.contents.timers.snapshot_aside(),
            false => self.contents.timers.snapshot(&timers_full),
        };
        for chunk in timers {
            if !is_savepoint {
                let is_full = timers_full[range.index_of(chunk.group)];
                self.contents.timers_lineage.wrote(chunk.group, is_full, chunk.bytes.len());
            }
            self.task.uploads.chunk(id, &self.task.id, TIMERS, chunk);
        }
        let schema = KeyedContents::<K, O::State>::schema().to_json();
        let keyed = |name, full| KeyedFrame { name, schema: schema.clone(), max_parallelism: max, range, full };
        let keyed = vec![keyed(STATE, full), keyed(TIMERS, timers_full)];
        let mut operator_state = self.operator.operator_state(&self.task);
        operator_state.extend(self.contents.ttl.operator_state());
        let frame = SnapshotFrame { keyed, operator_state, durable: None };
        let pause = self.now().saturating_sub(began);
        self.snapshot = Some(Copying { id, frame, is_savepoint, longest: pause });
        self.task.control().tell(TaskEvent::Prepared { id, task: self.task.id.clone(), pause });
        Ok(())
    }

    /// What is copied for a savepoint counts for nothing else: once it was given up, neither does the rest of it.
    fn drop_given_up_savepoint(&mut self) {
        let is_given_up = |copying: &Copying| copying.is_savepoint && self.task.control().is_given_up(copying.id);
        if self.snapshot.as_ref().is_some_and(is_given_up) {
            self.contents.rows.abort_snapshot();
            self.snapshot = None;
        }
    }

    /// Copies some more of the snapshot that is under way, unless the disk is behind.
    fn sweep(&mut self, slots: usize) {
        self.drop_given_up_savepoint();
        if self.snapshot.is_none() {
            return;
        }
        if self.task.uploads.backlog() > SWEEP_BACKLOG {
            self.activator.activate_after(SWEEP_PAUSE);
            return;
        }
        self.sweep_now(slots);
        if self.snapshot.is_some() {
            self.activator.activate();
        }
    }

    fn sweep_now(&mut self, slots: usize) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        self.task.uploads.written().into_iter().for_each(|chunk| self.contents.rows.recycle(chunk));
        let began = self.now();
        let (task, id, range) = (&self.task, snapshot.id, self.contents.range);
        let (full, lineage) = (&snapshot.frame.keyed[0].full, &mut self.contents.rows_lineage);
        let done = self.contents.rows.advance_snapshot(slots, &mut |chunk| {
            if !snapshot.is_savepoint {
                lineage.wrote(chunk.group, full[range.index_of(chunk.group)], chunk.bytes.len());
            }
            task.uploads.chunk(id, &task.id, STATE, chunk);
        });
        snapshot.longest = snapshot.longest.max(self.now().saturating_sub(began));
        if done {
            self.task.uploads.finish(id, &self.task.id, snapshot.frame);
            self.metrics.paused(snapshot.longest);
            self.task.control().tell(TaskEvent::LongestPause { task: self.task.id.clone(), pause: snapshot.longest });
        } else {
            self.snapshot = Some(snapshot);
        }
    }

    fn close(&mut self, frontier: Frontier) -> Result<()> {
        self.alignment.close_epochs();
        self.advance_mark();
        while let Some(batch) = self.alignment.released() {
            self.process(batch)?;
        }
        assert!(self.alignment.is_finished(frontier), "the input has closed and every batch was processed");
        while self.snapshot.is_some() {
            self.sweep_now(usize::MAX);
        }
        self.operator.close().map_err(|error| self.task.hook_error("close", error))?;
        self.out.release();
        self.closed = true;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.task.control().clock().monotonic()
    }
}
