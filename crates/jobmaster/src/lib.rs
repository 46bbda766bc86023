//! Pure decisions of a JobManager about the processes of its job.
//!
//! Observed facts and the time go in, decisions come out; whoever calls does the I/O. What
//! [`checkpoint::Coordinator`](highwater_checkpoint::Coordinator) is for the checkpoints of one attempt, [`JobMaster`] is for the
//! attempts of a job: which TaskManagers there are, when an attempt is deployed, on which of them and with how many workers, what
//! follows from a failure, and when the job is over. Nothing here reads a clock, opens a socket or starts a thread, and this crate's
//! dependencies leave it no way to.
//!
//! * [`config`]: the settings, and what is known of the job;
//! * [`id`]: TaskManagers and attempts, by number;
//! * [`protocol`]: the facts the JobMaster is told and the commands it answers;
//! * [`master`]: the state machine;
//! * [`layout`]: which TaskManagers an attempt uses, and how many workers in each.
//!
//! Terms are those of Flink's [architecture] and its [adaptive scheduler].
//!
//! [architecture]: https://nightlies.apache.org/flink/flink-docs-stable/docs/concepts/flink-architecture/
//! [adaptive scheduler]: https://nightlies.apache.org/flink/flink-docs-stable/docs/deployment/elastic_scaling/

pub mod config;
pub mod id;
pub mod layout;
pub mod master;
pub mod protocol;
mod reach;
mod registry;

pub use config::{Config, JobFacts};
pub use id::{AttemptToken, TaskManagerId};
pub use master::{JobMaster, Phase};
pub use protocol::{Command, Deployment, Event, JobEnd, JobRecord, Member, Notice};
pub use registry::TaskManager;
