//! Checkpoints that write what has changed: what they write, what they restore, and what they leave behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater_core::{CheckpointId, JobName};
use highwater_snapshot::{Snapshot, Verifier};
use highwater_storage::layout::Layout;
use highwater_storage::{CheckpointStorage, JobStore, MemoryStorage};
use highwater_testing::FaultyStorage;

use crate::restarts::Trouble;
use crate::storage_faults::on;
use crate::support::{Numbers, Step, at_once, environment, returns, run};

/// State that is far too large to be written whole each time.
#[derive(KeyedState)]
struct Padded {
    seen: ValueState<u64>,
    padding: ValueState<String>,
}

/// Emits each number with how many of its key there were since the key was last forgotten, and again when its timer fires.
#[derive(Clone)]
struct CountPadded {
    keys: u64,
    trouble: Trouble,
}

/// Every so many numbers the key of one is forgotten.
const FORGET: u64 = 11;

/// What a timer emits is told apart by this.
pub const FIRED: u64 = 1 << 40;

impl KeyedProcessFunction<u64, u64> for CountPadded {
    type State = Padded;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Padded, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        self.trouble.call()?;
        let seen = state.seen.get_or_default() + 1;
        state.seen.set(seen);
        state.padding.set(format!("{number:500}"));
        out.collect((number, seen));
        out.register_event_time_timer(number as i64 + 300);
        if number.is_multiple_of(FORGET) {
            state.clear();
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, _: &mut Padded, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        out.collect((FIRED + timer.time_ms as u64, *out.key() % self.keys));
        Ok(())
    }
}

pub fn padded(
    env: &StreamExecutionEnvironment,
    numbers: Numbers,
    keys: u64,
    trouble: Trouble,
    sink: &CollectSink<(u64, u64)>,
) {
    let watermarks = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
    env.from_source(numbers, watermarks, "numbers")
        .uid("numbers")
        .key_by(move |number: &u64| number % keys)
        .process(CountPadded { keys, trouble })
        .uid("count")
        .sink_to(sink.clone())
        .uid("collect");
}

/// What must come out for the numbers below `count`.
pub fn expected(count: u64, keys: u64) -> Vec<(u64, u64)> {
    let mut seen = BTreeMap::<u64, u64>::new();
    let mut out = Vec::new();
    for number in 0..count {
        let key = number % keys;
        let entry = seen.entry(key).or_default();
        *entry += 1;
        out.push((number, *entry));
        out.push((FIRED + number + 300, key));
        if number.is_multiple_of(FORGET) {
            seen.remove(&key);
        }
    }
    out.sort_unstable();
    out
}

/// The shared files in `storage`, and those of them that the newest checkpoints refer to; all of these verify.
pub fn shared_files(storage: &Arc<dyn CheckpointStorage>) -> (Vec<String>, Vec<String>) {
    let name = JobName::parse("engine-test").unwrap();
    let store = JobStore::open(Arc::clone(storage), name.clone()).unwrap();
    let mut used = Vec::new();
    for checkpoint in store.checkpoints().unwrap().into_iter().filter(|checkpoint| checkpoint.has_metadata) {
        let snapshot = Snapshot::open(storage, &Layout::new(name.clone()).checkpoint(checkpoint.id)).unwrap();
        assert_eq!(Verifier::default().damages(&snapshot).unwrap(), []);
        used.extend(snapshot.metadata().shared_files().map(|(name, _): (&str, CheckpointId)| name.to_owned()));
    }
    used.sort_unstable();
    used.dedup();
    let mut there: Vec<_> = store.shared_files().unwrap().into_iter().map(|(name, _)| name).collect();
    there.sort_unstable();
    (there, used)
}

#[test]
fn a_checkpoint_writes_what_changed_and_refers_to_the_rest() {
    const KEYS: u64 = 2_000;
    let (reports, committed) = returns(|| {
        let storage: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
        let (env, sink) = (on(storage, 2, 0), CollectSink::new());
        let (status, settled) = (env.status(), AtomicU64::new(0));
        // Before the last ten it waits until a checkpoint that began after all before them has found nothing left to write: as
        // long as the state grows, the one after writes the groups again that have outgrown what they were.
        let numbers = Numbers::new(KEYS + 10).when(move |number| {
            let completed = status.snapshot().completed;
            let wrote_nothing = || status.history().last().is_some_and(|report| report.bytes < 10 * KEYS);
            match number.checked_sub(KEYS) {
                Some(0) if settled.load(Ordering::SeqCst) == 0 => {
                    settled.store(completed + 2, Ordering::SeqCst);
                    Step::Wait
                }
                Some(0) if completed < settled.load(Ordering::SeqCst) || !wrote_nothing() => Step::Wait,
                _ => Step::Emit,
            }
        });
        padded(&env, numbers, KEYS, Trouble::seeded(0, 0, 1), &sink);
        run(&env).unwrap();
        (env.status().history(), sink.committed())
    });
    assert_eq!(
        {
            let mut all = committed;
            all.sort_unstable();
            all
        },
        expected(KEYS + 10, KEYS)
    );
    let bytes: Vec<u64> = reports.iter().map(|report| report.bytes).collect();
    // Every row once, and whatever was written between: the last checkpoint does not write them again.
    let all: u64 = bytes.iter().sum();
    assert!(all > 500 * KEYS, "{bytes:?}");
    let last = *bytes.last().unwrap();
    assert!(last < all / 4, "the last checkpoint wrote {last} bytes for ten changes and the timers: {bytes:?}");
}

/// Failures of user functions and of the storage, starts of the process, another parallelism at each: what comes out is the same,
/// every checkpoint that is left verifies, and nothing is left that none of them needs.
#[test]
fn a_job_survives_anything_on_incremental_checkpoints() {
    const COUNT: u64 = 3_000;
    const KEYS: u64 = 400;
    for seed in 1..=4 {
        let (committed, there, used) = returns(move || {
            let memory: Arc<dyn CheckpointStorage> = Arc::new(MemoryStorage::new());
            let faulty: Arc<dyn CheckpointStorage> = Arc::new(FaultyStorage::seeded(Arc::clone(&memory), seed, 3));
            let (sink, trouble) = (CollectSink::new(), Trouble::seeded(seed, 6, COUNT as usize));
            // The first has one subtask, so that there is one split, and the order of the numbers is the same in all.
            for start in 0.. {
                assert!(start < 200, "seed {seed}: the job does not get through");
                let env = on(Arc::clone(&faulty), [1, 2, 3, 1, 4][start % 5], 3);
                env.set_restart_strategy(at_once(3));
                let status = env.status();
                let begun = status.snapshot().completed;
                let numbers = Numbers::new(COUNT).when(move |number| {
                    let ahead = number / 50 > status.snapshot().completed - begun + 5;
                    if ahead { Step::Wait } else { Step::Emit }
                });
                padded(&env, numbers, KEYS, trouble.clone(), &sink);
                if run(&env).is_ok() {
                    break;
                }
            }
            // Once more, with nothing to read and on a storage without faults: it tidies up.
            let env = on(Arc::clone(&memory), 2, 0);
            padded(&env, Numbers::new(COUNT), KEYS, Trouble::seeded(0, 0, 1), &sink);
            run(&env).unwrap();
            let (there, used) = shared_files(&memory);
            (sink.committed(), there, used)
        });
        let mut committed = committed;
        committed.sort_unstable();
        assert!(committed == expected(COUNT, KEYS), "seed {seed}");
        assert_eq!(there, used, "seed {seed}: files that nothing refers to, or that are missing");
        assert!(!used.is_empty() && used.len() < 100, "seed {seed}: {} files", used.len());
    }
}

/// The only shared file below `dir`.
fn shared_file(dir: &std::path::Path) -> std::path::PathBuf {
    let mut files = std::fs::read_dir(dir.join("engine-test/shared")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.next().unwrap();
    assert_eq!(files.next(), None);
    file
}

#[test]
fn a_restart_reads_the_local_copy_if_it_verifies_and_else_the_checkpoint_storage() {
    const KEYS: u64 = 200;
    let flip = |file: &std::path::Path| {
        let mut bytes = std::fs::read(file).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(file, bytes).unwrap();
    };
    for (damages, restores) in [((true, false), true), ((false, true), true), ((true, true), false)] {
        let (storage, local) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (at, copies) = (storage.path().to_owned(), local.path().to_owned());
        let count_to = move |count| {
            let (env, sink) = (environment(1), CollectSink::new());
            env.set_state_backend(FsStateBackend::new(at.to_str().unwrap()))
                .set_restart_strategy(RestartStrategy::None);
            env.set_local_recovery_dir(copies.to_str().unwrap());
            padded(&env, Numbers::new(count), KEYS, Trouble::seeded(0, 0, 1), &sink);
            run(&env).map(|_| sink.committed().len())
        };
        returns({
            let count_to = count_to.clone();
            move || count_to(KEYS).unwrap()
        });
        assert_eq!(
            std::fs::read(shared_file(storage.path())).unwrap(),
            std::fs::read(shared_file(local.path())).unwrap()
        );
        if damages.0 {
            flip(&shared_file(storage.path()));
        }
        if damages.1 {
            flip(&shared_file(local.path()));
        }
        let again = returns(move || count_to(KEYS + 10));
        assert_eq!(again.is_ok(), restores, "{damages:?}: {again:?}");
    }
}
