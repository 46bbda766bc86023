//! `highwater rescale`

use clap::Args;
use highwater_control::Request;

use super::meant::JobArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// Which job, and to what.
#[derive(Debug, Args)]
pub struct RescaleArgs {
    #[command(flatten)]
    job: JobArgs,

    /// How many workers the job is to have
    #[arg(long, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    parallelism: u32,
}

/// Runs the command: it returns when the job runs with the new parallelism.
pub fn run(args: &RescaleArgs, out: &mut Output) -> Result<Finding, Failure> {
    let parallelism = args.parallelism;
    let done = args.job.find()?.ask(&Request::Rescale { parallelism }, &format!("parallelism {parallelism}"))?;
    if out.is_json() {
        out.document(&done)?;
        return Ok(Finding::Fine);
    }
    if let Some(pause_ms) = done.pause_ms {
        out.line(format!("no records flowed for {pause_ms} ms"))?;
    }
    Ok(Finding::Fine)
}
