//! Every operator, through the real runtime, with a snapshot and a restore between every two records and with changing
//! parallelism: the same output as in one piece.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use highwater::connectors::{CollectSink, CollectionSource, FileSink, FileSource, Generator};
use highwater::prelude::*;
use highwater::state::keyed::Min;
use highwater_testing::HandSetClock;
use highwater_testing::Random;
use highwater_testing::harness::{Interruption, check, interrupted, run_to_the_end, sorted, uninterrupted};

use crate::support::{Numbers, Step, environment, returns, run};

/// Key and event time.
type Event = (u64, i64);

fn no_watermarks<T: 'static>() -> WatermarkStrategy<T> {
    WatermarkStrategy::no_watermarks()
}

/// `count` events of three keys, in order of time but for a shuffle within `disorder_ms`.
fn events(count: i64, disorder_ms: i64) -> Vec<Event> {
    let mut random = Random::new(7);
    let time = |i: i64, random: &mut Random| 10 * i - random.up_to(disorder_ms as usize) as i64;
    (0..count).map(|i| (random.any() % 3, time(i, &mut random))).collect()
}

fn bounded(disorder_ms: u64) -> WatermarkStrategy<Event> {
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(disorder_ms), |event: &Event| event.1)
}

#[derive(KeyedState)]
struct All {
    sum: ValueState<u64>,
    last: ListState<u64>,
    seen: MapState<u64, u64>,
    least: ReducingState<u64, Min>,
    text: AggregatingState<Join>,
}

/// Puts numbers together to one text.
enum Join {}

impl Aggregate for Join {
    type In = u64;
    type Accumulator = String;
    type Out = u64;

    fn create() -> String {
        String::new()
    }

    fn add(text: &mut String, number: u64) {
        *text = format!("{text}{number}");
    }

    fn result(text: &String) -> u64 {
        text.bytes().map(u64::from).sum()
    }

    fn merge(text: &mut String, other: String) {
        text.push_str(&other);
    }
}

/// Uses, removes from and clears every kind of state.
#[derive(Clone)]
struct UseAll;

impl KeyedProcessFunction<u64, u64> for UseAll {
    type State = All;
    type Out = (u64, Vec<u64>);

    fn process(&mut self, record: u64, state: &mut All, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        state.sum.update(|sum| *sum += record);
        state.last.add(record);
        state.seen.update(record % 4, |times| *times += 1);
        state.least.add(record);
        state.text.add(record);
        let mut seen = vec![state.sum.get_or_default()];
        seen.extend(state.least.get());
        seen.extend(state.text.get());
        seen.extend(state.last.iter());
        seen.extend(state.seen.iter().flat_map(|(record, times)| [*record, *times]));
        out.collect((*out.key(), seen));
        match record % 5 {
            0 => state.clear(),
            1 => {
                state.sum.clear();
                state.least.clear();
            }
            2 => {
                state.seen.remove(&(record % 4));
            }
            3 => state.last.clear(),
            _ => {}
        }
        Ok(())
    }
}

#[test]
fn every_kind_of_state_survives() {
    let mut random = Random::new(1);
    let records: Vec<u64> = (0..60).map(|_| random.any() % 100).collect();
    check(
        |stage| {
            stage.records(records.clone(), no_watermarks(), "records").key_by(|record: &u64| record % 3).process(UseAll)
        },
        |(key, _)| *key,
    );
}

#[test]
fn a_stateful_map_survives() {
    check(
        |stage| {
            let words = ["to", "be", "or", "not", "to", "be"].map(String::from).to_vec();
            stage.records(words, no_watermarks(), "words").key_by(|word: &String| word.clone()).stateful_map(
                |count: &mut u64, word| {
                    *count += 1;
                    Ok((word, *count))
                },
            )
        },
        |(word, _)| word.clone(),
    );
}

#[derive(KeyedState)]
struct Windows {
    counts: MapState<i64, u64>,
}

/// Counts events in windows of 50 ms, by timers; takes back the timer of a window whose number is divisible by four.
#[derive(Clone)]
struct CountWindows;

const WINDOW_MS: i64 = 50;

impl KeyedProcessFunction<u64, Event> for CountWindows {
    type State = Windows;
    type Out = (u64, i64, u64);

    fn process(&mut self, event: Event, state: &mut Windows, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        let end = (event.1.div_euclid(WINDOW_MS) + 1) * WINDOW_MS;
        assert_eq!(out.timestamp(), Some(event.1));
        state.counts.update(end, |count| *count += 1);
        out.register_event_time_timer(end);
        if end % (4 * WINDOW_MS) == 0 {
            out.delete_event_time_timer(end);
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Windows, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        assert_eq!(timer.domain, TimeDomain::EventTime);
        assert!(out.watermark() >= timer.time_ms);
        let count = state.counts.remove(&timer.time_ms).ok_or("a timer without its window")?;
        out.collect((*out.key(), timer.time_ms, count));
        Ok(())
    }
}

#[test]
fn event_time_timers_survive_and_fire_in_order_also_at_the_end_of_the_input() {
    let events = events(83, 30);
    let expected = uninterrupted(|stage| {
        stage.records(events.clone(), bounded(30), "events").key_by(|event: &Event| event.0).process(CountWindows)
    });
    let last = events.iter().map(|event| event.1).max().unwrap();
    assert!(expected.iter().any(|(_, end, _)| *end > last), "the window that is open at the end fires too");
    assert!(expected.iter().all(|(_, end, _)| end % (4 * WINDOW_MS) != 0), "a timer that was taken back does not fire");
    let in_windows = |end: i64| events.iter().filter(|event| (end - WINDOW_MS..end).contains(&event.1)).count() as u64;
    let mut ends: Vec<i64> = expected.iter().map(|(_, end, _)| *end).collect();
    ends.dedup();
    for end in ends {
        let counted: u64 = expected.iter().filter(|(_, other, _)| *other == end).map(|(.., count)| count).sum();
        assert_eq!(counted, in_windows(end), "events in the window that ends at {end}");
    }
    check(
        |stage| {
            stage.records(events.clone(), bounded(30), "events").key_by(|event: &Event| event.0).process(CountWindows)
        },
        |(key, ..)| *key,
    );
}

/// Counts how often its timer for the end of all time has fired.
#[derive(Clone)]
struct NotBeforeTheEnd {
    fired: Arc<AtomicI64>,
}

impl KeyedProcessFunction<u64, u64> for NotBeforeTheEnd {
    type State = crate::support::Count;
    type Out = u64;

    fn process(&mut self, number: u64, _: &mut crate::support::Count, out: &mut Context<'_, u64, u64>) -> UserResult {
        out.register_event_time_timer(i64::MAX);
        out.collect(number);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, _: &mut crate::support::Count, _: &mut Context<'_, u64, u64>) -> UserResult {
        self.fired.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn event_time_stands_still_while_a_job_stops_though_some_sources_have_ended() {
    let fired = Arc::new(AtomicI64::new(0));
    // All but one of the source's subtasks have nothing to read.
    interrupted(Interruption::Stop, &[4, 3], |stage| {
        let numbers = stage.records((0..20).collect(), no_watermarks(), "numbers");
        numbers.key_by(|number: &u64| *number).process(NotBeforeTheEnd { fired: fired.clone() })
    });
    assert_eq!(fired.load(Ordering::SeqCst), 20, "each timer fires once, at the end of the input");
}

#[test]
fn the_watermark_of_a_union_is_that_of_the_slower_source() {
    let (fast, slow) = (events(60, 30), events(12, 30));
    check(
        |stage| {
            let fast = stage.records(fast.clone(), bounded(30), "fast");
            let slow = stage.records(slow.iter().map(|(key, time)| (*key, 5 * time)).collect(), bounded(150), "slow");
            fast.union([&slow]).key_by(|event: &Event| event.0).process(CountWindows)
        },
        |(key, ..)| *key,
    );
}

/// Sends what is odd aside.
#[derive(Clone)]
struct Split {
    odd: OutputTag<String>,
}

impl KeyedProcessFunction<u64, u64> for Split {
    type State = crate::support::Count;
    type Out = u64;

    fn process(
        &mut self,
        number: u64,
        state: &mut crate::support::Count,
        out: &mut Context<'_, u64, u64>,
    ) -> UserResult {
        let seen = state.seen.get_or_default() + 1;
        state.seen.set(seen);
        if number.is_multiple_of(2) {
            out.collect(number);
        } else {
            out.side_output(&self.odd, format!("{number} is number {seen}"));
        }
        Ok(())
    }
}

#[test]
fn side_outputs_of_keyed_and_of_stateless_operators_survive() {
    check(
        |stage| {
            let (large, odd) = (OutputTag::<String>::new("large"), OutputTag::new("odd"));
            let tag = large.clone();
            let small =
                stage.records((0..40).collect(), no_watermarks(), "numbers").flat_map(move |number: u64, out| {
                    if number < 30 {
                        out.collect(number);
                    } else {
                        out.side_output(&tag, format!("{number} is large"));
                    }
                    Ok(())
                });
            let even = small.key_by(|number: &u64| number % 3).process(Split { odd: odd.clone() });
            let texts = even.map(|number| Ok(format!("{number} is even")));
            texts.union([&even.side_output(&odd), &small.side_output(&large)])
        },
        |text| text.clone(),
    );
}

#[test]
fn a_stream_may_have_several_readers() {
    check(
        |stage| {
            let numbers = stage.records((0..40u64).collect(), no_watermarks(), "numbers");
            let counted = numbers.key_by(|number: &u64| number % 3).stateful_map(|count: &mut u64, number| {
                *count += 1;
                Ok((number, *count))
            });
            numbers.filter(|number| Ok(number.is_multiple_of(2))).map(|number| Ok((number, 0))).union([&counted])
        },
        |(number, count)| (*number, *count > 0),
    );
}

/// Counts the lines of each length.
fn count_lines(lines: &DataStream<String>) -> DataStream<(u64, u64)> {
    lines.key_by(|line: &String| line.len() as u64 % 16).stateful_map(|count: &mut u64, line| {
        *count += 1;
        Ok((line.len() as u64 % 16, *count))
    })
}

#[test]
fn files_are_read_from_where_they_were_left() {
    let dir = tempfile::tempdir().unwrap();
    for file in 0..3 {
        let lines: String = (0..4000).map(|i| format!("{}\n", "x".repeat((i * 7 + file) % 23))).collect();
        std::fs::write(dir.path().join(format!("{file}.log")), lines).unwrap();
    }
    let path = dir.path().to_path_buf();
    check(
        |stage| count_lines(&stage.source(FileSource::lines(&path).split_bytes(10_000), no_watermarks(), "files")),
        |(key, _)| *key,
    );
}

#[test]
fn generators_and_collections_go_on_from_where_they_were_left() {
    let numbers: Vec<u64> = (0..5000).collect();
    check(
        |stage| {
            let generated = stage.source(Generator::new(|index| index).count(5000), no_watermarks(), "generator");
            let collected = stage.source(CollectionSource::new(numbers.clone()), no_watermarks(), "collection");
            generated.union([&collected]).key_by(|number: &u64| number % 16).stateful_map(|count: &mut u64, number| {
                *count += 1;
                Ok((number % 16, *count))
            })
        },
        |(key, _)| *key,
    );
}

#[test]
fn a_file_sink_shows_every_record_once() {
    let records: Vec<u64> = (0..60).collect();
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let dir = tempfile::tempdir().unwrap();
        run_to_the_end(interruption, &[1, 3, 2], |stage| {
            let numbers = stage.records(records.clone(), no_watermarks(), "numbers");
            let texts =
                numbers.key_by(|number: &u64| *number).stateful_map(|_: &mut u64, number| Ok(number.to_string()));
            texts.sink_to(FileSink::lines(dir.path()));
        });
        let mut written = Vec::new();
        for entry in std::fs::read_dir(dir.path()).unwrap() {
            let path = entry.unwrap().path();
            if !path.file_name().unwrap().to_str().unwrap().starts_with('.') {
                let content = std::fs::read_to_string(path).unwrap();
                written.extend(content.lines().map(|line| line.parse::<u64>().unwrap()));
            }
        }
        assert_eq!(sorted(written), records, "{interruption:?}");
    }
}

/// Rings some time after each record, unless the key is odd.
#[derive(Clone)]
struct Alarm {
    after_ms: i64,
    rung: Arc<AtomicI64>,
}

const HOUR_MS: i64 = 3_600_000;

impl KeyedProcessFunction<u64, u64> for Alarm {
    type State = crate::support::Count;
    type Out = (u64, i64);

    fn process(&mut self, _: u64, _: &mut crate::support::Count, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        let time = out.processing_time() + self.after_ms;
        out.register_processing_time_timer(time);
        if out.key() % 2 == 1 {
            out.delete_processing_time_timer(time);
        }
        Ok(())
    }

    fn on_timer(
        &mut self,
        timer: Timer,
        _: &mut crate::support::Count,
        out: &mut Context<'_, u64, Self::Out>,
    ) -> UserResult {
        assert_eq!(timer.domain, TimeDomain::ProcessingTime);
        out.collect((*out.key(), timer.time_ms));
        self.rung.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// The task is activated when a timer should be due, and finds that the clock does not show it yet.
#[test]
fn a_processing_time_timer_waits_for_a_clock_that_is_behind() {
    returns(|| {
        let (clock, sink, rung) = (Arc::new(HandSetClock::default()), CollectSink::new(), Arc::new(AtomicI64::new(0)));
        let env = environment(1);
        env.set_clock(clock.clone());
        let (is_rung, polls) = (rung.clone(), AtomicI64::new(0));
        let numbers = Numbers::new(2).when(move |number| {
            if number == 1 && polls.fetch_add(1, Ordering::SeqCst) == 50 {
                clock.unix_ms.store(5, Ordering::SeqCst);
            }
            if number == 0 || is_rung.load(Ordering::SeqCst) > 0 { Step::Emit } else { Step::Wait }
        });
        env.from_source(numbers, no_watermarks(), "numbers")
            .key_by(|_| 0)
            .process(Alarm { after_ms: 5, rung })
            .sink_to(sink.clone());
        run(&env).unwrap();
        assert_eq!(sink.committed(), [(0, 5)]);
    });
}

#[test]
fn a_processing_time_timer_that_is_past_due_after_a_restore_fires_at_once() {
    // The last run waits for its timers.
    returns(|| {
        const KEYS: u64 = 10;
        let (clock, backend, sink) = (Arc::new(HandSetClock::default()), MemoryStateBackend::new(), CollectSink::new());
        let rung = Arc::new(AtomicI64::new(0));
        for (workers, time_ms) in [(1, 0), (3, HOUR_MS - 1), (2, 2 * HOUR_MS)] {
            clock.unix_ms.store(time_ms, Ordering::SeqCst);
            let env = environment(workers);
            env.set_clock(clock.clone())
                .set_state_backend(backend.clone())
                .enable_checkpointing(Duration::from_secs(3600));
            let (stop, all_rung) = (env.stop_handle(), rung.clone());
            let stopped = AtomicBool::new(false);
            // Each run but the last is stopped when all is read; the last waits for the timers.
            let numbers = Numbers::new(KEYS + 1).when(move |number| {
                let over = if time_ms > HOUR_MS { all_rung.load(Ordering::SeqCst) == KEYS as i64 / 2 } else { false };
                if number < KEYS || over {
                    return Step::Emit;
                }
                if time_ms < HOUR_MS && !stopped.swap(true, Ordering::SeqCst) {
                    stop.stop();
                }
                Step::Wait
            });
            env.from_source(numbers, no_watermarks(), "numbers")
                .filter(|number| Ok(*number < KEYS))
                .key_by(|number: &u64| *number)
                .process(Alarm { after_ms: HOUR_MS, rung: rung.clone() })
                .sink_to(sink.clone());
            run(&env).unwrap();
            let fired = if time_ms > HOUR_MS { KEYS as usize / 2 } else { 0 };
            assert_eq!(sink.committed().len(), fired, "at {time_ms}");
        }
        let expected: Vec<_> = (0..KEYS).filter(|key| key % 2 == 0).map(|key| (key, HOUR_MS)).collect();
        assert_eq!(sorted(sink.committed()), expected);
    });
}

#[test]
fn the_harness_interrupts_after_every_record() {
    let numbers: Vec<u64> = (0..20).collect();
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let runs =
            interrupted(interruption, &[2, 1], |stage| stage.records(numbers.clone(), no_watermarks(), "numbers"));
        assert_eq!(sorted(runs.output), numbers);
        assert_eq!(runs.count, numbers.len() + 1, "{interruption:?}");
    }
}
