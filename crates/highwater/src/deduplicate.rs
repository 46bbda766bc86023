//! One record of each key: the first or the last, as they come or by event time.
//!
//! Flink SQL calls this deduplication, and writes it `ROW_NUMBER() OVER (PARTITION BY .. ORDER BY time) = 1`. What keeps the
//! first emits each key once. What keeps the last emits [changes](crate::change), since nobody knows when the last has come.
//!
//! ```
//! use highwater::change::table;
//! use highwater::prelude::*;
//!
//! # fn main() -> highwater::Result<()> {
//! let (env, first, last) = (StreamExecutionEnvironment::new(), CollectSink::new(), CollectSink::new());
//! let visits = env.from_collection([("ada", "/"), ("eve", "/"), ("ada", "/prices")].map(|(user, page)| (user.to_string(), page.to_string())));
//! let by_user = visits.key_by(|visit: &(String, String)| visit.0.clone()).deduplicate();
//! by_user.keep_first().map(|visit| Ok(visit.1)).uid("first").sink_to(first.clone());
//! by_user.keep_last().map(|change| Ok(change.map(|visit| visit.1))).uid("last").sink_to(last.clone());
//! env.execute("visits")?;
//! assert_eq!(first.committed(), ["/", "/"]);
//! assert_eq!(table(last.committed()), ["/", "/prices"]);
//! # Ok(())
//! # }
//! ```

use std::time::Duration;

use highwater_runtime::{Context, KeyedProcessFunction, TimeDomain, Timer, UserResult};
use highwater_state::{Data, Key, KeyedState, ValueState};

use crate::change::Change;
use crate::event_time::event_time_of;
use crate::stream::{DataStream, KeyedStream};

/// What the errors of records without event time name.
const NAME: &str = "a deduplication by event time";
/// When what has no time-to-live is forgotten.
const NEVER: i64 = i64::MAX;

impl<K: Key, T: Data, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeyedStream<K, T, F> {
    /// One record of each key: see [`deduplicate`](crate::deduplicate).
    pub fn deduplicate(&self) -> Deduplicate<K, T, F> {
        Deduplicate { stream: self.clone(), ttl: None }
    }
}

/// A keyed stream of which one record of each key is kept.
pub struct Deduplicate<K, T, F> {
    stream: KeyedStream<K, T, F>,
    ttl: Option<Duration>,
}

impl<K: Key, T: Data, F: Fn(&T) -> K + Clone + Send + Sync + 'static> Deduplicate<K, T, F> {
    /// Forgets a key, in processing time, so long after a record of it was last kept; the next one is then the first again. What was
    /// emitted is not taken back. Without, keys are kept for ever.
    #[must_use]
    pub fn ttl(mut self, ttl: Duration) -> Self {
        self.ttl = Some(ttl);
        self
    }

    /// Emits the first record of each key that comes.
    pub fn keep_first(&self) -> DataStream<T> {
        self.add("keep-first", KeepFirst { ttl: self.time_to_live() })
    }

    /// Emits each record, in place of the one of its key that came before.
    pub fn keep_last(&self) -> DataStream<Change<T>> {
        self.add("keep-last", KeepLast { ttl: self.time_to_live(), by_event_time: false })
    }

    /// Emits the record of each key with the earliest event time, once the watermark has come to that; of two with the same time the
    /// one that came first. Earlier ones that come later are late: they are dropped and counted.
    pub fn keep_first_by_event_time(&self) -> DataStream<T> {
        self.add("keep-first", KeepEarliest { ttl: self.time_to_live() })
    }

    /// Emits each record that has no earlier event time than the one of its key before, in place of that.
    pub fn keep_last_by_event_time(&self) -> DataStream<Change<T>> {
        self.add("keep-last", KeepLast { ttl: self.time_to_live(), by_event_time: true })
    }

    fn time_to_live(&self) -> TimeToLive {
        TimeToLive(self.ttl.map(|ttl| i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)))
    }

    fn add<P: KeyedProcessFunction<K, T>>(&self, name: &str, function: P) -> DataStream<P::Out> {
        let out = self.stream.add(name, function);
        match self.time_to_live() {
            TimeToLive(Some(0)) => out.rejected(
                "a deduplication with a time-to-live below one millisecond keeps nothing: give it a longer one, or none",
            ),
            TimeToLive(_) => out,
        }
    }
}

/// How many ms a key outlives the last time that a record of it was kept.
#[derive(Clone, Copy)]
struct TimeToLive(Option<i64>);

impl TimeToLive {
    /// Until when a record is kept that comes now.
    fn until<K: Key, Out: Data>(self, context: &Context<'_, K, Out>) -> i64 {
        self.0.map_or(NEVER, |ttl_ms| context.processing_time().saturating_add(ttl_ms))
    }
}

/// Whether the time has passed until which something is kept.
fn is_over<K: Key, Out: Data>(until_ms: i64, context: &Context<'_, K, Out>) -> bool {
    until_ms != NEVER && until_ms <= context.processing_time()
}

/// Has a key woken up when it is to be forgotten.
fn wake<K: Key, Out: Data>(until_ms: i64, context: &mut Context<'_, K, Out>) {
    if until_ms != NEVER {
        context.register_processing_time_timer(until_ms);
    }
}

/// That a key has come.
#[derive(KeyedState)]
#[state(crate = "highwater_state")]
struct Seen {
    until_ms: ValueState<i64>,
}

#[derive(Clone)]
struct KeepFirst {
    ttl: TimeToLive,
}

impl<K: Key, T: Data> KeyedProcessFunction<K, T> for KeepFirst {
    type State = Seen;
    type Out = T;

    fn process(&mut self, record: T, seen: &mut Seen, context: &mut Context<'_, K, T>) -> UserResult {
        if seen.until_ms.get().is_none_or(|until_ms| is_over(*until_ms, context)) {
            let until_ms = self.ttl.until(context);
            seen.until_ms.set(until_ms);
            wake(until_ms, context);
            context.collect(record);
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, seen: &mut Seen, context: &mut Context<'_, K, T>) -> UserResult {
        if seen.until_ms.get().is_some_and(|until_ms| is_over(*until_ms, context)) {
            seen.until_ms.clear();
        }
        Ok(())
    }
}

/// The record that is kept of a key, and until when.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
struct Held<T> {
    record: T,
    /// `None` where the event time does not matter.
    time_ms: Option<i64>,
    until_ms: i64,
}

#[derive(KeyedState)]
#[state(crate = "highwater_state")]
struct Last<T: Data> {
    held: ValueState<Held<T>>,
}

#[derive(Clone)]
struct KeepLast {
    ttl: TimeToLive,
    by_event_time: bool,
}

impl<K: Key, T: Data> KeyedProcessFunction<K, T> for KeepLast {
    type State = Last<T>;
    type Out = Change<T>;

    fn process(&mut self, record: T, last: &mut Last<T>, context: &mut Context<'_, K, Change<T>>) -> UserResult {
        let time_ms = self.by_event_time.then(|| event_time_of(context, NAME)).transpose()?;
        if last.held.get().is_some_and(|held| !is_over(held.until_ms, context) && time_ms < held.time_ms) {
            return Ok(());
        }
        let until_ms = self.ttl.until(context);
        let before = last.held.take().filter(|held| !is_over(held.until_ms, context));
        // One that is to be forgotten has a timer already, which will look again.
        if before.as_ref().is_none_or(|before| before.until_ms == NEVER) {
            wake(until_ms, context);
        }
        if let Some(before) = before {
            context.collect(Change::Delete(before.record));
        }
        context.collect(Change::Insert(record.clone()));
        last.held.set(Held { record, time_ms, until_ms });
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, last: &mut Last<T>, context: &mut Context<'_, K, Change<T>>) -> UserResult {
        match last.held.get().map(|held| held.until_ms) {
            Some(until_ms) if is_over(until_ms, context) => last.held.clear(),
            Some(until_ms) => wake(until_ms, context),
            None => {}
        }
        Ok(())
    }
}

/// The earliest record of a key.
#[derive(KeyedState)]
#[state(crate = "highwater_state")]
struct Earliest<T: Data> {
    /// The earliest so far, which the watermark has not come to.
    held: ValueState<Held<T>>,
    /// After it was emitted: its event time, and until when that is remembered.
    emitted: ValueState<(i64, i64)>,
}

#[derive(Clone)]
struct KeepEarliest {
    ttl: TimeToLive,
}

impl<K: Key, T: Data> KeyedProcessFunction<K, T> for KeepEarliest {
    type State = Earliest<T>;
    type Out = T;

    fn process(&mut self, record: T, earliest: &mut Earliest<T>, context: &mut Context<'_, K, T>) -> UserResult {
        let time_ms = event_time_of(context, NAME)?;
        if let Some((emitted_ms, until_ms)) = earliest.emitted.get()
            && !is_over(*until_ms, context)
        {
            if time_ms < *emitted_ms {
                context.count_late_record();
            }
            return Ok(());
        }
        let held_ms = earliest.held.get().and_then(|held| held.time_ms);
        if held_ms.is_none_or(|held_ms| time_ms < held_ms) {
            if let Some(held_ms) = held_ms {
                context.delete_event_time_timer(held_ms);
            }
            context.register_event_time_timer(time_ms);
            earliest.held.set(Held { record, time_ms: Some(time_ms), until_ms: NEVER });
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, earliest: &mut Earliest<T>, context: &mut Context<'_, K, T>) -> UserResult {
        match timer.domain {
            TimeDomain::EventTime => {
                if let Some(held) = earliest.held.take() {
                    let until_ms = self.ttl.until(context);
                    earliest.emitted.set((timer.time_ms, until_ms));
                    wake(until_ms, context);
                    context.collect(held.record);
                }
            }
            TimeDomain::ProcessingTime => {
                if earliest.emitted.get().is_some_and(|(_, until_ms)| is_over(*until_ms, context)) {
                    earliest.emitted.clear();
                }
            }
        }
        Ok(())
    }
}
