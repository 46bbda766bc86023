//! `highwater state ..`

use serde_json::{Value, json};

use crate::job::{FAR, KEYS, ran};
use crate::run::{json, json_lines, refused, text};

#[test]
fn states_are_listed_with_their_schemas() {
    let ran = ran(&[10]);
    let newest = ran.checkpoints().pop().unwrap();
    let listing = json(0, &["state", "ls", &newest]);
    let states: Vec<_> = listing["states"]
        .as_array()
        .unwrap()
        .iter()
        .map(|state| (&state["operator"], &state["state"], &state["kind"]))
        .collect();
    assert_eq!(states[0], (&json!("numbers"), &json!("splits"), &json!("split")));
    assert_eq!(states[1], (&json!("count"), &json!("sum"), &json!("value")));
    assert_eq!(states[4], (&json!("count"), &json!("timers"), &json!("timers")));
    assert_eq!(listing["states"][1]["schema"], "ValueState<Sum { total: u64, last: Option<u64> }>");
    assert_eq!(listing["states"][1]["key"], "String");
    let lines = text(0, &["state", "ls", &newest]);
    assert!(lines.contains("seen"), "{lines}");
}

#[test]
fn a_key_is_looked_up() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let newest = ran.checkpoints().pop().unwrap();
    let get = |code, more: &[&str]| json(code, &[&["state", "get", &newest, "--operator", "count"], more].concat());
    let row = get(0, &["--key", "key 1"]);
    assert_eq!(row["state"]["sum"], json!({"total": KEYS + 2, "last": KEYS + 1}));
    assert_eq!(row["state"]["seen"], json!({"first": 1, "later": 1}));
    assert_eq!(get(0, &["--key", "\"key 1\""]), row);
    assert_eq!(get(0, &["--key", "key 1", "--state", "seen"])["state"], json!({"seen": {"first": 1, "later": 1}}));
    assert_eq!(
        get(0, &["--key", "key 7", "--state", "timers"])["timers"],
        json!([{"time": "processing", "time_ms": FAR}])
    );
    assert_eq!(get(1, &["--key", "key 6", "--state", "timers"])["timers"], json!(null));
    assert_eq!(get(1, &["--key", "no such key"])["state"], json!(null));

    let base = ["state", "get", newest.as_str(), "--operator"];
    refused(2, &[&base[..], &["counts", "--key", "a"]].concat(), &["no operator \"counts\"", "numbers, count, sink"]);
    refused(2, &[&base[..], &["numbers", "--key", "a"]].concat(), &["keeps no state by key", "state scan"]);
    refused(
        2,
        &[&base[..], &["count", "--key", "a", "--state", "sums"]].concat(),
        &["no state \"sums\"", "sum, seen, padding"],
    );
}

#[test]
fn all_keys_are_read() {
    let ran = ran(&[KEYS, KEYS + 3]);
    let newest = ran.checkpoints().pop().unwrap();
    let scan = |more: &[&str]| json_lines(&[&["state", "scan", &newest, "--operator", "count"], more].concat());
    let rows = scan(&[]);
    assert_eq!(rows.len() as u64, KEYS);
    let total = |row: &Value| row["state"]["sum"]["total"].as_u64().unwrap();
    assert_eq!(rows.iter().map(total).sum::<u64>(), (0..KEYS + 3).sum::<u64>());
    assert_eq!(scan(&["--limit", "5"]), rows[..5]);
    let groups: Vec<usize> = (0..8).map(|group: u32| scan(&["--key-group", &group.to_string()]).len()).collect();
    assert_eq!((groups.iter().sum::<usize>(), groups.contains(&0)), (rows.len(), false));
    let sums = scan(&["--state", "sum"]);
    assert_eq!(sums[0]["state"].as_object().unwrap().keys().collect::<Vec<_>>(), ["sum"]);
    let timers = scan(&["--state", "timers"]);
    assert_eq!((timers.len(), &timers[0]["key"], &timers[0]["time_ms"]), (1, &json!("key 7"), &json!(FAR)));

    let splits = json_lines(&["state", "scan", &newest, "--operator", "numbers"]);
    assert_eq!(splits, [json!({"state": "splits", "subtask": 0, "element": {"next": KEYS + 3, "stride": 1}})]);
    let lines = text(0, &["state", "scan", &newest, "--operator", "count", "--state", "seen", "--limit", "2"]);
    assert_eq!((lines.lines().next(), lines.lines().count()), (Some("KEY GROUP\tKEY\tSEEN"), 3));
    refused(
        2,
        &["state", "scan", &newest, "--operator", "count", "--key-group", "8"],
        &["no key group 8: give 0 to 7"],
    );
}
