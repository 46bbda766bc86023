//! A function over two keyed streams: both share the state of a key, and are aligned as one input is.

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater_testing::harness::{Interruption, check, interrupted, sorted, uninterrupted};

use crate::restarts::Trouble;
use crate::support::{KEYS, Numbers, Step, at_once, environment, returns, run};

#[derive(KeyedState)]
struct Both {
    first: ValueState<u64>,
    second: ValueState<u64>,
}

/// Emits each number with the side it came from, and how many of that side and key there were up to it.
#[derive(Clone)]
struct CountBoth<F> {
    /// Called for each number before it is counted: a place for failures.
    before: F,
}

impl<F: FnMut() -> UserResult + Clone + Send + Sync + 'static> KeyedCoProcessFunction<u64, u64, (u64, String)>
    for CountBoth<F>
{
    type State = Both;
    type Out = (u8, u64, u64);

    fn process1(&mut self, number: u64, both: &mut Both, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        (self.before)()?;
        both.first.update(|count| *count += 1);
        out.collect((1, number, both.first.get_or_default()));
        Ok(())
    }

    fn process2(
        &mut self,
        (number, text): (u64, String),
        both: &mut Both,
        out: &mut Context<'_, u64, Self::Out>,
    ) -> UserResult {
        (self.before)()?;
        assert_eq!(text, number.to_string());
        both.second.update(|count| *count += 1);
        out.collect((2, number, both.second.get_or_default()));
        Ok(())
    }
}

/// Checks that each of 0 .. `counts[side]` was counted once, and each key of each side up to how many there are of it.
fn assert_counted(committed: &[(u8, u64, u64)], counts: [u64; 2]) {
    let mut seen = BTreeMap::<_, Vec<_>>::new();
    for (side, count) in [1, 2].into_iter().zip(counts) {
        let of_side = committed.iter().filter(|(of, ..)| *of == side);
        let numbers = sorted(of_side.map(|(_, number, _)| *number).collect());
        assert!(numbers.iter().copied().eq(0..count), "side {side}: {} numbers of {count}", numbers.len());
    }
    for (side, number, count) in committed {
        seen.entry((side, number % KEYS)).or_default().push(*count);
    }
    for (place, counts) in seen {
        let counts = sorted(counts);
        assert!(counts.iter().copied().eq(1..=counts.len() as u64), "{place:?} was counted {counts:?}");
    }
}

fn connected(
    first: &DataStream<u64>,
    second: &DataStream<u64>,
    before: impl FnMut() -> UserResult + Clone + Send + Sync + 'static,
) -> DataStream<(u8, u64, u64)> {
    let second = second.map(|number| Ok((number, number.to_string())));
    let second = second.key_by(|(number, _): &(u64, String)| number % KEYS);
    first.key_by(|number: &u64| number % KEYS).connect(&second).process(CountBoth { before })
}

#[test]
fn both_inputs_survive() {
    check(
        |stage| {
            let first = stage.records((0..40).collect(), WatermarkStrategy::no_watermarks(), "first");
            let second = stage.records((0..9).collect(), WatermarkStrategy::no_watermarks(), "second");
            connected(&first, &second, || Ok(()))
        },
        |(side, number, _)| (*side, number % KEYS),
    );
}

/// Runs with inputs of which one emits so many numbers a checkpoint, and the other as fast as it can.
fn with_one_input_ahead(
    seed: u64,
    workers: usize,
    slow_first: bool,
    configure: impl Fn(&StreamExecutionEnvironment),
) -> (u64, Vec<(u8, u64, u64)>, [u64; 2]) {
    let counts = if slow_first { [100, 1500] } else { [1500, 100] };
    let (env, sink) = (environment(workers), CollectSink::new());
    env.enable_checkpointing(Duration::from_millis(2)).set_restart_strategy(at_once(100));
    configure(&env);
    let trouble = Trouble::seeded(seed, 8, 1500);
    let source = |name: &str, count: u64, slow: bool| {
        let (status, a_checkpoint) = (env.status(), if slow { 10 } else { 500 });
        let numbers = Numbers::new(count).when(move |number| {
            if number / a_checkpoint <= status.snapshot().completed { Step::Emit } else { Step::Wait }
        });
        env.from_source(numbers, WatermarkStrategy::no_watermarks(), name)
    };
    let (first, second) = (source("first", counts[0], slow_first), source("second", counts[1], !slow_first));
    connected(&first, &second, move || trouble.call()).sink_to(sink.clone());
    let result = run(&env).unwrap();
    (result.attempts, sink.committed(), counts)
}

#[test]
fn output_is_exactly_once_also_if_one_input_is_far_ahead() {
    for (seed, workers, slow_first) in [(1, 1, true), (2, 2, true), (3, 2, false), (4, 3, false)] {
        let (attempts, committed, counts) = returns(move || with_one_input_ahead(seed, workers, slow_first, |_| {}));
        // More than there are failures would be assertions of the engine.
        assert!((4..=9).contains(&attempts), "seed {seed}: {attempts} attempts");
        assert_counted(&committed, counts);
    }
}

#[test]
fn at_least_once_loses_nothing_of_either_input() {
    let (_, committed, counts) = returns(|| {
        with_one_input_ahead(5, 2, true, |env| {
            env.configure_checkpoints(|config| config.mode = highwater::CheckpointingMode::AtLeastOnce);
        })
    });
    for (side, count) in [1, 2].into_iter().zip(counts) {
        let mut numbers =
            sorted(committed.iter().filter(|(of, ..)| *of == side).map(|(_, number, _)| *number).collect());
        numbers.dedup();
        assert!(numbers.into_iter().eq(0..count), "side {side}");
    }
}

/// Key and event time.
type Event = (u64, i64);

#[derive(KeyedState)]
struct Seen {
    right: ListState<i64>,
}

/// Emits for each record of the left side how many of the right side were not after it, once the watermark has passed it.
#[derive(Clone)]
struct CountEarlier;

impl KeyedCoProcessFunction<u64, Event, Event> for CountEarlier {
    type State = Seen;
    type Out = (u64, i64, u64);

    fn process1(&mut self, event: Event, _: &mut Seen, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        out.register_event_time_timer(event.1);
        Ok(())
    }

    fn process2(&mut self, event: Event, seen: &mut Seen, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        assert!(out.watermark() < event.1, "no record is late");
        seen.right.add(event.1);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, seen: &mut Seen, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        let earlier = seen.right.iter().filter(|time| **time <= timer.time_ms).count();
        out.collect((*out.key(), timer.time_ms, earlier as u64));
        Ok(())
    }
}

#[test]
fn the_watermark_is_that_of_the_slower_input_until_it_ends() {
    let events = |count: i64, step: i64| (0..count).map(|i| (i as u64 % 3, step * i)).collect::<Vec<Event>>();
    // Event time passes ten times as fast on one side, or one ends long before the other.
    for (left, right) in [((30, 100), (300, 10)), ((300, 10), (30, 100)), ((100, 10), (8, 10)), ((8, 10), (100, 10))] {
        let (left, right) = (events(left.0, left.1), events(right.0, right.1));
        let job = |stage: &highwater_testing::harness::Stage| {
            let in_order = || WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.1);
            let left = stage.records(left.clone(), in_order(), "left").key_by(|event: &Event| event.0);
            let right = stage.records(right.clone(), in_order(), "right").key_by(|event: &Event| event.0);
            left.connect(&right).process(CountEarlier)
        };
        let earlier =
            |key: u64, time: i64| right.iter().filter(|event| event.0 == key && event.1 <= time).count() as u64;
        let expected = sorted(left.iter().map(|(key, time)| (*key, *time, earlier(*key, *time))).collect());
        assert_eq!(sorted(uninterrupted(job)), expected);
        if left.len() + right.len() < 120 {
            assert_eq!(sorted(interrupted(Interruption::Stop, &[1, 4, 3, 2], job).output), expected);
        }
    }
}

#[test]
fn an_error_names_the_key_and_the_input() {
    let error = returns(|| {
        let env = environment(1);
        let (first, second) = (env.from_collection(Vec::<u64>::new()), env.from_collection([3u64]));
        connected(&first, &second, || Err("on purpose".into())).name("both").sink_to(CollectSink::new());
        run(&env).unwrap_err()
    });
    assert!(error.to_string().contains("failed for key 3 of its second input"), "{error}");
}
