//! Stateful operators on timely dataflow, and the driver that runs them.
//!
//! The one idea is the [mark](mark): checkpoint barrier and watermark in one partially ordered timestamp, so that timely's
//! frontier aligns barriers and merges watermarks. From there, by what happens to a record:
//!
//! * a [source](mod@source) emits [batches](batch) under its mark; [watermarks] says how event time passes;
//! * stateless operators pass them on; [edge] and [exchange] bound what is under way, within a worker and between workers;
//! * a keyed [process function](process) changes declared state; [timers] and [side] outputs;
//! * a [sink](mod@sink) makes output visible by two-phase commit;
//!
//! and of a checkpoint: the driver's [control] word reaches sources; tasks [align](alignment), hand their snapshots to the
//! [upload] thread of their worker, and are acknowledged; [restore] is the way back.
//!
//! [`graph::Graph`] is the job, [`job::execute`] runs it. This is the only crate that names timely.

pub mod alignment;
pub mod batch;
mod checkpoint_io;
pub mod control;
mod driver;
pub mod edge;
pub mod exchange;
mod follower;
mod gate;
pub mod graph;
pub mod job;
mod keyed_task;
mod leader;
pub mod mark;
mod mesh;
pub mod metrics;
pub mod process;
mod recovery;
pub mod restore;
pub mod side;
pub mod sink;
mod sink_task;
pub mod source;
mod source_task;
mod stateless;
pub mod status;
pub mod streams;
pub mod timers;
pub mod upload;
pub mod watermarks;
mod wire;
mod worker;

pub use batch::{Batch, Record};
pub use graph::{Graph, NodeId};
pub use job::{JobConfig, JobEnd, StopHandle, execute};
pub use process::{Collector, Context, KeyedProcessFunction, OpenContext, TimeDomain, Timer, UserResult};
pub use recovery::StartFrom;
pub use side::OutputTag;
pub use sink::{Sink, SinkWriter};
pub use source::{Source, SourceReader};
pub use status::JobStatus;
pub use streams::StreamId;
pub use watermarks::WatermarkStrategy;
