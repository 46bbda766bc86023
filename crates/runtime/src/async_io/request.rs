//! A request on its way: a future on the threads that all of the process's requests share.

use std::fmt::Debug;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::Poll;

use highwater_core::{Error, Result};
use tokio::runtime::{Builder, Runtime};
use tokio::task::AbortHandle;

use super::{AsyncFunction, AsyncRetryStrategy};
use crate::batch::Record;
use crate::control::message_of;
use crate::process::UserResult;

/// What came of a request: what the function returned, or what it said when it panicked.
pub(super) type Answer<Out> = std::result::Result<UserResult<Vec<Out>>, String>;

/// The runtime of all requests of the process; its threads are there from the first job that has any.
pub(super) fn runtime() -> Result<&'static Runtime> {
    static RUNTIME: OnceLock<std::io::Result<Runtime>> = OnceLock::new();
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    let build = || {
        let name = || format!("highwater-async-{}", THREADS.fetch_add(1, Ordering::Relaxed));
        Builder::new_multi_thread().thread_name_fn(name).enable_all().build()
    };
    let started = RUNTIME.get_or_init(build).as_ref();
    started.map_err(|error| Error::internal(format!("the threads of asynchronous requests cannot start: {error}")))
}

/// A request under way, which ends when this is dropped.
pub(super) struct Request(AbortHandle);

impl Drop for Request {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl Request {
    /// Asks `function` for `input`, again if `retry` says so, and calls `answered` from one of the runtime's threads.
    pub fn send<In: Record + Debug, F: AsyncFunction<In>>(
        runtime: &Runtime,
        function: Arc<F>,
        input: In,
        retry: AsyncRetryStrategy,
        answered: impl FnOnce(Answer<F::Out>) + Send + 'static,
    ) -> Self {
        let attempts = async move {
            let mut delays = retry.delays();
            loop {
                let result = function.invoke(input.clone()).await;
                match if function.retries_on(&result) { delays.next() } else { None } {
                    Some(delay) => tokio::time::sleep(delay).await,
                    None => return result,
                }
            }
        };
        Request(runtime.spawn(async move { answered(caught(attempts).await) }).abort_handle())
    }
}

/// What comes of `future`, or what it says when it panics.
async fn caught<T>(future: impl Future<Output = T>) -> std::result::Result<T, String> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| {
        // After a panic the future is only dropped.
        match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(polled) => polled.map(Ok),
            Err(panic) => Poll::Ready(Err(message_of(&*panic))),
        }
    })
    .await
}
