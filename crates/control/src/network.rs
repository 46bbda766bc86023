//! The threads that carry a process's connections, and the limits that both ends of one have in common.

use std::sync::Arc;
use std::time::Duration;

use highwater_core::{Error, Result};
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

/// No honest message is longer, in bytes: an acknowledgement names every file of a task's snapshot, and small state is in it.
pub const LONGEST_MESSAGE: usize = 1 << 30;

/// What may be under way in a stream, and in a whole connection, in bytes. That of a connection is larger, so that heartbeats get
/// through beside a session that nobody reads.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 8 << 20;

/// How long the first words on a connection may take: the handshake, and the answer to a registration.
pub(crate) const OPENING: Duration = Duration::from_secs(10);

/// Enough to have several connections under way.
const THREADS: usize = 2;

/// The threads of a process's connections. When the last clone is gone, so are the connections.
#[derive(Clone, Debug)]
pub struct Network(Arc<Threads>);

#[derive(Debug)]
struct Threads {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
}

/// How the two sides of a session notice that the other is gone, though the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeats {
    /// How often a TaskManager sends one.
    pub interval: Duration,
    /// How long either side waits for one.
    pub timeout: Duration,
}

impl Network {
    /// Starts the threads.
    ///
    /// # Errors
    /// If the system has none.
    pub fn start() -> Result<Network> {
        let threads =
            Builder::new_multi_thread().worker_threads(THREADS).thread_name("highwater-net").enable_all().build();
        let runtime =
            threads.map_err(|error| Error::internal("cannot start the threads of the network").with_source(error))?;
        Ok(Network(Arc::new(Threads { runtime: Some(runtime) })))
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.0.runtime.as_ref().expect("present until dropped").handle()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        // Does not wait: also the last clone of a thread of its own may go.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Default for Heartbeats {
    /// Every 0.5 s, and 5 s.
    fn default() -> Self {
        Heartbeats { interval: Duration::from_millis(500), timeout: Duration::from_secs(5) }
    }
}

impl Heartbeats {
    /// Refuses times that would take honest processes for lost ones.
    ///
    /// # Errors
    /// If the interval is zero, or the timeout is not at least twice as long.
    pub fn check(self) -> Result<Self> {
        if self.interval.is_zero() || self.timeout < self.interval * 2 {
            return Err(Error::settings(format!(
                "a heartbeat interval of {:?} with a timeout of {:?} loses processes that are well: the interval must be above zero \
                 and the timeout at least twice as long",
                self.interval, self.timeout
            )));
        }
        Ok(self)
    }

    /// Ends with how long it was silent, once `heard` has not told of a later moment for the timeout.
    pub(crate) async fn silence(self, heard: &watch::Receiver<Instant>) -> Duration {
        let mut silence = Silence { heartbeats: self, since: *heard.borrow(), looked: Instant::now() };
        loop {
            sleep(self.interval).await;
            if let Some(silent) = silence.look(Instant::now(), *heard.borrow()) {
                return silent;
            }
        }
    }
}

/// How long the other side of a session has been silent, looked at once an interval.
///
/// Time in which this process itself stood still (halted, or its machine was) does not count: what the other has sent meanwhile
/// waits to be read.
struct Silence {
    heartbeats: Heartbeats,
    since: Instant,
    looked: Instant,
}

impl Silence {
    /// How long it is, if that is too long; `heard` is when it last said something.
    fn look(&mut self, now: Instant, heard: Instant) -> Option<Duration> {
        let Heartbeats { interval, timeout } = self.heartbeats;
        let stood_still = (now - self.looked).saturating_sub(interval * 2);
        self.since = (self.since + stood_still).max(heard);
        self.looked = now;
        Some(now - self.since).filter(|silent| *silent >= timeout)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// Looks at the silence since 0 s at these times; the first that is too late.
    fn too_late(looks: impl IntoIterator<Item = u32>, heard: u32) -> Option<u32> {
        let start = Instant::now();
        let heartbeats = Heartbeats { interval: SECOND, timeout: SECOND * 5 };
        let mut silence = Silence { heartbeats, since: start, looked: start };
        let heard = |now: u32| start + SECOND * if now >= heard { heard } else { 0 };
        looks.into_iter().find(|now| silence.look(start + SECOND * *now, heard(*now)).is_some())
    }

    #[test]
    fn silence_is_noticed_after_the_timeout() {
        assert_eq!(too_late(1..20, 0), Some(5));
        assert_eq!(too_late(1..20, 3), Some(8));
    }

    #[test]
    fn a_process_that_stood_still_itself_gives_the_other_its_time() {
        assert_eq!(too_late([1, 2, 600], 0), None, "what was sent meanwhile is not read yet");
        assert_eq!(too_late([1, 2, 600, 601, 602], 0), Some(601), "nothing was");
        assert_eq!(too_late((1..3).chain(600..620), 600), Some(605), "something was, and then no more");
    }

    #[test]
    fn heartbeats_that_lose_honest_processes_are_refused() {
        for (interval, timeout) in [(0, 5), (3, 5), (5, 0)] {
            let heartbeats = Heartbeats { interval: SECOND * interval, timeout: SECOND * timeout };
            assert!(heartbeats.check().unwrap_err().to_string().contains("at least twice as long"));
        }
        assert!(Heartbeats::default().check().is_ok());
    }
}
