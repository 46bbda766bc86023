//! Operator state of functions without keys: dealt out, or shown to all, at every change of the parallelism.

use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::state::operator::{Lists, NamedElements, ReadElements, Redistribution};
use highwater::{Error, ErrorKind, Result};
use highwater_testing::harness::{Interruption, check, interrupted, sorted};

use crate::restarts::Trouble;
use crate::support::{Numbers, Step, at_once, environment, returns, run};

const HOUR: Duration = Duration::from_secs(3600);

#[derive(OperatorState)]
struct Buffer {
    waiting: SplitList<u64>,
}

/// Emits what it reads five at a time, each with the event time of the last of them.
#[derive(Clone)]
struct FiveAtATime<F> {
    /// Called for each record: a place for failures.
    before: F,
}

impl<F: FnMut() -> UserResult + Clone + Send + Sync + 'static> ProcessFunction<u64> for FiveAtATime<F> {
    type State = Buffer;
    type Out = u64;

    fn process(&mut self, number: u64, buffer: &mut Buffer, out: &mut ProcessContext<'_, u64>) -> UserResult {
        (self.before)()?;
        buffer.waiting.add(number);
        if buffer.waiting.len() >= 5 {
            buffer.waiting.take().into_iter().for_each(|number| out.collect(number));
        }
        Ok(())
    }

    fn finish(&mut self, buffer: &mut Buffer, out: &mut ProcessContext<'_, u64>) -> UserResult {
        assert_eq!(out.watermark(), i64::MAX);
        buffer.waiting.take().into_iter().for_each(|number| out.collect(number));
        Ok(())
    }
}

fn no_watermarks<T: 'static>() -> WatermarkStrategy<T> {
    WatermarkStrategy::no_watermarks()
}

#[test]
fn a_buffer_is_dealt_out_whenever_the_parallelism_changes() {
    let numbers: Vec<u64> = (0..43).collect();
    let buffered = |stage: &highwater_testing::harness::Stage| {
        stage.records(numbers.clone(), no_watermarks(), "numbers").process(FiveAtATime { before: || Ok(()) })
    };
    for interruption in [Interruption::Stop, Interruption::Crash] {
        let runs = interrupted(interruption, &[1, 4, 3, 2], buffered);
        assert_eq!(sorted(runs.output), numbers, "{interruption:?}, {} runs", runs.count);
    }
    check(buffered, |number| *number);
}

#[test]
fn a_buffer_is_exactly_once_whatever_fails_and_when() {
    const COUNT: u64 = 1500;
    for (seed, workers) in [(1, 1), (2, 2), (3, 3)] {
        let (attempts, committed) = returns(move || {
            let (env, sink) = (environment(workers), CollectSink::new());
            env.enable_checkpointing(Duration::from_millis(2)).set_restart_strategy(at_once(100));
            let (trouble, status) = (Trouble::seeded(seed, 8, COUNT as usize), env.status());
            let numbers = Numbers::new(COUNT)
                .when(move |number| if number / 200 <= status.snapshot().completed { Step::Emit } else { Step::Wait });
            env.from_source(numbers, no_watermarks(), "numbers")
                .process(FiveAtATime { before: move || trouble.call() })
                .sink_to(sink.clone());
            (run(&env).unwrap().attempts, sink.committed())
        });
        assert!(attempts > 3, "{attempts} attempts");
        assert!(sorted(committed).into_iter().eq(0..COUNT), "seed {seed}");
    }
}

#[derive(OperatorState)]
struct Counts {
    by_subtask: UnionList<u64>,
}

/// Counts records; each subtask of each run notes what it was shown.
#[derive(Clone, Default)]
struct CountInAll {
    shown: Arc<Mutex<Vec<(u32, u64)>>>,
    mine: bool,
}

impl ProcessFunction<u64> for CountInAll {
    type State = Counts;
    type Out = u64;

    fn open(&mut self, counts: &mut Counts, context: &highwater::OpenContext) -> UserResult {
        let all: u64 = counts.by_subtask.restored().iter().sum();
        self.shown.lock().unwrap().push((context.parallelism.count(), all));
        if self.mine {
            // Subtask 0 takes everything over, as a function does that decides by itself.
            let sum = counts.by_subtask.take_restored().into_iter().sum();
            counts.by_subtask.own.update(if context.subtask.0 == 0 { vec![sum] } else { Vec::new() });
        }
        Ok(())
    }

    fn process(&mut self, number: u64, counts: &mut Counts, out: &mut ProcessContext<'_, u64>) -> UserResult {
        match counts.by_subtask.own.as_mut_slice().first_mut() {
            Some(count) => *count += 1,
            None => counts.by_subtask.own.add(1),
        }
        out.collect(number);
        Ok(())
    }
}

#[test]
fn a_union_is_shown_to_every_subtask_and_stored_once() {
    let parallelism = [1, 4, 3, 2];
    for mine in [false, true] {
        let function = CountInAll { mine, ..CountInAll::default() };
        let runs = interrupted(Interruption::Stop, &parallelism, |stage| {
            stage.records((0..20).collect(), no_watermarks(), "numbers").process(function.clone())
        });
        assert_eq!(sorted(runs.output), (0..20).collect::<Vec<_>>());
        // Run n begins after n records, of which every one of its subtasks sees the count.
        let expected =
            (0..runs.count).flat_map(|run| vec![(parallelism[run % 4] as u32, run as u64); parallelism[run % 4]]);
        assert_eq!(*function.shown.lock().unwrap(), expected.collect::<Vec<_>>());
    }
}

/// Runs one function in a job that stops after `to` numbers, with a checkpoint in `dir`.
fn run_in<P: ProcessFunction<u64, Out = u64>>(dir: &Path, to: u64, function: P) -> Result<()> {
    let (env, stopped) = (environment(1), std::sync::atomic::AtomicBool::new(false));
    env.set_state_backend(FsStateBackend::new(dir.to_str().unwrap())).enable_checkpointing(HOUR);
    env.set_restart_strategy(RestartStrategy::None);
    let stop = env.stop_handle();
    let numbers = Numbers::new(u64::MAX).when(move |number| {
        if number < to {
            return Step::Emit;
        }
        if !stopped.swap(true, std::sync::atomic::Ordering::SeqCst) {
            stop.stop();
        }
        Step::Wait
    });
    env.from_source(numbers, no_watermarks(), "numbers")
        .uid("numbers")
        .process(function)
        .name("keep")
        .uid("keep")
        .sink_to(CollectSink::new())
        .uid("collect");
    run(&env).map(drop)
}

/// Passes numbers on, and keeps the first one in a state that is declared as `S`.
struct Keep<S>(std::marker::PhantomData<fn() -> S>);

impl<S> Keep<S> {
    fn new() -> Self {
        Keep(std::marker::PhantomData)
    }
}

impl<S> Clone for Keep<S> {
    fn clone(&self) -> Self {
        Keep::new()
    }
}

impl<S: OperatorState<Kind = Lists>> ProcessFunction<u64> for Keep<S> {
    type State = S;
    type Out = u64;

    fn process(&mut self, number: u64, _: &mut S, out: &mut ProcessContext<'_, u64>) -> UserResult {
        out.collect(number);
        Ok(())
    }
}

#[derive(OperatorState)]
struct Narrow {
    waiting: SplitList<u32>,
}

#[derive(OperatorState)]
struct Renamed {
    waits: SplitList<u64>,
}

#[derive(OperatorState)]
struct AsUnion {
    waiting: UnionList<u64>,
}

#[derive(OperatorState)]
struct Extended {
    waiting: SplitList<u64>,
    more: UnionList<String>,
}

fn refused<S: OperatorState<Kind = Lists>>(dir: &Path) -> Error {
    run_in(dir, 200, Keep::<S>::new()).expect_err("this must be refused")
}

#[test]
fn operator_state_of_another_type_is_refused_before_the_first_record() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        run_in(dir.path(), 43, FiveAtATime { before: || Ok(()) }).unwrap();
        for (error, words) in [
            (refused::<Narrow>(dir.path()), &["waiting", "keep", "u64", "u32"][..]),
            (refused::<Renamed>(dir.path()), &["waiting", "keep", "does not declare it"]),
            (refused::<()>(dir.path()), &["waiting", "keep", "does not declare it"]),
            (refused::<AsUnion>(dir.path()), &["waiting", "keep", "by Split", "by Union"]),
        ] {
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            for word in words {
                assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
            }
        }
        // A state that is new begins empty.
        run_in(dir.path(), 60, Keep::<Extended>::new()).unwrap();
    });
}

/// What the derive cannot produce: two states of one name.
#[derive(Default)]
struct Twice;

impl OperatorState for Twice {
    type Kind = Lists;

    fn states() -> Vec<NamedElements> {
        let state =
            || NamedElements { name: "waiting".into(), redistribution: Redistribution::Split, schema: u64::schema() };
        vec![state(), state()]
    }

    fn encode(&self) -> Vec<Vec<Vec<u8>>> {
        vec![Vec::new(), Vec::new()]
    }

    fn restore<R: ReadElements>(_: &mut R) -> std::result::Result<Self, R::Error> {
        Ok(Twice)
    }
}

#[test]
fn two_states_of_one_name_and_an_empty_uid_are_refused() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let error = refused::<Twice>(dir.path());
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert_eq!(
            error.to_string(),
            "operator keep declares two operator states with the name \"waiting\": give each a name of its own"
        );
        let env = environment(1);
        env.from_collection(0..9u64).process(Keep::<Buffer>::new()).uid("").sink_to(CollectSink::new());
        assert_eq!(run(&env).unwrap_err().kind(), ErrorKind::Settings);
    });
}

#[test]
fn a_keyed_state_is_not_dropped_by_a_function_without_keys() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let keyed = |to: u64| {
            let env = environment(1);
            env.set_state_backend(FsStateBackend::new(dir.path().to_str().unwrap())).enable_checkpointing(HOUR);
            let numbers = env.from_source(Numbers::new(to), no_watermarks(), "numbers").uid("numbers");
            let counted = numbers.key_by(|number: &u64| number % 3).stateful_map(|count: &mut u64, number| {
                *count += 1;
                Ok(number)
            });
            counted.uid("keep").sink_to(CollectSink::new()).uid("collect");
            run(&env).unwrap();
        };
        keyed(20);
        let error = refused::<Buffer>(dir.path());
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        assert!(error.to_string().contains("no operator state is stored under uid keep"), "{error}");
    });
}
