//! Pure decisions about checkpoints, restarts and recovery.
//!
//! Observed facts and the time go in, decisions come out; whoever calls does the I/O. Nothing here reads a clock, a file or
//! an environment, starts a thread or draws a random number, and this crate's dependencies leave it no way to: so every
//! decision can be replayed and enumerated in a test.
//!
//! * [`config`]: how often, how many at once, how long, how many failures in a row, how many are kept;
//! * [`plan`]: the operators of a job, and so the tasks that have to acknowledge;
//! * [`coordinator`]: the state machine, with [`protocol`] for the facts it is told and the commands it answers;
//! * [`times`]: the four phases of a checkpoint and their sum;
//! * [`metadata`]: the content of `_metadata`, the file with which a checkpoint begins to exist;
//! * [`rescale`]: which part of a snapshot each subtask of another parallelism restores;
//! * [`recovery`]: which checkpoint to restore, and the id to go on with;
//! * [`restart`]: whether and when a job runs again after a failure.
//!
//! Terms and defaults are those of Flink's [checkpointing] and [restart strategies].
//!
//! [checkpointing]: https://nightlies.apache.org/flink/flink-docs-stable/docs/dev/datastream/fault-tolerance/checkpointing/
//! [restart strategies]: https://nightlies.apache.org/flink/flink-docs-stable/docs/ops/state/task_failure_recovery/

pub mod block;
pub mod config;
pub mod coordinator;
pub mod lineage;
pub mod metadata;
mod pending;
pub mod plan;
pub mod protocol;
pub mod rebase;
pub mod recovery;
pub mod rescale;
pub mod restart;
mod retention;
pub mod savepoint;
pub mod times;
mod validate;

pub use config::{CheckpointConfig, CheckpointingMode};
pub use coordinator::Coordinator;
pub use lineage::{Lineage, Segment};
pub use metadata::{
    Block, FileDigest, KeyedSnapshot, Location, Metadata, OperatorSnapshot, OperatorState, Redistribution,
    SnapshotKind, StoreSnapshot, TaskSnapshot,
};
pub use plan::{JobPlan, OperatorPlan};
pub use protocol::{
    CheckpointKind, CheckpointReport, Command, Event, FailureReason, Outcome, Request, RequestId, RequestKind,
};
pub use recovery::{Candidate, Choice};
pub use restart::{Decision, Failure, RestartStrategy, Restarts};
pub use retention::CompletedCheckpoint;
pub use savepoint::SavepointLocation;
pub use times::CheckpointTimes;
