//! Running jobs: which there are, and what they are asked for, over their control sockets or by way of their cluster's JobManager.
//!
//! What a job has begun it finishes, also if this command ends before.

mod cancel;
mod cluster;
mod info;
mod list;
mod meant;
mod rescale;
mod savepoint;
mod stop;
mod task_managers;

use std::path::Path;

use highwater_core::{Error, ErrorKind, Result};

pub use cancel::{CancelArgs, run as cancel};
pub use info::{InfoArgs, run as info};
pub use list::{ListArgs, run as list};
pub use rescale::{RescaleArgs, run as rescale};
pub use savepoint::{SavepointArgs, TriggerArgs, run as savepoint, trigger};
pub use stop::{StopArgs, run as stop};
pub use task_managers::{TaskManagersArgs, run as task_managers};

/// The directory that the job is to use: it has a working directory of its own.
fn target(dir: &str) -> Result<String> {
    if dir.contains("://") || dir == "memory:" {
        return Ok(dir.to_owned());
    }
    let absolute = std::path::absolute(Path::new(dir)).map_err(|error| {
        Error::new(ErrorKind::Settings, format!("directory {dir:?} for the savepoint is not usable")).with_source(error)
    })?;
    match absolute.into_os_string().into_string() {
        Ok(path) => Ok(path),
        Err(path) => Err(Error::settings(format!("directory {path:?} for the savepoint is not UTF-8"))),
    }
}
