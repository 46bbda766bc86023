//! The log of leaders in HDFS, S3 and etcd, the real ones.
//!
//! `cargo xtask test --only services` starts the servers and runs this; `cargo xtask services up` starts them and prints
//! what to export for `cargo test -p highwater-ha --features highwater-storage/hdfs,highwater-storage/s3 --test services`.
#![allow(clippy::disallowed_methods, reason = "real servers run in real time, and tests look that nothing hangs")]

mod etcd;
mod support;

use highwater_ha::conformance;
use support::{ETCD, HDFS, S3};

#[test]
fn hdfs_conforms() {
    conformance::ha_store(|| support::handles(HDFS));
}

#[test]
fn s3_conforms() {
    conformance::ha_store(|| support::handles(S3));
}

#[test]
fn etcd_conforms() {
    conformance::ha_store(|| support::handles(ETCD));
}

#[test]
fn in_hdfs_one_leads_and_the_other_goes_on_from_what_it_recorded() {
    support::one_leads_and_the_other_goes_on(HDFS);
}

#[test]
fn in_s3_one_leads_and_the_other_goes_on_from_what_it_recorded() {
    support::one_leads_and_the_other_goes_on(S3);
}

#[test]
fn in_etcd_one_leads_and_the_other_goes_on_from_what_it_recorded() {
    support::one_leads_and_the_other_goes_on(ETCD);
}
