//! The sockets between the processes of a job.
//!
//! Every process listens on its own address and accepts two kinds of connections: control connections (to process 0, from all
//! others) and the data connections of an attempt (from every process with a higher index in it). Each opens with a hello that names job,
//! process and attempt, so what belongs to an attempt that is over is turned away. We make the sockets of timely's data plane
//! ourselves and keep a handle to each, to shut it down when the attempt ends.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::Duration;

use highwater_core::{Clock, Error, ErrorKind, Result};
use highwater_jobmaster::AttemptToken;
use rustix::net::sockopt;

use crate::control::lock;
use crate::wire::{self, Hello, Purpose, Start};

/// How long to wait before trying again to reach a process that does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How often to say that a process does not answer.
const REMIND: Duration = Duration::from_secs(5);
/// How long the other end of a connection may leave what was sent unacknowledged.
const SILENCE: Duration = Duration::from_secs(5);
/// How long the processes of a cluster try to reach each other before the attempt has failed.
const REACH: Duration = Duration::from_secs(5);
/// How long a connection may take to say hello, or to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of this process with the others of its job.
pub(crate) struct Mesh {
    workers: u32,
    job: u64,
    clock: Arc<dyn Clock>,
    data: Arc<Arrivals>,
    /// How long it tries to reach the others of an attempt; `None` for as long as the attempt lasts.
    patience: Option<Duration>,
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

/// Processes that follow this one, as their control connections come in.
pub(crate) type Followers = Receiver<(u32, TcpStream)>;

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
    /// Listens on this process's address.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn listen(
        address: &str,
        process: u32,
        job: u64,
        workers: u32,
        clock: Arc<dyn Clock>,
    ) -> Result<(Self, Followers)> {
        let listener = TcpListener::bind(address).map_err(|error| {
            let way_out = match error.kind() {
                std::io::ErrorKind::AddrInUse => {
                    "the port is in use, by another run of this job perhaps: stop that, or give another port in --hosts"
                }
                _ => "give an address of this machine at this place in --hosts, or another --process",
            };
            Error::settings(format!("process {process} cannot listen on {address}: {way_out}")).with_source(error)
        })?;
        Self::serve(listener, job, workers, clock)
    }

    fn serve(listener: TcpListener, job: u64, workers: u32, clock: Arc<dyn Clock>) -> Result<(Self, Followers)> {
        keep_lost_connections_quiet();
        let (sender, controls) = channel();
        let data = Arc::<Arrivals>::default();
        let arrivals = Arc::clone(&data);
        std::thread::Builder::new()
            .name("highwater-accept".into())
            .spawn(move || accept(&listener, job, workers, &arrivals, &sender))
            .map_err(|error| Error::internal("cannot start the accepting thread").with_source(error))?;
        Ok((Mesh { workers, job, clock, data, patience: None }, controls))
    }

    /// Listens on `address`, of which the port may be 0, for the data connections of attempts of a cluster; and where it
    /// does.
    ///
    /// # Errors
    /// If the address cannot be listened on.
    pub fn listen_at(address: &str, job: u64, clock: Arc<dyn Clock>) -> Result<(Self, SocketAddr)> {
        let unusable = |error| {
            let message =
                format!("cannot listen on {address}: give an address of this machine and a free port in --listen");
            Error::settings(message).with_source(error)
        };
        let listener = TcpListener::bind(address).map_err(unusable)?;
        let local = listener.local_addr().map_err(unusable)?;
        // How many workers each has is told with the attempt.
        let (mesh, _) = Self::serve(listener, job, 0, clock)?;
        Ok((Mesh { patience: Some(REACH), ..mesh }, local))
    }

    /// Connects process `process` to another, trying until it answers or `give_up` says so.
    pub fn connect(
        &self,
        process: u32,
        address: &str,
        purpose: Purpose,
        give_up: &dyn Fn() -> bool,
    ) -> Result<TcpStream> {
        let began = self.clock.monotonic();
        let mut reminded = Duration::ZERO;
        let hello = Hello { purpose, job: self.job, process, workers: self.workers };
        loop {
            let error = match open(address, &hello) {
                Ok(stream) => return Ok(stream),
                Err(error) if error.kind() == ErrorKind::Settings => return Err(error),
                Err(error) => error,
            };
            if give_up() {
                return Err(error);
            }
            let waited = self.clock.monotonic().saturating_sub(began);
            if waited >= reminded + REMIND {
                reminded = waited;
                tracing::info!(address, "waiting for the process to answer: {error}");
            }
            std::thread::sleep(RETRY);
        }
    }

    /// Makes the data connections of process `index` of an attempt: to every process with a lower index, from every one with a higher.
    ///
    /// # Errors
    /// If `give_up` says so before all are there, or patience ends.
    pub fn data_sockets(
        &self,
        start: &Start,
        index: u32,
        give_up: &dyn Fn() -> bool,
    ) -> std::result::Result<(Vec<Option<TcpStream>>, DataSockets), NotConnected> {
        let deadline = self.patience.map(|patience| self.clock.monotonic().saturating_add(patience));
        let is_late = || deadline.is_some_and(|deadline| self.clock.monotonic() >= deadline);
        let stop = || give_up() || is_late();
        let mut streams = Vec::new();
        let (mut unreachable, mut errors) = (Vec::new(), Vec::new());
        for (process, address) in (0..).zip(&start.hosts) {
            let made = match process.cmp(&index) {
                Ordering::Less => self.connect(index, address, start.data_purpose(), &stop),
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
            let patience = self.patience.unwrap_or_default();
            let message =
                format!("not all processes of the attempt reach each other within {patience:?}: {}", errors.join("; "));
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
fn accept(
    listener: &TcpListener,
    job: u64,
    workers: u32,
    arrivals: &Arc<Arrivals>,
    controls: &Sender<(u32, TcpStream)>,
) {
    for stream in listener.incoming().flatten() {
        let (arrivals, controls) = (Arc::clone(arrivals), controls.clone());
        let welcome = move || welcome(stream, job, workers, &arrivals, &controls);
        if let Err(error) = std::thread::Builder::new().name("highwater-greet".into()).spawn(welcome) {
            tracing::warn!(%error, "a connection was turned away");
        }
    }
}

fn welcome(mut stream: TcpStream, job: u64, workers: u32, arrivals: &Arrivals, controls: &Sender<(u32, TcpStream)>) {
    match greet(&mut stream, job, workers) {
        Ok(Hello { purpose: Purpose::Control, process, .. }) => {
            // Without a receiver the job is over.
            let _ = controls.send((process, stream));
        }
        Ok(Hello { purpose: Purpose::Data { token, cluster }, process, .. }) => {
            lock(&arrivals.streams).insert((cluster, token, process), stream);
            arrivals.changed.notify_all();
        }
        Err(error) => tracing::warn!(%error, "a connection was turned away"),
    }
}

fn greet(stream: &mut TcpStream, job: u64, workers: u32) -> Result<Hello> {
    let socket = |error| Error::new(ErrorKind::Cluster, "cannot set up a connection").with_source(error);
    stream.set_nodelay(true).and_then(|()| notice_silence(stream)).map_err(socket)?;
    stream.set_read_timeout(Some(PATIENCE)).map_err(socket)?;
    let hello: Hello = wire::read(stream)?;
    stream.set_read_timeout(None).map_err(socket)?;
    let answer = if hello.job != job {
        Err("it runs another job, or another version of this one: start the same program everywhere".to_string())
    } else if hello.workers != workers {
        Err(format!("it has {workers} workers and you have {}: give the same --workers everywhere", hello.workers))
    } else {
        Ok(())
    };
    wire::write(stream, &answer)?;
    answer.map(|()| hello).map_err(|why| Error::new(ErrorKind::Cluster, format!("told the other process: {why}")))
}
