//! What a job is at while the command waits for it, on standard error, if that is a terminal.

use std::io::{IsTerminal, Write};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater_core::{Clock, SystemClock};

/// How often the line is drawn anew.
const REFRESH: Duration = Duration::from_millis(500);

/// A line with what is waited for and since when, until it is dropped.
pub struct Waiting {
    words: Option<Sender<String>>,
    drawing: Option<JoinHandle<()>>,
}

impl Waiting {
    /// Begins to wait for `what`.
    pub fn start(what: String) -> Self {
        if !std::io::stderr().is_terminal() {
            return Waiting { words: None, drawing: None };
        }
        let (words, heard) = channel();
        let draw = move || {
            let clock = SystemClock::new();
            let (began, mut what) = (clock.monotonic(), what);
            loop {
                let seconds = clock.monotonic().saturating_sub(began).as_secs();
                // A terminal that is gone is no reason to stop.
                let _ = write!(std::io::stderr(), "\r\x1b[2K{what}, {seconds} s");
                match heard.recv_timeout(REFRESH) {
                    Ok(next) => what = next,
                    Err(RecvTimeoutError::Timeout) => {}
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            let _ = write!(std::io::stderr(), "\r\x1b[2K");
        };
        // Without the line the work is done all the same.
        let drawing = std::thread::Builder::new().name("highwater-waiting".into()).spawn(draw).ok();
        Waiting { words: Some(words), drawing }
    }

    /// What is waited for now.
    pub fn say(&mut self, what: String) {
        if let Some(words) = &self.words {
            let _ = words.send(what);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.words = None;
        if let Some(drawing) = self.drawing.take() {
            let _ = drawing.join();
        }
    }
}
