//! A job that has ended with a savepoint and is started again, without being told from what: it goes on from the savepoint, or
//! not at all.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::client::JobRequest;
use highwater::connectors::{CollectSink, FileSink};
use highwater::prelude::*;
use highwater::{ClaimMode, ErrorKind, JobEnd, StartFrom};
use highwater_core::JobName;
use highwater_storage::{CheckpointStorage, Disk, JobStore, LocalStorage, MemoryStorage};
use highwater_testing::{Call, Fate, FaultyStorage, SimulatedDisk, SyncEffect};

use crate::incremental::{expected, padded};
use crate::savepoints::{Asked, copy, local, no_trouble, savepoint, sorted, stop};
use crate::storage_faults::on;
use crate::support::{CountNumbers, KEYS, Numbers, Step, assert_exactly_once, at_once, counting, fine, returns, run};

const HOUR: Duration = Duration::from_secs(3600);
const COUNT: u64 = 120;
const HALF: u64 = 60;

/// A job without checkpoints but those that it is asked for.
fn job(storage: &Arc<dyn CheckpointStorage>, workers: usize) -> StreamExecutionEnvironment {
    let env = on(Arc::clone(storage), workers, 0);
    env.enable_checkpointing(HOUR);
    env
}

/// Ends the counting job with a savepoint in `target` at half of its input.
fn ended(storage: &Arc<dyn CheckpointStorage>, target: &Path, sink: &CollectSink<(u64, u64)>) -> String {
    let (env, [before, last]) = (job(storage, 1), [(); 2].map(|()| Asked::new(1)));
    let first = before.step(HALF / 2, env.client(), JobRequest::Checkpoint);
    let then = last.step(HALF, env.client(), stop(target, false));
    let step = move |number| if first(number) == Step::Wait { Step::Wait } else { then(number) };
    counting(&env, Numbers::new(COUNT).when(step), sink, fine);
    assert_eq!(run(&env).unwrap().end, JobEnd::Stopped);
    assert_eq!(sink.committed().len() as u64, HALF);
    last.path()
}

fn folder_of(path: &str) -> PathBuf {
    PathBuf::from(path.strip_prefix("file://").unwrap())
}

/// The folders in which the job would find something to recover from, and whether that is a savepoint.
fn completed(storage: &Arc<dyn CheckpointStorage>) -> Vec<(u64, bool)> {
    let store = JobStore::open(Arc::clone(storage), JobName::parse("engine-test").unwrap()).unwrap();
    let found = store.checkpoints().unwrap().into_iter().filter(|dir| dir.is_completed());
    found.map(|dir| (dir.id.0, dir.names_savepoint)).collect()
}

#[test]
fn the_job_goes_on_from_the_savepoint_which_stays_its_users() {
    for claim in [ClaimMode::NoClaim, ClaimMode::Claim] {
        returns(move || {
            let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
            let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
            let path = ended(&storage, target.path(), &sink);
            assert_eq!(completed(&storage), [(1, false), (2, true)]);

            // The input has one split, whatever the parallelism.
            let (env, asked) = (job(&storage, 2), [(); 2].map(|()| Asked::new(1)));
            env.set_claim_mode(claim);
            let status = env.status();
            let steps = asked.each_ref().map(|asked| asked.step(80, env.client(), JobRequest::Checkpoint));
            let step = move |number| match steps.iter().all(|step| step(number) == Step::Emit) {
                true => Step::Emit,
                false => Step::Wait,
            };
            counting(&env, Numbers::new(COUNT).when(step), &sink, fine);
            run(&env).unwrap();
            assert_exactly_once(&sink.committed(), COUNT);
            assert_eq!(status.snapshot().restored.map(|(_, path)| path), Some(path.clone()));
            let left = completed(&storage);
            assert!(left.len() == 2 && left.iter().all(|(_, is_savepoint)| !is_savepoint), "{left:?}");
            assert!(folder_of(&path).exists(), "the savepoint is deleted ({claim:?})");
        });
    }
}

/// The first checkpoint holds everything: nothing depends on the savepoint any more.
#[test]
fn once_the_job_has_a_checkpoint_of_its_own_the_savepoint_may_go() {
    const ALL: u64 = 1_200;
    const MANY_KEYS: u64 = 300;
    returns(|| {
        let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (storage, sink) = (local(folder.path()), CollectSink::new());
        let (env, asked) = (job(&storage, 2), Asked::new(2));
        padded(&env, asked.numbers(ALL, 600, env.client(), stop(target.path(), false)), MANY_KEYS, no_trouble(), &sink);
        run(&env).unwrap();

        let (env, taken) = (job(&storage, 2), Asked::new(2));
        let (step, failed) = (taken.step(700, env.client(), JobRequest::Checkpoint), AtomicBool::new(false));
        env.set_restart_strategy(at_once(1));
        let savepoint = folder_of(&asked.path());
        let numbers = Numbers::new(ALL).when(move |number| match step(number) {
            Step::Emit if number >= 800 && !failed.swap(true, Ordering::SeqCst) => {
                fs::remove_dir_all(&savepoint).unwrap();
                Step::Fail
            }
            step => step,
        });
        padded(&env, numbers, MANY_KEYS, no_trouble(), &sink);
        assert_eq!(run(&env).unwrap().attempts, 2);
        assert!(sorted(&sink) == expected(ALL, MANY_KEYS), "rows are lost, old, or came twice");
    });
}

#[test]
fn without_the_savepoint_the_job_does_not_start_unless_it_is_told_from_what() {
    returns(|| {
        let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
        let path = ended(&storage, target.path(), &sink);
        let moved = copy(&path, &target.path().join("elsewhere"));
        let metadata = folder_of(&path).join("_metadata");
        let refused = || {
            let env = job(&storage, 1);
            counting(&env, Numbers::new(COUNT), &CollectSink::new(), fine);
            let error = run(&env).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Incompatible, "{error}");
            for words in [path.as_str(), "chk-2", "--restore", "--fresh"] {
                assert!(error.to_string().contains(words), "{words} is not in: {error}");
            }
            error.to_string()
        };
        let mut bytes = fs::read(&metadata).unwrap();
        bytes[40] ^= 1;
        fs::write(&metadata, bytes).unwrap();
        assert!(refused().contains("checksum"));
        fs::remove_dir_all(folder_of(&path)).unwrap();
        assert!(refused().contains("is gone"));
        assert_eq!(completed(&storage), [(1, false), (2, true)], "a start that was refused changes nothing");

        // What the user names goes before what the job has left.
        let env = job(&storage, 1);
        env.start_from(StartFrom::Path(moved));
        counting(&env, Numbers::new(COUNT), &sink, fine);
        run(&env).unwrap();
        assert_exactly_once(&sink.committed(), COUNT);
        let left = completed(&storage);
        assert!(left.len() == 1 && !left[0].1, "the job has a checkpoint of its own: {left:?}");
    });
}

#[test]
fn a_damaged_note_of_the_savepoint_is_no_reason_to_go_back() {
    returns(|| {
        let (folder, target, sink) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), CollectSink::new());
        let storage = local(folder.path());
        ended(&storage, target.path(), &sink);
        let note = folder.path().join("engine-test/chk-2/_savepoint");
        let mut bytes = fs::read(&note).unwrap();
        bytes[30] ^= 1;
        fs::write(&note, bytes).unwrap();
        let env = job(&storage, 1);
        counting(&env, Numbers::new(COUNT), &sink, fine);
        let error = run(&env).unwrap_err().to_string();
        assert!(error.contains("chk-2/_savepoint") && error.contains("--restore"), "{error}");
    });
}

/// The second publish in the job's own folder is the note of the savepoint.
#[test]
fn a_savepoint_that_the_job_folder_cannot_note_does_not_end_the_job() {
    for fate in [Fate::Fails, Fate::FailsInDoubt, Fate::HappensInDoubt] {
        for fails_afterwards in [false, true] {
            returns(move || {
                let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
                let faults = FaultyStorage::new(Arc::new(MemoryStorage::new()));
                faults.set(Call::Publish, 2, fate);
                let (env, [before, last]) = (job(&(Arc::new(faults) as _), 1), [(); 2].map(|()| Asked::new(1)));
                env.set_restart_strategy(at_once(1));
                let first = before.step(HALF / 2, env.client(), JobRequest::Checkpoint);
                let then = last.step(HALF, env.client(), stop(target.path(), false));
                let failed = AtomicBool::new(!fails_afterwards);
                let step = move |number| match (first(number), number) {
                    (Step::Emit, ..HALF) => Step::Emit,
                    (Step::Emit, _) => match then(number) {
                        Step::Emit if number > HALF && !failed.swap(true, Ordering::SeqCst) => Step::Fail,
                        step => step,
                    },
                    (step, _) => step,
                };
                counting(&env, Numbers::new(COUNT).when(step), &sink, fine);
                assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
                assert_exactly_once(&sink.committed(), COUNT);
                let reason = last.reason();
                assert!(reason.contains("injected fault"), "{reason}");
                let is_there = fs::read_dir(target.path()).unwrap().next().is_some();
                assert_eq!(is_there, fate != Fate::Fails, "{fate:?}: what may count is kept, and only that");
            });
        }
    }
}

/// A function that cannot be closed the first time: the attempt fails when its last savepoint has been committed.
#[derive(Clone)]
struct ClosedTheSecondTime {
    count: CountNumbers<fn(u64) -> UserResult>,
    closed: Arc<AtomicBool>,
}

impl KeyedProcessFunction<u64, u64> for ClosedTheSecondTime {
    type State = crate::support::Count;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Self::State, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        self.count.process(number, state, out)
    }

    fn close(&mut self) -> UserResult {
        if self.closed.swap(true, Ordering::SeqCst) { Ok(()) } else { Err("not yet".into()) }
    }
}

#[test]
fn an_attempt_that_fails_after_its_last_savepoint_is_followed_by_one_that_goes_on_from_there() {
    returns(|| {
        let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(1));
        let env = job(&(Arc::new(MemoryStorage::new()) as _), 1);
        env.set_restart_strategy(at_once(1));
        let numbers = asked.numbers(COUNT, HALF, env.client(), stop(target.path(), false));
        let function = ClosedTheSecondTime { count: CountNumbers { before: fine }, closed: Arc::default() };
        env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
            .key_by(|number: &u64| number % KEYS)
            .process(function)
            .sink_to(sink.clone());
        let status = env.status();
        // The second attempt is asked to end as the first was, and has nothing left to commit.
        let result = run(&env).unwrap();
        assert_eq!((result.end, result.attempts), (JobEnd::Stopped, 2));
        assert!(status.snapshot().restored.is_some_and(|(_, path)| path.contains("savepoint-engine-test-")));
        assert_exactly_once(&sink.committed(), HALF);
    });
}

const CHECKPOINTS: &str = "/data/checkpoints";
const OUTPUT: &str = "/data/output";

/// A run of the job on a machine: a savepoint in between and checkpoints where they are asked for.
fn run_on(disk: &SimulatedDisk, requests: &[(u64, JobRequest)]) -> highwater::Result<JobEnd> {
    let storage: Arc<dyn CheckpointStorage> = Arc::new(LocalStorage::open(CHECKPOINTS, Arc::new(disk.clone()))?);
    let env = job(&storage, 1);
    let asked: Vec<_> = requests.iter().map(|_| Asked::new(1)).collect();
    let steps =
        requests.iter().zip(&asked).map(|((at, request), asked)| asked.step(*at, env.client(), request.clone()));
    let steps: Vec<_> = steps.collect();
    let step = move |number| if steps.iter().all(|step| step(number) == Step::Emit) { Step::Emit } else { Step::Wait };
    env.from_source(Numbers::new(COUNT).when(step), WatermarkStrategy::no_watermarks(), "numbers")
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(CountNumbers { before: fine })
        .uid("count")
        .map(|(number, seen): (u64, u64)| Ok(format!("{number} {seen}")))
        .sink_to(FileSink::lines(OUTPUT).disk(Arc::new(disk.clone())))
        .uid("output");
    run(&env).map(|result| result.end)
}

/// A checkpoint, a savepoint in between, an end with a savepoint; then a plain start, a checkpoint, and the end of the input.
fn end_and_start_again(disk: &SimulatedDisk, drain: bool) -> highwater::Result<()> {
    let target = format!("file://{CHECKPOINTS}");
    let target = Path::new(&target);
    run_on(disk, &[(20, JobRequest::Checkpoint), (40, savepoint(target)), (HALF, stop(target, drain))])?;
    run_on(disk, &[(90, JobRequest::Checkpoint)]).map(drop)
}

/// What is visible of the output.
fn output(disk: &SimulatedDisk) -> Vec<(u64, u64)> {
    let names = disk.list(Path::new(OUTPUT)).unwrap().into_iter().map(|entry| entry.name.into_string().unwrap());
    let read = |name: String| String::from_utf8(disk.read(&Path::new(OUTPUT).join(name)).unwrap()).unwrap();
    let visible: String = names.filter(|name| !name.starts_with('.')).map(read).collect();
    let row = |line: &str| line.split_once(' ').map(|(number, seen)| (number.parse().unwrap(), seen.parse().unwrap()));
    visible.lines().map(|line| row(line).unwrap()).collect()
}

fn after_a_crash_at_every_sync(drain: bool) {
    let whole = SimulatedDisk::new(0);
    end_and_start_again(&whole, drain).unwrap();
    assert_exactly_once(&output(&whole), COUNT);
    let syncs = whole.syncs();
    assert!(syncs > 30, "only {syncs} syncs");
    for n in 1..=syncs {
        for effect in [SyncEffect::Took, SyncEffect::Lost] {
            for next in [SimulatedDisk::reboot, SimulatedDisk::restart] {
                let disk = SimulatedDisk::new(n);
                disk.crash_at_sync(n, effect);
                // Threads may sync in another order, and so the last sync may not come.
                let crashed = end_and_start_again(&disk, drain).is_err();
                // Shown if it fails.
                println!("crash at sync {n} ({effect:?}): {crashed}");
                let next = next(&disk);
                run_on(&next, &[]).expect("the job starts again");
                assert_exactly_once(&output(&next), COUNT);
            }
        }
    }
}

#[test]
fn output_is_exactly_once_after_a_crash_at_any_sync_of_a_stop_and_a_start() {
    returns(|| after_a_crash_at_every_sync(false));
}

#[test]
fn output_is_exactly_once_after_a_crash_at_any_sync_of_a_drain_and_a_start() {
    returns(|| after_a_crash_at_every_sync(true));
}
