//! A failure of user code, of a source or of a sink ends the attempt, says where it was, and never hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater::{Error, ErrorKind};
use highwater_core::CheckpointId;

use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, environment, fine, returns, run};

const COUNT: u64 = 200;

/// The error of the standard job with a function that calls `before`.
fn error_of(workers: usize, before: impl FnMut(u64) -> UserResult + Clone + Send + Sync + 'static) -> Error {
    returns(move || {
        let env = environment(workers);
        counting(&env, Numbers::new(COUNT), &CollectSink::new(), before);
        run(&env).expect_err("the function failed, so the job did")
    })
}

fn assert_says(error: &Error, kind: ErrorKind, words: &[&str]) {
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

/// No process fits into a mebibyte, so it fails at once; what it would take to outgrow a real budget is the same path.
#[test]
fn a_job_that_outgrows_its_memory_fails_with_an_error_and_is_not_restarted() {
    let (error, attempts) = returns(|| {
        let env = environment(2);
        env.set_memory_budget(Some(1 << 20)).set_restart_strategy(at_once(5));
        let numbers = Numbers::new(u64::MAX).when(|_| Step::Wait);
        counting(&env, numbers, &CollectSink::new(), fine);
        let status = env.status();
        (run(&env).unwrap_err(), status.snapshot().attempts)
    });
    assert_eq!((error.kind(), attempts), (ErrorKind::Settings, 1), "{error}");
    for words in ["outgrown its memory", "of a budget of 1 MiB (--memory-budget)", "count["] {
        assert!(error.to_string().contains(words), "{words:?} is not in: {error}");
    }
}

#[test]
fn an_error_of_a_user_function_names_operator_and_key() {
    for workers in [1, 2] {
        let error = error_of(workers, |number| if number == 100 { Err("no luck".into()) } else { Ok(()) });
        assert_says(&error, ErrorKind::UserFunction, &["count", "key 2", "no luck"]);
    }
}

#[test]
fn a_panic_of_a_user_function_names_operator_and_key() {
    for workers in [1, 2] {
        let error = error_of(workers, |number| if number == 100 { panic!("out of luck") } else { Ok(()) });
        assert_says(&error, ErrorKind::UserFunction, &["count", "key 2", "out of luck"]);
    }
}

#[test]
fn a_panic_that_comes_only_once_is_got_over() {
    for workers in [1, 2] {
        returns(move || {
            let (env, sink) = (environment(workers), CollectSink::new());
            env.enable_checkpointing(Duration::from_millis(1)).set_restart_strategy(at_once(1));
            let status = env.status();
            let first = Arc::new(AtomicBool::new(true));
            // Not before a checkpoint: so the second attempt goes on from one.
            let numbers = Numbers::new(COUNT).when(move |number| {
                if number < COUNT / 2 || status.snapshot().completed > 0 { Step::Emit } else { Step::Wait }
            });
            counting(&env, numbers, &sink, move |number| {
                assert!(number != COUNT - 1 || !first.swap(false, Ordering::SeqCst), "only this time");
                Ok(())
            });
            assert_eq!(run(&env).unwrap().attempts, 2);
            assert!(env.status().snapshot().restored.is_some());
            assert_exactly_once(&sink.committed(), COUNT);
        });
    }
}

/// Blocks whoever waits until it is opened, at the latest when the test is over.
#[derive(Clone, Default)]
struct Barrier(Arc<(Mutex<bool>, Condvar)>);

impl Barrier {
    fn wait(&self) {
        let (open, changed) = &*self.0;
        let _open = changed.wait_while(open.lock().unwrap(), |open| !*open).unwrap();
    }

    fn open(&self) {
        *self.0.0.lock().unwrap() = true;
        self.0.1.notify_all();
    }
}

/// A job whose function blocks for ever the first time that it sees number 100.
fn blocking(workers: usize, restart: RestartStrategy) -> (highwater::Result<highwater::JobResult>, Vec<(u64, u64)>) {
    let (barrier, first) = (Barrier::default(), Arc::new(AtomicBool::new(true)));
    let blocked = barrier.clone();
    let result = returns(move || {
        let (env, sink) = (environment(workers), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(20)).set_restart_strategy(restart);
        env.configure_checkpoints(|config| config.timeout = Duration::from_millis(500));
        env.set_cancellation_timeout(Duration::from_millis(200));
        counting(&env, Numbers::new(COUNT), &sink, move |number| {
            if number == 100 && first.swap(false, Ordering::SeqCst) {
                blocked.wait();
            }
            Ok(())
        });
        (run(&env), sink.committed())
    });
    barrier.open();
    result
}

#[test]
fn a_function_that_blocks_fails_the_checkpoint_and_is_left_behind() {
    for workers in [1, 2] {
        let error = blocking(workers, RestartStrategy::None).0.unwrap_err();
        assert_says(&error, ErrorKind::Checkpoint, &["expired", "count["]);
    }
}

#[test]
fn a_job_goes_on_without_a_worker_that_was_left_behind() {
    for workers in [1, 2] {
        let (result, committed) = blocking(workers, at_once(1));
        assert_eq!(result.unwrap().attempts, 2);
        assert_exactly_once(&committed, COUNT);
    }
}

/// Where a job can fail beside its keyed function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Source,
    SourcePanic,
    Map,
    MapPanic,
    Key,
    Open,
    OpenPanic,
    Timer,
    Close,
    SinkOpen,
    Write,
    Flush,
    Prepare,
    MakeDurable,
    Commit,
}

/// Fails in one place.
#[derive(Clone)]
struct Failing(Place);

impl Failing {
    fn at(&self, place: Place) -> UserResult {
        if self.0 == place { Err(format!("failed at {place:?}").into()) } else { Ok(()) }
    }

    fn sink_at(&self, place: Place) -> highwater::Result<()> {
        self.at(place).map_err(|error| Error::new(ErrorKind::Input, "the sink failed").with_source(error))
    }

    fn panic_at(&self, place: Place) {
        assert!(self.0 != place, "failed at {place:?}");
    }
}

#[derive(KeyedState)]
struct Nothing {
    nothing: ValueState<()>,
}

impl KeyedProcessFunction<u64, u64> for Failing {
    type State = Nothing;
    type Out = u64;

    fn open(&mut self, _: &OpenContext) -> UserResult {
        self.panic_at(Place::OpenPanic);
        self.at(Place::Open)
    }

    fn process(&mut self, number: u64, _: &mut Nothing, out: &mut Context<'_, u64, u64>) -> UserResult {
        out.register_event_time_timer(1);
        out.collect(number);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, _: &mut Nothing, _: &mut Context<'_, u64, u64>) -> UserResult {
        self.at(Place::Timer)
    }

    fn close(&mut self) -> UserResult {
        self.at(Place::Close)
    }
}

impl Sink for Failing {
    type Record = u64;
    type Writer = Failing;

    fn open(&self, _: &SinkContext, _: Vec<()>) -> highwater::Result<Failing> {
        self.sink_at(Place::SinkOpen).map(|()| self.clone())
    }
}

impl SinkWriter for Failing {
    type Record = u64;
    type Committable = ();
    type State = ();

    fn write(&mut self, _: u64, _: i64) -> highwater::Result<()> {
        self.sink_at(Place::Write)
    }

    fn flush(&mut self) -> highwater::Result<()> {
        self.sink_at(Place::Flush)
    }

    fn prepare(&mut self, _: CheckpointId, _: bool) -> highwater::Result<Prepared<(), ()>> {
        self.sink_at(Place::Prepare)?;
        let failing = self.clone();
        let durable: highwater::sink::MakeDurable = Box::new(move || failing.sink_at(Place::MakeDurable));
        Ok(Prepared { committables: vec![()], states: Vec::new(), durable: Some(durable) })
    }

    fn commit(&mut self, _: Vec<()>) -> highwater::Result<()> {
        self.sink_at(Place::Commit)
    }
}

fn fails_at(place: Place, workers: usize) -> Error {
    let env = environment(workers);
    env.enable_checkpointing(Duration::from_millis(1)).set_restart_strategy(RestartStrategy::None);
    let failing = Failing(place);
    let (source, map, key) = (failing.clone(), failing.clone(), failing.clone());
    let numbers = Numbers::new(COUNT).when(move |number| {
        source.panic_at(Place::SourcePanic);
        if number == 100 && source.0 == Place::Source { Step::Fail } else { Step::Emit }
    });
    env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
        .map(move |number| {
            map.panic_at(Place::MapPanic);
            map.at(Place::Map).map(|()| number)
        })
        .key_by(move |number: &u64| {
            key.panic_at(Place::Key);
            *number
        })
        .process(failing.clone())
        .sink_to(failing);
    run(&env).expect_err("something failed, so the job did")
}

#[test]
fn a_failure_anywhere_ends_the_job_with_its_reason() {
    use Place::{
        Close, Commit, Flush, Key, MakeDurable, Map, MapPanic, Open, OpenPanic, Prepare, SinkOpen, Source, SourcePanic,
        Timer, Write,
    };
    for place in [
        Source,
        SourcePanic,
        Map,
        MapPanic,
        Key,
        Open,
        OpenPanic,
        Timer,
        Close,
        SinkOpen,
        Write,
        Flush,
        Prepare,
        MakeDurable,
        Commit,
    ] {
        for workers in [1, 2] {
            println!("{place:?} with {workers} workers");
            let error = returns(move || fails_at(place, workers));
            let reason =
                if place == Source { "number 100 cannot be read".into() } else { format!("failed at {place:?}") };
            assert!(error.to_string().contains(&reason), "{place:?} with {workers} workers: {error}");
        }
    }
}

#[test]
fn a_job_without_checkpoints_starts_from_the_beginning() {
    let calls = Arc::new(AtomicU64::new(0));
    let committed = returns(move || {
        let (env, sink) = (environment(1), CollectSink::new());
        env.set_restart_strategy(at_once(1));
        counting(&env, Numbers::new(COUNT), &sink, move |_| {
            if calls.fetch_add(1, Ordering::SeqCst) == COUNT / 2 { Err("once".into()) } else { Ok(()) }
        });
        run(&env).unwrap();
        sink.committed()
    });
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn a_job_that_does_not_fail_has_one_attempt() {
    let (env, sink) = (environment(2), CollectSink::new());
    counting(&env, Numbers::new(COUNT), &sink, fine);
    let result = run(&env).unwrap();
    assert_eq!((result.attempts, result.records, result.checkpoints_completed), (1, COUNT, 0));
    assert_exactly_once(&sink.committed(), COUNT);
}
