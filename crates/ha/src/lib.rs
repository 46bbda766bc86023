//! Who leads a job, and what counts: high availability without an external quorum.
//!
//! Any number of JobManagers of one job may run; one leads. All they share is a log of numbered entries, of which each
//! can be created by one process only: put-if-absent is all that is asked of a store. From the bottom up:
//!
//! * [`store`]: what a log needs of a store, kept by [`StorageStore`] over every checkpoint storage and by etcd;
//!   [`conformance`] is the suite that every implementation runs, and [`open_store`] opens one by its URI;
//! * [`entry`]: what the log holds: each entry repeats the whole small state of the job;
//! * [`election`]: the decisions, pure: answers of the store and the time in, requests to the store out;
//! * [`log`](mod@log): the entries of one job in a store;
//! * [`service`]: the election on threads with a real store, for a JobManager.
//!
//! Invariant I8 rests here: *nothing that an older leader writes can become a completed checkpoint*. A checkpoint
//! counts from the entry that says so. Who finds that the next entry is another's has been replaced, whatever any
//! clock says. Time decides only when somebody tries to lead, never whose entry counts.

pub mod conformance;
pub mod election;
pub mod entry;
#[cfg(feature = "etcd")]
mod etcd;
pub mod log;
mod not_recorded;
mod over_storage;
pub mod service;
pub mod store;

pub use election::{Append, Contender, Election};
pub use entry::{Attempt, Change, Completed, Ended, Entry, JobState, Leader, Token};
#[cfg(feature = "etcd")]
pub use etcd::EtcdStore;
pub use log::Log;
pub use not_recorded::NotRecorded;
pub use over_storage::StorageStore;
pub use service::{HaService, Leadership, LeadershipEvent};
pub use store::{HaStore, Put, open_store};
