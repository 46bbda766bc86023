//! What goes wrong in an HDFS: safe mode, a DataNode that is killed, blocks that are lost or damaged.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_storage::{CheckpointStorage, Outcome, What};

use crate::cluster::Cluster;
use crate::support::{SHORT, USUAL, fails, fresh, hdfs_at, in_time, open, refused, write};

#[test]
fn safe_mode_is_named_and_over_when_it_is_over() {
    let cluster = Cluster::start();
    let folder = fresh();
    let (patient, storage) = patient_and_not(&cluster, &folder);
    patient.create_dir("job").unwrap();
    patient.publish("job/before", b"content").unwrap();
    cluster.admin(&["-safemode", "enter"]);
    let error = fails(|| storage.publish("job/_metadata", b"x"), What::Other, Outcome::DidNotHappen);
    assert!(error.to_string().contains("the NameNode is in safe mode: wait"), "{error}");
    fails(|| storage.remove_dir_all("job"), What::Other, Outcome::DidNotHappen);
    let uri = hdfs_at(cluster.address(), &folder, SHORT);
    assert!(refused(&uri).contains("safe mode"), "also at the start");
    assert_eq!(patient.read("job/before").unwrap(), b"content", "reading goes on");
    cluster.admin(&["-safemode", "leave"]);
    patient.publish("job/_metadata", b"x").unwrap();
}

#[test]
fn without_its_data_node_nothing_is_written_or_read_and_nothing_hangs() {
    let cluster = Cluster::start();
    let (patient, storage) = patient_and_not(&cluster, &fresh());
    patient.create_dir("job").unwrap();
    patient.publish("job/before", b"content").unwrap();
    let mut writer = storage.create("job/data-0").unwrap();
    writer.append(&[1; 2_000_000]).unwrap();
    cluster.kill("datanode");

    in_time(|| writer.append(&[1; 2_000_000]).and_then(|()| writer.finish())).expect_err("the pipeline is broken");
    fails(|| storage.read("job/before"), What::Other, Outcome::DidNotHappen);
    fails(|| storage.publish("job/_metadata", b"x"), What::Other, Outcome::DidNotHappen);
    in_time(|| write(&*storage, "job/data-1", &[1; 2_000_000])).expect_err("nobody takes the block");
    let names: Vec<String> = patient.list("job").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["before"], "what failed is not there");
}

#[test]
fn a_block_that_is_cut_or_lost_is_an_error() {
    let cluster = Cluster::start();
    let (patient, storage) = patient_and_not(&cluster, &fresh());
    patient.publish("cut", &[9; 100_000]).unwrap();
    patient.publish("lost", &[9; 90_000]).unwrap();
    // Of an attempt to write that was given up the DataNode may have removed the block before us.
    for block in blocks(&cluster.blocks(), 100_000) {
        let _ = OpenOptions::new().write(true).open(block).and_then(|file| file.set_len(50_000));
    }
    for block in blocks(&cluster.blocks(), 90_000) {
        let _ = fs::remove_file(block);
    }
    for file in ["cut", "lost"] {
        let error = in_time(|| storage.read(file)).expect_err("bytes are missing");
        assert_eq!(error.outcome(), Outcome::DidNotHappen, "{error:?}");
        assert!(error.path().ends_with(file), "{error:?}");
    }
}

/// A folder twice: for what must succeed on servers that have just come up, and for what must fail, and soon.
fn patient_and_not(cluster: &Cluster, folder: &str) -> (Arc<dyn CheckpointStorage>, Arc<dyn CheckpointStorage>) {
    let [patient, not] = [USUAL, SHORT].map(|limits| open(&hdfs_at(cluster.address(), folder, limits)));
    (patient, not)
}

/// The files of blocks of `len` bytes below a folder of a DataNode: of a file, and of given-up attempts to write it.
fn blocks(dir: &Path, len: u64) -> Vec<PathBuf> {
    let is_block = |path: &Path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("blk_")) && path.extension().is_none()
    };
    let mut found = files(dir);
    found.retain(|path| is_block(path) && fs::metadata(path).is_ok_and(|data| data.len() == len));
    assert!(!found.is_empty(), "no block of {len} bytes in {}", dir.display());
    found
}

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten().map(|entry| entry.path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}
