//! State with a time-to-live, through the real runtime: in both times, across restarts, and for keys that never come again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::Duration;

use highwater::ErrorKind;
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::state::Schema;
use highwater::state::data::{DecodeError, Width};
use highwater::state::keyed::Max;
use highwater_testing::HandSetClock;
use highwater_testing::harness::{Interruption, check, interrupted};

use crate::support::{Numbers, Step, environment, returns, run};

const HOUR: Duration = Duration::from_secs(3600);

/// Key and event time.
type Event = (u64, i64);

fn ascending() -> WatermarkStrategy<Event> {
    WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.1)
}

#[derive(KeyedState)]
struct Recent {
    #[state(ttl = "100ms", time = "event")]
    clicks: MapState<i64, u64, Ttl>,
    #[state(ttl = "100ms", time = "event")]
    last: ValueState<i64, Ttl>,
}

/// At the time of each click, says how many there were in the 100 ms up to it, and what was the last one before if it was as recent.
#[derive(Clone)]
struct CountRecent;

impl KeyedProcessFunction<u64, Event> for CountRecent {
    type State = Recent;
    type Out = (u64, i64, u64);

    fn process(&mut self, click: Event, state: &mut Recent, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        state.clicks.insert(click.1, 1);
        assert_eq!(state.clicks.get(&click.1), Some(&1), "what was written is there");
        out.register_event_time_timer(click.1);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Recent, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        let recent = state.clicks.range(..=timer.time_ms).count() as u64;
        let last = state.last.get().copied().unwrap_or(-1);
        state.last.set(timer.time_ms);
        out.collect((*out.key(), last, recent));
        Ok(())
    }
}

fn clicks() -> Vec<Event> {
    let mut random = highwater_testing::Random::new(3);
    let mut time = 0;
    let mut next = |_| {
        time += 1 + (random.any() % 60) as i64;
        (random.any() % 3, time)
    };
    (0..60).map(&mut next).collect()
}

#[test]
fn in_event_time_a_timer_finds_what_has_not_expired_at_its_time() {
    let clicks = clicks();
    let mut expected = Vec::new();
    for (key, time) in &clicks {
        let recent = |other: &&Event| other.0 == *key && other.1 <= *time && other.1 + 100 > *time;
        let before: Vec<_> = clicks.iter().filter(recent).filter(|other| other.1 < *time).collect();
        expected.push((*key, before.last().map_or(-1, |other| other.1), before.len() as u64 + 1));
    }
    expected.sort_unstable();
    let job = |stage: &highwater_testing::harness::Stage| {
        stage.records(clicks.clone(), ascending(), "clicks").key_by(|click: &Event| click.0).process(CountRecent)
    };
    let mut output = interrupted(Interruption::Stop, &[2, 1, 3], job).output;
    output.sort_unstable();
    assert_eq!(output, expected);
    assert!(expected.iter().any(|(_, last, _)| *last == -1) && expected.iter().any(|(.., recent)| *recent > 2));
    // Uninterrupted, the watermark jumps over many clicks at once, or to the end.
    check(job, |(key, ..)| *key);
}

#[derive(KeyedState)]
struct Remembered {
    #[state(ttl = "100ms", time = "event")]
    click: ValueState<i64, Ttl>,
}

/// Says at 1050 which clicks it still knows.
#[derive(Clone)]
struct Remember;

impl KeyedProcessFunction<u64, Event> for Remember {
    type State = Remembered;
    type Out = (u64, bool);

    fn process(&mut self, click: Event, state: &mut Remembered, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        state.click.set(click.1);
        out.register_event_time_timer(1050);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, state: &mut Remembered, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        out.collect((*out.key(), state.click.is_set()));
        Ok(())
    }
}

/// A restored task has no watermark yet. If it took that for the present, the late click would be stamped with the past, and expired
/// at 1050.
#[test]
fn event_time_goes_on_from_where_the_checkpoint_has_it() {
    let clicks = vec![(1, 1000), (2, 5), (3, 1060)];
    for parallelism in [&[1][..], &[1, 3, 2]] {
        let runs = interrupted(Interruption::Stop, parallelism, |stage| {
            stage.records(clicks.clone(), ascending(), "clicks").key_by(|click: &Event| click.0).process(Remember)
        });
        let mut known = runs.output;
        known.sort_unstable();
        assert_eq!(known, [(1, true), (2, true), (3, true)], "parallelism {parallelism:?}");
    }
}

#[derive(KeyedState)]
struct Session {
    #[state(ttl = "100ms")]
    first: ValueState<u64, Ttl>,
    #[state(ttl = "100ms", update = "read_and_write")]
    latest: ReducingState<u64, Max, Ttl>,
}

/// Emits each number with what is still known of the first one and of the greatest.
#[derive(Clone)]
struct Sessions;

impl KeyedProcessFunction<u64, u64> for Sessions {
    type State = Session;
    type Out = (u64, Option<u64>, Option<u64>);

    fn process(&mut self, number: u64, state: &mut Session, out: &mut Context<'_, u64, Self::Out>) -> UserResult {
        let (first, latest) = (state.first.get().copied(), state.latest.get().copied());
        out.collect((number, first, latest));
        if number == 0 {
            state.first.set(number);
            state.latest.add(number);
        }
        Ok(())
    }
}

#[test]
fn in_processing_time_stamps_survive_and_the_clock_decides() {
    returns(|| {
        let (clock, backend, sink) = (Arc::new(HandSetClock::default()), MemoryStateBackend::new(), CollectSink::new());
        for (number, (workers, time_ms)) in
            [(1, 1000), (3, 1099), (1, 1100), (2, 1198), (1, 1298)].into_iter().enumerate()
        {
            clock.unix_ms.store(time_ms, Ordering::SeqCst);
            let env = environment(workers);
            env.set_clock(clock.clone()).set_state_backend(backend.clone()).enable_checkpointing(HOUR);
            let (stop, stopped) = (env.stop_handle(), AtomicBool::new(false));
            let numbers = Numbers::new(u64::MAX).when(move |next| {
                if next <= number as u64 {
                    return Step::Emit;
                }
                if !stopped.swap(true, Ordering::SeqCst) {
                    stop.stop();
                }
                Step::Wait
            });
            env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
                .uid("numbers")
                .key_by(|_| 0)
                .process(Sessions)
                .uid("sessions")
                .sink_to(sink.clone())
                .uid("collect");
            run(&env).unwrap();
        }
        let expected = [
            (0, None, None),
            (1, Some(0), Some(0)),
            // The first was written at 1000, which is 100 ms ago; the greatest was read one ms ago.
            (2, None, Some(0)),
            (3, None, Some(0)),
            (4, None, None),
        ];
        assert_eq!(sink.committed(), expected);
    });
}

/// How many [`Tracked`] there are.
static TRACKED: AtomicI64 = AtomicI64::new(0);

/// A value that tells when it is gone.
struct Tracked;

impl Tracked {
    fn new() -> Self {
        TRACKED.fetch_add(1, Ordering::SeqCst);
        Tracked
    }
}

impl Clone for Tracked {
    fn clone(&self) -> Self {
        Tracked::new()
    }
}

impl Drop for Tracked {
    fn drop(&mut self) {
        TRACKED.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Data for Tracked {
    const WIDTH: Width = Width::fixed(0);

    fn schema() -> Schema {
        Schema::Unit
    }

    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(Tracked::new())
    }
}

#[derive(KeyedState)]
struct Kept {
    #[state(ttl = "80ms")]
    tracked: ListState<Tracked, Ttl>,
}

#[derive(Clone)]
struct Keep;

impl KeyedProcessFunction<u64, u64> for Keep {
    type State = Kept;
    type Out = u64;

    fn process(&mut self, _: u64, state: &mut Kept, _: &mut Context<'_, u64, u64>) -> UserResult {
        state.tracked.add(Tracked::new());
        Ok(())
    }
}

/// Nothing comes in any more: the task wakes by itself, or this hangs.
#[test]
fn state_of_keys_that_never_come_again_goes_away() {
    const COUNT: u64 = 5_000;
    returns(|| {
        let clock = Arc::new(HandSetClock::default());
        let env = environment(2);
        env.set_clock(clock.clone());
        let numbers = Numbers::new(COUNT + 1).when(move |number| {
            if number < COUNT {
                return Step::Emit;
            }
            if TRACKED.load(Ordering::SeqCst) == COUNT as i64 {
                clock.unix_ms.store(80, Ordering::SeqCst);
            }
            let is_over = clock.unix_ms.load(Ordering::SeqCst) > 0 && TRACKED.load(Ordering::SeqCst) == 0;
            if is_over { Step::Emit } else { Step::Wait }
        });
        env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
            .key_by(|number: &u64| *number)
            .process(Keep)
            .sink_to(CollectSink::new());
        run(&env).unwrap();
    });
}

fn from_the_arguments() -> Duration {
    Duration::ZERO
}

#[derive(KeyedState)]
struct Forgotten {
    #[state(ttl = from_the_arguments)]
    last: ValueState<u64, Ttl>,
}

#[derive(Clone)]
struct Forget;

impl KeyedProcessFunction<u64, u64> for Forget {
    type State = Forgotten;
    type Out = u64;

    fn process(&mut self, number: u64, state: &mut Forgotten, _: &mut Context<'_, u64, u64>) -> UserResult {
        state.last.set(number);
        panic!("this job must not start");
    }
}

#[test]
fn a_ttl_of_zero_is_refused_before_the_first_record() {
    returns(|| {
        let env = environment(1);
        env.from_source(Numbers::new(3), WatermarkStrategy::no_watermarks(), "numbers")
            .key_by(|number: &u64| *number)
            .process(Forget)
            .name("forget")
            .sink_to(CollectSink::new());
        let error = run(&env).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        let words = "operator forget: the ttl of state `last` is 0ns: give 1 ms or more";
        assert!(error.to_string().contains(words), "{error}");
    });
}
