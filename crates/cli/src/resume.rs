//! `highwater resume`: starts a job's program from a snapshot, after a look whether it can.
//!
//! A job has no cluster that would run it: its program does, and takes the place of this command, so that signals, output and exit
//! code are the job's own.

use std::os::unix::process::CommandExt;
use std::process::Command;

use clap::Args;
use highwater_core::{Error, ErrorKind, Result};
use highwater_snapshot::{Found, SnapshotFolder, find};

use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::upgrade::{self, Check};

/// What is started, and from what.
#[derive(Debug, Args)]
pub struct ResumeArgs {
    /// What to start from, a path or URI: the folder of a savepoint or checkpoint, or a folder of them, of which the newest of this
    /// job is taken
    #[arg(long, value_name = "PATH")]
    from: String,

    /// Hand the snapshot to the job, which deletes it once it has a checkpoint of its own
    #[arg(long)]
    claim: bool,

    /// Drop state that the program has no use for, instead of refusing to start
    #[arg(long)]
    allow_non_restored_state: bool,

    /// The program of the job; it has to take its settings from the command line, as with `StreamExecutionEnvironment::from_args`
    job: String,

    /// Arguments of the program
    #[arg(last = true, value_name = "ARGS")]
    args: Vec<String>,
}

/// Runs the command. It comes back only if the program was not started.
pub fn run(args: &ResumeArgs, out: &mut Output) -> Result<Finding, Failure> {
    let program = upgrade::describe(&args.job, &args.args)?;
    let (folder, snapshot) = choose(&args.from, program.job())?;
    let check = Check::of(&snapshot, &program, args.allow_non_restored_state)?;
    if !check.is_compatible() {
        check.write(out)?;
        return Ok(Finding::Amiss);
    }
    let mut command = Command::new(upgrade::path_of(&args.job));
    // Before the program's own arguments, among which may be a command with flags of its own.
    command.args(["--restore", &folder.reopen_path()]);
    if args.claim {
        command.args(["--claim-mode", "claim"]);
    }
    if args.allow_non_restored_state {
        command.arg("--allow-non-restored-state");
    }
    out.flush()?;
    eprintln!("starting {} from {}", args.job, folder.path());
    let error = command.args(&args.args).exec();
    Err(Error::new(ErrorKind::Settings, format!("{} cannot be started", args.job)).with_source(error).into())
}

/// The snapshot at `path`, or the newest of `job` in the folder at `path`.
fn choose(path: &str, job: &str) -> Result<(SnapshotFolder, highwater_snapshot::Snapshot)> {
    let folders = match find(path)? {
        Found::Snapshot(folder) => return folder.open().map(|snapshot| (folder, snapshot)),
        Found::Jobs(jobs) => jobs.into_iter().flat_map(|job| job.snapshots().to_vec()),
    };
    let mut newest: Option<(SnapshotFolder, highwater_snapshot::Snapshot)> = None;
    for folder in folders.filter(|folder| folder.has_metadata() || folder.names_savepoint()) {
        // One that is damaged may be the newest: nothing older is taken silently.
        let snapshot = folder.open()?;
        let age =
            |snapshot: &highwater_snapshot::Snapshot| (snapshot.metadata().created_unix_ms, snapshot.metadata().id);
        let is_newer = newest.as_ref().is_none_or(|(_, newest)| age(newest) < age(&snapshot));
        if snapshot.metadata().job.as_str() == job && is_newer {
            newest = Some((folder, snapshot));
        }
    }
    newest.ok_or_else(|| Error::settings(format!("there is no snapshot of job {job} in {path}")))
}
