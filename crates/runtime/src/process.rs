//! The user's functions and what they see while they run.

use highwater_core::{BoxError, Clock, Parallelism, SubtaskIndex};
use highwater_state::{Key, KeyedState};
use metrics::Counter;

use crate::batch::{NO_TIME, Record};
use crate::edge::Outlet;
use crate::side::{OutputTag, Sides};
use crate::timers::Timers;

/// What user functions return: any error ends the attempt and reaches the user with the operator's name and the record's key.
pub type UserResult<T = ()> = std::result::Result<T, BoxError>;

/// Where a stateless function puts its results.
pub struct Collector<'a, Out: 'static> {
    pub(crate) output: &'a mut Outlet<Out>,
    pub(crate) sides: &'a mut Sides,
    pub(crate) time: i64,
}

impl<Out: Record> Collector<'_, Out> {
    /// Emits a record with the event time of the input record.
    #[inline]
    pub fn collect(&mut self, record: Out) {
        self.output.push(record, self.time);
    }

    /// Emits a record with an event time of its own, in ms since the Unix epoch.
    #[inline]
    pub fn collect_at(&mut self, record: Out, time_ms: i64) {
        self.output.push(record, time_ms);
    }

    /// Emits a record to a side output.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.sides.push(tag, record, self.time);
    }

    /// The event time of the input record, in ms since the Unix epoch.
    pub fn timestamp(&self) -> Option<i64> {
        (self.time != NO_TIME).then_some(self.time)
    }
}

/// What a function may know when it is opened.
#[derive(Clone, Debug)]
pub struct OpenContext {
    /// The operator's name.
    pub name: String,
    /// Which of its instances this is.
    pub subtask: SubtaskIndex,
    /// How many instances there are.
    pub parallelism: Parallelism,
    /// Whether state was restored from a checkpoint.
    pub is_restored: bool,
}

/// A function over a keyed stream with declared state and timers.
///
/// Each parallel instance has a clone of it. What it keeps in its own fields is *not* in checkpoints; what must survive a failure
/// goes into [`State`](KeyedProcessFunction::State).
pub trait KeyedProcessFunction<K: Key, In>: Clone + Send + Sync + 'static {
    /// The declared state of one key.
    type State: KeyedState;
    /// What it emits.
    type Out: Record;

    /// Called once in each attempt, before the first record.
    ///
    /// # Errors
    /// End the attempt.
    fn open(&mut self, context: &OpenContext) -> UserResult {
        let _ = context;
        Ok(())
    }

    /// Called for each record, with the state of its key.
    ///
    /// # Errors
    /// End the attempt.
    fn process(&mut self, record: In, state: &mut Self::State, context: &mut Context<'_, K, Self::Out>) -> UserResult;

    /// Called when a timer that was registered for a key is due.
    ///
    /// # Errors
    /// End the attempt.
    fn on_timer(
        &mut self,
        timer: Timer,
        state: &mut Self::State,
        context: &mut Context<'_, K, Self::Out>,
    ) -> UserResult {
        let _ = (timer, state, context);
        Ok(())
    }

    /// Called when the stream has ended or the job is stopped, but not after a failure.
    ///
    /// # Errors
    /// End the attempt.
    fn close(&mut self) -> UserResult {
        Ok(())
    }
}

/// Which clock a timer follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TimeDomain {
    /// The watermark.
    EventTime,
    /// The clock of the machine.
    ProcessingTime,
}

/// A timer that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timer {
    /// The time it was registered for, in ms since the Unix epoch.
    pub time_ms: i64,
    /// Which clock reached that time.
    pub domain: TimeDomain,
}

/// What a keyed function sees beside its record and its state.
pub struct Context<'a, K: Key, Out: 'static> {
    pub(crate) key: &'a K,
    pub(crate) time: i64,
    pub(crate) watermark: i64,
    pub(crate) output: &'a mut Outlet<Out>,
    pub(crate) sides: &'a mut Sides,
    pub(crate) timers: &'a mut Timers<K>,
    pub(crate) clock: &'a dyn Clock,
    pub(crate) late: &'a Counter,
}

impl<'a, K: Key, Out: Record> Context<'a, K, Out> {
    /// The key of the record or timer.
    pub fn key(&self) -> &K {
        self.key
    }

    /// The event time of the record or timer, in ms since the Unix epoch.
    pub fn timestamp(&self) -> Option<i64> {
        (self.time != NO_TIME).then_some(self.time)
    }

    /// The task's watermark: the minimum over all its upstream subtasks, in ms since the Unix epoch.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine's clock, in ms since the Unix epoch.
    pub fn processing_time(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// The clock that the machine's time is taken from.
    pub fn clock(&self) -> &'a dyn Clock {
        self.clock
    }

    /// Has what is emitted from now on for this record or timer carry another event time, in ms since the Unix epoch.
    pub fn set_timestamp(&mut self, time_ms: i64) {
        self.time = time_ms;
    }

    /// Counts a record that came too late and is dropped, in the metric `highwater_late_records_dropped`.
    pub fn count_late_record(&mut self) {
        self.late.increment(1);
    }

    /// Emits a record with the event time of the record or timer.
    #[inline]
    pub fn collect(&mut self, record: Out) {
        self.output.push(record, self.time);
    }

    /// Emits a record to a side output.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.sides.push(tag, record, self.time);
    }

    /// Has [`on_timer`](KeyedProcessFunction::on_timer) called for this key when the watermark reaches `time_ms`. Registering the
    /// same time again changes nothing.
    pub fn register_event_time_timer(&mut self, time_ms: i64) {
        self.timers.register(TimeDomain::EventTime, time_ms, self.key);
    }

    /// Has [`on_timer`](KeyedProcessFunction::on_timer) called for this key when the machine's clock reaches `time_ms`. One that
    /// is past due after a restore fires at once.
    pub fn register_processing_time_timer(&mut self, time_ms: i64) {
        self.timers.register(TimeDomain::ProcessingTime, time_ms, self.key);
    }

    /// Takes back a timer of this key; one that does not exist is no error.
    pub fn delete_event_time_timer(&mut self, time_ms: i64) {
        self.timers.delete(TimeDomain::EventTime, time_ms, self.key);
    }

    /// Takes back a timer of this key; one that does not exist is no error.
    pub fn delete_processing_time_timer(&mut self, time_ms: i64) {
        self.timers.delete(TimeDomain::ProcessingTime, time_ms, self.key);
    }
}
