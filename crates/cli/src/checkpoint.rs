//! Checkpoints as a whole.

mod diff;
mod list;
mod show;
mod verify;

use clap::{Args, Subcommand};

use crate::failure::{Failure, Finding};
use crate::job::{self, TriggerArgs};
use crate::output::Output;

/// `highwater checkpoint ..`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the snapshots of a checkpoint directory or of a job, the newest last
    #[command(after_help = "Examples:\n  highwater checkpoint list /var/checkpoints\n  \
                            highwater checkpoint list s3://bucket/checkpoints/visitors --json\n\n\
                            Exit code 1: the _metadata of a snapshot is damaged.")]
    List(ListArgs),

    /// Show what a snapshot consists of: operators, states, schemas, files, times
    #[command(after_help = "Examples:\n  highwater checkpoint show /var/checkpoints/visitors/chk-7\n  \
                            highwater checkpoint show /var/checkpoints/visitors/chk-7/_metadata --json")]
    Show(ShowArgs),

    /// Read every byte of snapshots and name what is damaged
    #[command(after_help = "Examples:\n  highwater checkpoint verify /var/checkpoints/visitors/chk-7\n  \
                            highwater checkpoint verify /var/checkpoints/visitors\n\n\
                            Of a job's folder all snapshots are verified, and shared files that none of them refers to are named;\n\
                            while the job runs, those may belong to a checkpoint under way. Exit code 1: something is damaged.")]
    Verify(VerifyArgs),

    /// Have a running job take a checkpoint now
    #[command(after_help = "Examples:\n  highwater checkpoint trigger visitors\n\n\
                            The path of the checkpoint goes to standard output when it has completed.")]
    Trigger(TriggerArgs),

    /// Compare two snapshots, state by state and key by key
    #[command(after_help = "Examples:\n  highwater checkpoint diff chk-7 chk-8\n  \
                            highwater checkpoint diff chk-7 chk-8 --keys --limit 20\n\n\
                            Exit code 1: they differ.")]
    Diff(DiffArgs),
}

/// What is listed.
#[derive(Debug, Args)]
pub struct ListArgs {
    /// A checkpoint directory or a job's folder in it: a path or URI
    path: String,
}

/// What is shown.
#[derive(Debug, Args)]
pub struct ShowArgs {
    /// The folder of a snapshot, or its _metadata: a path or URI
    path: String,
}

/// What is verified.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// Folders of snapshots, of jobs, or checkpoint directories: paths or URIs
    #[arg(required = true, value_name = "PATH")]
    paths: Vec<String>,
}

/// What is compared.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// The folder of the first snapshot
    a: String,

    /// The folder of the second
    b: String,

    /// Name the keys that differ
    #[arg(long)]
    keys: bool,

    /// With --keys, name at most so many keys and timers
    #[arg(long, value_name = "COUNT", default_value_t = 100, requires = "keys")]
    limit: usize,
}

/// Runs a command.
pub fn run(command: &Command, out: &mut Output) -> Result<Finding, Failure> {
    match command {
        Command::List(args) => list::run(args, out),
        Command::Show(args) => show::run(args, out),
        Command::Verify(args) => verify::run(args, out),
        Command::Trigger(args) => job::trigger(args, out),
        Command::Diff(args) => diff::run(args, out),
    }
}
