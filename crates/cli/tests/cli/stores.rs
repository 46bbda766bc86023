//! Snapshots with rows in stores on local disk: all of them are verified, and read by a command that was built for it.

use std::sync::Arc;

use highwater::backend::Spilling;
use highwater::{FsStateBackend, Result, StateBackend};
use highwater_state::spill::RowStoreFactory;
use highwater_storage::CheckpointStorage;
use serde_json::json;

use crate::job::{KEYS, Ran, flip, ran_with};
use crate::run::{json, json_lines};

/// Memory for a few dozen rows of the job.
const BUDGET: usize = 16 << 10;

/// Checkpoints in a directory, and rows that do not fit in memory in RocksDB.
struct Backend {
    snapshots: FsStateBackend,
    stores: Arc<dyn RowStoreFactory>,
}

impl StateBackend for Backend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        self.snapshots.checkpoint_storage()
    }

    fn spilling(&self, _workers: usize) -> Result<Option<Spilling>> {
        Ok(Some(Spilling { stores: Arc::clone(&self.stores), budget_bytes: BUDGET }))
    }
}

fn ran(bounds: &[u64]) -> Ran {
    let local = tempfile::tempdir().unwrap();
    ran_with(bounds, |dir| Backend { snapshots: FsStateBackend::new(dir), stores: stores(local.path()) })
}

#[cfg(feature = "rocksdb")]
fn stores(local: &std::path::Path) -> Arc<dyn RowStoreFactory> {
    Arc::new(highwater_rocksdb::RocksDBRowStores::new(local, 0).unwrap())
}

/// Stores that need no engine, and say that they are RocksDB.
#[cfg(not(feature = "rocksdb"))]
fn stores(local: &std::path::Path) -> Arc<dyn RowStoreFactory> {
    Arc::new(highwater_state::spill::MemoryRowStores::new(local).in_the_name_of("rocksdb"))
}

#[test]
fn what_lies_in_stores_is_shown_and_verified() {
    let ran = ran(&[KEYS]);
    let newest = ran.checkpoints().pop().unwrap();
    let shown = json(0, &["checkpoint", "show", &newest]);
    let keyed = &shown["operators"][1]["keyed"][0];
    assert_eq!((&keyed["name"], &keyed["stores"][0]["kind"]), (&json!("state"), &json!("rocksdb")));
    assert_eq!(json(0, &["state", "ls", &newest])["states"][1]["state"], "sum");
    assert_eq!(json(0, &["checkpoint", "verify", &newest])["snapshots"][0]["status"], "sound");
    let damaged = ran.shared().pop().unwrap();
    flip(&damaged, 3);
    let verified = json(1, &["checkpoint", "verify", &newest]);
    let damage = &verified["snapshots"][0]["damages"][0];
    assert!(damage["path"].as_str().unwrap().ends_with(damaged.file_name().unwrap().to_str().unwrap()), "{damage}");
    assert_eq!(damage["touches"][0]["operator"], "count");
}

#[cfg(feature = "rocksdb")]
#[test]
fn rows_in_stores_are_read() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let [first, second] = &ran.checkpoints()[..] else { panic!("two checkpoints") };
    let row = json(0, &["state", "get", second, "--operator", "count", "--key", "key 1"]);
    assert_eq!(row["state"]["sum"], json!({"total": KEYS + 2, "last": KEYS + 1}));
    let rows = json_lines(&["state", "scan", second, "--operator", "count"]);
    assert_eq!(rows.len() as u64, KEYS);
    let diff = json(1, &["checkpoint", "diff", first, second]);
    let state = diff["operators"].as_array().unwrap().iter().find(|operator| operator["uid"] == "count").unwrap();
    assert_eq!((&state["keyed"][0]["changed"], &state["keyed"][0]["added"]), (&json!(3), &json!(0)), "{state}");
}

#[cfg(not(feature = "rocksdb"))]
#[test]
fn rows_in_stores_need_another_build() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let [first, second] = &ran.checkpoints()[..] else { panic!("two checkpoints") };
    let words = ["built without", "cargo install highwater-cli --features rocksdb"];
    crate::run::refused(2, &["state", "get", second, "--operator", "count", "--key", "key 1"], &words);
    crate::run::refused(2, &["checkpoint", "diff", first, second], &words);
    let scan = crate::run::highwater(&["state", "scan", second, "--operator", "count"]);
    assert_eq!(scan.code, 2);
    assert!(scan.stderr.contains(words[1]), "{scan:?}");
    // Timers are in memory always.
    assert_eq!(json_lines(&["state", "scan", second, "--operator", "count", "--state", "timers"]).len(), 1);
}
