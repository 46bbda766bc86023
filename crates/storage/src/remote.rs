//! What storages behind a network share: threads that drive an asynchronous client, limits, retries, a lease.
//!
//! A call of [`CheckpointStorage`](crate::CheckpointStorage) blocks its thread while a small tokio runtime of the
//! storage carries it out. A call is one *operation*; an operation is one or more *attempts*. What an attempt may have
//! done in spite of its error is the important question here, because a network can lose the answer to a request that
//! was carried out:
//!
//! * an attempt that failed says whether it may have taken effect, and whether another one may do better;
//! * an operation that fails after *any* attempt that may have taken effect reports
//!   [`Outcome::MayHaveHappened`](crate::Outcome::MayHaveHappened);
//! * a step that must not happen twice looks, before it believes an answer that an earlier attempt of its own may have
//!   caused ([`Attempt::in_doubt`]).
//!
//! Invariant: every operation ends within its limit, whatever the other side does.

mod lease;
mod limits;
mod retry;
mod uri;

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use highwater_core::{Clock, SystemClock};
use tokio::runtime::{Builder, Handle, Runtime};

pub(crate) use lease::{LeaseFiles, Leases, generation_name};
pub(crate) use limits::Limits;
pub(crate) use retry::{Attempt, Failed};
#[cfg(test)]
pub(crate) use retry::{Course, Effect};
pub(crate) use uri::RemoteUri;

use crate::error::{Result, What};
pub(crate) use crate::random::{random, token};
#[cfg(not(test))]
use retry::{Course, Effect};

/// Enough to have a request under way while an answer is taken apart.
const THREADS: usize = 2;

/// The threads and limits of one storage.
pub(crate) struct Io {
    /// Taken only when dropped.
    runtime: Option<Runtime>,
    clock: SystemClock,
    limits: Limits,
}

impl Io {
    pub(crate) fn new(limits: Limits) -> io::Result<Self> {
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .thread_name("highwater-storage")
            .enable_all()
            .build()?;
        Ok(Io { runtime: Some(runtime), clock: SystemClock::new(), limits })
    }

    pub(crate) fn limits(&self) -> &Limits {
        &self.limits
    }

    pub(crate) fn handle(&self) -> &Handle {
        self.runtime.as_ref().expect("present until dropped").handle()
    }

    /// Carries out `operation` by as many attempts as it takes and its limit allows.
    pub(crate) fn run<T, F>(&self, operation: Operation<'_>, mut attempt: impl FnMut(Attempt) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        let mut course = Course::new(self.limit_of(operation), self.clock.monotonic());
        loop {
            let left = course.time_left(self.clock.monotonic());
            let time = left.min(self.limits.attempt);
            let failed = match self.within(time, attempt(course.attempt())) {
                Ok(Ok(value)) => return Ok(value),
                Ok(Err(failed)) => failed,
                Err(NoAnswer) if left < self.limits.attempt => Failed::cut_short(time),
                Err(NoAnswer) => Failed::no_answer(time),
            };
            match course.after(failed, self.clock.monotonic(), unit(random())) {
                Ok(pause) => thread::sleep(pause),
                Err(end) => return Err(end.into_error(operation.name, operation.path, operation.effect)),
            }
        }
    }

    /// Carries out `operation` by one attempt, which has all of its time: for what cannot be done again.
    #[cfg(feature = "hdfs")]
    pub(crate) fn once<T: Send + 'static>(
        &self,
        operation: Operation<'_>,
        attempt: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Result<T> {
        let limit = self.limit_of(operation);
        let mut course = Course::new(limit, self.clock.monotonic());
        let result = self.within(limit, attempt).unwrap_or_else(|NoAnswer| Err(Failed::no_answer(limit)));
        result.map_err(|failed| {
            course.end(failed, self.clock.monotonic()).into_error(operation.name, operation.path, operation.effect)
        })
    }

    fn limit_of(&self, operation: Operation<'_>) -> Duration {
        operation.limit.unwrap_or(self.limits.operation)
    }

    /// Waits for `attempt`, which runs on the threads of this storage: so the caller may be on any thread, also on one
    /// of another runtime.
    fn within<T: Send + 'static>(
        &self,
        time: Duration,
        attempt: impl Future<Output = Result<T, Failed>> + Send + 'static,
    ) -> Result<Result<T, Failed>, NoAnswer> {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.handle().spawn(async move {
            // This thread waits for it, so it is received.
            let _ = sender.send(tokio::time::timeout(time, attempt).await);
        });
        match receiver.recv() {
            Ok(ended) => ended.map_err(|_elapsed| NoAnswer),
            Err(_) => Ok(Err(Failed::new(What::Other, "the client panicked").in_doubt())),
        }
    }
}

impl Drop for Io {
    fn drop(&mut self) {
        // A runtime that is dropped waits for its threads, which is not allowed on a thread of another runtime.
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("limits", &self.limits).finish_non_exhaustive()
    }
}

/// An attempt's time is over.
struct NoAnswer;

/// What is done, to what, and within which time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Operation<'a> {
    name: &'static str,
    path: &'a str,
    effect: Effect,
    limit: Option<Duration>,
}

impl<'a> Operation<'a> {
    /// An operation that changes nothing, and so never leaves anything in doubt.
    pub(crate) fn reads(name: &'static str, path: &'a str) -> Self {
        Operation { name, path, effect: Effect::Reads, limit: None }
    }

    /// An operation that changes something.
    pub(crate) fn writes(name: &'static str, path: &'a str) -> Self {
        Operation { name, path, effect: Effect::Writes, limit: None }
    }

    /// Another limit than the storage's.
    pub(crate) fn within(self, limit: Duration) -> Self {
        Operation { limit: Some(limit), ..self }
    }
}

/// `random` as a number in `0.0..1.0`.
fn unit(random: u64) -> f64 {
    (random >> 11) as f64 / (1_u64 << 53) as f64
}

/// Bytes that are read by one request: so that one lost connection costs little, and an attempt has a known size.
pub(crate) const READ_PIECE: u64 = 8 * 1024 * 1024;

/// Reads that one reader should have under way: enough to hide the time that each takes to begin.
pub(crate) const CONCURRENT_READS: usize = 4;

/// `len` bytes from `offset` in pieces: their offsets and lengths.
pub(crate) fn pieces(offset: u64, len: u64) -> impl Iterator<Item = (u64, u64)> {
    let starts = (0..len.div_ceil(READ_PIECE)).map(move |index| index * READ_PIECE);
    starts.map(move |start| (offset + start, READ_PIECE.min(len - start)))
}
