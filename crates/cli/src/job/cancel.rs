//! `highwater cancel`

use clap::Args;
use highwater_control::Request;

use super::meant::JobArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// Which job ends.
#[derive(Debug, Args)]
pub struct CancelArgs {
    #[command(flatten)]
    job: JobArgs,
}

/// Runs the command: it returns when the job has ended.
pub fn run(args: &CancelArgs, out: &mut Output) -> Result<Finding, Failure> {
    let done = args.job.find()?.ask(&Request::Cancel {}, "its end at once")?;
    if out.is_json() {
        out.document(&done)?;
    }
    Ok(Finding::Fine)
}
