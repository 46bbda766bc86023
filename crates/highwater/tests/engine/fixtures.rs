//! What older versions have stored is read for ever: whole checkpoints and savepoints, as a job wrote them, go on as if the
//! version had not changed.
//!
//! | fixture | written by | holds |
//! |---|---|---|
//! | `v1/checkpoints` | version 1 of metadata and blocks | one checkpoint: blocks of rows and timers in a data file of its folder |
//! | `v2/checkpoints` | version 2 | two: sections of rows, of removed keys and of timers, in shared files and in `_metadata` |
//! | `v2/savepoint` | version 2 | the same job's state in the folder of a savepoint |
//! | `v2/others` | version 2 | every other kind of keyed state, time-to-live, and operator state |
//!
//! A new version adds a folder, written by `write_fixtures`, and changes none.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::StartFrom;
use highwater::client::{JobRequest, SavepointTarget};
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::state::keyed::{Max, Sum};
use highwater_core::ErrorKind;
use highwater_snapshot::{Snapshot, Verifier};
use highwater_testing::harness::sorted;

use crate::savepoints::Asked;
use crate::support::{Numbers, Step, environment, returns, run};

const HOUR: Duration = Duration::from_secs(3600);
const KEYS: u64 = 64;
/// Where the runs ended that wrote a fixture: the last committed what came after the one before, and its checkpoint has that.
const WRITTEN: [u64; 2] = [150, 162];
/// Where a run ends that restores one.
const COUNT: u64 = 400;
/// What a timer emits is told apart by this.
const FIRED: u64 = 1 << 40;

/// Far more than fits into `_metadata`.
#[derive(KeyedState)]
struct Kept {
    count: ValueState<u64>,
    latest: ListState<u64>,
    by_digit: MapState<u64, String>,
    padding: ValueState<String>,
}

/// Emits each number with what is stored for its key, and again at a timer.
#[derive(Clone)]
struct Keep;

impl KeyedProcessFunction<u64, u64> for Keep {
    type State = Kept;
    type Out = (u64, String);

    fn process(&mut self, number: u64, kept: &mut Kept, out: &mut Context<'_, u64, (u64, String)>) -> UserResult {
        let count = kept.count.get_or_default() + 1;
        kept.count.set(count);
        kept.latest.add(number);
        kept.by_digit.insert(number % 10, number.to_string());
        kept.padding.set(format!("{number:400}"));
        let latest: Vec<_> = kept.latest.iter().collect();
        let by_digit: Vec<_> = kept.by_digit.iter().collect();
        out.collect((number, format!("{count} {latest:?} {by_digit:?}")));
        out.register_event_time_timer(number as i64 + 100);
        if number.is_multiple_of(11) {
            kept.clear();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, _: &mut Kept, out: &mut Context<'_, u64, (u64, String)>) -> UserResult {
        out.collect((FIRED + timer.time_ms as u64, out.key().to_string()));
        Ok(())
    }
}

/// What [`Keep`] emits for the numbers from `first` on, and for timers that were pending then.
fn expected(first: u64) -> Vec<(u64, String)> {
    let (mut kept, mut out) = (BTreeMap::<u64, Vec<u64>>::new(), Vec::new());
    for number in 0..COUNT {
        let latest = kept.entry(number % KEYS).or_default();
        latest.push(number);
        let by_digit: BTreeMap<_, _> = latest.iter().map(|number| (number % 10, number.to_string())).collect();
        let by_digit: Vec<_> = by_digit.iter().collect();
        if number >= first {
            out.push((number, format!("{} {latest:?} {by_digit:?}", latest.len())));
        }
        // A timer fires when a number has come that is greater.
        if number + 101 >= first {
            out.push((FIRED + number + 100, (number % KEYS).to_string()));
        }
        if number.is_multiple_of(11) {
            latest.clear();
        }
    }
    out.sort();
    out
}

fn build(env: &StreamExecutionEnvironment, numbers: Numbers, sink: &CollectSink<(u64, String)>) {
    env.stop_on_signals(false).set_restart_strategy(RestartStrategy::None).enable_checkpointing(HOUR);
    let watermarks = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
    env.from_source(numbers, watermarks, "numbers")
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(Keep)
        .uid("keep")
        .sink_to(sink.clone())
        .uid("collect");
}

/// The numbers up to `to`, at which the job is stopped.
fn stopping(env: &StreamExecutionEnvironment, to: u64) -> Numbers {
    let (stop, stopped) = (env.stop_handle(), AtomicBool::new(false));
    Numbers::new(u64::MAX).when(move |number| {
        if number < to {
            return Step::Emit;
        }
        if !stopped.swap(true, Ordering::SeqCst) {
            stop.stop();
        }
        Step::Wait
    })
}

/// State and timers of other kinds than [`Kept`].
#[derive(KeyedState)]
struct Others {
    greatest: ReducingState<u64, Max>,
    mean: AggregatingState<Mean>,
    #[state(ttl = "1h", time = "event")]
    value: ValueState<u64, Ttl>,
    #[state(ttl = "1h", time = "event")]
    list: ListState<u64, Ttl>,
    #[state(ttl = "1h", time = "event")]
    map: MapState<u64, u64, Ttl>,
    #[state(ttl = "1h", time = "event")]
    sum: ReducingState<u64, Sum, Ttl>,
}

/// Sum and count.
enum Mean {}

impl Aggregate for Mean {
    type In = u64;
    type Accumulator = (u64, u32);
    type Out = u64;

    fn create() -> (u64, u32) {
        (0, 0)
    }

    fn add((sum, count): &mut (u64, u32), value: u64) {
        *sum += value;
        *count += 1;
    }

    fn result((sum, count): &(u64, u32)) -> u64 {
        sum / u64::from(*count)
    }

    fn merge((sum, count): &mut (u64, u32), other: (u64, u32)) {
        *sum += other.0;
        *count += other.1;
    }
}

#[derive(OperatorState)]
struct Rules {
    heard: BroadcastState<String, u64>,
}

/// Emits each number with what is stored for its key and with the sum of what was broadcast.
#[derive(Clone)]
struct KeepOthers;

impl KeyedBroadcastProcessFunction<u64, u64, u64> for KeepOthers {
    type State = Others;
    type Broadcast = Rules;
    type Out = (u64, String);

    fn process(
        &mut self,
        number: u64,
        others: &mut Others,
        rules: &Rules,
        out: &mut Context<'_, u64, (u64, String)>,
    ) -> UserResult {
        others.greatest.add(number);
        others.mean.add(number);
        others.value.set(number);
        others.list.add(number);
        others.map.insert(number, 2 * number);
        others.sum.add(number);
        let (greatest, mean) = (others.greatest.get().copied(), others.mean.get());
        let (list, map) = (others.list.iter().count(), others.map.iter().map(|(_, double)| double).sum::<u64>());
        let rules: u64 = if number < OTHERS_WRITTEN { 0 } else { rules.heard.values().sum() };
        let expiring = (others.value.get().copied(), list, map, others.sum.get().copied());
        out.collect((number, format!("{greatest:?} {mean:?} {expiring:?} {rules}")));
        Ok(())
    }

    fn process_broadcast(
        &mut self,
        number: u64,
        rules: &mut Rules,
        _: &mut KeyedBroadcastContext<'_, u64, Others, (u64, String)>,
    ) -> UserResult {
        rules.heard.insert(number.to_string(), number);
        Ok(())
    }
}

/// What [`KeepOthers`] emits from the fixture's numbers on.
fn others_expected() -> Vec<(u64, String)> {
    let line = |number: u64| {
        let own: Vec<u64> = (0..=number).filter(|other| other % 8 == number % 8).collect();
        let sum: u64 = own.iter().sum();
        let expiring = (Some(number), own.len(), 2 * sum, Some(sum));
        let rules: u64 = (0..RULES).sum();
        (number, format!("{:?} {:?} {expiring:?} {rules}", Some(number), Some(sum / own.len() as u64)))
    };
    (OTHERS_WRITTEN..COUNT).map(line).collect()
}

#[derive(OperatorState)]
struct Lists {
    waiting: SplitList<u64>,
    shown: UnionList<u64>,
}

/// Emits numbers in sevens; what is shown to all, it checks when it is restored, and emits at the end.
#[derive(Clone)]
struct KeepLists;

impl ProcessFunction<u64> for KeepLists {
    type State = Lists;
    type Out = (u64, String);

    fn open(&mut self, lists: &mut Lists, _: &OpenContext) -> UserResult {
        let restored = lists.shown.restored();
        let expected: Vec<u64> = (0..OTHERS_WRITTEN).filter(|number| number.is_multiple_of(SHOWN)).collect();
        if restored.is_empty() || restored == expected { Ok(()) } else { Err(format!("shown {restored:?}").into()) }
    }

    fn process(&mut self, number: u64, lists: &mut Lists, out: &mut ProcessContext<'_, (u64, String)>) -> UserResult {
        lists.waiting.add(number);
        if number.is_multiple_of(SHOWN) {
            lists.shown.own.add(number);
        }
        if lists.waiting.len() >= 7 {
            lists.waiting.take().into_iter().for_each(|number| out.collect((number, "waited".into())));
        }
        Ok(())
    }

    fn finish(&mut self, lists: &mut Lists, out: &mut ProcessContext<'_, (u64, String)>) -> UserResult {
        lists.waiting.take().into_iter().for_each(|number| out.collect((number, "waited".into())));
        lists.shown.own.take().into_iter().for_each(|number| out.collect((number, "shown".into())));
        Ok(())
    }
}

/// Where the run was stopped that wrote `v2/others`: its last seven began at a multiple of seven.
const OTHERS_WRITTEN: u64 = 100;
/// Numbers below this are broadcast, long before that.
const RULES: u64 = 5;
/// Every so many numbers are shown to all.
const SHOWN: u64 = 30;

fn build_others(env: &StreamExecutionEnvironment, numbers: Numbers, sink: &CollectSink<(u64, String)>) {
    env.stop_on_signals(false).set_restart_strategy(RestartStrategy::None).enable_checkpointing(HOUR);
    let watermarks = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
    let numbers = env.from_source(numbers, watermarks, "numbers").uid("numbers");
    let rules = numbers.filter(|number| Ok(*number < RULES)).broadcast();
    let kept = numbers.key_by(|number: &u64| number % 8).connect(&rules).process(KeepOthers).uid("others");
    kept.union([&numbers.process(KeepLists).uid("lists")]).sink_to(sink.clone()).uid("collect");
}

fn fixtures(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().map(|entry| entry.unwrap()) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// A copy of a fixture, which a job may add to.
fn copied(from: &Path) -> tempfile::TempDir {
    // Names that begin with a dot belong to the storage.
    let copied = tempfile::Builder::new().prefix("fixture-").tempdir().unwrap();
    copy(from, copied.path());
    copied
}

fn at(dir: &Path, workers: usize) -> StreamExecutionEnvironment {
    let env = environment(workers);
    env.set_state_backend(FsStateBackend::new(dir.to_str().unwrap()));
    env
}

#[test]
fn jobs_go_on_from_checkpoints_of_every_version() {
    for version in ["v1", "v2"] {
        for workers in [1, 3] {
            let committed = returns(move || {
                let (dir, sink) = (copied(&fixtures(version).join("checkpoints")), CollectSink::new());
                let env = at(dir.path(), workers);
                build(&env, Numbers::new(COUNT), &sink);
                run(&env).unwrap();
                sink.committed()
            });
            // What waited to be committed is in the checkpoint too.
            assert_eq!(sorted(committed), expected(WRITTEN[0]), "{version}, {workers} workers");
        }
    }
}

#[test]
fn jobs_start_from_savepoints_of_every_version() {
    for workers in [1, 3] {
        let committed = returns(move || {
            let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
            let env = at(dir.path(), workers);
            env.start_from(StartFrom::Path(fixtures("v2/savepoint").to_str().unwrap().to_owned()));
            build(&env, Numbers::new(COUNT), &sink);
            run(&env).unwrap();
            sink.committed()
        });
        assert_eq!(sorted(committed), expected(WRITTEN[0]), "{workers} workers");
    }
}

#[test]
fn every_other_kind_of_state_stays_readable() {
    for workers in [1, 3] {
        let committed = returns(move || {
            let (dir, sink) = (copied(&fixtures("v2/others")), CollectSink::new());
            let env = at(dir.path(), workers);
            build_others(&env, Numbers::new(COUNT), &sink);
            run(&env).unwrap();
            sink.committed()
        });
        let of = |what: &str| {
            let of = committed.iter().filter(|(_, line)| line == what).map(|(number, _)| *number);
            sorted(of.collect::<Vec<_>>())
        };
        let kept = committed.iter().filter(|(number, line)| *number >= OTHERS_WRITTEN && line.starts_with("Some"));
        assert_eq!(sorted(kept.cloned().collect()), others_expected(), "{workers} workers");
        assert_eq!(of("waited"), (0..COUNT).collect::<Vec<_>>(), "{workers} workers");
        assert_eq!(of("shown"), (0..COUNT).step_by(SHOWN as usize).collect::<Vec<_>>(), "{workers} workers");
    }
}

/// Every file below a folder.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// What is damaged of the snapshot in a folder.
fn damages(folder: &Path) -> usize {
    match Snapshot::at_path(folder.to_str().unwrap()) {
        Ok(snapshot) => Verifier::default().damages(&snapshot).unwrap().len(),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::Corrupt, "{error}");
            1
        }
    }
}

/// In frames and what is in them, in the metadata, and in files that several snapshots share.
#[test]
fn a_bit_that_is_flipped_anywhere_in_what_a_job_wrote_is_found() {
    for (fixture, snapshot) in [
        ("v1/checkpoints", "engine-test/chk-2"),
        ("v2/checkpoints", "engine-test/chk-2"),
        ("v2/savepoint", ""),
        ("v2/others", "engine-test/chk-1"),
    ] {
        let dir = copied(&fixtures(fixture));
        let folder = dir.path().join(snapshot);
        assert_eq!(damages(&folder), 0, "{fixture}");
        let others = |path: &PathBuf| path.to_string_lossy().contains("chk-") && !path.starts_with(&folder);
        for file in files(dir.path()).into_iter().filter(|path| !others(path) && !path.ends_with(".lock")) {
            let bytes = fs::read(&file).unwrap();
            // Each bit of the header of the first frame, then one in every so many bytes.
            let bits = (0..20 * 8).chain((20 * 8..bytes.len() * 8).step_by(1009));
            for bit in bits {
                let mut damaged = bytes.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                fs::write(&file, damaged).unwrap();
                assert_ne!(damages(&folder), 0, "bit {bit} of {}", file.display());
            }
            for len in [0, 1, bytes.len() / 2, bytes.len() - 1] {
                fs::write(&file, &bytes[..len]).unwrap();
                assert_ne!(damages(&folder), 0, "{} cut at {len}", file.display());
            }
            fs::write(&file, bytes).unwrap();
        }
    }
}

/// Writes the fixtures of the present version, into a folder that is not there yet.
#[test]
#[ignore = "run once for a new version of a format"]
fn write_fixtures() {
    let version = fixtures("v2");
    assert!(!version.exists(), "a fixture is never written again: name a new version");
    let (checkpoints, savepoints) = (version.join("checkpoints"), tempfile::tempdir().unwrap());
    for to in WRITTEN {
        let env = at(&checkpoints, 1);
        env.set_max_parallelism(8);
        build(&env, stopping(&env, to), &CollectSink::new());
        run(&env).unwrap();
    }
    let before_the_last = tempfile::tempdir().unwrap();
    let target = SavepointTarget::Dir(savepoints.path().to_str().unwrap().to_owned());
    let (env, asked) = (at(before_the_last.path(), 1), Asked::new(1));
    env.set_max_parallelism(8);
    build(&env, stopping(&env, WRITTEN[0]), &CollectSink::new());
    run(&env).unwrap();
    let env = at(before_the_last.path(), 1);
    let request = JobRequest::Stop { drain: false, savepoint: Some(target) };
    let numbers = asked.numbers(u64::MAX, WRITTEN[1], env.client(), request);
    build(&env, numbers, &CollectSink::new());
    run(&env).unwrap();
    copy(Path::new(asked.path().strip_prefix("file://").unwrap()), &version.join("savepoint"));

    let env = at(&version.join("others"), 1);
    env.set_max_parallelism(8);
    build_others(&env, stopping(&env, OTHERS_WRITTEN), &CollectSink::new());
    run(&env).unwrap();
}
