//! The program under test.

use std::process::{Command, Output};

use serde_json::Value;

/// What a run of the program came to.
#[derive(Debug)]
pub struct Run {
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

/// Runs `highwater` with these arguments.
#[track_caller]
pub fn highwater(args: &[&str]) -> Run {
    let Output { status, stdout, stderr } = Command::new(env!("CARGO_BIN_EXE_highwater")).args(args).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Run { code: status.code().unwrap(), stdout: text(stdout), stderr: text(stderr) }
}

/// Runs it, with this exit code; what it says.
#[track_caller]
pub fn text(code: i32, args: &[&str]) -> String {
    let run = highwater(args);
    assert_eq!(run.code, code, "{run:?}");
    run.stdout
}

/// Runs it with `--json`, with this exit code; what it says.
#[track_caller]
pub fn json(code: i32, args: &[&str]) -> Value {
    let stdout = text(code, &[args, &["--json"]].concat());
    serde_json::from_str(&stdout).unwrap_or_else(|error| panic!("{error}: {stdout}"))
}

/// The same for one document a line.
#[track_caller]
pub fn json_lines(args: &[&str]) -> Vec<Value> {
    let stdout = text(0, &[args, &["--json"]].concat());
    stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Runs it, with exit code 2 or 1 and nothing but an error that has these words.
#[track_caller]
pub fn refused(code: i32, args: &[&str], words: &[&str]) {
    let run = highwater(args);
    assert_eq!((run.code, run.stdout.as_str()), (code, ""), "{run:?}");
    for word in words {
        assert!(run.stderr.contains(word), "{word:?} is not in: {}", run.stderr);
    }
}
