//! A network that breaks when it is told to.

use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// Passes connections on to another address.
pub struct Proxy {
    address: SocketAddr,
    wires: Arc<Wires>,
}

#[derive(Default)]
struct Wires {
    swallows: AtomicBool,
    streams: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    pub fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let wires = Arc::<Wires>::default();
        let accepting = Arc::clone(&wires);
        std::thread::spawn(move || {
            for near in listener.incoming().map_while(Result::ok) {
                let Ok(far) = TcpStream::connect(target) else { continue };
                for (from, to) in [(&near, &far), (&far, &near)] {
                    let (from, to, wires) =
                        (from.try_clone().unwrap(), to.try_clone().unwrap(), Arc::clone(&accepting));
                    std::thread::spawn(move || wires.pass_on(from, to));
                }
                accepting.streams.lock().unwrap().extend([near, far]);
            }
        });
        Proxy { address, wires }
    }

    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// The connections break.
    pub fn cut(&self) {
        for stream in self.wires.streams.lock().unwrap().drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// The connections stand, and nothing comes through any more.
    pub fn swallow(&self) {
        self.wires.swallows.store(true, Ordering::SeqCst);
    }
}

impl Wires {
    fn pass_on(&self, mut from: TcpStream, mut to: TcpStream) {
        let mut bytes = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut bytes) {
            if !self.swallows.load(Ordering::SeqCst) && to.write_all(&bytes[..len]).is_err() {
                break;
            }
        }
        if !self.swallows.load(Ordering::SeqCst) {
            let _ = to.shutdown(Shutdown::Write);
        }
    }
}
