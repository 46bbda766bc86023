//! Savepoints of running jobs, stops that end with one, and what a job makes of one that it starts from.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::client::{Answer, JobRequest, SavepointTarget, Taken};
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::status::JobPhase;
use highwater::{ClaimMode, ErrorKind, JobClient, JobEnd, StartFrom};
use highwater_snapshot::{Snapshot, Verifier};
use highwater_state::spill::MemoryRowStores;
use highwater_storage::{CheckpointStorage, LocalStorage, MemoryStorage, RealDisk};
use highwater_testing::{Call, Fate, FaultyStorage};

use crate::incremental::{FIRED, expected, padded};
use crate::restarts::Trouble;
use crate::storage_faults::on;
use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, environment, fine, returns, run};

pub const HOUR: Duration = Duration::from_secs(3600);
const COUNT: u64 = 1_200;
const KEYS: u64 = 300;
/// Where the tests stop or take a savepoint.
const HALF: u64 = 600;

pub fn no_trouble() -> Trouble {
    Trouble::seeded(0, 0, 1)
}

fn dir(path: &Path) -> SavepointTarget {
    SavepointTarget::Dir(path.to_str().unwrap().to_owned())
}

pub fn savepoint(path: &Path) -> JobRequest {
    JobRequest::Savepoint(dir(path))
}

pub fn stop(path: &Path, drain: bool) -> JobRequest {
    JobRequest::Stop { drain, savepoint: Some(dir(path)) }
}

/// A request that is made when all subtasks of a source have come to a number, and its last answer.
pub struct Asked {
    workers: usize,
    sender: Sender<Answer>,
    receiver: Receiver<Answer>,
}

impl Asked {
    pub fn new(workers: usize) -> Self {
        let (sender, receiver) = channel();
        Asked { workers, sender, receiver }
    }

    /// The numbers below `count`. At `at` the request is made, and the source waits until it is answered.
    pub fn numbers(&self, count: u64, at: u64, client: JobClient, request: JobRequest) -> Numbers {
        Numbers::new(count).when(self.step(at, client, request))
    }

    /// What a source does then. A request that an attempt of the job did not live to answer is made again.
    pub fn step(
        &self,
        at: u64,
        client: JobClient,
        request: JobRequest,
    ) -> impl Fn(u64) -> Step + Send + Sync + 'static {
        let (sender, asked) = (Mutex::new(self.sender.clone()), Arc::new(AtomicBool::new(false)));
        let (answered, waiting) = (Arc::new(AtomicBool::new(false)), Mutex::new(BTreeSet::new()));
        let workers = self.workers;
        move |number| {
            if number < at || answered.load(Ordering::SeqCst) {
                return Step::Emit;
            }
            let mut waiting = waiting.lock().unwrap();
            waiting.insert(number);
            let is_time = waiting.len() == workers && client.status().phase() == JobPhase::Running;
            if is_time && !asked.swap(true, Ordering::SeqCst) {
                let sender = sender.lock().unwrap().clone();
                let (asked, answered) = (Arc::clone(&asked), Arc::clone(&answered));
                let mut answers = client.ask(request.clone());
                let listen = move || {
                    let last = answers.find(|answer| matches!(answer, Answer::Completed(_) | Answer::Failed { .. }));
                    match last.expect("every request is answered") {
                        Answer::Failed { reason } if reason.contains("the attempt") => {
                            asked.store(false, Ordering::SeqCst);
                        }
                        last => {
                            // A test may not care.
                            let _ = sender.send(last);
                            answered.store(true, Ordering::SeqCst);
                        }
                    }
                };
                std::thread::Builder::new().spawn(listen).unwrap();
            }
            Step::Wait
        }
    }

    /// The path of what was taken.
    pub fn path(&self) -> String {
        self.taken().path
    }

    /// The bytes that were written for it.
    fn bytes(&self) -> u64 {
        self.taken().bytes
    }

    fn taken(&self) -> Taken {
        match self.receiver.recv().unwrap() {
            Answer::Completed(Some(taken)) => taken,
            other => panic!("no savepoint: {other:?}"),
        }
    }

    /// Why nothing was taken.
    pub fn reason(&self) -> String {
        match self.receiver.recv().unwrap() {
            Answer::Failed { reason } => reason,
            other => panic!("it did not fail: {other:?}"),
        }
    }
}

pub fn sorted(sink: &CollectSink<(u64, u64)>) -> Vec<(u64, u64)> {
    let mut all = sink.committed();
    all.sort_unstable();
    all
}

pub fn local(path: &Path) -> Arc<dyn CheckpointStorage> {
    Arc::new(LocalStorage::open(path, Arc::new(RealDisk)).unwrap())
}

/// Copies the folder of a savepoint to another place.
pub fn copy(from: &str, to: &Path) -> String {
    let from = Path::new(from.strip_prefix("file://").unwrap());
    let copied = to.join("moved");
    fs::create_dir_all(&copied).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        fs::copy(entry.path(), copied.join(entry.file_name())).unwrap();
    }
    copied.to_str().unwrap().to_owned()
}

/// A job whose rows do not fit in memory.
fn with_stores(storage: &Arc<dyn CheckpointStorage>, dir: &Path, workers: usize) -> StreamExecutionEnvironment {
    let env = crate::spilling::on(storage, &MemoryRowStores::new(dir.join("stores")), workers);
    env.configure_checkpoints(|config| config.tolerable_failures = 0);
    env
}

/// Runs the padded job to its end, from a savepoint.
fn resume(path: &str, workers: usize, sink: &CollectSink<(u64, u64)>) -> highwater::Result<highwater::JobResult> {
    let env = on(Arc::new(MemoryStorage::new()), workers, 0);
    env.start_from(StartFrom::Path(path.to_owned()));
    padded(&env, Numbers::new(COUNT), KEYS, no_trouble(), sink);
    run(&env)
}

#[test]
fn a_savepoint_holds_everything_and_the_checkpoints_after_it_do_too() {
    for (in_memory, spills, seed) in
        [(true, false, 1), (false, false, 2), (false, false, 3), (true, true, 4), (false, true, 5)]
    {
        returns(move || {
            let (folder, target) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
            let storage = if in_memory { Arc::new(MemoryStorage::new()) } else { local(folder.path()) };
            let env = if spills { with_stores(&storage, folder.path(), 2) } else { on(storage, 2, 0) };
            let (sink, asked) = (CollectSink::new(), Asked::new(2));
            env.set_restart_strategy(at_once(100));
            // Checkpoints lie between the numbers, and failures come before and after the savepoint.
            let step = asked.step(HALF, env.client(), savepoint(target.path()));
            let status = env.status();
            let paced = Numbers::new(COUNT).when(move |number| {
                let ahead = number / 40 > status.snapshot().completed + 3;
                if ahead { Step::Wait } else { step(number) }
            });
            padded(&env, paced, KEYS, Trouble::seeded(seed, 6, COUNT as usize), &sink);
            let result = run(&env).unwrap();
            assert!(sorted(&sink) == expected(COUNT, KEYS), "the job does not go on as if nothing had been");
            assert!(result.attempts > 1);
            assert_eq!(env.status().snapshot().savepoints, 1);

            let path = asked.path();
            let moved = copy(&path, &target.path().join("elsewhere"));
            fs::remove_dir_all(path.strip_prefix("file://").unwrap()).unwrap();
            folder.close().unwrap();
            assert_eq!(Verifier::default().damages(&Snapshot::at_path(&moved).unwrap()).unwrap(), []);
            for workers in [1, 2, 3] {
                let sink = CollectSink::new();
                resume(&moved, workers, &sink).unwrap();
                let (all, out) = (expected(COUNT, KEYS), sorted(&sink));
                assert!(out.is_sorted_by(|a, b| a < b), "{workers} workers: something came twice");
                assert!(out.iter().all(|row| all.binary_search(row).is_ok()), "{workers} workers: something is wrong");
                let is_after =
                    |(number, _): &&(u64, u64)| number % FIRED >= HALF + if *number < FIRED { 0 } else { 300 };
                let after = all.iter().filter(is_after);
                assert!(
                    after.clone().all(|row| out.binary_search(row).is_ok()),
                    "{workers} workers: something is missing"
                );
            }
        });
    }
}

/// Rows that changed before the savepoint and not after it are in no checkpoint but the one after it.
#[test]
fn the_checkpoint_after_a_savepoint_holds_what_the_savepoint_took() {
    for (workers, spills) in [(1, false), (2, false), (1, true), (2, true)] {
        returns(move || {
            let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
            let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
            let env = if spills { with_stores(&storage, target.path(), workers) } else { on(storage, workers, 0) };
            env.enable_checkpointing(HOUR).set_restart_strategy(at_once(1));
            let asked = [(); 3].map(|()| Asked::new(workers));
            let requests = [JobRequest::Checkpoint, savepoint(target.path()), JobRequest::Checkpoint];
            let steps = [HALF - KEYS, HALF, HALF + KEYS / 3].into_iter().zip(requests).zip(&asked);
            let steps: Vec<_> = steps.map(|((at, request), asked)| asked.step(at, env.client(), request)).collect();
            let failed = AtomicBool::new(false);
            let numbers = Numbers::new(COUNT).when(move |number| {
                if steps.iter().any(|step| step(number) == Step::Wait) {
                    return Step::Wait;
                }
                let fails = number >= HALF + KEYS / 2 && !failed.swap(true, Ordering::SeqCst);
                if fails { Step::Fail } else { Step::Emit }
            });
            padded(&env, numbers, KEYS, no_trouble(), &sink);
            assert_eq!(run(&env).unwrap().attempts, 2);
            asked.iter().for_each(|asked| drop(asked.path()));
            assert!(sorted(&sink) == expected(COUNT, KEYS), "{workers} workers: rows are lost or old");
        });
    }
}

#[test]
fn the_checkpoint_after_a_savepoint_holds_only_what_has_changed_since_the_one_before() {
    returns(|| {
        let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let env = on(Arc::new(MemoryStorage::new()), 1, 0);
        env.enable_checkpointing(HOUR);
        let requests = [JobRequest::Checkpoint, savepoint(target.path()), JobRequest::Checkpoint];
        let asked = [(); 3].map(|()| Asked::new(1));
        let steps = [HALF, HALF + 5, HALF + 10].into_iter().zip(requests).zip(&asked);
        let steps: Vec<_> = steps.map(|((at, request), asked)| asked.step(at, env.client(), request)).collect();
        let numbers =
            Numbers::new(COUNT).when(move |number| match steps.iter().any(|step| step(number) == Step::Wait) {
                true => Step::Wait,
                false => Step::Emit,
            });
        padded(&env, numbers, KEYS, no_trouble(), &sink);
        run(&env).unwrap();
        let [first, savepoint, last] = asked.each_ref().map(Asked::bytes);
        assert!(savepoint > first / 2, "the savepoint has {savepoint} bytes, the checkpoint before it {first}");
        assert!(last < first / 2, "the checkpoint after the savepoint has {last} bytes, that before it {first}");
        assert!(sorted(&sink) == expected(COUNT, KEYS));
    });
}

#[test]
fn a_savepoint_in_between_commits_nothing() {
    returns(|| {
        let (target, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let env = environment(2);
        env.enable_checkpointing(HOUR).set_restart_strategy(RestartStrategy::None);
        // At its barrier the sink commits what it was told of before: of the first savepoint at the second.
        let asked = [(); 2].map(|()| Asked::new(2));
        let steps = asked.each_ref().map(|asked| asked.step(90, env.client(), savepoint(target.path())));
        let numbers = Numbers::new(100).when(move |number| match steps.iter().all(|step| step(number) == Step::Emit) {
            true if number >= 95 => Step::Fail,
            true => Step::Emit,
            false => Step::Wait,
        });
        counting(&env, numbers, &sink, fine);
        run(&env).unwrap_err();
        assert_eq!(env.status().snapshot().savepoints, 2);
        assert_eq!(sink.committed(), [], "a savepoint made output visible");
        // What waits to be committed is in it.
        let [_, last] = asked;
        let env = environment(1);
        env.enable_checkpointing(HOUR).start_from(StartFrom::Path(last.path()));
        counting(&env, Numbers::new(100), &sink, fine);
        run(&env).unwrap();
        assert_exactly_once(&sink.committed(), 100);
    });
}

#[test]
fn stopping_with_a_savepoint_and_resuming_is_as_if_nothing_had_been() {
    for workers in [1, 2, 3] {
        returns(move || {
            let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(2));
            let env = on(Arc::new(MemoryStorage::new()), 2, 0);
            env.set_savepoint_dir(target.path().to_str().unwrap());
            let request = JobRequest::Stop { drain: false, savepoint: Some(SavepointTarget::Configured) };
            padded(&env, asked.numbers(COUNT, HALF, env.client(), request), KEYS, no_trouble(), &sink);
            assert_eq!(run(&env).unwrap().end, JobEnd::Stopped);
            assert!(sink.committed().len() >= HALF as usize, "the savepoint commits what came before it");
            resume(&asked.path(), workers, &sink).unwrap();
            assert!(sorted(&sink) == expected(COUNT, KEYS), "{workers} workers");
        });
    }
}

#[test]
fn draining_fires_the_timers_and_commits_what_they_emit() {
    for with_savepoint in [true, false] {
        returns(move || {
            let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(2));
            let env = on(Arc::new(MemoryStorage::new()), 2, 0);
            let request = JobRequest::Stop { drain: true, savepoint: with_savepoint.then(|| dir(target.path())) };
            padded(&env, asked.numbers(COUNT, HALF, env.client(), request), KEYS, no_trouble(), &sink);
            assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
            assert!(sorted(&sink) == expected(HALF, KEYS), "with a savepoint: {with_savepoint}");
            asked.path();
        });
    }
}

#[test]
fn a_job_without_checkpoints_can_be_drained_and_takes_no_savepoints() {
    returns(|| {
        let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(2));
        let env = environment(2);
        padded(&env, asked.numbers(COUNT, HALF, env.client(), savepoint(target.path())), KEYS, no_trouble(), &sink);
        assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
        assert!(asked.reason().contains("--checkpoint-dir"));

        let (env, sink, asked) = (environment(2), CollectSink::new(), Asked::new(2));
        let request = JobRequest::Stop { drain: true, savepoint: None };
        padded(&env, asked.numbers(COUNT, HALF, env.client(), request), KEYS, no_trouble(), &sink);
        assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
        assert!(sorted(&sink) == expected(HALF, KEYS));
        assert_eq!(asked.receiver.recv().unwrap(), Answer::Completed(None));
    });
}

#[test]
fn without_a_place_for_it_there_is_no_savepoint() {
    returns(|| {
        let (sink, asked) = (CollectSink::new(), Asked::new(1));
        let env = on(Arc::new(MemoryStorage::new()), 1, 0);
        let nowhere = JobRequest::Savepoint(SavepointTarget::Configured);
        counting(&env, asked.numbers(100, 50, env.client(), nowhere), &sink, fine);
        run(&env).unwrap();
        assert!(asked.reason().contains("--savepoint-dir"));
        let client = env.client();
        let ended = client.savepoint(SavepointTarget::Configured).unwrap_err();
        assert!(ended.to_string().contains("the job has ended"), "{ended}");
        let starting = environment(1).client().savepoint(SavepointTarget::Configured).unwrap_err();
        assert!(starting.to_string().contains("the job is starting"), "{starting}");
    });
}

/// Savepoints fail in a storage of their own kind of trouble, and the job does not care: nothing of it counts.
#[test]
fn a_place_that_cannot_take_it_fails_the_savepoint_and_leaves_the_job_running() {
    returns(|| {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("file"), "in the way").unwrap();
        let in_the_way = folder.path().join("file/savepoints");
        for (drain, request) in
            [(false, savepoint(&in_the_way)), (false, stop(&in_the_way, false)), (true, stop(&in_the_way, true))]
        {
            let (sink, asked) = (CollectSink::new(), Asked::new(2));
            let env = on(Arc::new(MemoryStorage::new()), 2, 0);
            padded(&env, asked.numbers(COUNT, HALF, env.client(), request), KEYS, no_trouble(), &sink);
            let result = run(&env).unwrap();
            assert_eq!((result.end, result.attempts), (JobEnd::Finished, 1), "drain {drain}");
            assert!(sorted(&sink) == expected(COUNT, KEYS), "drain {drain}");
            let reason = asked.reason();
            assert!(reason.contains("cannot take a savepoint"), "{reason}");
        }
    });
}

/// A job that fails to write the `n`-th file, or part of one, and takes its savepoint where its checkpoints go.
fn with_a_failing_write(call: Call, request: impl Fn(&Path) -> JobRequest) -> (u64, String, Vec<(u64, u64)>, bool) {
    let folder = tempfile::tempdir().unwrap();
    let storage = FaultyStorage::new(local(folder.path()));
    let (env, sink, asked) = (on(Arc::new(storage.clone()), 2, 0), CollectSink::new(), Asked::new(2));
    // No other checkpoint can meet the fault.
    env.enable_checkpointing(HOUR).set_restart_strategy(at_once(1));
    storage.set(call, storage.count(call) + 1, Fate::Fails);
    let uri = folder.path().to_str().unwrap();
    let request = request(Path::new(&format!("file://{uri}")));
    padded(&env, asked.numbers(COUNT, HALF, env.client(), request), KEYS, no_trouble(), &sink);
    let result = run(&env).unwrap();
    let left = fs::read_dir(folder.path())
        .unwrap()
        .any(|entry| entry.unwrap().file_name().to_str().unwrap().starts_with("savepoint-"));
    (result.attempts, asked.reason(), sorted(&sink), left)
}

#[test]
fn a_savepoint_that_cannot_be_written_is_removed_and_the_job_goes_on() {
    for call in [Call::Create, Call::Append, Call::Finish, Call::Publish] {
        for request in [savepoint, |path: &Path| stop(path, false)] {
            let (attempts, reason, committed, left) = returns(move || with_a_failing_write(call, request));
            assert_eq!(attempts, 1, "{call:?}");
            assert!(reason.contains("injected fault"), "{call:?}: {reason}");
            assert!(committed == expected(COUNT, KEYS), "{call:?}");
            assert!(!left, "{call:?}: something is left of the savepoint");
        }
    }
}

#[test]
fn a_job_that_was_drained_for_nothing_goes_back_to_its_newest_checkpoint() {
    let (attempts, reason, committed, _) = returns(|| with_a_failing_write(Call::Publish, |path| stop(path, true)));
    assert_eq!(attempts, 2);
    assert!(reason.contains("injected fault"), "{reason}");
    assert!(committed == expected(COUNT, KEYS));
}

#[test]
fn what_was_claimed_is_deleted_with_the_first_checkpoint_and_nothing_else_is() {
    for mode in [ClaimMode::NoClaim, ClaimMode::Claim] {
        returns(move || {
            let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(2));
            let env = on(Arc::new(MemoryStorage::new()), 2, 0);
            padded(
                &env,
                asked.numbers(COUNT, HALF, env.client(), stop(target.path(), false)),
                KEYS,
                no_trouble(),
                &sink,
            );
            run(&env).unwrap();
            let path = asked.path();
            let env = on(Arc::new(MemoryStorage::new()), 2, 0);
            env.start_from(StartFrom::Path(path.clone())).set_claim_mode(mode);
            padded(&env, Numbers::new(COUNT), KEYS, no_trouble(), &sink);
            run(&env).unwrap();
            assert!(sorted(&sink) == expected(COUNT, KEYS));
            let is_there = Path::new(path.strip_prefix("file://").unwrap()).exists();
            assert_eq!(is_there, mode == ClaimMode::NoClaim, "{mode:?}");
        });
    }
}

#[test]
fn state_that_no_operator_has_is_refused_or_dropped_as_asked() {
    returns(|| {
        let (target, sink, asked) = (tempfile::tempdir().unwrap(), CollectSink::new(), Asked::new(1));
        let env = on(Arc::new(MemoryStorage::new()), 1, 0);
        padded(&env, asked.numbers(COUNT, HALF, env.client(), stop(target.path(), false)), KEYS, no_trouble(), &sink);
        run(&env).unwrap();
        let path = asked.path();
        let without_the_count = |allow| {
            let (env, sink) = (on(Arc::new(MemoryStorage::new()), 1, 0), CollectSink::new());
            env.start_from(StartFrom::Path(path.clone())).allow_non_restored_state(allow);
            env.from_source(Numbers::new(COUNT), WatermarkStrategy::no_watermarks(), "numbers")
                .uid("numbers")
                .map(Ok)
                .sink_to(sink.clone())
                .uid("new-sink");
            run(&env).map(|_| sink.committed())
        };
        let error = without_the_count(false).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Incompatible);
        for words in ["count", "collect", "--allow-non-restored-state"] {
            assert!(error.to_string().contains(words), "{words} is not in: {error}");
        }
        assert_eq!(without_the_count(true).unwrap(), (HALF..COUNT).collect::<Vec<_>>());
    });
}
