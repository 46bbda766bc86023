//! Exactly-once with rows on disk, proved the hard way: as `visitors_kill` of the crate `highwater`, with RocksDB below a budget of
//! memory that most rows do not fit in.
//!
//! `cargo test` builds the example too; with `--test visitors_kill` alone, run `cargo build --example visitors_rocksdb` before. The
//! variables are those of that test.
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]
#![allow(dead_code, reason = "the modules are those of other tests too")]

#[path = "../../highwater/tests/visitors_kill/count.rs"]
mod count;
#[path = "../../highwater/tests/visitors_kill/input.rs"]
mod input;
#[path = "../../highwater/tests/visitors_kill/job.rs"]
mod job;
#[path = "../../highwater/tests/visitors_kill/kills.rs"]
mod kills;

use std::path::Path;

use kills::Victim;

#[test]
fn killed_at_any_moment_with_rows_in_rocksdb_it_counts_every_request_once() {
    let lines = if cfg!(debug_assertions) { 200_000 } else { 2_000_000 };
    kills::kill(&Victim { program: "visitors_rocksdb", lines, clients: 50_000 }, 4, rows_were_in_rocksdb);
}

/// Checkpoints have files of stores, which have a third number, and much more than a budget of memory in them.
fn rows_were_in_rocksdb(folder: &Path) {
    let shared = std::fs::read_dir(folder.join("checkpoints/visitors/shared")).expect("shared files");
    let stored = shared.map(|entry| entry.expect("a shared file"));
    let stored = stored.filter(|entry| entry.file_name().to_string_lossy().matches('-').count() == 2);
    let bytes: u64 = stored.map(|entry| entry.metadata().expect("it is there").len()).sum();
    assert!(bytes > 2 << 20, "{bytes} bytes of RocksDB in the checkpoints");
}
