//! Every command on snapshots in HDFS and in S3: it says the same there as of a copy on a local disk.
//!
//! `cargo xtask test --only services` starts the servers and runs this.
#![allow(dead_code, reason = "job and run are shared with the tests of local snapshots, which use more of them")]

#[path = "cli/job.rs"]
mod job;
#[path = "cli/run.rs"]
mod run;

use std::env;

use serde_json::{Value, json};

use job::{KEYS, run_at};
use run::{json, json_lines, refused, text};

fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `cargo xtask services up` and export what it prints, or `cargo xtask test --only services`")
    })
}

/// A checkpoint directory that nobody else uses, and the options behind its URI.
fn hdfs() -> (String, &'static str) {
    (format!("{}/cli-{}", variable("HIGHWATER_TEST_HDFS"), std::process::id()), "?user=highwater&lease=6s")
}

fn s3() -> (String, String) {
    let (server, prefix) = (variable("HIGHWATER_TEST_S3"), format!("cli-{}", std::process::id()));
    (format!("s3://highwater/{prefix}"), format!("?endpoint={server}&allow_http=true&lease=6s"))
}

#[test]
fn every_command_looks_into_hdfs() {
    let (dir, options) = hdfs();
    every_command(&dir, options);
}

#[test]
fn every_command_looks_into_s3() {
    let (dir, options) = s3();
    every_command(&dir, &options);
}

fn every_command(dir: &str, options: &str) {
    let at = |folder: &str| format!("{dir}{folder}{options}");
    run_at(&at(""), &[KEYS, KEYS + 3]);

    let listing = json(0, &["checkpoint", "list", &at("")]);
    assert_eq!(listing, json(0, &["checkpoint", "list", &at("/counting")]));
    let snapshots = listing["snapshots"].as_array().unwrap();
    assert!(snapshots.iter().all(|snapshot| snapshot["status"] == "complete"), "{listing}");
    let [first, newest] = snapshots.as_slice() else { panic!("two runs, two checkpoints: {listing}") };
    let folder = |snapshot: &Value| at(&format!("/counting/chk-{}", snapshot["id"]));
    let (first, newest) = (folder(first), folder(newest));

    let shown = json(0, &["checkpoint", "show", &newest]);
    assert_eq!((&shown["job"], &shown["kind"]), (&json!("counting"), &json!("checkpoint")));
    assert_eq!(shown["operators"][1]["keyed"][0]["segments"].as_array().unwrap().len(), 2);
    assert!(shown["files"].as_array().unwrap().iter().all(|file| file["path"].as_str().unwrap().starts_with(dir)));

    for place in [&newest, &at("/counting")] {
        let verified = json(0, &["checkpoint", "verify", place]);
        assert!(verified["snapshots"].as_array().unwrap().iter().all(|one| one["status"] == "sound"), "{verified}");
    }
    let different = json(1, &["checkpoint", "diff", &first, &newest]);
    let count = different["operators"].as_array().unwrap().iter().find(|operator| operator["uid"] == "count").unwrap();
    assert_eq!(count["keyed"][0]["changed"], 3, "{different}");
    assert_eq!(json(0, &["checkpoint", "diff", &newest, &newest])["different"], false);

    let states = json(0, &["state", "ls", &newest]);
    assert_eq!(states["states"].as_array().unwrap().iter().filter(|state| state["operator"] == "count").count(), 4);
    let row = json(0, &["state", "get", &newest, "--operator", "count", "--key", "key 1"]);
    assert_eq!(row["state"]["sum"], json!({"total": KEYS + 2, "last": KEYS + 1}));
    let rows = json_lines(&["state", "scan", &newest, "--operator", "count"]);
    assert_eq!(rows.len() as u64, KEYS);

    refused(2, &["checkpoint", "show", &at("/counting/chk-99")], &["chk-99/_metadata", "does not exist"]);
    assert!(text(0, &["checkpoint", "list", &at("")]).contains("complete"), "also for people");
}
