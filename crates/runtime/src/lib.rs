//! Stateful operators on timely dataflow, and the driver that runs them.
//!
//! The one idea is the *mark*: checkpoint barrier and watermark in one partially ordered timestamp, so that timely's frontier
//! aligns barriers and merges watermarks. From there, by what happens to a record:
//!
//! * a [source](mod@source) emits [batches](batch) under its mark; a [`WatermarkStrategy`] says how event time passes;
//! * stateless operators pass them on; what is under way is bounded, within a worker and between workers;
//! * a [`KeyedProcessFunction`] changes declared state, with timers and side outputs;
//! * an [`AsyncFunction`] asks other systems, many records at a time;
//! * a [sink](mod@sink) makes output visible by two-phase commit;
//!
//! and of a checkpoint: the driver's word reaches sources; tasks align, hand their snapshots to the upload thread of their
//! worker, and are acknowledged; a restore is the way back.
//!
//! A [`Graph`] is the job, [`execute`] runs it. This is the only crate that names timely.

mod alignment;
mod assign_watermarks;
mod async_io;
pub mod batch;
mod broadcast_edge;
mod broadcast_process;
mod checkpoint_io;
pub mod client;
pub mod cluster;
mod co_process;
mod control;
mod copies;
mod deployed;
mod describe;
mod driver;
mod edge;
mod exchange;
mod gate;
mod graph;
mod inputs;
mod job;
mod job_manager;
mod keyed_broadcast;
mod keyed_contents;
mod keyed_edge;
mod keyed_process;
mod keyed_task;
mod link;
mod mark;
mod memory;
mod mesh;
mod metrics;
mod migrate;
mod operator_state;
mod output;
mod process;
mod process_function;
mod process_task;
mod recovery;
mod restore;
mod savepoint;
mod side;
pub mod sink;
mod sink_task;
pub mod source;
mod source_task;
mod spilled;
mod stateless;
pub mod status;
mod streams;
mod task_manager;
mod time_to_live;
mod timers;
mod upload;
mod watermarks;
mod wire;
mod worker;

pub use async_io::{AsyncFunction, AsyncRetryStrategy, AsyncWait};
pub use batch::{Batch, Record};
pub use broadcast_process::BroadcastProcessFunction;
pub use client::JobClient;
pub use co_process::KeyedCoProcessFunction;
pub use describe::{JobDescription, OperatorDescription, OperatorStateDescription, describe};
pub use graph::{Graph, NodeId};
pub use job::{JobConfig, JobEnd, Spilling, StopHandle, execute};
pub use keyed_broadcast::{KeyedBroadcastContext, KeyedBroadcastProcessFunction};
pub use memory::default_memory_budget;
pub use metrics::RecordsRead;
pub use process::{Collector, Context, KeyedProcessFunction, OpenContext, TimeDomain, Timer, UserResult};
pub use process_function::{ProcessContext, ProcessFunction};
pub use recovery::{ClaimMode, StartFrom};
pub use side::OutputTag;
pub use sink::{Sink, SinkWriter};
pub use source::{Source, SourceReader};
pub use status::JobStatus;
pub use streams::StreamId;
pub use watermarks::{BoundedOutOfOrdernessWatermarks, WatermarkGenerator, WatermarkOutput, WatermarkStrategy};
