//! State that changes its backend: a savepoint goes from any to any other, a checkpoint only to where it can be read.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{ErrorKind, JobEnd, JobResult, Result, StartFrom};
use highwater_snapshot::{STATE, Snapshot, Verifier};
use highwater_state::spill::MemoryRowStores;
use highwater_storage::{CheckpointStorage, MemoryStorage};

use crate::savepoints::{Asked, HOUR, copy, stop};
use crate::spilling;
use crate::storage_faults;
use crate::support::{Numbers, Step, returns, run};

const COUNT: u64 = 2_400;
/// Where the job is stopped.
const HALF: u64 = 1_200;

/// What a timer emits is told apart by this.
const FIRED: u64 = 1 << 40;

/// Of three numbers one is of a key that comes again soon.
fn key(number: &u64) -> u64 {
    if number.is_multiple_of(3) { number / 3 % 40 } else { 100 + number % 700 }
}

#[derive(KeyedState)]
struct Visitor {
    seen: ValueState<u64>,
    padding: ValueState<String>,
    #[state(ttl = "300ms", time = "event")]
    recent: MapState<u64, u64, Ttl>,
}

/// Emits each number with how many of its key there were, and 100 ms later how many of them in the 300 ms before.
#[derive(Clone)]
struct CountVisits;

impl KeyedProcessFunction<u64, u64> for CountVisits {
    type State = Visitor;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Visitor, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        let seen = state.seen.get_or_default() + 1;
        state.seen.set(seen);
        state.padding.set(format!("{number:500}"));
        state.recent.insert(number, 1);
        out.collect((number, seen));
        out.register_event_time_timer(number as i64 + 100);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Visitor, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        let time = timer.time_ms as u64;
        out.collect((FIRED + time, state.recent.range(..=time).count() as u64));
        Ok(())
    }
}

/// What must come out for the numbers below [`COUNT`].
fn expected() -> Vec<(u64, u64)> {
    let seen = |number, before| (before..=number).filter(|other| key(other) == key(&number)).count() as u64;
    // A number of the key that came after the timer was set counts as well.
    let recent = |number: u64| {
        let (first, last) = ((number + 101).saturating_sub(300), (number + 100).min(COUNT - 1));
        (first..=last).filter(|other| key(other) == key(&number)).count() as u64
    };
    let of = |number| [(number, seen(number, 0)), (FIRED + number + 100, recent(number))];
    let mut all: Vec<_> = (0..COUNT).flat_map(of).collect();
    all.sort_unstable();
    all
}

/// Where rows go that do not fit in memory.
#[derive(Clone, Debug)]
enum Backend {
    Memory,
    Stores(MemoryRowStores),
}

fn on(backend: &Backend, storage: &Arc<dyn CheckpointStorage>, workers: usize) -> StreamExecutionEnvironment {
    match backend {
        Backend::Memory => storage_faults::on(Arc::clone(storage), workers, 0),
        Backend::Stores(stores) => spilling::on(storage, stores, workers),
    }
}

fn visits(env: &StreamExecutionEnvironment, numbers: Numbers, sink: &CollectSink<(u64, u64)>) -> Result<JobResult> {
    let watermarks = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
    env.from_source(numbers, watermarks, "numbers")
        .uid("numbers")
        .key_by(key)
        .process(CountVisits)
        .uid("count")
        .sink_to(sink.clone())
        .uid("collect");
    run(env)
}

fn storage() -> Arc<dyn CheckpointStorage> {
    Arc::new(MemoryStorage::new())
}

fn assert_all(sink: &CollectSink<(u64, u64)>, what: &str) {
    let mut all = sink.committed();
    all.sort_unstable();
    assert!(all == expected(), "{what}");
}

/// Stops a job half-way with a savepoint below `target`; its path, after it was moved.
fn savepoint(backend: &Backend, sink: &CollectSink<(u64, u64)>, target: &Path) -> String {
    let (env, asked) = (on(backend, &storage(), 2), Asked::new(2));
    let numbers = asked.numbers(COUNT, HALF, env.client(), stop(target, false));
    assert_eq!(visits(&env, numbers, sink).unwrap().end, JobEnd::Stopped);
    let path = asked.path();
    let moved = copy(&path, &target.join("elsewhere"));
    fs::remove_dir_all(path.strip_prefix("file://").unwrap()).unwrap();
    moved
}

/// All of it is in the folder, and as it would be if there were no stores.
fn assert_is_canonical(path: &str) {
    let snapshot = Snapshot::at_path(path).unwrap();
    assert_eq!(Verifier::default().damages(&snapshot).unwrap(), []);
    assert!(snapshot.metadata().files.iter().all(|file| file.shared_by.is_none()));
    let tasks = snapshot.metadata().operators.iter().flat_map(|operator| &operator.subtasks);
    for keyed in tasks.flat_map(|(_, task)| &task.keyed) {
        assert_eq!(keyed.store, None);
        assert_eq!(keyed.lineage.segments.len(), 1, "{}", keyed.name);
        assert!(keyed.name != STATE || keyed.lineage.blocks().map(|block| block.entries).sum::<u64>() > 300);
    }
}

#[test]
fn a_savepoint_goes_from_any_backend_to_any_other_with_any_parallelism() {
    let folder = tempfile::tempdir().unwrap();
    let backends = [Backend::Memory, Backend::Stores(MemoryRowStores::new(folder.path()))];
    for from in &backends {
        for to in &backends {
            for workers in [1, 2, 3] {
                let (from, to) = (from.clone(), to.clone());
                returns(move || {
                    let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
                    let path = savepoint(&from, &sink, target.path());
                    assert_is_canonical(&path);
                    let storage = storage();
                    let env = on(&to, &storage, workers);
                    env.start_from(StartFrom::Path(path));
                    visits(&env, Numbers::new(COUNT), &sink).unwrap();
                    assert_all(&sink, &format!("from {from:?} to {to:?} with {workers} workers"));
                    let stores = spilling::stores_in(&storage);
                    let expected = if matches!(to, Backend::Stores(_)) { workers } else { 0 };
                    assert_eq!(stores, expected, "one for each task that counts, if there are any");
                });
            }
        }
    }
}

#[test]
fn a_checkpoint_of_rows_in_memory_goes_on_where_they_do_not_fit_and_not_the_other_way_round() {
    returns(|| {
        let folder = tempfile::tempdir().unwrap();
        let (storage, sink) = (storage(), CollectSink::new());
        let stores = Backend::Stores(MemoryRowStores::new(folder.path()));
        let up_to = |backend, workers, end| {
            let env = on(backend, &storage, workers);
            let (handle, stopped) = (env.stop_handle(), AtomicBool::new(false));
            let numbers = Numbers::new(COUNT).when(move |number| {
                if number < end {
                    return Step::Emit;
                }
                // A second one would end it at once.
                if !stopped.swap(true, Ordering::SeqCst) {
                    handle.stop();
                }
                Step::Wait
            });
            visits(&env, numbers, &sink)
        };
        assert_eq!(up_to(&Backend::Memory, 2, 800).unwrap().end, JobEnd::Stopped);
        // Nothing of it is written again until its rows were read back from below.
        up_to(&stores, 2, 1_000).unwrap();
        up_to(&stores, 3, 1_600).unwrap();
        let error = up_to(&Backend::Memory, 3, COUNT).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        for words in ["operator", "kind memory", "keeps all rows in memory", "take a savepoint", "start from it"] {
            assert!(error.to_string().contains(words), "{words} is not in: {error}");
        }
        up_to(&stores, 1, u64::MAX).unwrap();
        assert_all(&sink, "from memory to stores");
    });
}

/// A savepoint that fails half-way through the rows of a store leaves nothing that is held back.
#[test]
fn checkpoints_go_on_after_a_savepoint_that_failed() {
    returns(|| {
        let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(target.path().join("file"), "in the way").unwrap();
        let (storage, sink, asked) = (storage(), CollectSink::new(), Asked::new(2));
        let env = on(&Backend::Stores(MemoryRowStores::new(folder.path())), &storage, 2);
        env.enable_checkpointing(HOUR);
        let request = stop(&target.path().join("file/savepoints"), false);
        let numbers = asked.numbers(COUNT, HALF, env.client(), request);
        assert_eq!(visits(&env, numbers, &sink).unwrap().end, JobEnd::Finished);
        assert!(asked.reason().contains("cannot take a savepoint"));
        assert_all(&sink, "after a savepoint that failed");
        assert_eq!(spilling::stores_in(&storage), 2);
    });
}
