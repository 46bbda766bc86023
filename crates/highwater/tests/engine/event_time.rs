//! Event time: where watermarks come from, and what holds them back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{JobEnd, Result, WatermarkGenerator, WatermarkOutput};
use highwater_core::Clock;
use highwater_testing::Random;
use highwater_testing::harness::{Interruption, interrupted, sorted};

use crate::support::{Numbers, Step, environment, returns, run};

/// Key and event time.
type Event = (u64, i64);

/// Key, end of the window, and how many events were in it.
type Window = (u64, i64, u64);

const WINDOW_MS: i64 = 25;

fn end_of_window(time: i64) -> i64 {
    (time.div_euclid(WINDOW_MS) + 1) * WINDOW_MS
}

#[derive(KeyedState)]
struct Windows {
    counts: MapState<i64, u64>,
}

/// Counts the events of each key in windows, and takes none that is late.
#[derive(Clone)]
struct CountInTime;

impl KeyedProcessFunction<u64, Event> for CountInTime {
    type State = Windows;
    type Out = Window;

    fn process(&mut self, event: Event, state: &mut Windows, context: &mut Context<'_, u64, Window>) -> UserResult {
        if event.1 <= context.watermark() {
            return Err(format!("{event:?} is late at {}", context.watermark()).into());
        }
        let end = end_of_window(event.1);
        state.counts.update(end, |count| *count += 1);
        context.register_event_time_timer(end - 1);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Windows, context: &mut Context<'_, u64, Window>) -> UserResult {
        if let Some(count) = state.counts.remove(&(timer.time_ms + 1)) {
            let key = *context.key();
            context.collect((key, timer.time_ms + 1, count));
        }
        Ok(())
    }
}

/// What [`CountInTime`] makes of `events`, whatever their order.
fn windows<'a>(events: impl IntoIterator<Item = &'a Event>) -> Vec<Window> {
    let mut counts = std::collections::BTreeMap::new();
    for (key, time) in events {
        *counts.entry((*key, end_of_window(*time))).or_insert(0) += 1;
    }
    counts.into_iter().map(|((key, end), count)| (key, end, count)).collect()
}

/// Partitions of a log, which are read side by side; which of them is ahead is up to chance.
#[derive(Clone)]
struct Partitions {
    events: Arc<Vec<Vec<Event>>>,
}

/// A partition, and how many of its events have been read.
type Partition = (u32, u64);

impl Source for Partitions {
    type Record = Event;
    type Split = Partition;
    type Reader = PartitionReader;

    fn discover(&self, _parallelism: u32) -> Result<Vec<Partition>> {
        Ok((0..self.events.len() as u32).map(|partition| (partition, 0)).collect())
    }

    fn reader(&self, splits: Vec<Partition>) -> Result<PartitionReader> {
        Ok(PartitionReader { source: self.clone(), splits, named: false })
    }
}

struct PartitionReader {
    source: Partitions,
    splits: Vec<Partition>,
    named: bool,
}

impl SourceReader for PartitionReader {
    type Record = Event;
    type Split = Partition;

    fn poll(&mut self, output: &mut SourceOutput<Event>) -> Result<SourceStatus> {
        let events = &self.source.events;
        let mut unread: Vec<_> = self
            .splits
            .iter_mut()
            .filter(|(partition, next)| *next < events[*partition as usize].len() as u64)
            .collect();
        if !std::mem::replace(&mut self.named, true) {
            unread.iter().for_each(|(partition, _)| output.split(*partition));
        }
        let chance = Random::new(unread.iter().map(|(_, next)| *next).sum()).any() as usize;
        let turn = chance % unread.len().max(1);
        let Some((partition, next)) = unread.get_mut(turn) else { return Ok(SourceStatus::End) };
        let events = &events[*partition as usize];
        output.split(*partition);
        output.emit(events[*next as usize]);
        *next += 1;
        if *next == events.len() as u64 {
            output.finish_split(*partition);
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<Partition> {
        self.splits.clone()
    }
}

/// Partitions each nearly in order, and far from each other; some event times are before 1970.
fn partitions(seed: u64, count: usize, disorder_ms: usize) -> Partitions {
    let mut random = Random::new(seed);
    let mut partition = |begin: i64| {
        let time = |i: i64, random: &mut Random| begin + 13 * i - random.up_to(disorder_ms) as i64;
        (0..count as i64).map(|i| (random.any() % 3, time(i, &mut random))).collect()
    };
    Partitions { events: Arc::new(vec![partition(-80), partition(0), partition(300)]) }
}

fn by_time(disorder_ms: u64) -> WatermarkStrategy<Event> {
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(disorder_ms), |event: &Event| event.1)
}

#[test]
fn no_event_is_late_because_another_split_is_ahead_whatever_the_parallelism() {
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let source = partitions(11, 9, 20);
        let output = interrupted(interruption, &[1, 3, 2], |stage| {
            let events = stage.source(source.clone(), by_time(20), "partitions").uid("partitions");
            events.key_by(|event: &Event| event.0).process(CountInTime).uid("count")
        });
        assert_eq!(sorted(output.output), windows(source.events.iter().flatten()), "{interruption:?}");
    }
}

/// A generator that only some events tell anything: those of key 0 end all that is before them.
#[derive(Clone, Default)]
struct Punctuated;

impl WatermarkGenerator<Event> for Punctuated {
    fn on_event(&mut self, event: &Event, time_ms: i64, output: &mut WatermarkOutput) {
        if event.0 == 0 {
            output.emit_watermark(time_ms - 30);
        }
    }

    fn on_periodic_emit(&mut self, _: &mut WatermarkOutput) {}
}

#[test]
fn watermarks_given_in_the_middle_of_a_stream_hold_for_what_follows() {
    let (first, second) = (partitions(1, 12, 10).events[1].clone(), partitions(2, 12, 10).events[2].clone());
    let output = interrupted(Interruption::Stop, &[1, 2], |stage| {
        let first = stage.records(first.clone(), WatermarkStrategy::no_watermarks(), "first").uid("first");
        // Its own watermarks would make everything late: they end at the assigner.
        let far_ahead = WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.1 + 1_000_000);
        let second = stage.records(second.clone(), far_ahead, "second").uid("second");
        let punctuated = WatermarkStrategy::for_generator(Punctuated::default)
            .with_timestamp_assigner(|event: &Event, time| if time == i64::MIN { event.1 } else { time - 1_000_000 });
        let first = first.assign_timestamps_and_watermarks(by_time(10));
        let second = second.assign_timestamps_and_watermarks(punctuated);
        first.union([&second]).key_by(|event: &Event| event.0).process(CountInTime).uid("count")
    });
    assert_eq!(sorted(output.output), windows(first.iter().chain(&second)));
}

#[test]
fn strategies_that_make_no_sense_are_refused() {
    let drift = Duration::from_secs(1);
    let none = WatermarkStrategy::no_watermarks;
    let cases = [
        (by_time(0).with_idleness(Duration::ZERO), none(), "the idle timeout of its watermark strategy is 0"),
        (none(), by_time(0).with_idleness(Duration::ZERO), "the idle timeout of its watermark strategy is 0"),
        (none().with_watermark_alignment("group", drift), none(), "no watermarks to align in group group"),
        (none(), by_time(0).with_watermark_alignment("group", drift), "only sources can be held back"),
    ];
    for (at_source, behind_it, problem) in cases {
        let (env, sink) = (environment(1), CollectSink::new());
        let events = env.from_source(CollectionSource::new(vec![(0u64, 0i64)]), at_source, "events");
        events.assign_timestamps_and_watermarks(behind_it).sink_to(sink);
        let error = run(&env).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
}

/// Shows a millisecond more whenever someone looks: time passes, and no wall clock says how fast.
#[derive(Debug, Default)]
pub struct PassingClock(AtomicU64);

impl Clock for PassingClock {
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.0.fetch_add(1, Ordering::SeqCst))
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

/// What has happened in an [`idle_job`].
#[derive(Clone, Default)]
pub struct Seen {
    fired: Arc<AtomicBool>,
    late: Arc<AtomicBool>,
    clock: Arc<PassingClock>,
}

impl Seen {
    pub fn saw_a_late_record(&self) -> bool {
        self.late.load(Ordering::SeqCst)
    }
}

/// When the timer is due that an [`idle_job`] waits for.
const DUE: i64 = 10_000;

/// Sets a timer with each number, and notes when the first has fired and when a number came that is late by that.
#[derive(Clone)]
struct Await(Seen);

impl KeyedProcessFunction<u64, i64> for Await {
    type State = crate::support::Count;
    type Out = i64;

    fn process(&mut self, time: i64, _: &mut crate::support::Count, out: &mut Context<'_, u64, i64>) -> UserResult {
        out.register_event_time_timer(DUE);
        if self.0.fired.load(Ordering::SeqCst) && time <= out.watermark() {
            self.0.late.store(true, Ordering::SeqCst);
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, _: &mut crate::support::Count, out: &mut Context<'_, u64, i64>) -> UserResult {
        self.0.fired.store(true, Ordering::SeqCst);
        out.collect(out.watermark());
        Ok(())
    }
}

/// What a source of an [`idle_job`] does.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Emits one number, and the next when the timer has fired, which is late then; it ends when that was seen.
    Quiet,
    /// Emits numbers until the timer has fired, and ends when a late one was seen.
    Busy,
    /// Subtasks of an even number are busy, those of an odd one quiet.
    Mixed,
}

fn may_be_idle<T: 'static>(timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static) -> WatermarkStrategy<T> {
    WatermarkStrategy::for_monotonous_timestamps(timestamp).with_idleness(Duration::from_millis(300))
}

fn part(env: &StreamExecutionEnvironment, part: Part, seen: &Seen, name: &str) -> DataStream<i64> {
    let seen = seen.clone();
    let numbers = Numbers::new(u64::MAX).when(move |number| {
        let (fired, late) = (seen.fired.load(Ordering::SeqCst), seen.late.load(Ordering::SeqCst));
        let is_quiet = part == Part::Quiet || part == Part::Mixed && number % 2 == 1;
        let emits = match () {
            () if late => return Step::End,
            () if is_quiet => number < 2 || fired && number < DUE as u64,
            () => !fired,
        };
        if emits { Step::Emit } else { Step::Wait }
    });
    env.from_source(numbers, may_be_idle(|number: &u64| *number as i64), name)
        .name(name)
        .map(|number| Ok(number as i64))
}

/// A job whose timer fires only if quiet sources are idle, and in which only late numbers come of them then.
pub fn idle_job(env: &StreamExecutionEnvironment, parts: &[Part], seen: &Seen) -> DataStream<i64> {
    env.set_clock(seen.clock.clone());
    let streams: Vec<_> =
        parts.iter().enumerate().map(|(number, kind)| part(env, *kind, seen, &format!("part-{number}"))).collect();
    streams[0].union(&streams[1..]).key_by(|number: &i64| *number as u64 % 4).process(Await(seen.clone()))
}

#[test]
fn a_quiet_source_is_idle_until_its_next_record_which_is_late() {
    let cases: [(usize, &[Part]); 3] =
        [(2, &[Part::Mixed]), (1, &[Part::Quiet, Part::Busy]), (2, &[Part::Quiet, Part::Busy, Part::Quiet])];
    for (workers, parts) in cases {
        let watermarks = returns(move || {
            let (env, sink, seen) = (environment(workers), CollectSink::new(), Seen::default());
            idle_job(&env, parts, &seen).sink_to(sink.clone());
            run(&env).unwrap();
            assert!(seen.saw_a_late_record());
            sink.committed()
        });
        assert!(watermarks.iter().any(|watermark| (DUE..i64::MAX).contains(watermark)), "{watermarks:?}");
    }
}

#[test]
fn an_idle_operator_in_the_middle_of_a_stream_follows_the_others() {
    returns(|| {
        let (env, seen) = (environment(1), Seen::default());
        env.set_clock(seen.clock.clone());
        let of = |kind, name| {
            part(&env, kind, &seen, name).assign_timestamps_and_watermarks(may_be_idle(|number: &i64| *number))
        };
        let both = of(Part::Quiet, "quiet").union([&of(Part::Busy, "busy")]);
        both.key_by(|number: &i64| *number as u64 % 4).process(Await(seen.clone())).sink_to(CollectSink::new());
        run(&env).unwrap();
        assert!(seen.saw_a_late_record());
    });
}

/// Streams that never meet have nothing to do with each other: the watermark of one says nothing about the other.
#[test]
fn an_idle_source_does_not_follow_one_whose_stream_it_never_meets() {
    returns(|| {
        let (env, alone, other) = (environment(1), Seen::default(), Seen::default());
        env.set_state_backend(MemoryStateBackend::new());
        idle_job(&env, &[Part::Quiet, Part::Busy], &other).sink_to(CollectSink::new());
        let (stop, late, polls) = (env.stop_handle(), other.late.clone(), AtomicU64::new(0));
        let numbers = Numbers::new(2).when(move |number| {
            // Long enough for it to be idle as well.
            if late.load(Ordering::SeqCst) && polls.fetch_add(1, Ordering::SeqCst) == 200 {
                stop.stop();
            }
            if number == 0 { Step::Emit } else { Step::Wait }
        });
        env.from_source(numbers, may_be_idle(|number: &u64| *number as i64), "alone")
            .map(|number| Ok(number as i64))
            .key_by(|number: &i64| *number as u64)
            .process(Await(alone.clone()))
            .sink_to(CollectSink::new());
        run(&env).unwrap();
        assert!(other.fired.load(Ordering::SeqCst) && !alone.fired.load(Ordering::SeqCst));
    });
}

/// How far a source of the aligned job may be ahead.
const DRIFT: u64 = 50;

/// What a source emits between two looks at its group.
const STEP: u64 = 16;

#[test]
fn sources_of_a_group_wait_for_each_other_and_checkpoints_go_on() {
    let (slow, fast, most) = returns(|| {
        let (env, sink) = (environment(2), CollectSink::new());
        env.set_clock(Arc::new(PassingClock::default())).set_state_backend(MemoryStateBackend::new());
        env.enable_checkpointing(Duration::from_millis(50));
        let latest = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
        let most = Arc::new(AtomicU64::new(0));
        let (polls, is_over) = (AtomicU64::new(0), Arc::new(AtomicBool::new(false)));
        let aligned = |numbers: Numbers, name: &str| {
            let in_order = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
            let strategy = in_order.with_watermark_alignment("all", Duration::from_millis(DRIFT));
            // The slow source has none: however slow, nobody may pass it.
            let quiet = (name == "quiet").then(|| strategy.clone().with_idleness(Duration::from_millis(500)));
            env.from_source(numbers, quiet.unwrap_or(strategy), name).uid(name)
        };
        let emitted = latest.clone();
        // Takes one number a poll, and not at each.
        let slow = Numbers::new(200).when(move |number| {
            if !polls.fetch_add(1, Ordering::SeqCst).is_multiple_of(3) {
                return Step::Wait;
            }
            emitted[number as usize % 2].fetch_max(number, Ordering::SeqCst);
            Step::Emit
        });
        let (ahead, emitted, over) = (most.clone(), latest.clone(), is_over.clone());
        let fast = Numbers::new(5_000).when(move |number| {
            let slowest = emitted.iter().map(|latest| latest.load(Ordering::SeqCst)).min().unwrap_or_default();
            // Once the slow source has ended there is nothing to wait for.
            if slowest < 198 {
                ahead.fetch_max(number.saturating_sub(slowest), Ordering::SeqCst);
            }
            over.fetch_or(number >= 4_998, Ordering::SeqCst);
            Step::Emit
        });
        // Has one number, and ends when the others have.
        let quiet = Numbers::new(4).when(move |number| match () {
            () if number < 2 || is_over.load(Ordering::SeqCst) => Step::Emit,
            () => Step::Wait,
        });
        let (slow, quiet) = (aligned(slow, "slow"), aligned(quiet, "quiet"));
        aligned(fast, "fast").union([&slow, &quiet]).sink_to(sink.clone());
        let result = run(&env).unwrap();
        assert!(result.checkpoints_completed > 1, "{result:?}");
        let committed = sink.committed();
        let count = |number: u64| committed.iter().filter(|other| **other == number).count();
        (count(199), count(4_999), most.load(Ordering::SeqCst))
    });
    assert_eq!((slow, fast), (2, 1), "the fast source emits the numbers of the slow one, too");
    // Each subtask emits every other number.
    assert!(most <= DRIFT + 2 * STEP + 2, "a source was {most} ahead");
}

#[test]
fn a_job_stops_while_a_source_waits_for_its_group() {
    let end = returns(|| {
        let (env, emitted) = (environment(1), Arc::new(AtomicU64::new(0)));
        env.set_clock(Arc::new(PassingClock::default())).set_state_backend(MemoryStateBackend::new());
        let aligned = |numbers: Numbers, name: &str| {
            let in_order = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
            env.from_source(numbers, in_order.with_watermark_alignment("all", Duration::from_millis(DRIFT)), name)
        };
        let (stop, count) = (env.stop_handle(), emitted.clone());
        let polls = AtomicU64::new(0);
        let silent = Numbers::new(10).when(move |_| {
            if count.load(Ordering::SeqCst) > 0 && polls.fetch_add(1, Ordering::SeqCst) == 50 {
                stop.stop();
            }
            Step::Wait
        });
        let count = emitted.clone();
        let fast = Numbers::new(100_000).when(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Step::Emit
        });
        aligned(fast, "fast").union([&aligned(silent, "silent")]).sink_to(CollectSink::new());
        let result = run(&env).unwrap();
        assert!(emitted.load(Ordering::SeqCst) <= STEP, "nothing is known of the other yet");
        result.end
    });
    assert_eq!(end, JobEnd::Stopped);
}
