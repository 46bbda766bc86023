//! `highwater savepoint` and `highwater checkpoint trigger`

use clap::Args;
use highwater_control::{Request, Savepoint};

use super::meant::{Job, JobArgs};
use super::target;
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// Of which job, and where.
#[derive(Debug, Args)]
pub struct SavepointArgs {
    #[command(flatten)]
    job: JobArgs,

    /// Directory in which the savepoint gets a folder: a path or URI (default: the job's own --savepoint-dir)
    dir: Option<String>,
}

/// Of which job.
#[derive(Debug, Args)]
pub struct TriggerArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Runs the command.
pub fn run(args: &SavepointArgs, out: &mut Output) -> Result<Finding, Failure> {
    let target = args.dir.as_deref().map(target).transpose()?;
    let request = Request::Savepoint(Savepoint { target });
    take(args.job.find()?, &request, "a savepoint", out)
}

/// Runs `highwater checkpoint trigger`.
pub fn trigger(args: &TriggerArgs, out: &mut Output) -> Result<Finding, Failure> {
    take(args.job.find()?, &Request::Checkpoint {}, "a checkpoint", out)
}

/// The path alone goes to standard output, so that a script can take it.
fn take(mut job: Job, request: &Request, what: &str, out: &mut Output) -> Result<Finding, Failure> {
    let done = job.ask(request, what)?;
    if out.is_json() {
        out.document(&done)?;
    } else if let Some(taken) = done.taken {
        out.line(&taken.path)?;
    }
    Ok(Finding::Fine)
}
