//! What a job starts from: its newest checkpoint that verifies, whatever the parallelism; and what is refused.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::{CollectSink, FileSink, FileSource};
use highwater::prelude::*;
use highwater::{Error, ErrorKind, JobResult, Result, StartFrom};
use highwater_core::frame;
use highwater_storage::{LocalStorage, RealDisk};
use highwater_testing::HookedStorage;

use crate::storage_faults::on;
use crate::support::{
    CountNumbers, KEYS, Numbers, Step, assert_exactly_once, counting, environment, fine, returns, run,
};

const HOUR: Duration = Duration::from_secs(3600);

fn at(dir: &Path, workers: usize) -> StreamExecutionEnvironment {
    let env = environment(workers);
    env.set_state_backend(FsStateBackend::new(dir.to_str().unwrap())).enable_checkpointing(HOUR);
    env.set_restart_strategy(RestartStrategy::None).configure_checkpoints(|config| config.retained = 10);
    env
}

/// Counts the numbers below `to`, then stops: with a checkpoint in `dir`.
fn count_to(dir: &Path, workers: usize, to: u64, sink: &CollectSink<(u64, u64)>) -> Result<JobResult> {
    let env = at(dir, workers);
    count_in(&env, to, sink)
}

fn count_in(env: &StreamExecutionEnvironment, to: u64, sink: &CollectSink<(u64, u64)>) -> Result<JobResult> {
    let (stop, stopped) = (env.stop_handle(), AtomicBool::new(false));
    let numbers = Numbers::new(u64::MAX).when(move |number| {
        if number < to {
            return Step::Emit;
        }
        if !stopped.swap(true, Ordering::SeqCst) {
            stop.stop();
        }
        Step::Wait
    });
    counting(env, numbers, sink, fine);
    run(env)
}

/// The folders of the job's checkpoints, oldest first.
fn checkpoints(dir: &Path) -> Vec<PathBuf> {
    let job = dir.join("engine-test");
    let id = |path: &PathBuf| path.file_name()?.to_str()?.strip_prefix("chk-")?.parse::<u64>().ok();
    let mut found: Vec<_> = fs::read_dir(job).unwrap().map(|entry| entry.unwrap().path()).collect();
    found.retain(|path| id(path).is_some() && path.join("_metadata").exists());
    found.sort_by_key(id);
    found
}

fn flip_a_bit(file: &Path) {
    let mut bytes = fs::read(file).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn assert_refused(result: Result<JobResult>, kind: ErrorKind, words: &[&str]) {
    let error = result.expect_err("this must be refused");
    assert_eq!(error.kind(), kind, "{error}");
    for word in words {
        assert!(error.to_string().contains(word), "{word:?} is not in: {error}");
    }
}

#[test]
fn a_stopped_job_goes_on_exactly_with_any_parallelism() {
    returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let mut seen = 0;
        for (workers, to) in [(2, 100), (1, 200), (3, 301), (2, 301), (1, 400), (5, 500)] {
            count_to(dir.path(), workers, to, &sink).unwrap();
            let committed = sink.committed();
            // Several workers need not have come equally far when the first of them stops the job.
            let expected = if workers == 1 { to as usize..=to as usize } else { seen..=to as usize };
            assert!(expected.contains(&committed.len()), "{} after the run to {to}", committed.len());
            seen = committed.len();
        }
        let env = at(dir.path(), 2);
        counting(&env, Numbers::new(600), &sink, fine);
        run(&env).unwrap();
        assert_exactly_once(&sink.committed(), 600);
    });
}

#[test]
fn a_fresh_start_begins_anew_and_leaves_no_way_back() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        let before = checkpoints(dir.path());
        let (env, sink) = (at(dir.path(), 1), CollectSink::new());
        env.start_from(StartFrom::Fresh);
        count_in(&env, 50, &sink).unwrap();
        assert_exactly_once(&sink.committed(), 50);
        let after = checkpoints(dir.path());
        assert!(!after.is_empty() && after.iter().all(|own| !before.contains(own)), "{before:?} {after:?}");
    });
}

#[test]
fn a_checkpoint_can_be_restored_by_its_path_also_into_another_directory() {
    returns(|| {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = CollectSink::new();
        count_to(dir.path(), 2, 100, &first).unwrap();
        count_to(dir.path(), 1, 150, &CollectSink::new()).unwrap();
        let path = checkpoints(dir.path())[0].to_str().unwrap().to_string();
        for (place, path) in [(&other, path.clone()), (&dir, format!("file://{path}/_metadata"))] {
            let (env, sink) = (at(place.path(), 1), CollectSink::new());
            env.start_from(StartFrom::Path(path));
            count_in(&env, 200, &sink).unwrap();
            // What the checkpoint had prepared is committed again, to the new sink.
            assert_exactly_once(&sink.committed(), 200);
        }
        for nothing in [dir.path().join("chk-99"), other.path().join("no/where")] {
            let env = at(dir.path(), 1);
            env.start_from(StartFrom::Path(nothing.to_str().unwrap().into()));
            let error = count_in(&env, 200, &CollectSink::new()).unwrap_err();
            assert!(error.to_string().contains(nothing.to_str().unwrap()), "{error}");
        }
    });
}

#[test]
fn a_damaged_checkpoint_is_passed_over_and_an_older_one_used() {
    returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        count_to(dir.path(), 1, 100, &sink).unwrap();
        count_to(dir.path(), 1, 150, &CollectSink::new()).unwrap();
        flip_a_bit(&checkpoints(dir.path())[1].join("_metadata"));
        let env = at(dir.path(), 1);
        count_in(&env, 200, &sink).unwrap();
        let restored = env.status().snapshot().restored.unwrap().1;
        assert!(restored.ends_with(checkpoints(dir.path())[0].to_str().unwrap()), "{restored}");
        assert_exactly_once(&sink.committed(), 200);
    });
}

#[test]
fn a_checkpoint_of_another_job_is_not_taken_for_ones_own() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let other = at(dir.path(), 1);
        counting(&other, Numbers::new(100), &CollectSink::new(), fine);
        other.execute("other-job").unwrap();
        fs::rename(dir.path().join("other-job"), dir.path().join("engine-test")).unwrap();
        let refused = count_to(dir.path(), 1, 200, &CollectSink::new());
        assert_refused(refused, ErrorKind::Incompatible, &["it is of job other-job, not of engine-test", "--restore"]);

        let (env, sink) = (at(dir.path(), 1), CollectSink::new());
        env.start_from(StartFrom::Path(checkpoints(dir.path())[0].to_str().unwrap().to_owned()));
        count_in(&env, 200, &sink).unwrap();
        assert_exactly_once(&sink.committed(), 200);
    });
}

#[test]
fn a_job_whose_checkpoints_are_all_damaged_does_not_begin_anew() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        count_to(dir.path(), 1, 150, &CollectSink::new()).unwrap();
        let paths = checkpoints(dir.path());
        paths.iter().for_each(|path| flip_a_bit(&path.join("_metadata")));
        let names: Vec<_> = paths.iter().map(|path| path.to_str().unwrap()).collect();
        let result = count_to(dir.path(), 1, 200, &CollectSink::new());
        assert_refused(result, ErrorKind::Incompatible, &[names[0], names[1], "checksum", "--fresh"]);
    });
}

#[derive(KeyedState)]
struct Text {
    text: ValueState<String>,
}

/// Keeps much for each key.
#[derive(Clone)]
struct KeepMuch;

impl KeyedProcessFunction<u64, u64> for KeepMuch {
    type State = Text;
    type Out = u64;

    fn process(&mut self, number: u64, state: &mut Text, context: &mut Context<'_, u64, u64>) -> UserResult {
        state.text.set(number.to_string().repeat(1000));
        context.collect(number);
        Ok(())
    }
}

fn keep_much(env: &StreamExecutionEnvironment, count: u64, sink: &CollectSink<u64>) -> Result<JobResult> {
    env.from_source(Numbers::new(count), WatermarkStrategy::no_watermarks(), "numbers")
        .key_by(|number: &u64| *number)
        .process(KeepMuch)
        .sink_to(sink.clone());
    run(env)
}

/// The newest of the files that checkpoints share.
fn newest_shared(dir: &Path) -> PathBuf {
    let checkpoint = checkpoints(dir).pop().unwrap();
    let shared = fs::read_dir(checkpoint.with_file_name("shared")).unwrap();
    shared.map(|entry| entry.unwrap().path()).max().unwrap()
}

#[test]
fn a_checkpoint_with_a_damaged_data_file_is_passed_over_before_anything_of_it_is_seen() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        keep_much(&at(dir.path(), 2), 100, &CollectSink::new()).unwrap();
        let good = checkpoints(dir.path()).pop().unwrap();
        keep_much(&at(dir.path(), 2), 200, &CollectSink::new()).unwrap();
        flip_a_bit(&newest_shared(dir.path()));
        let (env, sink) = (at(dir.path(), 2), CollectSink::new());
        keep_much(&env, 200, &sink).unwrap();
        let restored = env.status().snapshot().restored.unwrap().1;
        assert!(restored.ends_with(good.to_str().unwrap()), "{restored}");
        // The sink is new, so what the good one had prepared is committed to it once more: of the damaged one nothing was.
        let mut committed = sink.committed();
        committed.sort_unstable();
        assert!(committed.into_iter().eq(0..200));
    });
}

/// Going back to an older one would show again what was committed since.
#[test]
fn a_checkpoint_that_was_damaged_on_its_way_is_read_again_before_an_older_one_is_used() {
    for what in ["_metadata", "/shared/"] {
        returns(move || {
            let dir = tempfile::tempdir().unwrap();
            keep_much(&at(dir.path(), 2), 100, &CollectSink::new()).unwrap();
            keep_much(&at(dir.path(), 2), 200, &CollectSink::new()).unwrap();
            let newest = checkpoints(dir.path()).pop().unwrap();
            let folder = LocalStorage::open(dir.path(), Arc::new(RealDisk)).unwrap();
            let damages = AtomicBool::new(true);
            let storage = HookedStorage::new(Arc::new(folder)).on_read(move |path, bytes| {
                if path.contains(what) && damages.swap(false, Ordering::SeqCst) {
                    *bytes.last_mut().unwrap() ^= 1;
                }
            });
            let (env, sink) = (on(Arc::new(storage), 2, 0), CollectSink::new());
            keep_much(&env, 200, &sink).unwrap();
            let restored = env.status().snapshot().restored.unwrap().1;
            assert!(restored.ends_with(newest.to_str().unwrap()), "{what}: {restored}");
            // What the newest had prepared, to a sink that is new: an older one would have committed more.
            let mut committed = sink.committed();
            committed.sort_unstable();
            assert!(committed.into_iter().eq(100..200), "{what}");
        });
    }
}

#[test]
fn a_damaged_checkpoint_that_was_asked_for_is_refused() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        keep_much(&at(dir.path(), 2), 100, &CollectSink::new()).unwrap();
        flip_a_bit(&newest_shared(dir.path()));
        let env = at(dir.path(), 2);
        env.start_from(StartFrom::Path(checkpoints(dir.path())[0].to_str().unwrap().into()));
        let result = keep_much(&env, 100, &CollectSink::new());
        let data = newest_shared(dir.path());
        assert_refused(
            result,
            ErrorKind::Incompatible,
            &["name another checkpoint", data.to_str().unwrap(), "checksum"],
        );
    });
}

#[test]
fn a_damaged_data_file_is_found_before_anything_runs() {
    let keep_much = |dir: &Path| keep_much(&at(dir, 2), 100, &CollectSink::new());
    let cut = |file: &Path| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() - 1]).unwrap();
    };
    let remove = |file: &Path| fs::remove_file(file).unwrap();
    for (damage, what) in [(&flip_a_bit as &dyn Fn(&Path), "checksum"), (&cut, "bytes"), (&remove, "missing")] {
        let dir = tempfile::tempdir().unwrap();
        keep_much(dir.path()).unwrap();
        let data = newest_shared(dir.path());
        damage(&data);
        assert_refused(keep_much(dir.path()), ErrorKind::Incompatible, &[data.to_str().unwrap(), what]);
    }
}

#[test]
fn metadata_of_a_newer_version_is_refused_by_name() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        let file = checkpoints(dir.path())[0].join("_metadata");
        let bytes = fs::read(&file).unwrap();
        let version = u16::from_le_bytes([bytes[4], bytes[5]]) + 1;
        let kind = frame::Kind { magic: bytes[..4].try_into().unwrap(), version, name: "newer" };
        let mut newer = Vec::new();
        frame::seal(kind, &bytes[frame::HEADER_LEN..], &mut newer);
        fs::write(&file, newer).unwrap();
        let result = count_to(dir.path(), 1, 200, &CollectSink::new());
        assert_refused(result, ErrorKind::Incompatible, &["_metadata", &format!("version {version}")]);
    });
}

/// A state that is called as that of [`CountNumbers`] and holds something else.
#[derive(KeyedState)]
struct SignedCount {
    seen: ValueState<i32>,
}

#[derive(Clone)]
struct CountSigned(Arc<AtomicBool>);

impl KeyedProcessFunction<u64, u64> for CountSigned {
    type State = SignedCount;
    type Out = (u64, u64);

    fn process(&mut self, _: u64, state: &mut SignedCount, _: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        self.0.store(true, Ordering::SeqCst);
        state.seen.set(1);
        Ok(())
    }
}

#[test]
fn state_of_another_type_is_refused_before_the_first_record() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        let (env, called) = (at(dir.path(), 1), Arc::new(AtomicBool::new(false)));
        env.from_source(Numbers::new(200), WatermarkStrategy::no_watermarks(), "numbers")
            .uid("numbers")
            .key_by(|number: &u64| number % KEYS)
            .process(CountSigned(called.clone()))
            .uid("count")
            .sink_to(CollectSink::new())
            .uid("collect");
        assert_refused(run(&env), ErrorKind::Incompatible, &["seen", "u64", "i32"]);
        assert!(!called.load(Ordering::SeqCst));
    });
}

#[test]
fn splits_and_output_of_another_type_are_refused_too() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        let env = at(dir.path(), 1);
        env.from_source(FileSource::lines(dir.path()), WatermarkStrategy::no_watermarks(), "lines")
            .uid("numbers")
            .map(|line| Ok(line.len() as u64))
            .key_by(|number: &u64| number % KEYS)
            .process(CountNumbers { before: fine })
            .uid("count")
            .sink_to(CollectSink::new())
            .uid("collect");
        assert_refused(run(&env), ErrorKind::Incompatible, &["split"]);
        let env = at(dir.path(), 1);
        env.from_source(Numbers::new(200), WatermarkStrategy::no_watermarks(), "numbers")
            .uid("numbers")
            .key_by(|number: &u64| number % KEYS)
            .process(CountNumbers { before: fine })
            .uid("count")
            .map(|(number, _)| Ok(number.to_string()))
            .sink_to(FileSink::lines(dir.path().join("output")))
            .uid("collect");
        assert_refused(run(&env), ErrorKind::Incompatible, &["writer state"]);
    });
}

#[test]
fn uids_that_were_exchanged_are_refused() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        for (source, function, sink, wrong) in
            [("count", "numbers", "collect", "numbers"), ("numbers", "collect", "count", "collect")]
        {
            let env = at(dir.path(), 1);
            env.from_source(Numbers::new(200), WatermarkStrategy::no_watermarks(), "numbers")
                .uid(source)
                .key_by(|number: &u64| number % KEYS)
                .process(CountNumbers { before: fine })
                .uid(function)
                .sink_to(CollectSink::new())
                .uid(sink);
            assert_refused(run(&env), ErrorKind::Incompatible, &[wrong, "another kind"]);
        }
    });
}

#[test]
fn state_that_no_operator_claims_is_not_dropped() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        count_to(dir.path(), 1, 100, &CollectSink::new()).unwrap();
        let env = at(dir.path(), 1);
        env.from_source(Numbers::new(200), WatermarkStrategy::no_watermarks(), "numbers")
            .uid("numbers")
            .map(|number| Ok((number, 1)))
            .sink_to(CollectSink::new())
            .uid("collect");
        assert_refused(run(&env), ErrorKind::Incompatible, &["count", "--fresh"]);
    });
}

#[test]
fn a_job_that_cannot_run_as_it_is_set_is_refused_with_the_setting() {
    let refused = |kind, words: &[&str], build: &dyn Fn(&StreamExecutionEnvironment)| {
        let env = environment(2);
        build(&env);
        assert_refused(run(&env), kind, words);
    };
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "no folder").unwrap();
    let below_file = file.join("below").to_str().unwrap().to_string();
    let (missing, count) = (dir.path().join("missing"), |env: &StreamExecutionEnvironment| {
        counting(env, Numbers::new(10), &CollectSink::new(), fine);
    });
    refused(ErrorKind::Settings, &["no operators"], &|_| {});
    refused(ErrorKind::Settings, &["two operators", "numbers"], &|env| {
        let numbers = || env.from_source(Numbers::new(10), WatermarkStrategy::no_watermarks(), "n").uid("numbers");
        numbers().union([&numbers()]).sink_to(CollectSink::new());
    });
    refused(ErrorKind::Settings, &["parallelism 2", "max parallelism 1"], &|env| {
        env.set_max_parallelism(1);
        count(env);
    });
    refused(ErrorKind::Settings, &["max parallelism", "32769"], &|env| {
        env.set_max_parallelism(32_769);
        count(env);
    });
    refused(ErrorKind::Settings, &["0 workers"], &|env| {
        env.set_parallelism(0);
        count(env);
    });
    refused(ErrorKind::Storage, &[&below_file], &|env| {
        env.set_state_backend(FsStateBackend::new(below_file.clone())).enable_checkpointing(HOUR);
        count(env);
    });
    refused(ErrorKind::Input, &[&below_file], &|env| {
        env.from_source(Numbers::new(10), WatermarkStrategy::no_watermarks(), "numbers")
            .map(|number| Ok(number.to_string()))
            .sink_to(FileSink::lines(&below_file));
    });
    refused(ErrorKind::Input, &[missing.to_str().unwrap()], &|env| {
        env.read_text_file(&missing).sink_to(CollectSink::new());
    });
    let env = environment(1);
    count(&env);
    assert_refused(env.execute("a/b"), ErrorKind::Settings, &["a/b"]);
}

#[test]
fn a_parallelism_above_the_stored_max_parallelism_is_refused() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let env = at(dir.path(), 1);
        env.set_max_parallelism(2);
        count_in(&env, 100, &CollectSink::new()).unwrap();
        let result = count_to(dir.path(), 3, 200, &CollectSink::new());
        assert_refused(result, ErrorKind::Settings, &["parallelism 3", "max parallelism 2"]);
        let env = at(dir.path(), 1);
        env.set_max_parallelism(4);
        assert_refused(
            count_in(&env, 200, &CollectSink::new()),
            ErrorKind::Incompatible,
            &["max parallelism", "2", "4"],
        );
    });
}

#[test]
fn two_runs_of_one_job_do_not_share_a_directory() {
    returns(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().to_path_buf();
        let (env, sink) = (at(dir.path(), 1), CollectSink::new());
        let second = Arc::new(std::sync::Mutex::new(None::<Error>));
        let slot = second.clone();
        let numbers = Numbers::new(10).when(move |number| {
            if number == 5 {
                slot.lock().unwrap().get_or_insert_with(|| count_to(&path, 1, 10, &CollectSink::new()).unwrap_err());
            }
            Step::Emit
        });
        counting(&env, numbers, &sink, fine);
        run(&env).unwrap();
        assert_exactly_once(&sink.committed(), 10);
        let error = second.lock().unwrap().take().unwrap();
        assert!(error.to_string().contains("engine-test"), "{error}");
    });
}
