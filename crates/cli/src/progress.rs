//! How far long work has come, on standard error, if that is a terminal.

use std::io::{IsTerminal, Write};

use crate::text;

/// A line that is drawn anew with each hundredth.
pub struct Progress {
    is_shown: bool,
    total: u64,
    done: u64,
    percent: Option<u64>,
}

impl Progress {
    /// Of `total` bytes.
    pub fn of(total: u64) -> Self {
        Progress { is_shown: std::io::stderr().is_terminal(), total, done: 0, percent: None }
    }

    /// So many bytes more are done.
    pub fn add(&mut self, bytes: u64) {
        self.done = self.done.saturating_add(bytes);
        let percent = u128::from(self.done) * 100 / u128::from(self.total.max(1));
        let percent = u64::try_from(percent).unwrap_or(100).min(100);
        if self.is_shown && self.percent != Some(percent) {
            self.percent = Some(percent);
            // A terminal that is gone is no reason to stop.
            let _ = write!(std::io::stderr(), "\r\x1b[2K{percent} % of {} read", text::bytes(self.total));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if self.percent.is_some() {
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        }
    }
}
