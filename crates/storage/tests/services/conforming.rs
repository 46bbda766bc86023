//! Both storages keep the contract.

use highwater_core::{CheckpointId, JobName};
use highwater_storage::{JobStore, conformance};

use crate::support::{fresh, hdfs, hdfs_at, open, s3, s3_at, write};

#[test]
fn hdfs_conforms() {
    conformance::checkpoint_storage(|| open(&hdfs_at(hdfs(), &format!("conformance/{}", fresh()), "")));
}

#[test]
fn s3_conforms() {
    conformance::checkpoint_storage(|| open(&s3_at(s3(), &format!("conformance/{}", fresh()), "")));
}

#[test]
fn the_root_of_a_storage_is_one_too() {
    let (hdfs, s3) = (open(&hdfs_at(hdfs(), "", "")), open(&s3_at(s3(), "", "")));
    for storage in [hdfs, s3] {
        let dir = fresh();
        storage.create_dir(&dir).unwrap();
        storage.publish(&format!("{dir}/file"), b"content").unwrap();
        assert!(storage.list("").unwrap().iter().any(|entry| entry.name == dir && entry.is_dir), "{}", storage.uri());
        assert_eq!(storage.read(&format!("{dir}/file")).unwrap(), b"content");
    }
}

#[test]
fn checkpoints_are_taken_found_again_and_discarded() {
    for uri in [hdfs_at(hdfs(), &fresh(), ""), s3_at(s3(), &fresh(), "")] {
        let job = || JobName::parse("visitors").unwrap();
        let store = JobStore::open(open(&uri), job()).unwrap();
        let lock = store.lock().unwrap();
        for id in [1, 2, 3].map(CheckpointId) {
            store.locate(id).unwrap();
            let mut writer = store.create_data(id, 0).unwrap();
            writer.append(b"data").unwrap();
            writer.finish().unwrap();
            if id.0 < 3 {
                store.publish_metadata(id, format!("metadata {id}").as_bytes()).unwrap();
            }
        }
        store.discard(CheckpointId(1)).unwrap();
        drop(lock);

        let store = JobStore::open(open(&uri), job()).unwrap();
        let found: Vec<_> = store.checkpoints().unwrap().iter().map(|found| (found.id.0, found.has_metadata)).collect();
        assert_eq!(found, [(2, true), (3, false)], "{uri}");
        assert_eq!(store.read_metadata(CheckpointId(2)).unwrap(), b"metadata 2");
        assert_eq!(store.read_block(CheckpointId(2), "data-0", 1, 2).unwrap(), b"at");
    }
}

#[test]
fn a_file_of_many_pieces_reads_back() {
    let large: Vec<u8> = (0..40_000_000_u32).map(|i| (i % 251) as u8).collect();
    for uri in [hdfs_at(hdfs(), &fresh(), ""), s3_at(s3(), &fresh(), "")] {
        let storage = open(&uri);
        write(&*storage, "large", &large).unwrap();
        assert!(storage.read("large").unwrap() == large, "{uri}");
        assert!(storage.read_range("large", 8_388_600, 20).unwrap() == large[8_388_600..8_388_620], "{uri}");
    }
}
