//! `highwater stop`

use clap::Args;
use highwater_control::{Request, Savepoint};

use super::meant::JobArgs;
use super::target;
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// Which job ends, and how.
#[derive(Debug, Args)]
pub struct StopArgs {
    #[command(flatten)]
    job: JobArgs,

    /// Let all event-time timers fire before the end, as at the end of the input: for a job that is not to go on later
    #[arg(long)]
    drain: bool,

    /// End with a savepoint in the job's own --savepoint-dir, instead of a checkpoint
    #[arg(long)]
    savepoint: bool,

    /// End with a savepoint in a folder of this directory, a path or URI
    #[arg(long, value_name = "DIR", conflicts_with = "savepoint")]
    savepoint_dir: Option<String>,
}

/// Runs the command: it returns when the job has ended.
pub fn run(args: &StopArgs, out: &mut Output) -> Result<Finding, Failure> {
    let dir = args.savepoint_dir.as_deref().map(target).transpose()?;
    let savepoint = (args.savepoint || dir.is_some()).then_some(Savepoint { target: dir });
    let what = if savepoint.is_some() { "its end with a savepoint" } else { "its end" };
    let done = args.job.find()?.ask(&Request::Stop { drain: args.drain, savepoint }, what)?;
    if out.is_json() {
        out.document(&done)?;
    } else if let Some(taken) = done.taken {
        out.line(&taken.path)?;
    }
    Ok(Finding::Fine)
}
