//! The line on the terminal that shows how a running job goes.

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater_core::Clock;
use highwater_runtime::JobStatus;
use highwater_runtime::status::{JobPhase, Snapshot};

/// How often the line is drawn anew.
const REFRESH: Duration = Duration::from_millis(250);

/// Draws the line until it is dropped.
pub(crate) struct Progress {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl Progress {
    /// Starts drawing, if standard error is a terminal.
    pub fn start(status: &Arc<JobStatus>, clock: &Arc<dyn Clock>) -> Option<Self> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (stop, stopped) = channel::<()>();
        let (status, clock) = (Arc::clone(status), Arc::clone(clock));
        let draw = move || {
            let mut rate = Rate::default();
            while stopped.recv_timeout(REFRESH) == Err(RecvTimeoutError::Timeout) {
                let numbers = status.snapshot();
                let per_second = rate.update(numbers.records, clock.monotonic());
                // A terminal that is gone is no reason to end the job.
                let _ = write!(std::io::stderr(), "\r\x1b[2K{}", line(&numbers, per_second));
            }
            let _ = writeln!(std::io::stderr());
        };
        let thread = std::thread::Builder::new().name("highwater-progress".into()).spawn(draw).ok()?;
        Some(Progress { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Records per second over the last second or so.
#[derive(Default)]
struct Rate {
    records: u64,
    at: Duration,
    smoothed: f64,
}

impl Rate {
    fn update(&mut self, records: u64, now: Duration) -> f64 {
        let elapsed = now.saturating_sub(self.at).as_secs_f64();
        if elapsed > 0.0 {
            let current = records.saturating_sub(self.records) as f64 / elapsed;
            self.smoothed += (current - self.smoothed) * (elapsed / (elapsed + 0.5));
        }
        (self.records, self.at) = (records, now);
        self.smoothed
    }
}

fn line(numbers: &Snapshot, per_second: f64) -> String {
    let state = match numbers.phase {
        JobPhase::Running => String::new(),
        phase => format!("{phase}, "),
    };
    let checkpoint = numbers.last_completed.as_ref().map_or("no checkpoint yet".to_string(), |last| {
        format!("checkpoint {} ({} ms, {} bytes)", last.id, last.times.total().as_millis(), last.bytes)
    });
    format!("{state}{} records, {per_second:.0} records/s, {checkpoint}, attempt {}", numbers.records, numbers.attempts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_follows_what_is_read() {
        let mut rate = Rate::default();
        let mut last = 0.0;
        for second in 1..20 {
            last = rate.update(second * 1000, Duration::from_secs(second));
        }
        assert!((last - 1000.0).abs() < 1.0, "{last}");
    }

    #[test]
    fn the_line_says_what_there_is() {
        let numbers = Snapshot { records: 7, attempts: 2, phase: JobPhase::Running, ..Snapshot::default() };
        assert_eq!(line(&numbers, 3.4), "7 records, 3 records/s, no checkpoint yet, attempt 2");
    }
}
