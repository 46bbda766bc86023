//! The words every other crate of Highwater speaks.
//!
//! * [`id`]: newtypes for everything that is numbered or named and travels (jobs, operators, subtasks, checkpoints);
//! * [`key_group`]: key groups and the formulas that assign keys to them and them to subtasks (Flink's rule);
//! * [`frame`]: the envelope of every byte sequence that goes to storage: magic, version, length, checksum;
//! * [`flow`]: how much may be on the way between two tasks: counted credit;
//! * [`clock`]: the one door through which time comes in, so that a run can be replayed;
//! * [`random`]: the one source of randomness of simulations and injected faults, so that a run is replayed from its seed;
//! * [`duration`]: times as people write them;
//! * [`timestamp`]: moments as text;
//! * [`error`]: one error type whose kind tells the caller what to do.
//!
//! This crate does no I/O and starts no thread.

pub mod clock;
pub mod duration;
pub mod error;
pub mod flow;
pub mod frame;
pub mod id;
pub mod key_group;
pub mod random;
pub mod timestamp;

pub use clock::{Clock, SystemClock};
pub use error::{BoxError, Error, ErrorKind, Result};
pub use id::{CheckpointId, JobName, OperatorUid, Parallelism, ProcessIndex, SubtaskIndex, TaskId};
pub use key_group::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism};
pub use random::Random;
pub use timestamp::Timestamp;
