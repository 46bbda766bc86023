//! The messages and services of the cluster, generated from the files in `proto`, which say what each means.
//!
//! `docs/control.md` has the rule for changes: within a protocol version, fields and messages are only ever added.

/// Version 1 of the package.
#[allow(missing_docs, reason = "the files in `proto` document each message, and the generator passes on what it can")]
pub mod v1 {
    tonic::include_proto!("highwater.v1");
}
