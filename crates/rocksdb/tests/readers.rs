//! Looking into a checkpoint with rows in RocksDB: what is in it, and what is damaged.

mod newest;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::{ErrorKind, Result};
use highwater::{RestartStrategy, StreamExecutionEnvironment};
use highwater_rocksdb::{RocksDBReader, RocksDBStateBackend};
use highwater_snapshot::{Damage, KeyedReader, STATE, Snapshot, Verifier};
use highwater_state::{Data, KeyedState, Plain, StateSchema};
use newest::newest;

const KEYS: u64 = 5_000;

/// Keeps the greatest number of each key, of three; of numbers that are multiples of three only the first counts.
fn count(dir: &Path, workers: usize, sink: &CollectSink<(u64, String)>) -> Result<highwater::JobResult> {
    let backend = RocksDBStateBackend::new(dir.join("checkpoints").to_str().unwrap())
        .with_memory_budget(1 << 20)
        .with_local_dir(dir.join("local"));
    let env = StreamExecutionEnvironment::new();
    env.stop_on_signals(false).set_parallelism(workers).set_state_backend(backend);
    env.enable_checkpointing(Duration::from_millis(50)).set_restart_strategy(RestartStrategy::None);
    let numbers = (0..3 * KEYS).filter(|number| *number < KEYS || !number.is_multiple_of(3));
    env.from_collection(numbers)
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .stateful_map(|last: &mut String, number| {
            // The subtasks of the source are not equally fast.
            *last = format!("{number:400}").max(std::mem::take(last));
            Ok((number, last.clone()))
        })
        .uid("count")
        .sink_to(sink.clone())
        .uid("collect");
    env.execute("counting")
}

/// The newest checkpoint.
fn checkpoint(dir: &Path) -> Snapshot {
    newest(&dir.join("checkpoints/counting"))
}

fn rows(snapshot: &Snapshot) -> Result<BTreeMap<u64, String>> {
    let operator = snapshot.operator("count")?;
    let schema = StateSchema { key: u64::schema(), states: <Plain<String> as KeyedState>::states() };
    let mut reader = KeyedReader::open(snapshot, operator, STATE)?.expect("it has keyed state");
    let mut all = BTreeMap::new();
    for group in operator.max_parallelism.all().iter() {
        for (key, row) in reader.rows(group, &schema)? {
            all.insert(u64::decode(&mut &key[..]).unwrap(), String::decode(&mut &row[..]).unwrap());
        }
    }
    Ok(all)
}

#[test]
fn rows_of_stores_and_of_blocks_are_read_together() {
    let dir = tempfile::tempdir().expect("a folder");
    count(dir.path(), 2, &CollectSink::new()).expect("the job gets through");
    let snapshot = checkpoint(dir.path());
    let stores = snapshot.metadata().operators.iter().flat_map(|operator| &operator.subtasks);
    assert_eq!(stores.flat_map(|(_, task)| &task.keyed).filter(|keyed| keyed.store.is_some()).count(), 2);
    let error = rows(&snapshot).expect_err("nothing reads stores");
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("kind rocksdb"), "{error}");

    let copies = dir.path().join("copies");
    let snapshot = snapshot.with_stores(Arc::new(RocksDBReader::new(&copies)));
    let expected = (0..KEYS).map(|key| {
        let last = [2 * KEYS + key, KEYS + key].into_iter().find(|number| !number.is_multiple_of(3));
        (key, format!("{:400}", last.unwrap_or(key)))
    });
    let (found, expected) = (rows(&snapshot).expect("stores are read"), expected.collect::<BTreeMap<_, _>>());
    assert_eq!(found.len(), expected.len());
    for (key, row) in expected {
        assert_eq!(found[&key].trim(), row.trim(), "key {key}");
    }
    assert_eq!(damages(&snapshot), [], "nobody wrote into the files");
    let left: Vec<_> = fs::read_dir(copies).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "copies are removed");
}

/// Every file of a store, damaged at the beginning, at the end, and in between.
#[test]
fn a_flipped_bit_anywhere_in_a_store_is_found_and_never_restored() {
    let dir = tempfile::tempdir().expect("a folder");
    count(dir.path(), 1, &CollectSink::new()).expect("the job gets through");
    let snapshot = checkpoint(dir.path());
    assert_eq!(damages(&snapshot), []);
    let task = &snapshot.operator("count").unwrap().subtasks[0].1;
    let store = task.keyed.iter().find_map(|keyed| keyed.store.as_ref()).expect("a store");
    for of_rocksdb in ["CURRENT", "MANIFEST", "OPTIONS", ".sst"] {
        assert!(store.files.iter().any(|(local, _)| local.contains(of_rocksdb)), "{of_rocksdb}: {:?}", store.files);
    }
    let shared = dir.path().join("checkpoints/counting/shared");
    for (local, stored) in &store.files {
        let path = shared.join(stored);
        let sound = fs::read(&path).expect("a shared file");
        // Footers and indexes of table files are at their ends.
        let regions = [0, 1, sound.len() / 3, sound.len() / 2, sound.len() - 100.min(sound.len()), sound.len() - 1];
        for (number, at) in regions.into_iter().enumerate() {
            let mut damaged = sound.clone();
            damaged[at] ^= 1 << number;
            fs::write(&path, &damaged).unwrap();
            assert_damaged(&snapshot, local, stored);
        }
        for len in [0, sound.len() - 1] {
            fs::write(&path, &sound[..len]).unwrap();
            assert_damaged(&snapshot, local, stored);
        }
        fs::remove_file(&path).unwrap();
        assert_damaged(&snapshot, local, stored);
        fs::write(&path, &sound).unwrap();
    }
    assert_eq!(damages(&snapshot), []);
}

fn damages(snapshot: &Snapshot) -> Vec<Damage> {
    Verifier::default().damages(snapshot).expect("the storage answers")
}

fn assert_damaged(snapshot: &Snapshot, local: &str, stored: &str) {
    let damages = damages(snapshot);
    let [damage] = &damages[..] else { panic!("{local}: {damages:?}") };
    assert!(damage.path.ends_with(stored));
    let touched = damage.touches.iter().map(|touched| (touched.operator.as_str(), touched.state.as_str()));
    assert_eq!(touched.collect::<Vec<_>>(), [("count", STATE)]);
    // What a restore reads.
    let folder = tempfile::tempdir().expect("a folder");
    let store = snapshot.operator("count").unwrap().subtasks[0].1.keyed.iter().find_map(|keyed| keyed.store.as_ref());
    let error = snapshot.fetch_store(store.expect("a store"), folder.path()).expect_err("it is not fetched");
    assert!(error.to_string().contains(stored), "{local}: {error}");
}

/// A job passes over a checkpoint whose store is damaged, or does not start.
#[test]
fn a_job_does_not_go_on_from_a_damaged_store() {
    let dir = tempfile::tempdir().expect("a folder");
    count(dir.path(), 1, &CollectSink::new()).expect("the job gets through");
    let shared = dir.path().join("checkpoints/counting/shared");
    for entry in fs::read_dir(shared).expect("shared files") {
        let path = entry.unwrap().path();
        // Those of stores have a third number.
        if path.file_name().unwrap().to_str().unwrap().matches('-').count() == 2 {
            let mut bytes = fs::read(&path).unwrap();
            let middle = bytes.len() / 2;
            bytes[middle] ^= 4;
            fs::write(&path, bytes).unwrap();
        }
    }
    for workers in [1, 2] {
        let error = count(dir.path(), workers, &CollectSink::new()).expect_err("every checkpoint is damaged");
        assert!(error.to_string().contains("checksum"), "{error}");
    }
}
