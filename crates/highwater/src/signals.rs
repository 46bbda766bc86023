//! Ctrl-C and SIGTERM: the first asks the running jobs to stop with a last checkpoint, the second ends them at once.
//!
//! Invariant: no process outlives its second signal by more than three seconds, whatever it waits for: a storage, a lock, user code. A job
//! that has not begun to listen has nothing to stop well, and so ends with the first.

use std::sync::{Condvar, LazyLock, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use highwater_core::{Clock, Error, Result, SystemClock};
use highwater_runtime::StopHandle;

/// The jobs of this process that stop on signals. A process has one handler for all.
static JOBS: Mutex<Vec<(u64, StopHandle)>> = Mutex::new(Vec::new());
/// A job has ended.
static ENDED: Condvar = Condvar::new();
static HANDLER: OnceLock<std::result::Result<(), String>> = OnceLock::new();

/// Signals stop the job for as long as this lives.
pub struct StopOnSignals {
    id: u64,
}

impl Drop for StopOnSignals {
    fn drop(&mut self) {
        jobs().retain(|(id, _)| *id != self.id);
        ENDED.notify_all();
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

/// How long a second signal leaves a job to end by itself.
const GRACE: Duration = Duration::from_secs(3);

fn on_signal() {
    static CLOCK: LazyLock<SystemClock> = LazyLock::new(SystemClock::new);
    static LAST: Mutex<Option<Duration>> = Mutex::new(None);
    let now = CLOCK.monotonic();
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner).replace(now);
    if last.is_some_and(|last| now.saturating_sub(last) < SAME_SIGNAL) {
        return;
    }
    let asked = jobs().clone();
    if !asked.iter().any(|(_, job)| job.is_heard()) {
        // Nothing to stop well: end as a program without a handler would.
        std::process::exit(130);
    }
    asked.iter().for_each(|(_, job)| job.stop());
    end_at_once(asked.iter().filter(|(_, job)| job.requests() > 1).map(|(id, _)| *id).collect());
}

/// Ends the process, if these jobs do not within a moment.
fn end_at_once(ids: Vec<u64>) {
    let runs = |jobs: &mut Vec<(u64, StopHandle)>| jobs.iter().any(|(id, _)| ids.contains(id));
    let waited = ENDED.wait_timeout_while(jobs(), GRACE, runs);
    let (_jobs, waited) = waited.unwrap_or_else(PoisonError::into_inner);
    if waited.timed_out() {
        tracing::warn!("not ended within {GRACE:?} of a second signal: the process ends now");
        std::process::exit(130);
    }
}
