//! Stateful stream processing for Rust: Flink's state model on the timely dataflow engine.
//!
//! A job is built in a [`StreamExecutionEnvironment`]: sources, transformations, sinks. State is *declared*, per key, and is all a
//! function needs to be fault-tolerant: with checkpoints on, a job that is killed at any moment and started again goes on from its
//! newest checkpoint, and its exactly-once sinks show every result once.
//!
//! ```
//! use highwater::prelude::*;
//!
//! #[derive(KeyedState)]
//! struct Counter {
//!     count: ValueState<u64>,
//! }
//!
//! #[derive(Clone)]
//! struct CountWords;
//!
//! impl KeyedProcessFunction<String, String> for CountWords {
//!     type State = Counter;
//!     type Out = (String, u64);
//!
//!     fn process(&mut self, word: String, state: &mut Counter, context: &mut Context<'_, String, Self::Out>) -> UserResult {
//!         let count = state.count.get_or_default() + 1;
//!         state.count.set(count);
//!         context.collect((word, count));
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> highwater::Result<()> {
//!     let env = StreamExecutionEnvironment::new();
//!     env.enable_checkpointing(std::time::Duration::from_secs(1));
//!     let counts = CollectSink::new();
//!     env.from_collection(["to", "be", "or", "not", "to", "be"].map(String::from))
//!         .key_by(|word: &String| word.clone())
//!         .process(CountWords)
//!         .sink_to(counts.clone());
//!     env.execute("words")?;
//!     let mut counts = counts.committed();
//!     counts.sort();
//!     assert_eq!(counts[0], ("be".to_string(), 1));
//!     assert_eq!(counts[1], ("be".to_string(), 2));
//!     assert_eq!(counts.len(), 6);
//!     Ok(())
//! }
//! ```
//!
//! * [`environment`] and [`stream`]: building a job; [`connected`]: functions with two inputs, and broadcast state;
//! * [`window`]: streams divided into windows; [`interval_join`]: joins by event time;
//! * [`deduplicate`] and [`top_n`]: the first, last or largest records of each key, as [`change`]s of a table;
//! * [`async_io`]: requests to other systems, many at a time;
//! * [`state`]: what can be declared, and what can be stored;
//! * [`connectors`]: files, sockets, generators, memory, standard output; [`source`] and [`sink`] to write your own;
//! * [`settings`]: the command line, configuration file and environment variables that every job has;
//! * [`backend`]: where state and snapshots live.

pub mod async_io;
pub mod backend;
pub mod change;
pub mod connected;
pub mod connectors;
mod control;
pub mod deduplicate;
pub mod environment;
mod event_time;
pub mod interval_join;
pub mod logging;
mod progress;
pub mod settings;
pub mod signals;
pub mod stream;
pub mod top_n;
pub mod window;

pub use backend::{FsStateBackend, MemoryStateBackend, StateBackend};
pub use change::Change;
pub use connected::{BroadcastStream, ConnectedStreams};
pub use environment::{JobResult, StreamExecutionEnvironment};
pub use highwater_checkpoint::{
    CheckpointConfig, CheckpointKind, CheckpointReport, CheckpointTimes, CheckpointingMode,
};
pub use highwater_checkpoint::{Outcome as CheckpointOutcome, RestartStrategy};
pub use highwater_core::{BoxError, Error, ErrorKind, Result};
pub use highwater_runtime::{
    BoundedOutOfOrdernessWatermarks, BroadcastProcessFunction, ClaimMode, Collector, Context, JobClient, JobEnd,
    JobStatus, KeyedBroadcastContext, KeyedBroadcastProcessFunction, KeyedCoProcessFunction, KeyedProcessFunction,
    OpenContext, OutputTag, ProcessContext, ProcessFunction, Record, StartFrom, StopHandle, TimeDomain, Timer,
    UserResult, WatermarkGenerator, WatermarkOutput, WatermarkStrategy,
};
pub use highwater_runtime::{JobDescription, OperatorDescription, OperatorStateDescription};
pub use highwater_runtime::{client, sink, source, status};
pub use highwater_state as state;
pub use settings::{JobArgs, Settings};
pub use stream::{DataStream, DataStreamSink, KeyedStream};

/// What most jobs use.
pub mod prelude {
    pub use crate::connectors::{
        CollectSink, CollectionSource, FileSink, FileSource, Generator, PrintSink, SocketSource,
    };
    pub use crate::state::{
        Aggregate, AggregatingState, BroadcastState, Data, Key, KeyedState, ListState, MapState, OperatorState, Reduce,
        ReducingState, SplitList, Ttl, UnionList, ValueState,
    };
    pub use crate::{
        BroadcastProcessFunction, Collector, Context, DataStream, FsStateBackend, JobArgs, KeyedBroadcastContext,
        KeyedBroadcastProcessFunction, KeyedCoProcessFunction, KeyedProcessFunction, KeyedStream, MemoryStateBackend,
        OpenContext, OutputTag, ProcessContext, ProcessFunction, RestartStrategy, StreamExecutionEnvironment,
        TimeDomain, Timer, UserResult, WatermarkStrategy,
    };
}
