//! `highwater task-managers`

use clap::Args;
use serde::Serialize;

use super::cluster::TaskManager;
use super::meant::ClusterArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;

/// Of which cluster.
#[derive(Debug, Args)]
pub struct TaskManagersArgs {
    #[command(flatten)]
    cluster: ClusterArgs,
}

#[derive(Serialize)]
struct Listing {
    task_managers: Vec<TaskManager>,
}

/// Runs the command.
pub fn run(args: &TaskManagersArgs, out: &mut Output) -> Result<Finding, Failure> {
    let mut client = args.cluster.required()?;
    let task_managers: Vec<_> = client.task_managers()?.into_iter().map(TaskManager::from).collect();
    if out.is_json() {
        out.document(&Listing { task_managers })?;
    } else if task_managers.is_empty() {
        out.line(format!("no TaskManagers are registered at {}", client.addresses()))?;
    } else {
        out.table(&TaskManager::table(&task_managers))?;
    }
    Ok(Finding::Fine)
}
