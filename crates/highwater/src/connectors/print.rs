//! A sink that prints.
//!
//! A terminal cannot take back what it shows, so there is nothing to commit: records appear at once, and again after a restore.

use std::fmt;
use std::fmt::Display;
use std::io::Write;
use std::marker::PhantomData;

use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_runtime::batch::Record;
use highwater_runtime::sink::{Prepared, Sink, SinkContext, SinkWriter};

use super::lines::append_line;

/// Prints every record as a line on standard output, at once: *at-least-once*.
pub struct PrintSink<T> {
    record: PhantomData<fn(T)>,
}

impl<T> PrintSink<T> {
    /// A sink that prints records of type `T`.
    pub fn new() -> Self {
        PrintSink { record: PhantomData }
    }
}

impl<T> Default for PrintSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> fmt::Debug for PrintSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PrintSink")
    }
}

impl<T: Record + Display> Sink for PrintSink<T> {
    type Record = T;
    type Writer = PrintWriter<T>;

    fn open(&self, _context: &SinkContext, _states: Vec<()>) -> Result<PrintWriter<T>> {
        Ok(PrintWriter::to(std::io::stdout()))
    }
}

/// Prints the records of one subtask.
pub struct PrintWriter<T> {
    lines: Vec<u8>,
    output: Box<dyn Write>,
    record: PhantomData<fn(T)>,
}

impl<T> PrintWriter<T> {
    /// A batch of lines longer than this is printed in parts.
    const BUFFER_BYTES: usize = 64 * 1024;

    fn to(output: impl Write + 'static) -> Self {
        PrintWriter { lines: Vec::new(), output: Box::new(output), record: PhantomData }
    }

    fn print(&mut self) -> Result<()> {
        // Whole lines in one call: lines of several subtasks do not get mixed.
        let printed = self.output.write_all(&self.lines).and_then(|()| self.output.flush());
        self.lines.clear();
        printed.map_err(|error| {
            let (kind, message) = match error.kind() {
                // Not of the kind that a restart gets over: a process never gets a closed pipe back.
                std::io::ErrorKind::BrokenPipe => {
                    (ErrorKind::Settings, "standard output was closed by the program that reads it, so the job ends")
                }
                _ => (ErrorKind::Input, "cannot write to standard output"),
            };
            Error::new(kind, message).with_source(error)
        })
    }
}

impl<T> fmt::Debug for PrintWriter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PrintWriter").field("buffered_bytes", &self.lines.len()).finish_non_exhaustive()
    }
}

impl<T: Record + Display> SinkWriter for PrintWriter<T> {
    type Record = T;
    type Committable = ();
    type State = ();

    fn write(&mut self, record: T, _time: i64) -> Result<()> {
        append_line(&record, &mut self.lines);
        if self.lines.len() >= Self::BUFFER_BYTES { self.print() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.lines.is_empty() { Ok(()) } else { self.print() }
    }

    fn prepare(&mut self, _id: CheckpointId, _last: bool) -> Result<Prepared<(), ()>> {
        self.flush()?;
        Ok(Prepared::default())
    }

    fn commit(&mut self, _committables: Vec<()>) -> Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use highwater_runtime::batch::NO_TIME;

    use super::*;

    #[derive(Clone, Default)]
    struct Shared(Arc<Mutex<Vec<u8>>>);

    impl Write for Shared {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    struct Closed;

    impl Write for Closed {
        fn write(&mut self, _bytes: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_record_is_a_line() {
        let shown = Shared::default();
        let mut writer = PrintWriter::to(shown.clone());
        writer.write("one".to_string(), NO_TIME).unwrap();
        writer.write("two".to_string(), NO_TIME).unwrap();
        assert_eq!(*shown.0.lock().unwrap(), b"", "nothing is printed before the batch ends");
        writer.flush().unwrap();
        assert_eq!(*shown.0.lock().unwrap(), b"one\ntwo\n");
        writer.write("three".to_string(), NO_TIME).unwrap();
        writer.prepare(CheckpointId(1), false).unwrap();
        assert_eq!(*shown.0.lock().unwrap(), b"one\ntwo\nthree\n");
    }

    #[test]
    fn a_closed_pipe_is_an_error_that_says_so_and_that_no_restart_is_tried_for() {
        let mut writer = PrintWriter::to(Closed);
        writer.write(1, NO_TIME).unwrap();
        let error = writer.flush().unwrap_err();
        assert!(!error.kind().is_recoverable(), "{error:?}");
        assert!(error.to_string().contains("closed by the program that reads it"), "{error}");
    }
}
