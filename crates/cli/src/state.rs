//! The state in a snapshot.

mod get;
mod ls;
mod row;
mod scan;

use clap::{Args, Subcommand};

use crate::failure::{Failure, Finding};
use crate::output::Output;

/// `highwater state ..`
#[derive(Debug, Subcommand)]
pub enum Command {
    /// List the operators of a snapshot and their states
    #[command(after_help = "Example:\n  highwater state ls /var/checkpoints/visitors/chk-7")]
    Ls(LsArgs),

    /// Print the state of one key as JSON
    #[command(after_help = "Examples:\n  highwater state get chk-7 --operator count --key 10.0.0.1\n  \
                            highwater state get chk-7 --operator count --key '[\"a\", 7]' --state requests\n  \
                            highwater state get chk-7 --operator count --key 10.0.0.1 --state timers\n\n\
                            The key is JSON; what JSON would put in quotes may be given as it is. Exit code 1: there is nothing \
                            under this key.")]
    Get(GetArgs),

    /// Print the state of all keys
    #[command(after_help = "Examples:\n  highwater state scan chk-7 --operator count --limit 10\n  \
                            highwater state scan chk-7 --operator source --state splits\n  \
                            highwater --json state scan chk-7 --operator count --key-group 3\n\n\
                            Columns are separated by tabs; with --json each row is a line. Only one key group is in memory at a \
                            time.")]
    Scan(ScanArgs),
}

/// What is listed.
#[derive(Debug, Args)]
pub struct LsArgs {
    /// The folder of a snapshot: a path or URI
    path: String,
}

/// What is looked up.
#[derive(Debug, Args)]
pub struct GetArgs {
    /// The folder of a snapshot: a path or URI
    path: String,

    /// The operator, by its uid
    #[arg(long, value_name = "UID")]
    operator: String,

    /// The key
    #[arg(long, value_name = "JSON", allow_hyphen_values = true)]
    key: String,

    /// One of its states, or `timers` for the timers of the key (default: all states)
    #[arg(long, value_name = "NAME")]
    state: Option<String>,
}

/// What is read.
#[derive(Debug, Args)]
pub struct ScanArgs {
    /// The folder of a snapshot: a path or URI
    path: String,

    /// The operator, by its uid
    #[arg(long, value_name = "UID")]
    operator: String,

    /// One of its states, `timers`, or an operator state (default: all states of the keys; without keyed state all operator states)
    #[arg(long, value_name = "NAME")]
    state: Option<String>,

    /// Print at most so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u64>,

    /// Only the keys of this key group
    #[arg(long, value_name = "GROUP")]
    key_group: Option<u16>,
}

/// Runs a command.
pub fn run(command: &Command, out: &mut Output) -> Result<Finding, Failure> {
    match command {
        Command::Ls(args) => ls::run(args, out),
        Command::Get(args) => get::run(args, out),
        Command::Scan(args) => scan::run(args, out),
    }
}
