//! The `highwater` command: asks running jobs for savepoints and stops, and looks into snapshots without the job that wrote them.
//!
//! Everything goes to standard output, as text for people or with `--json` for programs; errors and progress go to standard error.
//! The exit code is 0 if all is well, 1 if something is damaged, different, incompatible or not there, and 2 if the command could
//! not do its work. `docs/cli.md` has the names of the JSON's fields.

mod checkpoint;
mod failure;
mod job;
mod key;
mod output;
mod progress;
mod resume;
mod state;
mod states;
mod stores;
mod table;
mod text;
mod upgrade;
mod waiting;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::failure::Finding;
use crate::output::Output;

/// Asks running Highwater jobs for savepoints and stops, and looks into their checkpoints and savepoints.
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
    /// Running jobs
    #[command(
        after_help = "Examples:\n  highwater list\n  highwater list --run-dir /run/jobs --json\n  highwater list --jobmanager 10.0.0.1:6123\n\n\
                            A job listens if it takes its settings from the command line, or if they name a run directory."
    )]
    List(job::ListArgs),

    /// How a running job goes
    #[command(after_help = "Examples:\n  highwater info visitors\n  highwater info visitors-1234 --json")]
    Info(job::InfoArgs),

    /// Have a running job take a savepoint, and go on
    #[command(after_help = "Examples:\n  highwater savepoint visitors\n  \
                            highwater savepoint visitors s3://bucket/savepoints\n\n\
                            The path of the savepoint goes to standard output when it is complete. Ctrl-C ends this command and \
                            takes nothing back: the job finishes the savepoint.")]
    Savepoint(job::SavepointArgs),

    /// End a running job, with a last checkpoint or with a savepoint
    #[command(after_help = "Examples:\n  highwater stop visitors\n  \
                            highwater stop visitors --savepoint\n  \
                            highwater stop visitors --drain --savepoint-dir /savepoints\n\n\
                            The path of the checkpoint or savepoint goes to standard output when the job has ended. Its next \
                            start goes on from there by itself. If the savepoint fails, the job goes on.")]
    Stop(job::StopArgs),

    /// End a running job at once, without a last checkpoint
    #[command(after_help = "Examples:\n  highwater cancel visitors\n\n\
                            Its next start goes on from its newest checkpoint, and processes again what came after. `stop` takes a \
                            last one before.")]
    Cancel(job::CancelArgs),

    /// Give a running job of a cluster another parallelism
    #[command(after_help = "Examples:\n  highwater rescale visitors --parallelism 8 --jobmanager 10.0.0.1:6123\n\n\
                            The job takes a checkpoint and goes on from it. How long no records flowed for that goes to standard \
                            output.")]
    Rescale(job::RescaleArgs),

    /// The TaskManagers of a cluster
    #[command(after_help = "Examples:\n  highwater task-managers --jobmanager 10.0.0.1:6123,10.0.0.2:6123")]
    TaskManagers(job::TaskManagersArgs),

    /// Start the program of a job from a savepoint or checkpoint
    #[command(
        after_help = "Examples:\n  highwater resume --from /savepoints target/release/visitors -- --input access.log\n  \
                            highwater resume --from /savepoints/savepoint-visitors-12-19aac0b4b3e ./visitors\n\n\
                            First the program is started with --describe, as by upgrade-check; if its state can be restored, it is \
                            started with --restore and takes the place of this command. Exit code 1: its state cannot be restored."
    )]
    Resume(resume::ResumeArgs),

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
        Command::List(args) => job::list(args, &mut out),
        Command::Info(args) => job::info(args, &mut out),
        Command::Savepoint(args) => job::savepoint(args, &mut out),
        Command::Stop(args) => job::stop(args, &mut out),
        Command::Cancel(args) => job::cancel(args, &mut out),
        Command::Rescale(args) => job::rescale(args, &mut out),
        Command::TaskManagers(args) => job::task_managers(args, &mut out),
        Command::Resume(args) => resume::run(args, &mut out),
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
