//! The asking side of a control socket.

use std::io::{BufRead, BufReader, ErrorKind as IoErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};

use crate::protocol::{Answer, LONGEST_LINE, Request};

/// A connection to a job.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<UnixStream>,
    place: String,
}

impl Connection {
    /// Connects to the job that listens on `socket`.
    ///
    /// # Errors
    /// If none does.
    pub fn open(socket: &Path) -> Result<Connection> {
        let place = socket.display().to_string();
        let stream = UnixStream::connect(socket).map_err(|error| {
            Error::new(ErrorKind::Cluster, format!("no job answers on {place}: it may have ended")).with_source(error)
        })?;
        Ok(Connection { stream: BufReader::new(stream), place })
    }

    /// Gives the job only so long for an answer. Without, it may take its time: so does a savepoint.
    ///
    /// # Errors
    /// If the system does not allow it.
    pub fn wait_at_most(&mut self, patience: Duration) -> Result<()> {
        let set = self.stream.get_ref().set_read_timeout(Some(patience));
        set.map_err(|error| lost(&self.place).with_source(error))
    }

    /// Asks for something; the answers come as they are given, the last one last.
    ///
    /// # Errors
    /// If the request cannot be sent.
    pub fn ask(&mut self, request: &Request) -> Result<Answers<'_>> {
        let sent = self.stream.get_mut().write_all(request.line().as_bytes());
        sent.map_err(|error| lost(&self.place).with_source(error))?;
        Ok(Answers { connection: self, is_over: false })
    }

    fn read(&mut self) -> Result<Answer> {
        let mut line = Vec::new();
        let read = (&mut self.stream).take(LONGEST_LINE).read_until(b'\n', &mut line);
        read.map_err(|error| match error.kind() {
            IoErrorKind::WouldBlock | IoErrorKind::TimedOut => Error::new(
                ErrorKind::Cluster,
                format!("the job on {} does not answer: is its process halted?", self.place),
            ),
            _ => lost(&self.place).with_source(error),
        })?;
        if line.is_empty() {
            return Err(lost(&self.place));
        }
        serde_json::from_slice(&line).map_err(|error| {
            let message = format!("what listens on {} does not speak the protocol of jobs", self.place);
            Error::new(ErrorKind::Cluster, message).with_source(error)
        })
    }
}

fn lost(place: &str) -> Error {
    Error::new(ErrorKind::Cluster, format!("the job on {place} ended without an answer"))
}

/// The answers to a request.
#[derive(Debug)]
pub struct Answers<'a> {
    connection: &'a mut Connection,
    is_over: bool,
}

impl Iterator for Answers<'_> {
    type Item = Result<Answer>;

    fn next(&mut self) -> Option<Result<Answer>> {
        if self.is_over {
            return None;
        }
        let answer = self.connection.read();
        self.is_over = answer.as_ref().map_or(true, Answer::is_last);
        Some(answer)
    }
}
