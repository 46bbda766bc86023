//! Where snapshots go: the local file system and memory.
//!
//! From the bottom up:
//!
//! * [`disk`]: the few file-system primitives that everything durable is built from, with the rules of durability;
//! * [`checkpoint_storage`]: what a job asks of the place its checkpoints lie in, kept by [`local`] and [`memory`];
//! * [`local_copies`]: a second copy of large files on a local disk, for a faster restore;
//! * [`job_store`]: one job's folder in such a place, whose names are all built in [`layout`];
//! * [`snapshot_dir`]: the folder of a single snapshot, such as a savepoint;
//! * [`lock`]: two runs of one job never share a folder;
//! * [`backend`]: from what a user writes (`file:///checkpoints`) to a storage;
//! * [`conformance`]: the suite that every implementation of the two traits runs.
//!
//! Invariant I3 rests here: a checkpoint exists once its `_metadata` exists, and an operation that *may* have happened
//! is never treated as one that did not ([`error::Outcome`]).

pub mod backend;
pub mod checkpoint_storage;
pub mod conformance;
pub mod disk;
pub mod error;
#[cfg(feature = "hdfs")]
mod hdfs;
pub mod job_store;
pub mod layout;
pub mod local;
pub mod local_copies;
pub mod lock;
pub mod memory;
pub mod random;
#[cfg(feature = "_remote")]
mod remote;
#[cfg(feature = "s3")]
mod s3;
pub mod snapshot_dir;

pub use backend::{open_existing, open_uri};
pub use checkpoint_storage::{CheckpointStorage, Entry, SnapshotWriter};
pub use disk::{Disk, DiskFile, RealDisk};
pub use error::{Error, Outcome, Result, What};
pub use job_store::{CheckpointAt, CheckpointDir, JobStore};
pub use local::LocalStorage;
pub use local_copies::LocalCopies;
pub use lock::Lock;
pub use memory::MemoryStorage;
pub use snapshot_dir::SnapshotDir;
