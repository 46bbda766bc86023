//! What a job's program says about itself when it is started with `--describe`.

use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use highwater_core::{Error, OperatorUid, Result};
use highwater_state::{Schema, StateSchema};
use serde::Deserialize;

/// A program's description, as `docs/format.md` has it.
#[derive(Debug, Deserialize)]
pub struct Program {
    pub(super) job: String,
    pub(super) operators: Vec<Described>,
}

/// An operator in it.
#[derive(Debug, Deserialize)]
pub(super) struct Described {
    pub uid: OperatorUid,
    pub name: String,
    pub max_parallelism: Option<u32>,
    pub keyed: Option<StateSchema>,
    #[serde(default)]
    pub operator_state: Vec<DescribedList>,
}

/// An operator state in it.
#[derive(Debug, Deserialize)]
pub(super) struct DescribedList {
    pub name: String,
    pub schema: Schema,
}

impl Program {
    /// The name of the job.
    pub fn job(&self) -> &str {
        &self.job
    }
}

impl Described {
    /// Whether it takes part in checkpoints.
    pub fn is_stateful(&self) -> bool {
        self.keyed.is_some() || !self.operator_state.is_empty()
    }
}

/// The program that `job` names: a name without a slash would be looked for among the installed programs only.
pub fn path_of(job: &str) -> PathBuf {
    Path::new(job).canonicalize().unwrap_or_else(|_| job.into())
}

/// Starts `job` with `args` and `--describe`; what it says.
///
/// # Errors
/// If it cannot be started, fails, or says something else.
pub fn describe(job: &str, args: &[String]) -> Result<Program> {
    let failed = |why: String| Error::settings(format!("{job} --describe {why}"));
    let run = Command::new(path_of(job)).args(args).arg("--describe").stdin(Stdio::null()).output();
    let Output { status, stdout, stderr } =
        run.map_err(|error| failed("cannot be started".into()).with_source(error))?;
    if !status.success() {
        let said = String::from_utf8_lossy(&stderr);
        return Err(failed(format!("ended with {status}: {}", said.trim())));
    }
    // A program may print lines of its own before.
    let said = String::from_utf8_lossy(&stdout);
    let document = said.lines().rev().find(|line| line.starts_with('{')).ok_or_else(|| {
        failed(
            "printed no description: it has to take its settings from the command line, with JobArgs or from_args"
                .into(),
        )
    })?;
    serde_json::from_str(document)
        .map_err(|error| failed("printed something else than a description".into()).with_source(error))
}
