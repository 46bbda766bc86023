//! How a running job is asked for something by other programs of its user: a checkpoint, a savepoint, a stop.
//!
//! Every job listens on a Unix socket in its user's [run directory](RunDir) and speaks the [protocol]: lines of JSON, requests in,
//! answers out. [`Connection`] is the asking side; the answering one is in `highwater`.
//!
//! `docs/control.md` describes the protocol for programs in other languages.

pub mod connection;
pub mod protocol;
pub mod run_dir;

pub use connection::{Answers, Connection};
pub use protocol::{Answer, Request, Savepoint, Status, Taken};
pub use run_dir::{RunDir, RunningJob};
