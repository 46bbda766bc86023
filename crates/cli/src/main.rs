//! The `highwater` command: looks into snapshots without the job that wrote them.
//!
//! Everything goes to standard output, as text for people or with `--json` for programs; errors and progress go to standard error.
//! The exit code is 0 if all is well, 1 if something is damaged, different, incompatible or not there, and 2 if the command could
//! not do its work. `docs/cli.md` has the names of the JSON's fields.

mod checkpoint;
mod failure;
mod key;
mod output;
mod progress;
mod state;
mod states;
mod table;
mod text;
mod upgrade;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Finding;
use crate::output::Output;

/// Looks into checkpoints and savepoints of Highwater jobs.
#[derive(Debug, Parser)]
#[command(name = "highwater", version, about, long_about = None)]
#[command(
    after_help = "Exit codes: 0 all is well; 1 something is damaged, different, incompatible or not there; 2 the command \
                        could not do its work."
)]
struct Cli {
    /// Print JSON, with stable names
    #[arg(long, global = true)]
    json: bool,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Checkpoints as a whole: list, show, verify, compare
    #[command(subcommand)]
    Checkpoint(checkpoint::Command),

    /// The state in a checkpoint: what there is, of one key, of all keys
    #[command(subcommand)]
    State(state::Command),

    /// Whether a new version of a job can be restored from a snapshot: what becomes of each state
    #[command(
        after_help = "Examples:\n  highwater upgrade-check target/release/visitors /var/checkpoints/visitors/chk-7\n  \
                            highwater upgrade-check ./visitors chk-7 --json -- --input access.log\n\n\
                            The program is started with --describe, which makes it print what it stores and end. A program that \
                            does not know this argument may run instead. Exit code 1: state is incompatible, or dropped without \
                            --allow-non-restored-state."
    )]
    UpgradeCheck(upgrade::UpgradeArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut out = Output::to_stdout(cli.json);
    let result = match &cli.command {
        Command::Checkpoint(command) => checkpoint::run(command, &mut out),
        Command::State(command) => state::run(command, &mut out),
        Command::UpgradeCheck(args) => upgrade::run(args, &mut out),
    };
    // What was found before an error is worth reading too.
    let flushed = out.flush();
    match result.and_then(|finding| flushed.map(|()| finding)) {
        Ok(Finding::Fine) => ExitCode::SUCCESS,
        Ok(Finding::Amiss) => ExitCode::from(1),
        Err(failure) => failure.report(),
    }
}
