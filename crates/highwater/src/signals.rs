//! Ctrl-C and SIGTERM: the first asks the running jobs to stop with a last checkpoint, the second ends them at once.

use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use highwater_core::{Clock, Error, Result, SystemClock};
use highwater_runtime::StopHandle;

/// The jobs of this process that stop on signals. A process has one handler for all.
static JOBS: Mutex<Vec<(u64, StopHandle)>> = Mutex::new(Vec::new());
static HANDLER: OnceLock<std::result::Result<(), String>> = OnceLock::new();

/// Signals stop the job for as long as this lives.
pub struct StopOnSignals {
    id: u64,
}

impl Drop for StopOnSignals {
    fn drop(&mut self) {
        jobs().retain(|(id, _)| *id != self.id);
    }
}

/// Has signals stop the job of this handle.
///
/// # Errors
/// If the program has a signal handler of its own: then switch this off with
/// [`stop_on_signals`](crate::StreamExecutionEnvironment::stop_on_signals) and use the job's stop handle.
pub fn stop(handle: &StopHandle) -> Result<StopOnSignals> {
    let installed = HANDLER.get_or_init(|| ctrlc::set_handler(on_signal).map_err(|error| error.to_string()));
    installed.as_ref().map_err(|error| {
        Error::settings(format!(
            "cannot handle Ctrl-C ({error}): does the program do so itself? Then call stop_on_signals(false) and use stop_handle()"
        ))
    })?;
    let mut jobs = jobs();
    let id = jobs.iter().map(|(id, _)| id + 1).max().unwrap_or(0);
    jobs.push((id, handle.clone()));
    Ok(StopOnSignals { id })
}

fn jobs() -> std::sync::MutexGuard<'static, Vec<(u64, StopHandle)>> {
    JOBS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A terminal and what runs under it may both pass on one Ctrl-C: what comes this soon after a signal is the same one.
const SAME_SIGNAL: Duration = Duration::from_millis(300);

fn on_signal() {
    static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);
    static LAST: Mutex<Option<Duration>> = Mutex::new(None);
    let now = CLOCK.monotonic();
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
    if last.is_some_and(|last| now.saturating_sub(last) < SAME_SIGNAL) {
        return;
    }
    let jobs = jobs();
    if jobs.is_empty() {
        // Nothing to stop well: end as a program without a handler would.
        std::process::exit(130);
    }
    for (_, job) in jobs.iter() {
        job.stop();
    }
}
