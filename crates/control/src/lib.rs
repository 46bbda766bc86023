//! How a job's processes talk to each other about it, and other programs to the job.
//!
//! In a cluster that is gRPC, as the files in `proto` say: a [`Server`] is the end of the JobManager, a [`Connector`] that of a
//! TaskManager. The ends take and give messages, and decide nothing; what they tell of a peer is that it is there, what it says,
//! and that it is lost.
//!
//! A program's own user needs no network: every job listens on a Unix socket in its user's [run directory](RunDir) and speaks the [protocol]: lines of JSON, requests in,
//! answers out. [`Connection`] is the asking side; the answering one is in `highwater`.
//!
//! `docs/control.md` describes the protocol for programs in other languages.

pub mod client;
pub mod connection;
pub mod convert;
mod endpoint;
mod health;
mod identity;
mod network;
pub mod proto;
pub mod protocol;
pub mod run_dir;
pub mod server;
mod session;
pub mod task_manager;

pub use client::{ClusterAnswers, ClusterClient};
pub use connection::{Answers, Connection};
pub use endpoint::Addresses;
pub use health::Health;
pub use identity::{Identity, PROTOCOL_VERSION};
pub use network::{Heartbeats, LONGEST_MESSAGE, Network};
pub use protocol::{Answer, Request, Savepoint, Status, Taken};
pub use run_dir::{RunDir, RunningJob};
pub use server::{JobManagerHandler, Rejection, Server};
pub use session::{Notice, Order};
pub use task_manager::{Connected, Connector, NotConnected, Notices, Orders};
