//! Checkpoints with rows in RocksDB that older versions wrote: jobs go on from them, with any parallelism.

mod in_stores;
mod newest;
mod on_disk;

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use highwater::StreamExecutionEnvironment;
use highwater::connectors::CollectSink;
use highwater_snapshot::Verifier;
use in_stores::has_rows_in_stores;
use newest::newest;
use on_disk::OnDisk;

const KEYS: u64 = 300;

/// How many numbers the two runs have seen that write a fixture: enough batches for rows to leave the memory.
const WRITTEN: [u64; 2] = [40 * KEYS, 80 * KEYS];

/// Of so many numbers the count of one comes out.
const SHOWN: u64 = 100;

/// Counts the numbers of each key.
fn count(checkpoints: &Path, local_dir: &Path, workers: usize, numbers: u64, sink: &CollectSink<(u64, u64)>) {
    let env = StreamExecutionEnvironment::new();
    env.stop_on_signals(false).set_parallelism(workers).set_max_parallelism(8);
    env.set_state_backend(OnDisk::new(checkpoints, local_dir));
    env.enable_checkpointing(Duration::from_secs(3_600));
    env.from_collection(0..numbers)
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .stateful_map(|count: &mut u64, number| {
            *count += 1;
            Ok((number, *count))
        })
        .uid("count")
        .filter(|(number, _)| Ok(number.is_multiple_of(SHOWN)))
        .sink_to(sink.clone())
        .uid("collect");
    env.execute("fixture").expect("the job gets through");
}

fn fixture(version: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(version)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a folder");
    for entry in fs::read_dir(from).expect("a folder").map(|entry| entry.expect("a file")) {
        let to = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).expect("a file is copied");
        }
    }
}

#[test]
fn jobs_go_on_from_stores_of_every_version() {
    for version in ["v1"] {
        for workers in [1, 2, 3] {
            // Names that begin with a dot belong to the storage.
            let dir = tempfile::Builder::new().prefix("fixture-").tempdir().expect("a folder");
            let (checkpoints, local_dir) = (dir.path().join("checkpoints"), dir.path().join("local"));
            copy(&fixture(version), &checkpoints);
            let (snapshot, sink) = (newest(&checkpoints.join("fixture")), CollectSink::new());
            assert!(has_rows_in_stores(&snapshot), "{version}: nothing is in a store");
            assert_eq!(Verifier::default().damages(&snapshot).expect("files are read"), [], "{version}");
            count(&checkpoints, &local_dir, workers, 2 * WRITTEN[1], &sink);
            let mut counted = sink.committed();
            counted.sort_unstable();
            // What waited to be committed is in the checkpoint too.
            let numbers = (WRITTEN[0]..2 * WRITTEN[1]).filter(|number| number.is_multiple_of(SHOWN));
            let expected: Vec<_> = numbers.map(|number| (number, number / KEYS + 1)).collect();
            assert!(counted == expected, "{version}, {workers} workers: {:?}..", &counted[..10]);
        }
    }
}

/// Writes the fixture of the present version, into a folder that is not there yet.
#[test]
#[ignore = "run once for a new version of a format"]
fn write_fixtures() {
    let version = fixture("v1");
    assert!(!version.exists(), "a fixture is never written again: name a new version");
    let local = tempfile::tempdir().expect("a folder");
    for numbers in WRITTEN {
        count(&version, local.path(), 2, numbers, &CollectSink::new());
    }
    assert!(has_rows_in_stores(&newest(&version.join("fixture"))));
}
