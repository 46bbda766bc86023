//! What goes wrong in an HDFS: safe mode, a DataNode that is killed, blocks that are lost or damaged.

use std::fs::{self, OpenOptions};
use std::path::{Path, PathBuf};

use highwater_storage::{Outcome, What};

use crate::cluster::Cluster;
use crate::support::{SHORT, fails, fresh, hdfs_at, in_time, open, refused, write};

#[test]
fn safe_mode_is_named_and_over_when_it_is_over() {
    let cluster = Cluster::start();
    let uri = hdfs_at(cluster.address(), &fresh(), SHORT);
    let storage = open(&uri);
    storage.create_dir("job").unwrap();
    storage.publish("job/before", b"content").unwrap();
    cluster.admin(&["-safemode", "enter"]);
    let error = fails(|| storage.publish("job/_metadata", b"x"), What::Other, Outcome::DidNotHappen);
    assert!(error.to_string().contains("the NameNode is in safe mode: wait"), "{error}");
    fails(|| storage.remove_dir_all("job"), What::Other, Outcome::DidNotHappen);
    assert!(refused(&uri).contains("safe mode"), "also at the start");
    assert_eq!(storage.read("job/before").unwrap(), b"content", "reading goes on");
    cluster.admin(&["-safemode", "leave"]);
    storage.publish("job/_metadata", b"x").unwrap();
}

#[test]
fn without_its_data_node_nothing_is_written_or_read_and_nothing_hangs() {
    let cluster = Cluster::start();
    let storage = open(&hdfs_at(cluster.address(), &fresh(), SHORT));
    storage.create_dir("job").unwrap();
    storage.publish("job/before", b"content").unwrap();
    let mut writer = storage.create("job/data-0").unwrap();
    writer.append(&[1; 2_000_000]).unwrap();
    cluster.kill("datanode");

    in_time(|| writer.append(&[1; 2_000_000]).and_then(|()| writer.finish())).expect_err("the pipeline is broken");
    fails(|| storage.read("job/before"), What::Other, Outcome::DidNotHappen);
    fails(|| storage.publish("job/_metadata", b"x"), What::Other, Outcome::DidNotHappen);
    in_time(|| write(&*storage, "job/data-1", &[1; 2_000_000])).expect_err("nobody takes the block");
    let names: Vec<String> = storage.list("job").unwrap().into_iter().map(|entry| entry.name).collect();
    assert_eq!(names, ["before"], "what failed is not there");
}

#[test]
fn a_block_that_is_cut_or_lost_is_an_error() {
    let cluster = Cluster::start();
    let storage = open(&hdfs_at(cluster.address(), &fresh(), SHORT));
    for file in ["cut", "lost"] {
        storage.publish(file, &[9; 100_000]).unwrap();
    }
    let mut blocks = blocks(&cluster.blocks()).into_iter().filter(|path| fs::metadata(path).unwrap().len() == 100_000);
    OpenOptions::new().write(true).open(blocks.next().unwrap()).unwrap().set_len(50_000).unwrap();
    fs::remove_file(blocks.next().unwrap()).unwrap();
    for file in ["cut", "lost"] {
        let error = in_time(|| storage.read(file)).expect_err("bytes are missing");
        assert_eq!(error.outcome(), Outcome::DidNotHappen, "{error:?}");
        assert!(error.path().ends_with(file), "{error:?}");
    }
}

/// The files of blocks below a folder.
fn blocks(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    let is_block =
        |path: &Path| path.file_name().unwrap().to_string_lossy().starts_with("blk_") && path.extension().is_none();
    entries
        .flat_map(|path| if path.is_dir() { blocks(&path) } else { vec![path] })
        .filter(|path| is_block(path))
        .collect()
}
