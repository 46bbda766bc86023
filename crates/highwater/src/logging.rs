//! Logs through `tracing`, to standard error: readable by default, JSON by `--log-format json`, levels by `RUST_LOG`.

use std::io::{IsTerminal, Stderr, Write};

use tracing_subscriber::EnvFilter;

use crate::settings::LogFormat;

/// Sets up logging for the process, unless the program has done so. Without `RUST_LOG`, warnings and what a job's user wants to know.
pub fn init(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::stderr().is_terminal();
    let builder = tracing_subscriber::fmt().with_env_filter(filter);
    // An error means that the program has a subscriber of its own, which then gets everything.
    let _ = match format {
        LogFormat::Text => builder
            .with_target(false)
            .with_ansi(terminal)
            .with_writer(move || Lines { terminal, out: std::io::stderr() })
            .try_init(),
        LogFormat::Json => builder.json().with_writer(std::io::stderr).try_init(),
    };
}

/// Standard error, where a log line takes the place of the progress line that may stand there.
struct Lines {
    terminal: bool,
    out: Stderr,
}

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if self.terminal {
            self.out.write_all(b"\r\x1b[2K")?;
        }
        self.out.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.out.flush()
    }
}
