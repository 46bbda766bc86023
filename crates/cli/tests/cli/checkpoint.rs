//! `highwater checkpoint ..`

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::job::{KEYS, flip, ran};
use crate::run::{json, refused, text};

#[test]
fn checkpoints_are_listed_with_the_newest_last() {
    let ran = ran(&[KEYS, KEYS + 3]);
    fs::create_dir(ran.job().join("chk-99")).unwrap();
    let listing = json(0, &["checkpoint", "list", ran.dir()]);
    assert_eq!(listing, json(0, &["checkpoint", "list", ran.job().to_str().unwrap()]));
    let snapshots = listing["snapshots"].as_array().unwrap();
    let (first, second) = (&snapshots[0], &snapshots[1]);
    assert_eq!(
        (&first["job"], &first["kind"], &first["status"]),
        (&json!("counting"), &json!("checkpoint"), &json!("complete"))
    );
    assert_eq!((&first["operators"], &first["entries"]), (&json!(3), &json!(KEYS)));
    assert_eq!(first["written_bytes"], first["bytes"], "the first has nothing of others");
    assert!(second["written_bytes"].as_u64() < second["bytes"].as_u64());
    assert!(first["id"].as_u64() < second["id"].as_u64());
    assert!(first["created"].as_str().unwrap().ends_with('Z'));
    assert!(first["path"].as_str().unwrap().starts_with("file:///"));
    assert_eq!(snapshots[2]["status"], "no_metadata");

    let lines = text(0, &["checkpoint", "list", ran.dir()]);
    assert!(lines.starts_with("JOB       ID"), "{lines}");
    assert_eq!(lines.matches("complete").count(), 2);

    flip(&Path::new(&ran.checkpoints()[0]).join("_metadata"), 50);
    let damaged = json(1, &["checkpoint", "list", ran.dir()]);
    assert_eq!(damaged["snapshots"][0]["status"], "unreadable");
    assert!(damaged["snapshots"][0]["reason"].as_str().unwrap().contains("checksum"));
    refused(2, &["checkpoint", "list", "/no/such/folder"], &["/no/such/folder is no folder"]);
}

#[test]
fn a_checkpoint_is_shown_with_all_that_is_in_it() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let newest = ran.checkpoints().pop().unwrap();
    let shown = json(0, &["checkpoint", "show", &newest]);
    assert_eq!(shown, json(0, &["checkpoint", "show", &format!("{newest}/_metadata")]));
    assert_eq!((&shown["job"], &shown["mode"]), (&json!("counting"), &json!("exactly-once")));
    let times = shown["times"].as_object().unwrap();
    let phases = ["init_ns", "prepare_ns", "confirm_ns", "complete_ns"].map(|name| times[name].as_u64().unwrap());
    assert_eq!(Some(phases.iter().sum()), times["total_ns"].as_u64());
    let operators = shown["operators"].as_array().unwrap();
    let uids: Vec<_> = operators.iter().map(|operator| operator["uid"].as_str().unwrap()).collect();
    assert_eq!(uids, ["numbers", "count", "sink"]);
    assert_eq!((&operators[1]["parallelism"], &operators[1]["max_parallelism"]), (&json!(1), &json!(8)));
    let state = &operators[1]["keyed"][0];
    assert_eq!((&state["name"], &state["entries"]), (&json!("state"), &json!(KEYS + 3)));
    assert_eq!(
        state["schema"]["states"][1],
        json!({"name": "seen", "kind": {"map": {"key": "string"}}, "schema": "u32"})
    );
    assert_eq!(state["segments"].as_array().unwrap().len(), 2);
    assert_eq!(operators[1]["keyed"][1]["name"], "timers");
    assert_eq!(
        (&operators[0]["operator_states"][0]["name"], &operators[0]["operator_states"][0]["elements"]),
        (&json!("splits"), &json!(1))
    );
    assert_eq!(shown["files"][0]["shared"], true);

    let text = text(0, &["checkpoint", "show", &newest]);
    for line in
        ["operator count", "parallelism 1, max parallelism 8", "seen: MapState<String, u32>", " = init ", "WRITTEN BY"]
    {
        assert!(text.contains(line), "{line:?} is not in: {text}");
    }
    refused(2, &["checkpoint", "show", ran.dir()], &["_metadata", "does not exist"]);
}

#[test]
fn damage_is_named_and_what_nothing_refers_to() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let (job, checkpoints, shared) = (ran.job(), ran.checkpoints(), ran.shared());
    let job = job.to_str().unwrap();
    fs::write(Path::new(job).join("shared/3-0"), "left behind").unwrap();
    let sound = json(0, &["checkpoint", "verify", job]);
    assert!(sound["snapshots"].as_array().unwrap().iter().all(|snapshot| snapshot["status"] == "sound"));
    let unreferenced = &sound["unreferenced"];
    assert_eq!((unreferenced.as_array().unwrap().len(), &unreferenced[0]["bytes"]), (1, &json!(11)));
    assert!(unreferenced[0]["path"].as_str().unwrap().ends_with("shared/3-0"));
    assert!(text(0, &["checkpoint", "verify", job]).contains("3-0: nothing refers to its 11 B"));

    // The file of the first one: both refer to it.
    flip(&shared[0], 30);
    let damaged = json(1, &["checkpoint", "verify", job]);
    for snapshot in damaged["snapshots"].as_array().unwrap() {
        let damage = &snapshot["damages"][0];
        assert_eq!((&snapshot["status"], &damage["offset"]), (&json!("damaged"), &json!(0)), "{damaged}");
        let touched = &damage["touches"][0];
        assert_eq!((&touched["operator"], &touched["state"]), (&json!("count"), &json!("state")));
        assert!(damage["what"].as_str().unwrap().contains("checksum"));
    }
    fs::remove_file(&shared[0]).unwrap();
    let lines = text(1, &["checkpoint", "verify", &checkpoints[0]]);
    assert!(
        lines.contains("DAMAGED") && lines.contains("the file is missing; touches state state of operator count"),
        "{lines}"
    );

    let metadata = Path::new(&checkpoints[0]).join("_metadata");
    flip(&metadata, 0);
    assert!(text(1, &["checkpoint", "verify", &checkpoints[0]]).contains("the whole snapshot cannot be restored"));
    fs::remove_file(&metadata).unwrap();
    let gone = json(1, &["checkpoint", "verify", &checkpoints[0]]);
    assert!(gone["snapshots"][0]["damages"][0]["path"].as_str().unwrap().ends_with("_metadata"));
    assert!(gone["snapshots"][0]["damages"][0]["what"].as_str().unwrap().contains("is missing"));
    let among_others = json(1, &["checkpoint", "verify", job]);
    assert_eq!(among_others["snapshots"][0]["status"], "no_metadata");

    let empty = tempfile::tempdir().unwrap();
    refused(2, &["checkpoint", "verify", empty.path().to_str().unwrap()], &["there are no snapshots in"]);
    refused(2, &["checkpoint", "verify"], &["PATH"]);
}

#[test]
fn two_checkpoints_are_compared_key_by_key() {
    // Between the first and the second three keys change; after the third, of other numbers, keys are gone.
    let ran = ran(&[KEYS, KEYS + 3]);
    let checkpoints = ran.checkpoints();
    let (a, b) = (&checkpoints[0], &checkpoints[1]);
    let same = json(0, &["checkpoint", "diff", a, a]);
    assert_eq!(same["different"], false);

    let diff = json(1, &["checkpoint", "diff", a, b, "--keys"]);
    assert_eq!(diff["different"], true);
    let operators = diff["operators"].as_array().unwrap();
    let count = operators.iter().find(|operator| operator["uid"] == "count").unwrap();
    let state = &count["keyed"][0];
    assert_eq!((&state["added"], &state["removed"], &state["changed"]), (&json!(0), &json!(0), &json!(3)));
    assert_eq!(state["changed_states"], json!({"seen": 3, "sum": 3}));
    let mut keys: Vec<_> = state["keys"].as_array().unwrap().iter().map(|key| key["key"].as_str().unwrap()).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["key 0", "key 1", "key 2"]);
    assert_eq!(count["keyed"][1]["change"], "same");
    let numbers = operators.iter().find(|operator| operator["uid"] == "numbers").unwrap();
    let splits = &numbers["operator_states"][0];
    assert_eq!((&splits["change"], &splits["added"], &splits["removed"]), (&json!("changed"), &json!(1), &json!(1)));

    let limited = json(1, &["checkpoint", "diff", a, b, "--keys", "--limit", "1"]);
    assert_eq!(limited.to_string().matches("\"key\":\"key ").count(), 1);
    let lines = text(1, &["checkpoint", "diff", a, b, "--keys"]);
    assert!(lines.contains("0 keys added, 0 removed, 3 changed") && lines.contains("~ \"key 1\""), "{lines}");
    refused(2, &["checkpoint", "diff", a, b, "--limit", "1"], &["--keys"]);
}

#[test]
fn keys_and_timers_that_come_and_go_are_told_apart() {
    let (few, many) = (ran(&[5]), ran(&[9]));
    let (few, many) = (few.checkpoints().pop().unwrap(), many.checkpoints().pop().unwrap());
    let counts = |a: &str, b: &str| {
        let diff = json(1, &["checkpoint", "diff", a, b]);
        let count = diff["operators"].as_array().unwrap().iter().find(|operator| operator["uid"] == "count").cloned();
        count.unwrap()["keyed"]
            .as_array()
            .unwrap()
            .iter()
            .map(|keyed| (keyed["added"].clone(), keyed["removed"].clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(counts(&few, &many), [(json!(4), json!(0)), (json!(1), json!(0))]);
    assert_eq!(counts(&many, &few), [(json!(0), json!(4)), (json!(0), json!(1))]);
}

#[test]
fn whoever_has_seen_enough_may_close_the_output() {
    let ran = ran(&[KEYS]);
    let newest = ran.checkpoints().pop().unwrap();
    let mut child = Command::new(env!("CARGO_BIN_EXE_highwater"))
        .args(["state", "scan", &newest, "--operator", "count"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    assert_eq!((output.status.code(), String::from_utf8(output.stderr).unwrap().as_str()), (Some(0), ""));
}

#[test]
fn help_has_examples() {
    for command in [
        &["list"][..],
        &["info"],
        &["savepoint"],
        &["stop"],
        &["resume"],
        &["checkpoint", "list"],
        &["checkpoint", "verify"],
        &["checkpoint", "trigger"],
        &["checkpoint", "diff"],
        &["state", "get"],
        &["state", "scan"],
    ] {
        let help = text(0, &[command, &["--help"]].concat());
        assert!(help.contains("Example"), "{help}");
    }
}
