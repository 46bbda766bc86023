//! What all parts of a measured run report to.
//!
//! A run is timed from its first row to its last one at a sink, the same for every subject: neither starting threads nor
//! the last checkpoint is in it.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Collects the times and the result of a run.
#[derive(Clone, Debug)]
pub struct Probe(Arc<Readings>);

#[derive(Debug)]
struct Readings {
    origin: Instant,
    first_ns: AtomicU64,
    all_read_ns: AtomicU64,
    last_ns: AtomicU64,
    sums: Mutex<BTreeMap<u32, u64>>,
}

impl Probe {
    pub fn new() -> Self {
        let first_ns = AtomicU64::new(u64::MAX);
        let (all_read_ns, last_ns, sums) = (AtomicU64::new(0), AtomicU64::new(0), Mutex::default());
        Probe(Arc::new(Readings { origin: Instant::now(), first_ns, all_read_ns, last_ns, sums }))
    }

    fn now_ns(&self) -> u64 {
        self.0.origin.elapsed().as_nanos() as u64
    }

    /// A source is about to emit its first row.
    pub fn begin(&self) {
        let now_ns = self.now_ns();
        self.0.first_ns.fetch_min(now_ns, Ordering::Relaxed);
        self.0.all_read_ns.fetch_max(now_ns, Ordering::Relaxed);
    }

    /// A sink has received a batch.
    pub fn received(&self) {
        self.0.last_ns.fetch_max(self.now_ns(), Ordering::Relaxed);
    }

    /// The result of one sink; said again, it replaces itself.
    pub fn commit(&self, subtask: u32, sum: u64) {
        self.0.sums.lock().unwrap_or_else(PoisonError::into_inner).insert(subtask, sum);
    }

    /// The result of all sinks.
    pub fn sum(&self) -> u64 {
        let sums = self.0.sums.lock().unwrap_or_else(PoisonError::into_inner);
        sums.values().fold(0, |sum, part| sum.wrapping_add(*part))
    }

    /// From the beginning to the moment in which the last source was asked for its first row.
    pub fn until_all_read(&self) -> Duration {
        Duration::from_nanos(self.0.all_read_ns.load(Ordering::Relaxed))
    }

    /// From the first row to the last.
    pub fn duration(&self) -> Duration {
        let (first, last) = (self.0.first_ns.load(Ordering::Relaxed), self.0.last_ns.load(Ordering::Relaxed));
        Duration::from_nanos(last.saturating_sub(first))
    }
}

/// What the process has used so far.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    /// Of all threads, in user code and in the kernel.
    pub cpu_seconds: f64,
    /// The most memory it ever had resident: `VmHWM`.
    pub peak_bytes: u64,
}

impl Usage {
    /// Asks the system.
    pub fn so_far() -> Self {
        // SAFETY: all-zero is a value of this struct of integers, and the call fills in the one it is given.
        let usage = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            libc::getrusage(libc::RUSAGE_SELF, &raw mut usage);
            usage
        };
        let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
        // Linux counts in KiB.
        Usage {
            cpu_seconds: seconds(usage.ru_utime) + seconds(usage.ru_stime),
            peak_bytes: usage.ru_maxrss as u64 * 1024,
        }
    }
}
