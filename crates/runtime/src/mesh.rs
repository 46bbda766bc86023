//! The data connections between the processes of an attempt.
//!
//! Every process listens on its own address and accepts connections from those with a higher index in the attempt. Each opens with a hello
//! that names job, cluster, attempt and process, so what belongs to an attempt that is over is turned away. We make the sockets of
//! timely's data plane ourselves and keep a handle to each, to shut it down when the attempt ends.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::Duration;

use highwater_core::{Clock, Error, ErrorKind, Result};
use highwater_jobmaster::AttemptToken;
use rustix::net::sockopt;

use crate::control::lock;
use crate::wire::{self, Hello, Start};

/// How long to wait before trying again to reach a process that does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How long the other end of a connection may leave what was sent unacknowledged.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the processes of an attempt try to reach each other before it has failed.
const REACH: Duration = Duration::from_secs(5);
/// How long a connection may take to say hello, or to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of this process with the others of its job.
pub(crate) struct Mesh {
    job: u64,
    clock: Arc<dyn Clock>,
    data: Arc<Arrivals>,
}

/// Why the data connections of an attempt could not be made.
pub(crate) struct NotConnected {
    /// The processes that were not reached, by their index.
    pub unreachable: Vec<u32>,
    pub error: Error,
}

impl From<Error> for NotConnected {
    fn from(error: Error) -> Self {
        NotConnected { unreachable: Vec::new(), error }
    }
}

/// Data connections that have come in and were not yet asked for.
#[derive(Default)]
struct Arrivals {
    streams: Mutex<HashMap<(String, AttemptToken, u32), TcpStream>>,
    changed: Condvar,
}

/// Handles to the data sockets of an attempt.
#[derive(Default)]
pub(crate) struct DataSockets(Vec<TcpStream>);

impl DataSockets {
    /// Ends every connection at once: whoever waits on one notices.
    pub fn shut_down(&self) {
        for socket in &self.0 {
            // One that is down already is what we want.
            let _ = socket.shutdown(Shutdown::Both);
        }
    }
}

impl Mesh {
    /// Listens on `address`, of which the port may be 0, for the connections of attempts of the job with this digest; and where it does.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn listen(address: &str, job: u64, clock: Arc<dyn Clock>) -> Result<(Self, SocketAddr)> {
        keep_lost_connections_quiet();
        let unusable = |error| {
            let message =
                format!("cannot listen on {address}: give an address of this machine and a free port in --listen");
            Error::settings(message).with_source(error)
        };
        let listener = TcpListener::bind(address).map_err(unusable)?;
        let local = listener.local_addr().map_err(unusable)?;
        let data = Arc::<Arrivals>::default();
        let arrivals = Arc::clone(&data);
        std::thread::Builder::new()
            .name("highwater-accept".into())
            .spawn(move || accept(&listener, job, &arrivals))
            .map_err(|error| Error::internal("cannot start the accepting thread").with_source(error))?;
        Ok((Mesh { job, clock, data }, local))
    }

    /// Connects process `process` of an attempt to the one at `address`, trying until it answers or `give_up` says so.
    fn connect(&self, start: &Start, process: u32, address: &str, give_up: &dyn Fn() -> bool) -> Result<TcpStream> {
        let hello = Hello { job: self.job, cluster: start.cluster.clone(), token: start.token, process };
        loop {
            match open(address, &hello) {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::Settings || give_up() => return Err(error),
                Err(_) => std::thread::sleep(RETRY),
            }
        }
    }

    /// Makes the data connections of process `index` of an attempt: to every process with a lower index, from every one with a higher.
    ///
    /// # Errors
    /// If `give_up` says so before all are there, or they do not reach each other within seconds.
    pub fn data_sockets(
        &self,
        start: &Start,
        index: u32,
        give_up: &dyn Fn() -> bool,
    ) -> std::result::Result<(Vec<Option<TcpStream>>, DataSockets), NotConnected> {
        let deadline = self.clock.monotonic().saturating_add(REACH);
        let is_late = || self.clock.monotonic() >= deadline;
        let stop = || give_up() || is_late();
        let mut streams = Vec::new();
        let (mut unreachable, mut errors) = (Vec::new(), Vec::new());
        for (process, address) in (0..).zip(&start.hosts) {
            let made = match process.cmp(&index) {
                Ordering::Less => self.connect(start, index, address, &stop),
                Ordering::Equal => {
                    streams.push(None);
                    continue;
                }
                Ordering::Greater => self.arrival(start, process, &stop),
            };
            match made {
                Ok(stream) => streams.push(Some(stream)),
                Err(error) if give_up() || !is_late() => return Err(error.into()),
                Err(error) => {
                    unreachable.push(process);
                    errors.push(error.to_string());
                }
            }
        }
        if !unreachable.is_empty() {
            let message =
                format!("not all processes of the attempt reach each other within {REACH:?}: {}", errors.join("; "));
            return Err(NotConnected { unreachable, error: Error::new(ErrorKind::Cluster, message) });
        }
        let handles: std::io::Result<Vec<_>> = streams.iter().flatten().map(TcpStream::try_clone).collect();
        let handles =
            handles.map_err(|error| Error::internal("cannot keep a handle to a socket").with_source(error))?;
        Ok((streams, DataSockets(handles)))
    }

    fn arrival(&self, start: &Start, process: u32, give_up: &dyn Fn() -> bool) -> Result<TcpStream> {
        let mut streams = lock(&self.data.streams);
        loop {
            // What belongs to an attempt that is over is closed by dropping it.
            streams.retain(|(cluster, token, _), _| *cluster == start.cluster && *token >= start.token);
            if let Some(stream) = streams.remove(&(start.cluster.clone(), start.token, process)) {
                return Ok(stream);
            }
            if give_up() {
                let address = start.hosts.get(process as usize).map_or("?", String::as_str);
                let message = format!("the process at {address} did not connect");
                return Err(Error::new(ErrorKind::Cluster, message));
            }
            let waited = self.data.changed.wait_timeout(streams, RETRY);
            streams = waited.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }
}

/// Timely panics when a connection is lost, in its communication threads and then in workers that still use their queues. The driver
/// hears of it by the control connection and says so itself; the panics' own messages would only confuse.
fn keep_lost_connections_quiet() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let previous = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.location().is_some_and(|place| place.file().contains("timely_communication")) {
                tracing::debug!(%panic, "a data connection was lost");
            } else {
                previous(panic);
            }
        }));
    });
}

/// Has the system notice within seconds that the other end is cut off: by itself it goes on sending for a quarter of an hour.
fn notice_silence(stream: &TcpStream) -> std::io::Result<()> {
    sockopt::set_socket_keepalive(stream, true)?;
    sockopt::set_tcp_keepidle(stream, SILENCE / 2)?;
    sockopt::set_tcp_keepintvl(stream, Duration::from_secs(1))?;
    sockopt::set_tcp_keepcnt(stream, 3)?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    sockopt::set_tcp_user_timeout(stream, SILENCE.as_millis() as u32)?;
    Ok(())
}

fn open(address: &str, hello: &Hello) -> Result<TcpStream> {
    let unreachable = |error| Error::new(ErrorKind::Cluster, format!("cannot connect to {address}")).with_source(error);
    let mut resolved = address.to_socket_addrs().map_err(unreachable)?;
    let socket = resolved.next().ok_or_else(|| Error::settings(format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&socket, PATIENCE).map_err(unreachable)?;
    stream.set_nodelay(true).and_then(|()| notice_silence(&stream)).map_err(unreachable)?;
    wire::write(&mut stream, hello)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(unreachable)?;
    let answer: std::result::Result<(), String> = wire::read(&mut stream)?;
    stream.set_read_timeout(None).map_err(unreachable)?;
    answer.map_err(|why| Error::settings(format!("process at {address} refuses: {why}")))?;
    Ok(stream)
}

/// Accepts connections for as long as the process lives. Each is greeted on a thread of its own: one that says nothing holds up no
/// other.
fn accept(listener: &TcpListener, job: u64, arrivals: &Arc<Arrivals>) {
    for stream in listener.incoming().flatten() {
        let arrivals = Arc::clone(arrivals);
        let welcome = move || welcome(stream, job, &arrivals);
        if let Err(error) = std::thread::Builder::new().name("highwater-greet".into()).spawn(welcome) {
            tracing::warn!(%error, "a connection was turned away");
        }
    }
}

fn welcome(mut stream: TcpStream, job: u64, arrivals: &Arrivals) {
    match greet(&mut stream, job) {
        Ok(Hello { cluster, token, process, .. }) => {
            lock(&arrivals.streams).insert((cluster, token, process), stream);
            arrivals.changed.notify_all();
        }
        Err(error) => tracing::warn!(%error, "a connection was turned away"),
    }
}

fn greet(stream: &mut TcpStream, job: u64) -> Result<Hello> {
    let socket = |error| Error::new(ErrorKind::Cluster, "cannot set up a connection").with_source(error);
    stream.set_nodelay(true).and_then(|()| notice_silence(stream)).map_err(socket)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(socket)?;
    let hello: Hello = wire::read(stream)?;
    stream.set_read_timeout(None).map_err(socket)?;
    let answer = if hello.job == job {
        Ok(())
    } else {
        Err("it runs another job, or another version of this one: start the same program everywhere".to_string())
    };
    wire::write(stream, &answer)?;
    answer.map(|()| hello).map_err(|why| Error::new(ErrorKind::Cluster, format!("told the other process: {why}")))
}
