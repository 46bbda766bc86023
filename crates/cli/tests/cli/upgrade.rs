//! `highwater upgrade-check`, with a shell that runs a script for a program: what counts is what it prints.
#![cfg(unix)]

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::job::ran;
use crate::run::{refused, text};

const SINK: &str = r#"{"uid": "sink", "name": "sink", "operator_state": [
    {"name": "committables", "schema": {"struct": {"name": "Collected", "fields": [
        {"name": "checkpoint", "schema": "u64"}, {"name": "subtask", "schema": "u32"}, {"name": "records", "schema": {"list": "u64"}}]}}},
    {"name": "writers", "schema": "unit"}]}"#;

const NUMBERS: &str = r#"{"uid": "numbers", "name": "numbers", "operator_state": [
    {"name": "splits", "schema": {"struct": {"name": "IndexSplit", "fields": [
        {"name": "next", "schema": "u64"}, {"name": "stride", "schema": "u64"}]}}}]}"#;

/// The states of `count` as they are stored.
fn states() -> Value {
    json!([
        {"name": "sum", "kind": "value", "schema": {"struct": {"name": "Sum", "fields": [
            {"name": "total", "schema": "u64"}, {"name": "last", "schema": {"option": "u64"}}]}}},
        {"name": "seen", "kind": {"map": {"key": "string"}}, "schema": "u32"},
        {"name": "padding", "kind": "list", "schema": "string"},
    ])
}

fn count(states: &Value) -> Value {
    json!({"uid": "count", "name": "count", "keyed": {"key": "string", "states": states}})
}

/// Writes a program that describes these operators.
fn program(dir: &Path, operators: &[Value]) -> String {
    let description = json!({"job": "counting", "operators": operators});
    script(
        dir,
        &format!(
            "test \"$1\" = --flag || exit 7\ntest \"$2\" = --describe || exit 8\ncat <<'END'\n{description}\nEND\n"
        ),
    )
}

/// The script is an argument of the shell: a file that was just written cannot always be started.
fn script(dir: &Path, body: &str) -> String {
    let path = dir.join("job.sh");
    fs::write(&path, body).unwrap();
    path.to_str().unwrap().to_owned()
}

const SHELL: &str = "/bin/sh";

fn parsed(operator: &str) -> Value {
    serde_json::from_str(operator).unwrap()
}

/// The verdict on a state of `count`.
fn verdict(check: &Value, name: &str) -> String {
    let operators = check["operators"].as_array().unwrap();
    let count = operators.iter().find(|operator| operator["uid"] == "count").unwrap();
    let state = count["states"].as_array().unwrap().iter().find(|state| state["state"] == name).unwrap();
    state["verdict"].as_str().unwrap().to_owned()
}

#[test]
fn what_becomes_of_each_state_is_told_before_the_upgrade() {
    let (ran, dir) = (ran(&[10]), tempfile::tempdir().unwrap());
    let newest = ran.checkpoints().pop().unwrap();
    let others = || vec![parsed(NUMBERS), parsed(SINK)];
    let check = |code, operators: &[Value], more: &[&str]| {
        let script = program(dir.path(), operators);
        let args: Vec<&str> =
            ["upgrade-check", SHELL, &newest, "--json"].into_iter().chain(more.iter().copied()).collect();
        let stdout = text(code, &[&args[..], &["--", &script, "--flag"]].concat());
        serde_json::from_str::<Value>(&stdout).unwrap()
    };
    let with = |states: &Value| [others(), vec![count(states)]].concat();

    let same = check(0, &with(&states()), &[]);
    assert_eq!((&same["compatible"], &same["job"]), (&json!(true), &json!("counting")));
    assert_eq!(
        ["sum", "seen", "padding"].map(|name| verdict(&same, name)),
        ["as_is", "as_is", "as_is"].map(str::to_owned)
    );

    let mut changed = states();
    changed[1]["schema"] = json!("u64");
    changed[2] = json!({"name": "extra", "kind": "value", "schema": "u8"});
    for (code, flags) in [(1, &[][..]), (0, &["--allow-non-restored-state"])] {
        let check = check(code, &with(&changed), flags);
        let verdicts = ["sum", "seen", "extra", "padding"].map(|name| verdict(&check, name));
        assert_eq!(verdicts, ["as_is", "migrated", "new", "dropped"].map(str::to_owned));
    }

    let mut narrower = states();
    narrower[1]["schema"] = json!("u16");
    let refused = check(1, &with(&narrower), &["--allow-non-restored-state"]);
    assert_eq!((verdict(&refused, "seen").as_str(), &refused["compatible"]), ("incompatible", &json!(false)));

    let mut other_groups = count(&states());
    other_groups["max_parallelism"] = json!(16);
    let refused = check(1, &[others(), vec![other_groups]].concat(), &[]);
    assert!(refused.to_string().contains("stored in 8 key groups, and the program sets 16"), "{refused}");

    let renamed = json!({"uid": "counts", "name": "count", "keyed": count(&states())["keyed"]});
    let operators = [others(), vec![renamed]].concat();
    let dropped = check(1, &operators, &[]);
    let statuses: Vec<_> = dropped["operators"].as_array().unwrap().iter().map(|o| (&o["uid"], &o["status"])).collect();
    assert!(
        statuses.contains(&(&json!("count"), &json!("dropped")))
            && statuses.contains(&(&json!("counts"), &json!("new")))
    );
    check(0, &operators, &["--allow-non-restored-state"]);

    let of_another_kind =
        json!({"uid": "numbers", "name": "numbers", "operator_state": parsed(SINK)["operator_state"]});
    let refused = check(1, &[of_another_kind, parsed(SINK), count(&states())], &["--allow-non-restored-state"]);
    assert!(refused.to_string().contains("another kind of operator"), "{refused}");
}

#[test]
fn a_program_that_does_not_describe_itself_is_an_error() {
    let (ran, dir) = (ran(&[10]), tempfile::tempdir().unwrap());
    let newest = ran.checkpoints().pop().unwrap();
    for (body, words) in [
        ("echo no such flag >&2; exit 3", &["exit status: 3", "no such flag"][..]),
        ("echo hello", &["printed no description", "from_args"]),
        ("echo '{}'", &["something else than a description"]),
    ] {
        refused(2, &["upgrade-check", SHELL, &newest, "--", &script(dir.path(), body)], words);
    }
    refused(2, &["upgrade-check", "/no/such/job", &newest], &["cannot be started"]);
}

#[test]
fn people_are_told_in_words() {
    let (ran, dir) = (ran(&[10]), tempfile::tempdir().unwrap());
    let newest = ran.checkpoints().pop().unwrap();
    let job = program(dir.path(), &[parsed(NUMBERS), parsed(SINK), count(&states())]);
    let said = text(0, &["upgrade-check", SHELL, &newest, "--", &job, "--flag"]);
    assert!(
        said.contains("  seen: as it is\n") && said.contains("job counting can be restored from file:///"),
        "{said}"
    );
}
