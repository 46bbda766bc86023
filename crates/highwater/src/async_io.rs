//! Requests to other systems, many at a time: Flink's async I/O.
//!
//! ```
//! use std::time::Duration;
//!
//! use highwater::async_io::{AsyncFunction, AsyncRetryStrategy, AsyncWait};
//! use highwater::prelude::*;
//!
//! /// Looks up who a user is.
//! #[derive(Clone)]
//! struct LookUp;
//!
//! impl AsyncFunction<u64> for LookUp {
//!     type Out = (u64, String);
//!
//!     async fn invoke(&self, user: u64) -> UserResult<Vec<(u64, String)>> {
//!         // Ask a database here.
//!         Ok(vec![(user, format!("user {user}"))])
//!     }
//!
//!     fn timeout(&self, user: u64) -> UserResult<Vec<(u64, String)>> {
//!         Ok(vec![(user, "unknown".to_string())])
//!     }
//! }
//!
//! # fn main() -> highwater::Result<()> {
//! let (env, names) = (StreamExecutionEnvironment::new(), CollectSink::new());
//! let retry = AsyncRetryStrategy::FixedDelay { retries: 3, delay: Duration::from_millis(100) };
//! env.from_collection([3u64, 7])
//!     .async_wait(LookUp, AsyncWait::unordered(Duration::from_secs(10), 100).with_retry(retry))
//!     .uid("names")
//!     .sink_to(names.clone());
//! env.execute("names")?;
//! let mut names = names.committed();
//! names.sort();
//! assert_eq!(names, [(3, "user 3".to_string()), (7, "user 7".to_string())]);
//! # Ok(())
//! # }
//! ```
//!
//! * **Faults.** The records whose results have not come out are in checkpoints, and are asked for again after a restore, by any
//!   number of subtasks: the other system may see a request more than once, the output has each result once.
//! * **Time limit.** A request that is not answered in time is given up, and [`timeout`](AsyncFunction::timeout) says what to emit
//!   instead; by default the attempt ends with an error that names the record.
//! * **Capacity.** With so many requests under way no further input is read; checkpoints and watermarks pass what is read.
//! * **Watermarks** stay behind the results of the records that came before them, in either order of output.
//! * **The end.** When all input was read, the last checkpoint waits for the requests under way; a stop does not, they are in its
//!   checkpoint.

use std::fmt::Debug;
use std::rc::Rc;

use highwater_state::Data;

pub use highwater_runtime::{AsyncFunction, AsyncRetryStrategy, AsyncWait};

use crate::stream::DataStream;

impl<T: Data + Debug> DataStream<T> {
    /// Asks `function` for each record, many at a time, and emits what it answers: see [`async_io`](crate::async_io).
    pub fn async_wait<F: AsyncFunction<T>>(&self, function: F, settings: AsyncWait) -> DataStream<F::Out> {
        let (node, stream) = self.graph.borrow_mut().async_wait("async-wait", self.stream, function, settings);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }
}
