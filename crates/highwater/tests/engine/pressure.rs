//! Slow sinks: what is in flight is bounded, whatever the length of the input, and checkpoints complete meanwhile.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater::{JobResult, Result, WatermarkStrategy};
use highwater_core::CheckpointId;

use crate::support::{environment, returns, run};

/// What is between the sources and the sink, now and at most.
#[derive(Clone, Default)]
struct InFlight {
    now: Arc<AtomicI64>,
    most: Arc<AtomicI64>,
    written: Arc<AtomicU64>,
    committed: Arc<AtomicU64>,
}

impl InFlight {
    fn emit(&self) {
        let now = self.now.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
    }
}

/// Takes much longer for a record than the rest of the job.
#[derive(Clone)]
struct SlowSink(InFlight);

impl Sink for SlowSink {
    type Record = u64;
    type Writer = SlowWriter;

    fn open(&self, _: &SinkContext, _: Vec<()>) -> Result<SlowWriter> {
        Ok(SlowWriter { in_flight: self.0.clone(), pending: 0 })
    }
}

struct SlowWriter {
    in_flight: InFlight,
    pending: u64,
}

impl SinkWriter for SlowWriter {
    type Record = u64;
    type Committable = u64;
    type State = ();

    fn write(&mut self, record: u64, _: i64) -> Result<()> {
        const SLOWNESS: u64 = 100;
        black_box((0..SLOWNESS).fold(record, |sum, i| black_box(sum.wrapping_mul(31).wrapping_add(i))));
        self.in_flight.now.fetch_sub(1, Ordering::SeqCst);
        self.in_flight.written.fetch_add(1, Ordering::SeqCst);
        self.pending += 1;
        Ok(())
    }

    fn prepare(&mut self, _: CheckpointId, _: bool) -> Result<Prepared<u64, ()>> {
        Ok(Prepared { committables: vec![std::mem::take(&mut self.pending)], ..Prepared::default() })
    }

    fn commit(&mut self, committables: Vec<u64>) -> Result<()> {
        self.in_flight.committed.fetch_add(committables.into_iter().sum(), Ordering::SeqCst);
        Ok(())
    }
}

/// Runs `build` with a slow sink behind it; what was in flight at most.
fn with_a_slow_sink(
    workers: usize,
    build: impl Fn(&StreamExecutionEnvironment, &InFlight) -> DataStream<u64>,
) -> (JobResult, InFlight) {
    let (env, in_flight) = (environment(workers), InFlight::default());
    env.enable_checkpointing(Duration::from_millis(50)).set_restart_strategy(RestartStrategy::None);
    build(&env, &in_flight).sink_to(SlowSink(in_flight.clone()));
    let result = run(&env).unwrap();
    assert_eq!(in_flight.now.load(Ordering::SeqCst), 0);
    (result, in_flight)
}

/// Numbers as fast as they can be generated, counted as they are.
fn fast(env: &StreamExecutionEnvironment, count: u64, in_flight: &InFlight, name: &str) -> DataStream<u64> {
    let in_flight = in_flight.clone();
    let generator = Generator::new(move |index| {
        in_flight.emit();
        index
    });
    env.from_source(generator.count(count), WatermarkStrategy::no_watermarks(), name)
}

fn assert_bounded(count: u64, bound: i64, (result, in_flight): &(JobResult, InFlight)) {
    let most = in_flight.most.load(Ordering::SeqCst);
    assert!(most <= bound, "{most} of {count} records were in flight, {bound} may be");
    assert_eq!(in_flight.committed.load(Ordering::SeqCst), count);
    assert!(result.checkpoints_completed > 1, "{result:?}");
    assert_eq!(result.checkpoints_failed, 0);
}

/// Rows of an edge within a worker: its window and what a step of the producer adds.
const LOCAL_EDGE: i64 = 17 * 1024 + 8 * 1024;
/// Rows of a pair of sender and target at most, and a batch: how many of them are granted depends on the pace of the target, and that on
/// what else the machine does.
const PAIR: i64 = 257 * 1024;
/// The same of a pair whose target has not answered yet.
const FIRST_OF_PAIR: i64 = 33 * 1024;
/// Many more than all pairs have room for.
const MANY: u64 = 2_000_000;

#[test]
fn what_waits_for_a_slow_sink_is_bounded() {
    for count in [100_000, 200_000] {
        let outcome =
            returns(move || with_a_slow_sink(1, |env, in_flight| fast(env, count, in_flight, "fast").map(Ok)));
        assert_bounded(count, 2 * LOCAL_EDGE, &outcome);
    }
}

fn keyed(numbers: &DataStream<u64>) -> DataStream<u64> {
    numbers.key_by(|number: &u64| number % 1000).stateful_map(|count: &mut u64, number| {
        *count += 1;
        Ok(number)
    })
}

#[test]
fn what_waits_for_a_slow_sink_behind_an_exchange_is_bounded() {
    let outcome = returns(|| with_a_slow_sink(2, |env, in_flight| keyed(&fast(env, MANY, in_flight, "fast"))));
    assert_bounded(MANY, 4 * LOCAL_EDGE + 4 * PAIR, &outcome);
}

#[test]
fn a_union_of_a_fast_and_a_slow_source_behind_an_exchange_does_not_block_itself() {
    const SLOW: u64 = 40;
    let outcome = returns(|| {
        with_a_slow_sink(2, |env, in_flight| {
            let counted = in_flight.clone();
            let slow = Generator::new(move |index| {
                counted.emit();
                index
            });
            let slow = slow.count(SLOW).rate(200);
            let slow = env.from_source(slow, WatermarkStrategy::no_watermarks(), "slow");
            keyed(&fast(env, MANY, in_flight, "fast").union([&slow]))
        })
    });
    assert_bounded(MANY + SLOW, 6 * LOCAL_EDGE + 4 * PAIR, &outcome);
}

#[test]
fn a_function_that_multiplies_its_input_is_held_back_too() {
    const COUNT: u64 = 300;
    const TIMES: u64 = 1000;
    let outcome = returns(|| {
        with_a_slow_sink(2, |env, in_flight| {
            let counted = in_flight.clone();
            let numbers = env.from_source(
                Generator::new(|index| index).count(COUNT),
                WatermarkStrategy::no_watermarks(),
                "numbers",
            );
            keyed(&numbers.flat_map(move |number: u64, out| {
                for i in 0..TIMES {
                    counted.emit();
                    out.collect(number * TIMES + i);
                }
                Ok(())
            }))
        })
    });
    assert_eq!(outcome.1.committed.load(Ordering::SeqCst), COUNT * TIMES);
}

#[test]
fn a_checkpoint_passes_records_that_wait_for_a_skewed_key() {
    let outcome = returns(|| {
        with_a_slow_sink(2, |env, in_flight| {
            // One subtask gets all but a few records.
            let numbers = fast(env, MANY, in_flight, "fast");
            numbers.key_by(|number: &u64| if number.is_multiple_of(1000) { *number } else { 1 }).stateful_map(
                |count: &mut u64, number| {
                    *count += 1;
                    Ok(number)
                },
            )
        })
    });
    assert_bounded(MANY, 4 * LOCAL_EDGE + 4 * PAIR, &outcome);
}

#[derive(OperatorState)]
struct Nothing {
    heard: BroadcastState<(), u64>,
}

/// Passes on what is not broadcast, and of what is each number in the subtask whose turn it is.
#[derive(Clone)]
struct InTurn {
    subtask: u64,
    parallelism: u64,
}

impl KeyedBroadcastProcessFunction<u64, u64, u64> for InTurn {
    type State = crate::support::Count;
    type Broadcast = Nothing;
    type Out = u64;

    fn open(&mut self, context: &OpenContext) -> UserResult {
        (self.subtask, self.parallelism) = (context.subtask.0.into(), context.parallelism.count().into());
        Ok(())
    }

    fn process(
        &mut self,
        number: u64,
        _: &mut crate::support::Count,
        _: &Nothing,
        out: &mut Context<'_, u64, u64>,
    ) -> UserResult {
        out.collect(number);
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        number: u64,
        nothing: &mut Nothing,
        out: &mut KeyedBroadcastContext<'_, u64, crate::support::Count, u64>,
    ) -> UserResult {
        nothing.heard.update((), |heard| *heard += 1);
        if number % self.parallelism == self.subtask {
            out.collect(number);
        }
        Ok(())
    }
}

/// Runs a broadcast function behind two sources: so many numbers at so many a second, or as fast as they come.
fn broadcast_under_pressure(keyed: (u64, Option<u32>), broadcast: (u64, Option<u32>)) -> (JobResult, InFlight) {
    returns(move || {
        with_a_slow_sink(2, |env, in_flight| {
            let source = |(count, rate): (u64, Option<u32>), name: &str| {
                let counted = in_flight.clone();
                let generator = Generator::new(move |index| {
                    counted.emit();
                    index
                });
                let generator = generator.count(count);
                let generator = if let Some(rate) = rate { generator.rate(rate.into()) } else { generator };
                env.from_source(generator, WatermarkStrategy::no_watermarks(), name)
            };
            let broadcast = source(broadcast, "broadcast").broadcast();
            let keyed = source(keyed, "keyed").key_by(|number: &u64| number % 1000);
            keyed.connect(&broadcast).process(InTurn { subtask: 0, parallelism: 1 })
        })
    })
}

/// Hears what is broadcast; subtask 1 waits at the first record until the other has heard all that can come without it.
#[derive(Clone, Default)]
struct WaitForTheOther {
    subtask: usize,
    heard: Arc<[AtomicU64; 2]>,
    without_the_other: Arc<AtomicU64>,
}

impl BroadcastProcessFunction<u64, u64> for WaitForTheOther {
    type Broadcast = Nothing;
    type Out = u64;

    fn open(&mut self, context: &OpenContext) -> UserResult {
        self.subtask = context.subtask.0 as usize;
        Ok(())
    }

    fn process(&mut self, _: u64, _: &Nothing, _: &mut ProcessContext<'_, u64>) -> UserResult {
        Ok(())
    }

    fn process_broadcast(&mut self, _: u64, _: &mut Nothing, _: &mut ProcessContext<'_, u64>) -> UserResult {
        if self.heard[self.subtask].fetch_add(1, Ordering::SeqCst) == 0 && self.subtask == 1 {
            while self.heard[0].load(Ordering::SeqCst) < 32 * 1024 {
                std::thread::yield_now();
            }
            // Nothing more should come; if it does it gets its chance to.
            std::thread::sleep(Duration::from_millis(300));
            self.without_the_other.store(self.heard[0].load(Ordering::SeqCst), Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn a_broadcast_waits_for_the_slowest_subtask() {
    const COUNT: u64 = 300_000;
    let function = WaitForTheOther::default();
    let hears = function.clone();
    returns(move || {
        let env = environment(2);
        let source = |count: u64, name: &str| {
            let generator = Generator::new(|index| index).count(count);
            env.from_source(generator, WatermarkStrategy::no_watermarks(), name)
        };
        let broadcast = source(COUNT, "broadcast").broadcast();
        source(1, "one").connect(&broadcast).process(hears).sink_to(CollectSink::new());
        run(&env).unwrap();
    });
    // A window that was never answered from the one sender, and what the other had sent before it came to wait.
    let without_the_other = function.without_the_other.load(Ordering::SeqCst);
    assert!(
        without_the_other <= 2 * FIRST_OF_PAIR as u64,
        "{without_the_other} of {COUNT} records came to subtask 0 alone"
    );
    assert!(function.heard.iter().all(|heard| heard.load(Ordering::SeqCst) == COUNT));
}

#[test]
fn a_slow_broadcast_and_a_fast_keyed_stream_do_not_block_each_other() {
    let outcome = broadcast_under_pressure((MANY, None), (40, Some(200)));
    assert_bounded(MANY + 40, 4 * LOCAL_EDGE + 4 * PAIR, &outcome);
}

#[test]
fn two_fast_inputs_behind_a_slow_sink_get_through() {
    const COUNT: u64 = 100_000;
    let (result, in_flight) = broadcast_under_pressure((COUNT, None), (COUNT, None));
    assert_eq!(in_flight.committed.load(Ordering::SeqCst), 2 * COUNT);
    assert!(result.checkpoints_completed > 1 && result.checkpoints_failed == 0, "{result:?}");
}

/// Key and event time.
type Event = (u64, i64);

#[derive(KeyedState)]
struct Alarm {
    rang: ValueState<bool>,
}

/// Rings for the first record of each key, at 1000.
#[derive(Clone)]
struct Ring;

impl KeyedProcessFunction<u64, Event> for Ring {
    type State = Alarm;
    type Out = u64;

    fn process(&mut self, (key, _): Event, alarm: &mut Alarm, context: &mut Context<'_, u64, u64>) -> UserResult {
        if !alarm.rang.is_set() {
            alarm.rang.set(false);
            context.register_event_time_timer(1000);
        } else if context.watermark() >= 1000 && alarm.rang.get() == Some(&false) {
            return Err(format!("the watermark is at {}, and key {key} has not rung", context.watermark()).into());
        }
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, alarm: &mut Alarm, context: &mut Context<'_, u64, u64>) -> UserResult {
        alarm.rang.set(true);
        context.collect(*context.key());
        Ok(())
    }
}

#[test]
fn timers_fire_before_what_comes_after_their_watermark_also_if_there_is_no_room_for_what_they_emit() {
    const KEYS: u64 = 40_000;
    returns(|| {
        let (env, sink) = (environment(1), CollectSink::new());
        let all_at = |time_ms| (0..KEYS).map(move |key| (key, time_ms));
        let events = CollectionSource::new(all_at(0).chain([(0, 2001)]).chain(all_at(2001)).collect::<Vec<Event>>());
        let in_order = WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.1);
        env.from_source(events, in_order, "events").key_by(|event| event.0).process(Ring).sink_to(sink.clone());
        run(&env).unwrap();
        assert_eq!(sink.committed().len() as u64, KEYS);
    });
}
