//! HDFS and S3, the real ones: they conform, and faults of servers and of the network between have the right outcome, a
//! clear error, and an end.
//!
//! `cargo xtask test --only services` starts the servers and runs this; `cargo xtask services up` starts them and prints
//! what to export for `cargo test -p highwater-storage --features hdfs,s3 --test services`.
#![allow(clippy::disallowed_methods, reason = "real servers run in real time, and tests look that nothing hangs")]

mod cluster;
mod conforming;
mod hdfs_cluster_faults;
mod hdfs_network_faults;
mod leases;
mod network_faults;
mod s3_faults;
mod support;
