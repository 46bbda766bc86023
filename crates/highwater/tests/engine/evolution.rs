//! A new version of a program goes on with the state of the old one, migrated; or it is refused before the first record.

use std::marker::PhantomData;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{ErrorKind, JobResult, Result, StopHandle};
use highwater_state::spill::MemoryRowStores;
use highwater_storage::{CheckpointStorage, LocalStorage, RealDisk};

use crate::support::{KEYS, assert_exactly_once, environment, returns, run};

/// Where a source is: each version of the program has its own.
trait Position: Data {
    fn at(next: u64, stride: u64) -> Self;
    fn parts(&self) -> (u64, u64);
}

#[derive(Clone, Data)]
struct OldPosition {
    next: u32,
    stride: u8,
}

#[derive(Clone, Data)]
struct NewPosition {
    #[data(default = "\"numbers\".into()")]
    topic: String,
    stride: u64,
    #[data(alias = "next")]
    offset: u64,
}

impl Position for OldPosition {
    fn at(next: u64, stride: u64) -> Self {
        OldPosition { next: next.try_into().unwrap(), stride: stride.try_into().unwrap() }
    }

    fn parts(&self) -> (u64, u64) {
        (self.next.into(), self.stride.into())
    }
}

impl Position for NewPosition {
    fn at(next: u64, stride: u64) -> Self {
        NewPosition { topic: "numbers".into(), stride, offset: next }
    }

    fn parts(&self) -> (u64, u64) {
        assert_eq!(self.topic, "numbers");
        (self.offset, self.stride)
    }
}

/// Emits the numbers below `to`, then stops the job.
struct Until<P> {
    to: u64,
    stop: StopHandle,
    /// Asked for twice, a stop is one at once.
    stopped: Arc<AtomicBool>,
    position: PhantomData<fn() -> P>,
}

impl<P> Until<P> {
    fn new(to: u64, env: &StreamExecutionEnvironment) -> Self {
        Until { to, stop: env.stop_handle(), stopped: Arc::default(), position: PhantomData }
    }
}

struct Reader<P> {
    to: u64,
    stop: StopHandle,
    stopped: Arc<AtomicBool>,
    splits: Vec<P>,
}

impl<P: Position> Source for Until<P> {
    type Record = u64;
    type Split = P;
    type Reader = Reader<P>;

    fn discover(&self, _: u32) -> Result<Vec<P>> {
        Ok(vec![P::at(0, 2), P::at(1, 2)])
    }

    fn reader(&self, splits: Vec<P>) -> Result<Reader<P>> {
        Ok(Reader { to: self.to, stop: self.stop.clone(), stopped: self.stopped.clone(), splits })
    }
}

impl<P: Position> SourceReader for Reader<P> {
    type Record = u64;
    type Split = P;

    fn poll(&mut self, output: &mut SourceOutput<u64>) -> Result<SourceStatus> {
        for split in &mut self.splits {
            let (next, stride) = split.parts();
            if next < self.to {
                output.emit(next);
                *split = P::at(next + stride, stride);
                return Ok(SourceStatus::More);
            }
        }
        // Who has a split stops the job: the one of the other split may not be as far, and goes on after the restore.
        if !self.splits.is_empty() && !self.stopped.swap(true, Ordering::SeqCst) {
            self.stop.stop();
        }
        Ok(SourceStatus::Idle(Duration::from_millis(1)))
    }

    fn snapshot(&self) -> Vec<P> {
        self.splits.clone()
    }
}

#[derive(Clone, Data)]
enum OldSize {
    Small,
    Large(u32),
}

#[derive(KeyedState)]
struct OldState {
    seen: ValueState<u32>,
    sizes: MapState<u8, OldSize>,
    gone: ListState<String>,
    sum: ValueState<u64>,
    padding: ValueState<String>,
}

#[derive(Clone)]
struct OldCount;

impl KeyedProcessFunction<u64, u64> for OldCount {
    type State = OldState;
    type Out = (u64, u32);

    fn process(&mut self, number: u64, state: &mut OldState, out: &mut Context<'_, u64, (u64, u32)>) -> UserResult {
        let seen = state.seen.update(|seen| {
            *seen += 1;
            *seen
        });
        let size = if number < 50 { OldSize::Small } else { OldSize::Large(number as u32) };
        state.sizes.insert(0, size);
        state.gone.add("gone".into());
        // What is small is always stored in full.
        state.padding.set("x".repeat(8 << 10));
        state.sum.update(|sum| *sum += number);
        out.collect((number, seen));
        Ok(())
    }
}

#[derive(Clone, Data)]
enum NewSize {
    Huge,
    Large {
        #[data(alias = "0")]
        number: u64,
        #[data(default)]
        note: Option<String>,
    },
    #[data(alias = "Small")]
    Tiny,
}

#[derive(KeyedState)]
struct NewState {
    added: MapState<String, u64>,
    padding: ValueState<String>,
    sum: ValueState<u64>,
    sizes: MapState<u16, NewSize>,
    #[state(alias = "seen")]
    count: ValueState<u64>,
}

#[derive(Clone)]
struct NewCount;

impl KeyedProcessFunction<u64, u64> for NewCount {
    type State = NewState;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut NewState, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        let key = number % KEYS;
        if state.added.is_empty() {
            // The first record after the restore.
            let sum = state.sum.get_or_default();
            assert!(sum > 0 && sum % KEYS == key * state.count.get_or_default() % KEYS, "{sum} of key {key}");
            let size = state.sizes.get(&0);
            assert!(
                matches!(size, Some(NewSize::Large { number, note: None }) if number % KEYS == key && *number >= 50),
                "the size of key {key} is another one"
            );
            state.sizes.insert(1, if number.is_multiple_of(2) { NewSize::Huge } else { NewSize::Tiny });
        }
        state.added.insert("seen".into(), number);
        let count = state.count.get_or_default() + 1;
        state.count.set(count);
        out.collect((number, count));
        Ok(())
    }
}

fn at(dir: &Path, workers: usize) -> StreamExecutionEnvironment {
    let env = environment(workers);
    env.set_state_backend(FsStateBackend::new(dir.to_str().unwrap())).set_restart_strategy(RestartStrategy::None);
    env
}

fn job<P: Position, F: KeyedProcessFunction<u64, u64>>(
    env: &StreamExecutionEnvironment,
    to: u64,
    function: F,
    sink: CollectSink<F::Out>,
) -> Result<JobResult>
where
    F::Out: Data + Sync,
{
    env.from_source(Until::<P>::new(to, env), WatermarkStrategy::no_watermarks(), "numbers")
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(function)
        .name("count numbers")
        .uid("count")
        .sink_to(sink)
        .uid("collect");
    run(env)
}

/// A job whose rows do not fit in memory.
fn in_stores(dir: &Path, workers: usize) -> StreamExecutionEnvironment {
    let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(dir, Arc::new(RealDisk)).unwrap());
    let env = crate::spilling::on(&storage, &MemoryRowStores::new(dir.join("stores")), workers);
    env.enable_checkpointing(Duration::from_secs(3_600)).set_restart_strategy(RestartStrategy::None);
    env
}

#[test]
fn a_new_version_goes_on_with_the_state_of_the_old_one() {
    // With stores two of the runs have all rows in one, in the old version and in the new one.
    for at in [at, in_stores] {
        returns(move || {
            let dir = tempfile::tempdir().unwrap();
            job::<OldPosition, _>(&at(dir.path(), 1), 100, OldCount, CollectSink::new()).unwrap();
            let sink = CollectSink::new();
            job::<NewPosition, _>(&at(dir.path(), 2), 103, NewCount, sink.clone()).unwrap();
            // What the old version had prepared is committed again, by the new one and as its records.
            let committed = sink.committed().len();
            assert!((100..=103).contains(&committed), "{committed}");
            // Most keys have had no record since they were migrated, and are stored as the new version encodes them all the
            // same.
            job::<NewPosition, _>(&at(dir.path(), 1), 200, NewCount, sink.clone()).unwrap();
            assert_exactly_once(&sink.committed(), 200);
        });
    }
}

/// The files of a store are not opened as they are if its rows are those of an older program.
#[test]
fn rows_in_a_store_are_migrated_also_with_the_same_parallelism() {
    returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        job::<OldPosition, _>(&in_stores(dir.path(), 1), 100, OldCount, CollectSink::new()).unwrap();
        job::<NewPosition, _>(&in_stores(dir.path(), 1), 103, NewCount, sink.clone()).unwrap();
        job::<NewPosition, _>(&in_stores(dir.path(), 1), 200, NewCount, sink.clone()).unwrap();
        assert_exactly_once(&sink.committed(), 200);
    });
}

#[derive(KeyedState)]
struct NarrowState {
    seen: ValueState<u32>,
    sizes: MapState<u8, OldSize>,
    sum: ValueState<u32>,
}

#[derive(KeyedState)]
struct FewerSizes {
    sizes: MapState<u8, SmallOnly>,
}

#[derive(Clone, Data)]
enum SmallOnly {
    Small,
}

/// A function that must not be called.
struct Never<K, S>(Arc<AtomicBool>, PhantomData<fn() -> (K, S)>);

impl<K, S> Never<K, S> {
    fn called(called: &Arc<AtomicBool>) -> Self {
        Never(called.clone(), PhantomData)
    }
}

impl<K, S> Clone for Never<K, S> {
    fn clone(&self) -> Self {
        Never::called(&self.0)
    }
}

impl<K: Key, S: KeyedState> KeyedProcessFunction<K, u64> for Never<K, S> {
    type State = S;
    type Out = (u64, u32);

    fn process(&mut self, _: u64, _: &mut S, _: &mut Context<'_, K, (u64, u32)>) -> UserResult {
        self.0.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn what_cannot_be_migrated_is_refused_before_the_first_record() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        job::<OldPosition, _>(&at(dir.path(), 1), 100, OldCount, CollectSink::new()).unwrap();
        let called = Arc::new(AtomicBool::new(false));
        let refused = |result: Result<JobResult>, what: &str| {
            let error = result.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            let way_out = "restore it with the program that wrote it, or start over with --fresh";
            assert_eq!(error.to_string(), format!("{what}; {way_out}"));
            assert!(!called.load(Ordering::SeqCst));
        };
        let keyed =
            "operator count numbers cannot start: the stored state of operator count numbers is of another type";
        let env = at(dir.path(), 1);
        let narrow = Never::<u64, NarrowState>::called(&called);
        refused(
            job::<OldPosition, _>(&env, 200, narrow, CollectSink::new()),
            &format!("{keyed}: state `sum`: was u64, is u32, which cannot hold every u64"),
        );
        let env = at(dir.path(), 1);
        let fewer = Never::<u64, FewerSizes>::called(&called);
        refused(
            job::<OldPosition, _>(&env, 200, fewer, CollectSink::new()),
            &format!(
                "{keyed}: state `sizes`: value: variant `Large` of enum SmallOnly: was removed, and a stored value may \
                 be one: keep it, or name it as an alias of another"
            ),
        );
        let env = at(dir.path(), 1);
        env.from_source(Until::<OldPosition>::new(200, &env), WatermarkStrategy::no_watermarks(), "numbers")
            .uid("numbers")
            .key_by(|number: &u64| u128::from(number % KEYS))
            .process(Never::<u128, OldState>::called(&called))
            .name("count numbers")
            .uid("count")
            .sink_to(CollectSink::new())
            .uid("collect");
        refused(
            run(&env),
            &format!(
                "{keyed}: key: widened from u64 to u128; the key of a stream has to stay as it is, since its bytes \
                 decide its key group"
            ),
        );
        // The new version's records were wider: an old one cannot take them back.
        job::<NewPosition, _>(&at(dir.path(), 1), 150, NewCount, CollectSink::new()).unwrap();
        refused(
            job::<OldPosition, _>(&at(dir.path(), 1), 200, NewCount, CollectSink::new()),
            "operator numbers cannot start: the stored source split of operator numbers is of another type: field \
             `next` of struct OldPosition: was added without a default: give it #[data(default)]",
        );
    });
}
