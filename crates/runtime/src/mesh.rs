//! The sockets between the processes of a job.
//!
//! Every process listens on its own address and accepts two kinds of connections: control connections (to process 0, from all
//! others) and the data connections of an attempt (from every process with a higher index in it). Each opens with a hello that names job,
//! process and attempt, so what belongs to an attempt that is over is turned away. We make the sockets of timely's data plane
//! ourselves and keep a handle to each, to shut it down when the attempt ends.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Condvar, Mutex, Once};
use std::time::Duration;

use highwater_core::{Clock, Error, ErrorKind, Result};
use highwater_jobmaster::AttemptToken;

use crate::control::lock;
use crate::wire::{self, Hello, Purpose, Start};

/// How long to wait before trying again to reach a process that does not answer.
const RETRY: Duration = Duration::from_millis(200);
/// How often to say that a process does not answer.
const REMIND: Duration = Duration::from_secs(5);
/// How long a connection may take to say hello, or to be made.
const PATIENCE: Duration = Duration::from_secs(5);

/// Connections of this process with the others of its job.
pub(crate) struct Mesh {
    workers: u32,
    job: u64,
    clock: Arc<dyn Clock>,
    data: Arc<Arrivals>,
}

/// Processes that follow this one, as their control connections come in.
pub(crate) type Followers = Receiver<(u32, TcpStream)>;

/// Data connections that have come in and were not yet asked for.
#[derive(Default)]
struct Arrivals {
    streams: Mutex<HashMap<(AttemptToken, u32), TcpStream>>,
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
        keep_lost_connections_quiet();
        let (sender, controls) = channel();
        let data = Arc::<Arrivals>::default();
        let arrivals = Arc::clone(&data);
        std::thread::Builder::new()
            .name("highwater-accept".into())
            .spawn(move || accept(&listener, job, workers, &arrivals, &sender))
            .map_err(|error| Error::internal("cannot start the accepting thread").with_source(error))?;
        Ok((Mesh { workers, job, clock, data }, controls))
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
    /// If `give_up` says so before all are there.
    pub fn data_sockets(
        &self,
        start: &Start,
        index: u32,
        give_up: &dyn Fn() -> bool,
    ) -> Result<(Vec<Option<TcpStream>>, DataSockets)> {
        let mut streams = Vec::new();
        let token = start.token;
        for (process, address) in (0..).zip(&start.hosts) {
            streams.push(match process.cmp(&index) {
                Ordering::Less => Some(self.connect(index, address, Purpose::Data { token }, give_up)?),
                Ordering::Equal => None,
                Ordering::Greater => Some(self.arrival(token, process, give_up)?),
            });
        }
        let handles: std::io::Result<Vec<_>> = streams.iter().flatten().map(TcpStream::try_clone).collect();
        let handles =
            handles.map_err(|error| Error::internal("cannot keep a handle to a socket").with_source(error))?;
        Ok((streams, DataSockets(handles)))
    }

    fn arrival(&self, token: AttemptToken, process: u32, give_up: &dyn Fn() -> bool) -> Result<TcpStream> {
        let mut streams = lock(&self.data.streams);
        loop {
            // What belongs to an attempt that is over is closed by dropping it.
            streams.retain(|(other, _), _| *other >= token);
            if let Some(stream) = streams.remove(&(token, process)) {
                return Ok(stream);
            }
            if give_up() {
                return Err(Error::new(ErrorKind::Cluster, format!("process {process} did not connect")));
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

fn open(address: &str, hello: &Hello) -> Result<TcpStream> {
    let unreachable = |error| Error::new(ErrorKind::Cluster, format!("cannot connect to {address}")).with_source(error);
    let mut resolved = address.to_socket_addrs().map_err(unreachable)?;
    let socket = resolved.next().ok_or_else(|| Error::settings(format!("{address} is no address")))?;
    let mut stream = TcpStream::connect_timeout(&socket, PATIENCE).map_err(unreachable)?;
    stream.set_nodelay(true).map_err(unreachable)?;
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
        Ok(Hello { purpose: Purpose::Data { token }, process, .. }) => {
            lock(&arrivals.streams).insert((token, process), stream);
            arrivals.changed.notify_all();
        }
        Err(error) => tracing::warn!(%error, "a connection was turned away"),
    }
}

fn greet(stream: &mut TcpStream, job: u64, workers: u32) -> Result<Hello> {
    let socket = |error| Error::new(ErrorKind::Cluster, "cannot set up a connection").with_source(error);
    stream.set_nodelay(true).map_err(socket)?;
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
