//! The benchmark's view of the records of its job: the datagrams that have come, and what they say.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use super::signal::{Flow, LONGEST, Signal};
use crate::Failure;

/// How often the receiver looks whether anybody still wants to know.
const LOOK: Duration = Duration::from_millis(100);

/// Receives datagrams for as long as it lives.
pub struct Watch {
    address: SocketAddr,
    seen: Arc<Mutex<Seen>>,
}

/// What has come.
#[derive(Debug, Default)]
pub struct Seen {
    flows: Vec<Flow>,
    failing_ns: Vec<u64>,
    wrong: Option<(u64, u64)>,
}

/// How far all sinks of a job are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Progress {
    pub rows: u64,
    pub new_keys: u64,
    pub sum: u64,
    /// When the first records had come through.
    pub first_ns: u64,
    /// When the last had.
    pub last_ns: u64,
}

impl Watch {
    /// # Errors
    /// If the system has no socket.
    pub fn start() -> Result<Self, Failure> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_read_timeout(Some(LOOK))?;
        let (address, seen) = (socket.local_addr()?, Arc::<Mutex<Seen>>::default());
        let wanted = Arc::downgrade(&seen);
        thread::Builder::new().name("watch".to_owned()).spawn(move || {
            let mut datagram = [0; LONGEST];
            while let Some(seen) = wanted.upgrade() {
                // Nothing has come in time, or what any program on this machine may send: neither is a signal.
                let Ok(length) = socket.recv(&mut datagram) else { continue };
                let Ok(signal) = serde_json::from_slice(&datagram[..length]) else { continue };
                lock(&seen).push(signal);
            }
        })?;
        Ok(Watch { address, seen })
    }

    /// Where datagrams are to be sent.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What has come so far.
    pub fn seen(&self) -> MutexGuard<'_, Seen> {
        lock(&self.seen)
    }
}

fn lock(seen: &Mutex<Seen>) -> MutexGuard<'_, Seen> {
    seen.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Seen {
    fn push(&mut self, signal: Signal) {
        match signal {
            Signal::Flow(flow) => self.flows.push(flow),
            Signal::Failing { at_ns } => self.failing_ns.push(at_ns),
            Signal::Wrong { count, expected } => self.wrong = Some((count, expected)),
        }
    }

    /// The count of a key that was wrong, and what it should have been.
    pub fn wrong(&self) -> Option<(u64, u64)> {
        self.wrong
    }

    /// The first failure after a moment.
    pub fn failing_after(&self, since_ns: u64) -> Option<u64> {
        self.failing_ns.iter().copied().filter(|at_ns| *at_ns > since_ns).min()
    }

    /// When the first records came through a sink that was opened after a moment: those of the next attempt.
    pub fn next_attempt(&self, since_ns: u64) -> Option<u64> {
        self.flows.iter().filter(|flow| flow.opened_ns > since_ns).map(|flow| flow.at_ns).min()
    }

    /// The process of the sink that was opened last, which is one of the newest attempt.
    pub fn newest_pid(&self) -> Option<u32> {
        self.flows.iter().max_by_key(|flow| flow.opened_ns).map(|flow| flow.pid)
    }

    /// The longest time between two moments in which one of the first `workers` workers had no records come through.
    pub fn longest_gap_ns(&self, workers: u32, from_ns: u64, to_ns: u64) -> u64 {
        let of = |worker| self.flows.iter().filter(move |flow| flow.worker == worker).map(|flow| flow.at_ns);
        (0..workers).map(|worker| longest_gap(of(worker), from_ns, to_ns)).max().unwrap_or(0)
    }

    /// How far the sinks are that were opened after a moment, all together.
    pub fn progress(&self, since_ns: u64) -> Option<Progress> {
        let newest = self.by_sink().into_values().map(|flows| flows.newest).filter(|flow| flow.opened_ns > since_ns);
        let first_ns = self.flows.iter().filter(|flow| flow.opened_ns > since_ns).map(|flow| flow.at_ns).min()?;
        let none = Progress { rows: 0, new_keys: 0, sum: 0, first_ns, last_ns: first_ns };
        Some(newest.fold(none, |all, flow| Progress {
            rows: all.rows + flow.rows,
            new_keys: all.new_keys + flow.new_keys,
            sum: all.sum.wrapping_add(flow.sum),
            first_ns,
            last_ns: all.last_ns.max(flow.at_ns),
        }))
    }

    /// Datagrams that were sent and did not come, of those before the last that did.
    pub fn lost(&self) -> u64 {
        self.by_sink().into_values().map(|flows| (flows.newest.sequence + 1).saturating_sub(flows.count)).sum()
    }

    fn by_sink(&self) -> BTreeMap<(u32, u32, u64), Flows> {
        let mut sinks = BTreeMap::new();
        for flow in &self.flows {
            let none = Flows { newest: *flow, count: 0 };
            let flows: &mut Flows = sinks.entry((flow.pid, flow.worker, flow.opened_ns)).or_insert(none);
            flows.count += 1;
            if flow.sequence > flows.newest.sequence {
                flows.newest = *flow;
            }
        }
        sinks
    }
}

/// The datagrams of one sink.
struct Flows {
    newest: Flow,
    count: u64,
}

/// The longest time between `from` and `to` without one of `moments`, which come in any order.
fn longest_gap(moments: impl Iterator<Item = u64>, from: u64, to: u64) -> u64 {
    let mut moments: Vec<u64> = moments.filter(|moment| (from..=to).contains(moment)).collect();
    moments.extend([from, to]);
    moments.sort_unstable();
    moments.windows(2).map(|pair| pair[1] - pair[0]).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flow(worker: u32, opened_ns: u64, sequence: u64, at_ns: u64) -> Flow {
        Flow { pid: worker + 100, worker, opened_ns, sequence, at_ns, rows: 10 * (sequence + 1), new_keys: 1, sum: 7 }
    }

    fn seen(flows: &[Flow]) -> Seen {
        Seen { flows: flows.to_vec(), failing_ns: vec![30, 10], wrong: None }
    }

    #[test]
    fn a_gap_is_between_two_moments_or_at_an_end_of_the_time() {
        for (moments, gap) in [
            (&[12, 14, 19][..], 5),
            (&[19, 12, 14], 5),
            (&[16, 18], 6),
            (&[11, 13], 7),
            (&[5, 25], 10),
            (&[10, 20], 10),
            (&[], 10),
        ] {
            assert_eq!(longest_gap(moments.iter().copied(), 10, 20), gap, "{moments:?}");
        }
    }

    #[test]
    fn a_worker_that_is_silent_is_a_gap_though_the_other_is_not() {
        let flows = [flow(0, 1, 0, 12), flow(0, 1, 1, 14), flow(0, 1, 2, 17), flow(1, 1, 0, 11)];
        assert_eq!(seen(&flows).longest_gap_ns(2, 10, 20), 9);
        assert_eq!(seen(&flows).longest_gap_ns(1, 10, 20), 3);
        assert_eq!(seen(&flows).longest_gap_ns(3, 10, 20), 10, "one that was never heard of");
    }

    #[test]
    fn the_next_attempt_is_that_of_sinks_opened_later() {
        let flows = [flow(0, 1, 0, 12), flow(0, 1, 1, 30), flow(1, 25, 0, 29), flow(0, 26, 0, 28)];
        assert_eq!(seen(&flows).next_attempt(20), Some(28));
        assert_eq!(seen(&flows).next_attempt(26), None);
        assert_eq!(seen(&flows).newest_pid(), Some(100));
        assert_eq!([5, 10, 30].map(|since| seen(&flows).failing_after(since)), [Some(10), Some(30), None]);
    }

    #[test]
    fn progress_is_that_of_the_newest_datagrams_and_the_missing_ones_are_counted() {
        let flows = [flow(0, 1, 3, 14), flow(0, 1, 0, 12), flow(1, 1, 1, 13)];
        let expected = Progress { rows: 60, new_keys: 2, sum: 14, first_ns: 12, last_ns: 14 };
        assert_eq!(seen(&flows).progress(0), Some(expected));
        assert_eq!(seen(&flows).lost(), 3);
        assert_eq!((seen(&flows).progress(1), seen(&[]).lost()), (None, 0));
    }
}
