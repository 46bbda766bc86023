//! Clusters that elect their leaders in etcd and in S3, which go away and come back.

use std::cell::RefCell;
use std::process::Command;

use highwater_testing::{Proxy, Random};

use crate::cluster::{self, Cluster};
use crate::cut_off::serve_etcd;
use crate::job::{Job, free_addresses};
use crate::{input, variable};

/// A cluster whose HA directory goes away until nobody leads any more: the job keeps processing, and goes on with checkpoints when it
/// is back.
fn goes_on_while_nobody_can_lead(ha_dir: &str, goes_away: impl FnOnce(), comes_back: impl FnOnce()) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(21), 60_000, 3_000);
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000", "--ha-dir", ha_dir];
    let options = [options.as_slice(), &cluster::LASTING_LEASE].concat();
    let job = Job::new("visitors", folder.path(), &log, &options);
    let mut cluster = Cluster::start(&job, 2, 2);
    assert!(cluster.waits(|job| job.completed() > 2));
    goes_away();
    assert!(cluster.waits(|job| job.messages().contains("leads no longer, and stands by")));
    let before = job.completed();
    comes_back();
    assert!(cluster.waits(|job| job.completed() > before + 2), "checkpoints go on");
    let said = job.messages();
    assert!(said.contains("taking over the attempt, which runs on"), "{}", job.last_messages());
    assert_eq!(said.matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
    cluster::stop_when_read(&job, &mut cluster, &log);
}

#[test]
fn a_job_goes_on_while_etcd_is_stopped_and_started() {
    let folder = tempfile::tempdir().unwrap();
    let addresses = free_addresses(2);
    let start = || {
        let etcd = Command::new(variable("HIGHWATER_TEST_ETCD_PROGRAM"));
        Some(serve_etcd(etcd, folder.path(), &addresses[0], &addresses[1]))
    };
    let etcd = RefCell::new(start());
    let (stop, start) = (|| drop(etcd.take()), || drop(etcd.replace(start())));
    goes_on_while_nobody_can_lead(&format!("etcd://{}/ha", addresses[0]), stop, start);
}

#[test]
fn a_job_goes_on_while_etcd_cannot_be_reached() {
    let proxy = Proxy::new(variable("HIGHWATER_TEST_ETCD").parse().unwrap());
    let ha_dir = format!("etcd://{}/leaders-{}", proxy.address(), std::process::id());
    goes_on_while_nobody_can_lead(&ha_dir, || proxy.go_down(), || proxy.heal());
}

#[test]
fn a_job_goes_on_while_the_leader_is_cut_off_from_s3() {
    let server = variable("HIGHWATER_TEST_S3");
    let proxy = Proxy::new(server.rsplit('/').next().unwrap().parse().unwrap());
    let place = format!("leaders-{}?endpoint=http://{}&allow_http=true", std::process::id(), proxy.address());
    goes_on_while_nobody_can_lead(&format!("s3://highwater/{place}"), || proxy.go_down(), || proxy.heal());
}

#[test]
fn who_begins_to_lead_while_s3_is_away_waits_for_it_and_what_runs_runs_on() {
    let server = variable("HIGHWATER_TEST_S3");
    let proxy = Proxy::new(server.rsplit('/').next().unwrap().parse().unwrap());
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(37), 60_000, 3_000);
    let prefix = format!("begins-{}", std::process::id());
    let ha_dir = format!("etcd://{}/{prefix}", variable("HIGHWATER_TEST_ETCD"));
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000", "--ha-dir", &ha_dir];
    let options = [options.as_slice(), &cluster::LASTING_LEASE].concat();
    let job = Job::new("visitors", folder.path(), &log, &options);
    let at = format!("endpoint=http://{}&allow_http=true&timeout=2s", proxy.address());
    let job = job.with_checkpoints_at(&format!("s3://highwater/{prefix}?{at}"));
    let mut cluster = Cluster::start(&job, 2, 2);
    assert!(cluster.waits(|job| job.counted().len() > 2));
    let leader = cluster.leader();
    cluster.remove_job_manager(leader);
    proxy.go_down();
    let waits = "the checkpoint storage does not answer as it should, and is waited for";
    assert!(cluster.waits(|job| job.messages().contains(waits)), "a leader waits");
    proxy.heal();
    let known = job.counted().len();
    assert!(cluster.waits(|job| job.counted().len() > known + 2), "checkpoints go on");
    assert!(job.messages().contains("taking over the attempt, which runs on"), "{}", job.last_messages());
    assert_eq!(job.messages().matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
    cluster::stop_when_read(&job, &mut cluster, &log);
}
