//! Whole jobs with ten times the state that their memory holds: stopped, failed, restored, with another parallelism.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::client::{JobRequest, SavepointTarget};
use highwater::prelude::*;
use highwater::status::{JobPhase, JobStatus};
use highwater::{ErrorKind, FsStateBackend, JobResult, Result, StartFrom, StateBackend};
use highwater_rocksdb::RocksDBStateBackend;

const KEYS: u64 = 20_000;

/// Stops a job, or says that it cannot be asked now.
type Stop = Arc<dyn Fn() -> bool + Send + Sync>;

#[derive(KeyedState)]
struct Seen {
    count: ValueState<u64>,
    padding: ValueState<String>,
}

/// Emits each number with how often its key was seen; fails once at `fails_at`, and stops the job at `stops_at`.
#[derive(Clone)]
struct Count {
    fails_at: u64,
    failed: Arc<AtomicBool>,
    /// Not before the job runs again.
    stops_at: u64,
    stopped: Arc<AtomicBool>,
    stop: Stop,
}

impl KeyedProcessFunction<u64, u64> for Count {
    type State = Seen;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Seen, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        if number >= self.fails_at && !self.failed.swap(true, Ordering::SeqCst) {
            return Err("this failure is part of the test".into());
        }
        if number >= self.stops_at && !self.stopped.swap(true, Ordering::SeqCst) {
            self.stopped.store((self.stop)(), Ordering::SeqCst);
        }
        let count = state.count.get_or_default() + 1;
        state.count.set(count);
        state.padding.set(format!("{number:600}"));
        out.collect((number, count));
        Ok(())
    }
}

fn rocksdb(dir: &Path) -> RocksDBStateBackend {
    RocksDBStateBackend::new(dir.join("checkpoints").to_str().unwrap())
        .with_memory_budget(1 << 20)
        .with_local_dir(dir.join("local"))
}

fn environment(backend: impl StateBackend + 'static, workers: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.stop_on_signals(false).set_parallelism(workers).set_state_backend(backend);
    env.enable_checkpointing(Duration::from_millis(20));
    env.set_restart_strategy(RestartStrategy::FixedDelay { attempts: 3, delay: Duration::ZERO });
    env
}

/// Whether the job runs after its failure. Some subtasks go on a while after another one has failed, or begin only then.
fn runs_again(status: &JobStatus) -> bool {
    let snapshot = status.snapshot();
    snapshot.attempts == 2 && snapshot.phase == JobPhase::Running
}

/// Stops with a last checkpoint.
fn stop(env: &StreamExecutionEnvironment) -> Stop {
    let (handle, status) = (env.stop_handle(), env.status());
    Arc::new(move || {
        let stops = runs_again(&status);
        if stops {
            handle.stop();
        }
        stops
    })
}

/// Stops with a savepoint in `dir`.
fn stop_with_savepoint(env: &StreamExecutionEnvironment, dir: &Path) -> Stop {
    let (client, target) = (env.client(), SavepointTarget::Dir(dir.to_str().unwrap().to_owned()));
    let request = JobRequest::Stop { drain: false, savepoint: Some(target) };
    Arc::new(move || {
        let stops = runs_again(client.status());
        if stops {
            drop(client.ask(request.clone()));
        }
        stops
    })
}

/// Counts numbers, each key once a round of [`KEYS`], up to about `stops_at`.
fn count(
    env: &StreamExecutionEnvironment,
    stops_at: u64,
    stop: Stop,
    sink: &CollectSink<(u64, u64)>,
) -> Result<JobResult> {
    let function =
        Count { fails_at: stops_at - KEYS / 2, failed: Arc::default(), stops_at, stopped: Arc::default(), stop };
    env.from_source(Generator::new(|number| number), WatermarkStrategy::no_watermarks(), "numbers")
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(function)
        .uid("count")
        .sink_to(sink.clone())
        .uid("collect");
    env.execute("counting")
}

/// Each number once, and each key counted up.
fn assert_exactly_once(committed: &[(u64, u64)]) {
    let mut counts = BTreeMap::<u64, Vec<u64>>::new();
    let mut numbers: Vec<u64> = committed.iter().map(|(number, _)| *number).collect();
    committed.iter().for_each(|(number, count)| counts.entry(number % KEYS).or_default().push(*count));
    numbers.sort_unstable();
    assert!(numbers.windows(2).all(|pair| pair[0] != pair[1]), "a number was counted twice");
    for (key, mut counts) in counts {
        counts.sort_unstable();
        assert!(counts.iter().copied().eq(1..=counts.len() as u64), "key {key}: {counts:?}");
    }
}

/// The same parallelism opens the files of its stores, another one copies the rows.
#[test]
fn a_job_goes_on_with_what_is_in_rocksdb() {
    let (dir, sink) = (tempfile::tempdir().expect("a folder"), CollectSink::new());
    for (run, workers) in [2, 2, 3, 1].into_iter().enumerate() {
        let stops_at = (run as u64 * 2 + 3) * KEYS / 2;
        let env = environment(rocksdb(dir.path()), workers);
        let result = count(&env, stops_at, stop(&env), &sink).expect("the job gets through");
        assert_eq!(result.attempts, 2, "it fails once and is restored");
        assert_exactly_once(&sink.committed());
    }
    let most = sink.committed().iter().map(|(_, count)| *count).max();
    assert!(most >= Some(4), "the counts do not go on: {most:?}");
    let shared = fs::read_dir(dir.path().join("checkpoints/counting/shared")).expect("shared files");
    let stored: u64 = shared.map(|entry| entry.unwrap().metadata().unwrap().len()).sum();
    assert!(stored > KEYS * 600, "{stored} bytes are stored");
    let local: Vec<_> =
        fs::read_dir(dir.path().join("local")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(local, ["lock"], "nothing is left in the local directory");
}

/// The path of the only snapshot in a directory.
fn only_one(dir: &Path) -> String {
    let mut paths = fs::read_dir(dir).expect("savepoints").map(|entry| entry.unwrap().path());
    let (path, None) = (paths.next().expect("a savepoint"), paths.next()) else { panic!("several savepoints") };
    path.to_str().unwrap().to_owned()
}

/// A savepoint has all rows, wherever they were, and goes wherever they may be.
#[test]
fn savepoints_go_from_rocksdb_to_memory_and_back() {
    let (dir, sink) = (tempfile::tempdir().expect("a folder"), CollectSink::new());
    let [first, second, third] = ["first", "second", "third"].map(|name| dir.path().join(name));
    let fs = |dir: &Path| FsStateBackend::new(dir.join("checkpoints").to_str().unwrap());

    let env = environment(rocksdb(&first), 2);
    let stop_first = stop_with_savepoint(&env, &first.join("savepoints"));
    count(&env, KEYS * 2, stop_first, &sink).expect("the job gets through with RocksDB");
    let path = only_one(&first.join("savepoints"));
    let stored = fs::read_dir(&path).unwrap().map(|file| file.unwrap().metadata().unwrap().len()).sum::<u64>();
    assert!(stored > KEYS * 600, "{stored} bytes are stored");
    let moved = dir.path().join("moved");
    fs::rename(path, &moved).expect("a savepoint may be moved");
    fs::remove_dir_all(&first).expect("nothing else is needed");

    let env = environment(fs(&second), 3);
    env.start_from(StartFrom::Path(moved.to_str().unwrap().to_owned()));
    let stop_second = stop_with_savepoint(&env, &second.join("savepoints"));
    count(&env, KEYS * 3, stop_second, &sink).expect("the job gets through in memory");

    let env = environment(rocksdb(&third), 1);
    env.start_from(StartFrom::Path(only_one(&second.join("savepoints"))));
    count(&env, KEYS * 4, stop(&env), &sink).expect("the job gets through with RocksDB again");
    assert_exactly_once(&sink.committed());
    let most = sink.committed().iter().map(|(_, count)| *count).max();
    assert!(most >= Some(4), "the counts do not go on: {most:?}");
    let shared = fs::read_dir(third.join("checkpoints/counting/shared")).expect("shared files");
    assert!(shared.count() > 3, "rows are in RocksDB again");
}

/// Another backend cannot open the files of RocksDB.
#[test]
fn a_checkpoint_of_rocksdb_is_refused_by_a_backend_without_it() {
    let (dir, sink) = (tempfile::tempdir().expect("a folder"), CollectSink::new());
    let env = environment(rocksdb(dir.path()), 2);
    count(&env, KEYS, stop(&env), &sink).expect("the job gets through");
    let env = environment(FsStateBackend::new(dir.path().join("checkpoints").to_str().unwrap()), 2);
    let error = count(&env, KEYS * 2, stop(&env), &sink).expect_err("it has no RocksDB");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("kind rocksdb") && error.to_string().contains("take a savepoint"), "{error}");
}

#[test]
fn what_cannot_be_used_is_refused_before_anything_runs() {
    let dir = tempfile::tempdir().expect("a folder");
    let backend = RocksDBStateBackend::new(dir.path().to_str().unwrap());
    let error = backend.clone().with_memory_budget(1_000).spilling(1).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
    assert!(error.to_string().contains("1000 bytes per worker: give 1048576 or more"), "{error}");
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    let error = backend.with_local_dir(file).spilling(1).unwrap_err();
    assert!(error.to_string().contains("give another directory"), "{error}");
}
