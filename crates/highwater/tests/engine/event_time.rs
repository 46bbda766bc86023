//! Event time: where watermarks come from, and what holds them back.

use std::sync::Arc;
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{Result, WatermarkGenerator, WatermarkOutput};
use highwater_testing::Random;
use highwater_testing::harness::{Interruption, interrupted, sorted};

use crate::support::{environment, run};

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
fn an_idle_timeout_of_zero_is_refused() {
    let strategies = [by_time(0).with_idleness(Duration::ZERO)];
    for strategy in strategies {
        let (env, sink) = (environment(1), CollectSink::new());
        env.from_collection([(0u64, 0i64)]).assign_timestamps_and_watermarks(strategy).sink_to(sink);
        let error = run(&env).unwrap_err().to_string();
        assert!(error.contains("the idle timeout of its watermark strategy is 0"), "{error}");
    }
}
