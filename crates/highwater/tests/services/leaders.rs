//! Clusters that elect their leaders in etcd and in S3, which go away and come back.

use std::net::SocketAddr;

use highwater_testing::{Proxy, Random};

use crate::cluster::{self, Cluster};
use crate::job::Job;
use crate::{input, variable};

/// A cluster whose HA directory goes away until nobody leads any more: the job keeps processing, and goes on with checkpoints when it
/// is back.
fn goes_on_while_nobody_can_lead(server: &str, ha_dir: impl Fn(SocketAddr) -> String) {
    let proxy = Proxy::new(server.parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(21), 60_000, 3_000);
    let ha_dir = ha_dir(proxy.address());
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000", "--ha-dir", &ha_dir];
    let options = [options.as_slice(), &cluster::LASTING_LEASE].concat();
    let job = Job::new("visitors", folder.path(), &log, &options);
    let mut cluster = Cluster::start(&job, 2, 2);
    assert!(cluster.waits(|job| job.completed() > 2));
    proxy.go_down();
    assert!(cluster.waits(|job| job.messages().contains("leads no longer, and stands by")));
    let before = job.completed();
    proxy.heal();
    assert!(cluster.waits(|job| job.completed() > before + 2), "checkpoints go on");
    let said = job.messages();
    assert!(said.contains("taking over the attempt, which runs on"), "{}", job.last_messages());
    assert_eq!(said.matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
    cluster::stop_when_read(&job, &mut cluster, &log);
}

#[test]
fn a_job_goes_on_while_etcd_is_away() {
    let prefix = format!("leaders-{}", std::process::id());
    goes_on_while_nobody_can_lead(&variable("HIGHWATER_TEST_ETCD"), |at| format!("etcd://{at}/{prefix}"));
}

#[test]
fn a_job_goes_on_while_the_leader_is_cut_off_from_s3() {
    let server = variable("HIGHWATER_TEST_S3");
    let address = server.rsplit('/').next().unwrap().to_owned();
    let prefix = format!("leaders-{}", std::process::id());
    let uri = |at| format!("s3://highwater/{prefix}?endpoint=http://{at}&allow_http=true");
    goes_on_while_nobody_can_lead(&address, uri);
}
