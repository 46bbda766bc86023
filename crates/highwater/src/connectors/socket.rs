//! A source that reads lines from a TCP connection, for demos.

use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

use highwater_core::{Error, ErrorKind, Result};
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater_state::Data;

use super::lines::{LineCutter, MAX_LINE_BYTES, TooLong};

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Connects to a server and emits each line it sends, until it closes the connection.
///
/// A connection cannot be read again: what was received after the last completed checkpoint is lost when the job restarts, so
/// this source is *at-most-once* unless the server sends everything again. For anything else let the server write to a file
/// or a log and read that.
///
/// Try it with `nc -lk 9999` and `SocketSource::lines("localhost:9999")`.
#[derive(Clone, Debug)]
pub struct SocketSource {
    address: String,
}

impl SocketSource {
    /// The lines that the server at `address`, a `host:port`, sends. They end with `\n` or `\r\n`, are at most 16 MiB long,
    /// and what is not UTF-8 becomes U+FFFD.
    pub fn lines(address: impl Into<String>) -> Self {
        SocketSource { address: address.into() }
    }
}

/// The one connection of a [`SocketSource`].
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct SocketSplit {
    address: String,
    ended: bool,
}

impl Source for SocketSource {
    type Record = String;
    type Split = SocketSplit;
    type Reader = SocketReader;

    fn discover(&self, _parallelism: u32) -> Result<Vec<SocketSplit>> {
        Ok(vec![SocketSplit { address: self.address.clone(), ended: false }])
    }

    fn reader(&self, splits: Vec<SocketSplit>) -> Result<SocketReader> {
        let connections = splits.into_iter().map(Connection::open).collect::<Result<_>>()?;
        Ok(SocketReader { connections, named: false })
    }
}

/// Reads a [`SocketSource`]: in one subtask a connection, in the others nothing.
#[derive(Debug)]
pub struct SocketReader {
    connections: Vec<Connection>,
    /// Whether the output knows them.
    named: bool,
}

impl SourceReader for SocketReader {
    type Record = String;
    type Split = SocketSplit;

    fn poll(&mut self, output: &mut SourceOutput<String>) -> Result<SourceStatus> {
        if !std::mem::replace(&mut self.named, true) {
            (0u32..).zip(&self.connections).for_each(|(number, _)| output.split(number));
        }
        let mut status = SourceStatus::End;
        for (number, connection) in (0u32..).zip(&mut self.connections) {
            output.split(number);
            match connection.poll(output)? {
                SourceStatus::More => return Ok(SourceStatus::More),
                idle @ SourceStatus::Idle(_) => status = idle,
                SourceStatus::End => output.finish_split(number),
            }
        }
        Ok(status)
    }

    fn snapshot(&self) -> Vec<SocketSplit> {
        self.connections.iter().map(|connection| connection.split.clone()).collect()
    }
}

#[derive(Debug)]
struct Connection {
    split: SocketSplit,
    /// `None` once the server has closed it.
    stream: Option<TcpStream>,
    cutter: LineCutter,
}

impl Connection {
    fn open(split: SocketSplit) -> Result<Self> {
        let stream = if split.ended { None } else { Some(connect(&split.address)?) };
        Ok(Connection { split, stream, cutter: LineCutter::new(MAX_LINE_BYTES) })
    }

    fn poll(&mut self, output: &mut SourceOutput<String>) -> Result<SourceStatus> {
        let Some(stream) = &mut self.stream else { return Ok(SourceStatus::End) };
        while output.room() > 0 {
            if let Some(line) = self.cutter.next_line().map_err(|TooLong| too_long(&self.split.address))? {
                output.emit(line.text());
                continue;
            }
            match self.cutter.read_from(stream) {
                Ok(0) => {
                    if let Some(line) = self.cutter.last_line().map_err(|TooLong| too_long(&self.split.address))? {
                        output.emit(line.text());
                    }
                    self.split.ended = true;
                    self.stream = None;
                    return Ok(SourceStatus::End);
                }
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Ok(SourceStatus::Idle(POLL_INTERVAL));
                }
                Err(error) => return Err(lost(&self.split.address, error)),
            }
        }
        Ok(SourceStatus::More)
    }
}

fn connect(address: &str) -> Result<TcpStream> {
    let refused = |error| {
        let message = format!("cannot connect to {address}: start the server there first, for example `nc -lk <port>`");
        Error::new(ErrorKind::Input, message).with_source(error)
    };
    let mut last_error = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for candidate in address.to_socket_addrs().map_err(refused)? {
        match TcpStream::connect_timeout(&candidate, CONNECT_TIMEOUT) {
            Ok(stream) => {
                stream.set_nonblocking(true).map_err(refused)?;
                tracing::warn!(address, "a socket cannot be read again: lines in flight are lost if the job restarts");
                return Ok(stream);
            }
            Err(error) => last_error = error,
        }
    }
    Err(refused(last_error))
}

fn too_long(address: &str) -> Error {
    let message = format!("a line from {address} is longer than {MAX_LINE_BYTES} bytes: check that it is text");
    Error::new(ErrorKind::Input, message)
}

fn lost(address: &str, error: io::Error) -> Error {
    let message = format!("the connection to {address} was lost: check the server; a restart connects again");
    Error::new(ErrorKind::Input, message).with_source(error)
}
