//! The project's own commands: `cargo xtask <command>`.
//!
//! * [`steps`]: what `test` checks, one step after the other;
//! * [`readme`]: which commands of the README are marked to be run, and how each is expected to end;
//! * [`mod@bench`]: benchmarks side by side with another system;
//! * [`services`]: servers that tests of storages need;
//! * [`setup`]: the parts of the toolchain that the steps need;
//! * [`child`]: child processes, their time limits and how they are interrupted.
//!
//! Children stay in this process's group with their output passed through, so that Ctrl-C in a terminal ends them too.
#![allow(clippy::disallowed_methods, reason = "this program times what it runs; nothing here is replayed")]

mod apt;
mod bench;
mod child;
mod readme;
mod services;
mod setup;
mod steps;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::LazyLock;

use steps::Step;

const HELP: &str = "\
The project's own commands.

Usage: cargo xtask <command>

Commands:
  test     install what is missing, then check format, lints, tests, docs and the README's commands
  setup    install what is missing: the rustup components rustfmt and clippy, and on Debian RocksDB, libclang
           and libfaketime
  services up|down|status [name]
           servers that tests need, hdfs, s3 and etcd: install and start them, stop them, tell how they are
  simulate whole clusters in one thread, with everything that can go wrong drawn from a seed
  bench    measure the same jobs in Highwater and in another system, in turn, and compare their results
  bench recovery
           kill parts of a cluster, have a function fail, rescale: how long processing stands still, and what processes cost

Options of test:
  --only <steps>    run only these, separated by commas: fmt, clippy, test, services, doc, readme

Options of simulate:
  --seed <S>        the first seed; 1 if it is not given
  --runs <N>        how many seeds; 1 if it is not given
  --trace           print every step
  --cost            instead, print what a checkpoint costs the coordinator, for numbers of tasks

  -h, --help        print this text
";

#[derive(Debug, PartialEq, Eq)]
enum Task {
    Help,
    Setup,
    Bench(bench::Options),
    Recovery(bench::recovery::Options),
    Services(services::Task),
    /// With the arguments of the simulation.
    Simulate(Vec<String>),
    Test(Vec<Step>),
}

/// Where this program was when it started. The builds that it runs may put another one in its place, and the system then says of this
/// one that it was deleted.
static PROGRAM: LazyLock<std::io::Result<PathBuf>> = LazyLock::new(std::env::current_exe);

fn main() -> ExitCode {
    LazyLock::force(&PROGRAM);
    let args: Vec<String> = std::env::args_os().skip(1).map(|arg| arg.to_string_lossy().into_owned()).collect();
    let task = match parse(&args) {
        Ok(task) => task,
        Err(message) => {
            eprintln!("error: {message}\n\n{HELP}");
            return ExitCode::from(2);
        }
    };
    match run(&task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("error: {message}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: &Task) -> Result<(), String> {
    match task {
        Task::Help => {
            print!("{HELP}\n{}\n{}", bench::HELP, bench::recovery::HELP);
            Ok(())
        }
        Task::Setup => setup::run(&root()?),
        Task::Bench(options) => bench::run(options, &root()?),
        Task::Recovery(options) => bench::recovery::run(options, &root()?),
        Task::Services(task) => services::run(task, &root()?),
        Task::Simulate(args) => {
            let mut cargo = child::cargo(&root()?);
            cargo.args(["run", "--quiet", "--locked", "--package", "highwater-simulation", "--"]).args(args);
            child::to_success(&mut cargo)
        }
        Task::Test(steps) => {
            let root = root()?;
            setup::run(&root)?;
            steps::run(steps, &root)
        }
    }
}

fn parse(args: &[String]) -> Result<Task, String> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    if args.iter().any(|arg| matches!(*arg, "-h" | "--help")) {
        return Ok(Task::Help);
    }
    match args[..] {
        [] => Err("no command given".to_string()),
        ["help"] => Ok(Task::Help),
        ["setup"] => Ok(Task::Setup),
        ["services", ref args @ ..] => services::Task::parse(args).map(Task::Services),
        ["simulate", ref args @ ..] => Ok(Task::Simulate(args.iter().map(ToString::to_string).collect())),
        ["bench", "recovery", ref args @ ..] => bench::recovery::Options::parse(args).map(Task::Recovery),
        ["bench", ref args @ ..] => bench::Options::parse(args).map(Task::Bench),
        ["test"] => Ok(Task::Test(Step::ALL.to_vec())),
        ["test", "--only"] => Err("--only needs a list of steps, for example --only fmt,clippy".to_string()),
        ["test", "--only", list] => Step::parse_list(list).map(Task::Test),
        ["test", option] if option.starts_with("--only=") => {
            Step::parse_list(&option["--only=".len()..]).map(Task::Test)
        }
        ["setup", other, ..] => Err(format!("setup takes no argument {other:?}")),
        ["test", other, ..] if other != "--only" => Err(format!("test takes no argument {other:?}")),
        ["test", _, _, other, ..] => Err(format!("test takes no argument {other:?}")),
        [other, ..] => Err(format!("there is no command {other:?}")),
    }
}

/// The root of the workspace, wherever in it the command was given.
///
/// Asked when running: a binary from a target directory that two checkouts share would have the other one's path built in.
fn root() -> Result<PathBuf, String> {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").ok_or("start this through `cargo xtask`")?;
    Path::new(&package).parent().map(Path::to_path_buf).ok_or_else(|| format!("{package:?} has no parent directory"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Task, String> {
        parse(&line.split_whitespace().map(String::from).collect::<Vec<_>>())
    }

    #[test]
    fn every_form_of_the_commands_is_understood() {
        assert_eq!(parsed("--help"), Ok(Task::Help));
        assert_eq!(parsed("test --help"), Ok(Task::Help));
        assert_eq!(parsed("setup"), Ok(Task::Setup));
        assert_eq!(parsed("test"), Ok(Task::Test(Step::ALL.to_vec())));
        assert_eq!(parsed("services up s3"), Ok(Task::Services(services::Task::Up(Some("s3".into())))));
        assert_eq!(parsed("bench --vs flink"), Ok(Task::Bench(bench::Options::default())));
        assert_eq!(parsed("bench recovery"), Ok(Task::Recovery(bench::recovery::Options::default())));
        assert_eq!(parsed("simulate --seed 7"), Ok(Task::Simulate(vec!["--seed".into(), "7".into()])));
        assert_eq!(parsed("test --only doc"), Ok(Task::Test(vec![Step::Doc])));
        assert_eq!(parsed("test --only=doc"), Ok(Task::Test(vec![Step::Doc])));
    }

    #[test]
    fn selected_steps_run_in_their_usual_order() {
        assert_eq!(parsed("test --only clippy,fmt"), Ok(Task::Test(vec![Step::Fmt, Step::Clippy])));
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for (line, message) in [
            ("", "no command given"),
            ("tset", "there is no command \"tset\""),
            ("setup now", "setup takes no argument \"now\""),
            ("test --fast", "test takes no argument \"--fast\""),
            ("test --only fmt twice", "test takes no argument \"twice\""),
            ("test --only", "--only needs a list of steps, for example --only fmt,clippy"),
            (
                "test --only fmt,lint",
                "there is no step \"lint\": the steps are fmt, clippy, test, services, doc, readme",
            ),
        ] {
            assert_eq!(parsed(line), Err(message.to_string()), "{line}");
        }
    }
}
