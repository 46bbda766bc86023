//! A job tells what it stores without running: `--describe`.

use std::path::PathBuf;
use std::process::Command;

use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{ErrorKind, JobDescription, Result};

/// A source that must not be touched.
struct Untouched;

impl Source for Untouched {
    type Record = u64;
    type Split = Offset;
    type Reader = Untouched;

    fn discover(&self, _: u32) -> Result<Vec<Offset>> {
        panic!("a job that is described asks no source")
    }

    fn reader(&self, _: Vec<Offset>) -> Result<Untouched> {
        panic!("a job that is described reads nothing")
    }
}

impl SourceReader for Untouched {
    type Record = u64;
    type Split = Offset;

    fn poll(&mut self, _: &mut SourceOutput<u64>) -> Result<SourceStatus> {
        Ok(SourceStatus::End)
    }

    fn snapshot(&self) -> Vec<Offset> {
        Vec::new()
    }
}

#[derive(Clone, Data)]
struct Offset {
    #[data(alias = "position")]
    next: u64,
    #[data(default = "7")]
    lag: u16,
}

#[derive(KeyedState)]
struct Count {
    #[state(alias = "hits")]
    seen: ValueState<u64>,
}

#[derive(Clone)]
struct CountNumbers;

impl KeyedProcessFunction<u64, u64> for CountNumbers {
    type State = Count;
    type Out = u64;

    fn process(&mut self, _: u64, state: &mut Count, out: &mut Context<'_, u64, u64>) -> UserResult {
        out.collect(state.seen.get_or_default());
        Ok(())
    }
}

fn build(env: &StreamExecutionEnvironment) {
    env.from_source(Untouched, WatermarkStrategy::no_watermarks(), "numbers")
        .uid("numbers")
        .map(|number| Ok(number + 1))
        .key_by(|number: &u64| *number)
        .process(CountNumbers)
        .name("count numbers")
        .uid("count")
        .print()
        .uid("print");
}

#[test]
fn a_description_has_every_operator_and_its_state() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = dir.path().join("checkpoints");
    let env = StreamExecutionEnvironment::new();
    env.set_max_parallelism(64).set_state_backend(FsStateBackend::new(checkpoints.to_str().unwrap()));
    build(&env);
    let description = env.describe("counts").unwrap();
    let json = concat!(
        r#"{"job":"counts","operators":["#,
        r#"{"uid":"numbers","name":"numbers","max_parallelism":64,"operator_state":[{"name":"splits","schema":"#,
        r#"{"struct":{"name":"Offset","fields":[{"name":"next","schema":"u64","aliases":["position"]},"#,
        r#"{"name":"lag","schema":"u16","default":[7,0]}]}}}]},"#,
        r#"{"uid":"map-1","name":"map","max_parallelism":64},"#,
        r#"{"uid":"count","name":"count numbers","max_parallelism":64,"#,
        r#""keyed":{"key":"u64","states":[{"name":"seen","kind":"value","schema":"u64","aliases":["hits"]}]}},"#,
        r#"{"uid":"print","name":"print","max_parallelism":64,"operator_state":["#,
        r#"{"name":"committables","schema":"unit"},{"name":"writers","schema":"unit"}]}]}"#,
    );
    assert_eq!(serde_json::to_string(&description).unwrap(), json);
    assert_eq!(serde_json::from_str::<JobDescription>(json).unwrap(), description);
    assert!(!checkpoints.exists());
}

#[test]
fn what_could_not_run_is_not_described() {
    let env = StreamExecutionEnvironment::new();
    assert_eq!(env.describe("counts").unwrap_err().kind(), ErrorKind::Settings);
    build(&env);
    assert_eq!(env.describe("a/b").unwrap_err().kind(), ErrorKind::Settings);
}

#[test]
fn a_program_that_is_asked_prints_the_description_and_ends() {
    let dir = tempfile::tempdir().unwrap();
    let checkpoints = dir.path().join("checkpoints");
    let mut command = Command::new(example("hello"));
    let output =
        command.args(["--describe", "--job-name=mine", "--checkpoint-dir"]).arg(&checkpoints).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let description: JobDescription = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(description.job.as_str(), "mine");
    let uids: Vec<_> = description.operators.iter().map(|operator| operator.uid.as_str()).collect();
    assert_eq!(uids, ["hello-0", "process-1", "print-2"]);
    assert_eq!(description.operators[0].max_parallelism, None);
    assert!(description.operators[1].keyed.is_some());
    assert!(!checkpoints.exists());
}

/// The program of an example, which cargo builds along with the tests.
fn example(name: &str) -> PathBuf {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let program = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(program.exists(), "{} is missing: cargo build -p highwater --example {name}", program.display());
    program
}
