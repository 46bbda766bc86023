//! A network that does what tests want: a proxy in front of a server, with rules for requests that hold some bytes.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// What happens to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It arrives; the answer does not, and the connection breaks.
    AnswerLost,
    /// It arrives; half of the answer does, and the connection breaks.
    AnswerCut,
    /// Half of it arrives, and the connection breaks.
    RequestCut,
    /// Nothing of it arrives, and nothing happens any more.
    Silence,
    /// Nothing of it arrives, and the answer is nobody's protocol.
    Garbage,
}

struct Rule {
    /// All of these must be in what a client sends at once.
    request: Vec<Vec<u8>>,
    fault: Fault,
    times: u32,
    hook: Box<dyn FnMut() + Send>,
}

struct Network {
    server: SocketAddr,
    rule: Mutex<Option<Rule>>,
    down: AtomicBool,
    /// From now on no answer arrives, and no connection is made.
    deaf: AtomicBool,
    connections: Mutex<Vec<TcpStream>>,
}

/// A proxy; it stops with its last connection.
pub struct Proxy {
    address: SocketAddr,
    network: Arc<Network>,
}

impl Proxy {
    /// A proxy in front of `server`, which lets everything pass.
    ///
    /// # Panics
    /// If there is no free port.
    pub fn new(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let network = Arc::new(Network {
            server,
            rule: Mutex::default(),
            down: AtomicBool::new(false),
            deaf: AtomicBool::new(false),
            connections: Mutex::default(),
        });
        let accepting = Arc::clone(&network);
        thread::Builder::new().spawn(move || accepting.accept(&listener)).unwrap();
        Proxy { address, network }
    }

    /// Where clients connect to.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Lets `fault` happen to the next `times` requests that hold all of `request`.
    pub fn fault(&self, request: &[&str], fault: Fault, times: u32) {
        self.fault_and(request, fault, times, || {});
    }

    /// The same, and calls `hook` each time.
    pub fn fault_and(&self, request: &[&str], fault: Fault, times: u32, hook: impl FnMut() + Send + 'static) {
        let request = request.iter().map(|part| part.as_bytes().to_vec()).collect();
        *self.network.rule() = Some(Rule { request, fault, times, hook: Box::new(hook) });
    }

    /// Lets nothing through any more to the client that is not under way, and takes no new connections.
    pub fn deafen(&self) -> impl FnMut() + Send + 'static {
        let network = Arc::clone(&self.network);
        move || network.deaf.store(true, Ordering::SeqCst)
    }

    /// How often the fault has yet to happen.
    pub fn faults_left(&self) -> u32 {
        self.network.rule().as_ref().map_or(0, |rule| rule.times)
    }

    /// Requests pass again.
    pub fn heal(&self) {
        *self.network.rule() = None;
        self.network.down.store(false, Ordering::SeqCst);
    }

    /// Breaks all connections and takes no new ones.
    pub fn go_down(&self) {
        self.network.down.store(true, Ordering::SeqCst);
        for connection in self.network.connections.lock().unwrap().drain(..) {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Network {
    fn rule(&self) -> MutexGuard<'_, Option<Rule>> {
        self.rule.lock().unwrap()
    }

    fn accept(self: Arc<Self>, listener: &TcpListener) {
        for client in listener.incoming() {
            let Ok(client) = client else { return };
            if self.down.load(Ordering::SeqCst) || self.deaf.load(Ordering::SeqCst) {
                continue;
            }
            let Ok(server) = TcpStream::connect(self.server) else { continue };
            let mut connections = self.connections.lock().unwrap();
            connections.extend([client.try_clone().unwrap(), server.try_clone().unwrap()]);
            let wire = Arc::new(Wire { client, server, answer: Mutex::new(None) });
            for pump in [Wire::requests as fn(&Wire, &Network), Wire::answers] {
                let (wire, network) = (Arc::clone(&wire), Arc::clone(&self));
                thread::Builder::new().spawn(move || pump(&wire, &network)).unwrap();
            }
        }
    }

    /// The fault for these bytes of a client, if there is one.
    fn fault_of(&self, bytes: &[u8]) -> Option<Fault> {
        let mut rule = self.rule();
        let rule = rule.as_mut().filter(|rule| rule.times > 0)?;
        let holds = |part: &Vec<u8>| bytes.windows(part.len()).any(|window| window == part.as_slice());
        if !rule.request.iter().all(holds) {
            return None;
        }
        rule.times -= 1;
        (rule.hook)();
        Some(rule.fault)
    }
}

/// One connection.
struct Wire {
    client: TcpStream,
    server: TcpStream,
    /// What will happen to the next answer.
    answer: Mutex<Option<Fault>>,
}

impl Wire {
    fn requests(&self, network: &Network) {
        let mut buffer = vec![0; 256 * 1024];
        while let Some(bytes) = receive(&self.client, &mut buffer) {
            let passed = match network.fault_of(bytes) {
                None => send(&self.server, bytes),
                Some(fault @ (Fault::AnswerLost | Fault::AnswerCut)) => {
                    *self.answer.lock().unwrap() = Some(fault);
                    send(&self.server, bytes)
                }
                Some(Fault::RequestCut) => {
                    send(&self.server, &bytes[..bytes.len() / 2]);
                    false
                }
                Some(Fault::Silence) => true,
                Some(Fault::Garbage) => {
                    send(&self.client, &[0x5a; 4096]);
                    false
                }
            };
            if !passed {
                break;
            }
        }
        self.close();
    }

    fn answers(&self, network: &Network) {
        let mut buffer = vec![0; 256 * 1024];
        while let Some(bytes) = receive(&self.server, &mut buffer) {
            let fault = *self.answer.lock().unwrap();
            let passed = match fault {
                None if network.deaf.load(Ordering::SeqCst) => false,
                None => send(&self.client, bytes),
                Some(Fault::AnswerCut) => {
                    send(&self.client, &bytes[..bytes.len() / 2]);
                    false
                }
                Some(_) => false,
            };
            if !passed {
                break;
            }
        }
        self.close();
    }

    fn close(&self) {
        for stream in [&self.client, &self.server] {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn receive<'a>(mut stream: &TcpStream, buffer: &'a mut [u8]) -> Option<&'a [u8]> {
    match stream.read(buffer) {
        Ok(0) | Err(_) => None,
        Ok(len) => Some(&buffer[..len]),
    }
}

fn send(mut stream: &TcpStream, bytes: &[u8]) -> bool {
    stream.write_all(bytes).is_ok()
}
