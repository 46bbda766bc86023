//! What a measured job tells the benchmark that has started it, over UDP on this machine.
//!
//! Times are those of the machine's monotonic clock, which all its processes share: so they say when something happened, and not
//! when the benchmark came to read of it.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use serde::{Deserialize, Serialize};

/// No signal is longer, in bytes.
pub const LONGEST: usize = 512;

/// One datagram.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Signal {
    /// Records have come through.
    Flow(Flow),
    /// A user function fails, as it was asked to.
    Failing {
        /// When.
        at_ns: u64,
    },
    /// A key has come `expected` times, and its count is another: state was lost, or counted twice.
    Wrong {
        /// What it is.
        count: u64,
        /// What it should be.
        expected: u64,
    },
}

/// What has come through one sink since it was opened, which it is once in an attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Flow {
    /// Its process.
    pub pid: u32,
    /// Its index.
    pub worker: u32,
    /// When it was opened: with process and index, what tells one attempt's from the next one's.
    pub opened_ns: u64,
    /// Counts the datagrams, from 0.
    pub sequence: u64,
    /// When its last batch of records had come through.
    pub at_ns: u64,
    /// How many records have.
    pub rows: u64,
    /// How many keys have come up for the first time.
    pub new_keys: u64,
    /// Of the counts, modulo 2^64.
    pub sum: u64,
}

/// Where signals are sent from.
#[derive(Debug)]
pub struct Sender {
    socket: UdpSocket,
    to: SocketAddr,
}

impl Sender {
    /// To the benchmark at `to`.
    ///
    /// # Errors
    /// If the system has no socket.
    pub fn open(to: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Sender { socket, to })
    }

    /// Where the benchmark is.
    pub fn to(&self) -> SocketAddr {
        self.to
    }

    /// Sends one, if there is room: the job does not wait for its benchmark, which counts what it misses.
    pub fn send(&self, signal: &Signal) -> io::Result<()> {
        let bytes = serde_json::to_vec(signal).map_err(io::Error::other)?;
        let _ = self.socket.send_to(&bytes, self.to);
        Ok(())
    }
}

/// The machine's monotonic clock.
pub fn monotonic_ns() -> u64 {
    let mut now = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the call fills in the struct that it is given; this clock is always there.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &raw mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_is_never_longer_than_what_is_read_of_it() {
        let max = u64::MAX;
        let flow = Flow {
            pid: u32::MAX,
            worker: u32::MAX,
            opened_ns: max,
            sequence: max,
            at_ns: max,
            rows: max,
            new_keys: max,
            sum: max,
        };
        let bytes = serde_json::to_vec(&Signal::Flow(flow)).unwrap();
        assert!(bytes.len() <= LONGEST, "{}", bytes.len());
        assert_eq!(serde_json::from_slice::<Signal>(&bytes).unwrap(), Signal::Flow(flow));
    }
}
