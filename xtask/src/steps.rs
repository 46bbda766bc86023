//! What `cargo xtask test` checks, in order, each step timed.

use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use crate::services::Needed;
use crate::{child, readme, setup};

/// One check. The first that fails ends the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Fmt,
    Clippy,
    Test,
    Services,
    Doc,
    Readme,
}

impl Step {
    /// Every step, cheapest first.
    pub const ALL: [Step; 6] = [Step::Fmt, Step::Clippy, Step::Test, Step::Services, Step::Doc, Step::Readme];

    /// The name that `--only` takes.
    fn name(self) -> &'static str {
        match self {
            Step::Fmt => "fmt",
            Step::Clippy => "clippy",
            Step::Test => "test",
            Step::Services => "services",
            Step::Doc => "doc",
            Step::Readme => "readme",
        }
    }

    /// What is done, for the announcement.
    fn title(self) -> &'static str {
        match self {
            Step::Fmt => "cargo fmt --all --check",
            Step::Clippy => "cargo clippy --workspace --all-targets -- -D warnings",
            Step::Test => "cargo test --workspace --locked",
            Step::Services => "the tests that need HDFS, S3 and etcd, which are started for them",
            Step::Doc => "cargo doc --workspace --no-deps, with warnings as errors",
            Step::Readme => "the commands that README.md marks",
        }
    }

    /// The steps of a comma-separated `list`, in the order in which they run.
    pub fn parse_list(list: &str) -> Result<Vec<Step>, String> {
        let names = || Step::ALL.map(Step::name).join(", ");
        for name in list.split(',') {
            if !Step::ALL.iter().any(|step| step.name() == name) {
                return Err(format!("there is no step {name:?}: the steps are {}", names()));
            }
        }
        Ok(Step::ALL.into_iter().filter(|step| list.split(',').any(|name| name == step.name())).collect())
    }

    fn run(self, root: &Path) -> Result<(), String> {
        let mut cargo = cargo(root);
        match self {
            Step::Fmt => cargo.args(["fmt", "--all", "--check"]),
            Step::Clippy => cargo.args(["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"]),
            Step::Test => {
                // There `setup` has installed what that test needs.
                if setup::is_debian(root) {
                    cargo.env("HIGHWATER_FAKETIME", "required");
                }
                cargo.args(["test", "--workspace", "--locked"])
            }
            Step::Doc => cargo.args(["doc", "--workspace", "--no-deps"]).env("RUSTDOCFLAGS", "-D warnings"),
            Step::Services => return with_services(root),
            Step::Readme => return readme::run(root),
        };
        child::to_success(&mut cargo)
    }
}

/// Cargo, that finds what `setup` has installed.
fn cargo(root: &Path) -> Command {
    let mut cargo = child::cargo(root);
    if let Some(folder) = setup::rocksdb_lib_dir() {
        cargo.env("ROCKSDB_LIB_DIR", folder);
    }
    cargo
}

/// Runs the tests named `services` of all packages beside the services they need.
fn with_services(root: &Path) -> Result<(), String> {
    // `--test` alone builds no example, and a whole job is one.
    child::to_success(cargo(root).args(["build", "--workspace", "--locked", "--example", "visitors"]))?;
    let needed = Needed::up(root)?;
    let mut cargo = cargo(root);
    cargo.args(["test", "--workspace", "--locked", "--test", "services"]);
    cargo.args(["--features", "highwater-storage/hdfs,highwater-storage/s3"]);
    // They wait for time-outs more than they work.
    cargo.args(["--", "--test-threads", "8"]);
    cargo.envs(needed.variables().iter().map(|(name, value)| (name, value)));
    child::to_success(&mut cargo)
}

/// How a step ended.
struct Outcome {
    step: Step,
    took: Duration,
    result: Result<(), String>,
}

/// Runs `steps` up to the first that fails, and prints a table of what ran.
pub fn run(steps: &[Step], root: &Path) -> Result<(), String> {
    let mut outcomes = Vec::new();
    for &step in steps {
        println!("\n==> {}: {}", step.name(), step.title());
        let start = Instant::now();
        let result = step.run(root);
        let took = start.elapsed();
        println!("<== {} took {:.1} s", step.name(), took.as_secs_f64());
        let failed = result.is_err();
        outcomes.push(Outcome { step, took, result });
        if failed {
            break;
        }
    }
    print!("\n{}", table(steps, &outcomes));
    match outcomes.pop() {
        Some(Outcome { step, result: Err(why), .. }) => Err(format!("{} failed: {why}", step.name())),
        _ => Ok(()),
    }
}

fn table(steps: &[Step], outcomes: &[Outcome]) -> String {
    let mut table = format!("{:<8}{:>9}  result\n", "step", "seconds");
    for (index, step) in steps.iter().enumerate() {
        let (seconds, result) = match outcomes.get(index) {
            Some(Outcome { took, result: Ok(()), .. }) => (format!("{:.1}", took.as_secs_f64()), "ok"),
            Some(Outcome { took, result: Err(_), .. }) => (format!("{:.1}", took.as_secs_f64()), "FAILED"),
            None => ("-".to_string(), "not run"),
        };
        writeln!(table, "{:<8}{seconds:>9}  {result}", step.name()).expect("a string takes every write");
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_shows_every_step_that_was_asked_for() {
        let seconds = |secs, result| (Duration::from_millis(secs), result);
        let outcomes = [(Step::Fmt, seconds(640, Ok(()))), (Step::Clippy, seconds(12_300, Err("exit 1".to_string())))]
            .map(|(step, (took, result))| Outcome { step, took, result });
        let expected = "\
step      seconds  result
fmt           0.6  ok
clippy       12.3  FAILED
test            -  not run
";
        assert_eq!(table(&[Step::Fmt, Step::Clippy, Step::Test], &outcomes), expected);
    }
}
