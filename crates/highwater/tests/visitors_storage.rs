//! A checkpoint storage that is away when another JobManager begins to lead: the attempt runs on, the leader waits and says so, and takes
//! the attempt over once the storage is back.
//!
//! `cargo test` builds the example too; with `--test visitors_storage` alone, run `cargo build --example visitors` before.
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]
#![allow(dead_code, reason = "the modules are those of another test too")]

#[path = "visitors_kill/cluster.rs"]
mod cluster;
#[path = "visitors_kill/count.rs"]
mod count;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;
#[path = "visitors_kill/kills.rs"]
mod kills;

use std::fs;

use cluster::{Cluster, LASTING_LEASE, Part};
use highwater_testing::Random;
use job::Job;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

/// Whether a JobManager says that it is ready.
fn is_ready(address: &str) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let status = runtime.block_on(async {
        let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let mut client = HealthClient::new(channel);
        let request = HealthCheckRequest { service: "readiness".to_owned() };
        client.check(request).await.unwrap().into_inner().status
    });
    let serving = 1;
    status == serving
}

#[test]
fn a_new_leader_waits_for_the_storage_while_the_attempt_runs_on() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(31), 60_000, 3_000);
    let ha_dir = folder.path().join("ha").display().to_string();
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000", "--ha-dir", &ha_dir];
    let job = Job::new("visitors", folder.path(), &log, &[options.as_slice(), &LASTING_LEASE].concat());
    let mut cluster = Cluster::start(&job, 3, 2);
    assert!(cluster.waits(|job| job.completed() > 2));

    let (there, away) = (folder.path().join("checkpoints"), folder.path().join("away"));
    let leader = cluster.leader();
    cluster.remove_job_manager(leader);
    fs::rename(&there, &away).unwrap();
    let waits = "the checkpoint storage does not answer as it should, and is waited for";
    assert!(cluster.waits(|job| job.messages().contains(waits)), "a leader waits");
    assert!(!is_ready(&cluster.addresses()[cluster.leader()]));
    let shown = cluster.client().job("", 0).unwrap();
    assert_eq!(shown.phase, "waiting");
    assert!(shown.reason.contains("checkpoint storage") && shown.reason.contains("does not exist"), "{}", shown.reason);

    let leader = cluster.leader();
    cluster.terminate(Part::JobManager, leader);
    assert!(cluster.waits(|job| job.messages().matches(waits).count() == 2), "the last JobManager waits too");
    assert!(!there.exists(), "what is missing is not created anew");
    fs::rename(&away, &there).unwrap();
    let before = job.completed();
    assert!(cluster.waits(|job| job.completed() > before + 2), "checkpoints go on");
    assert!(is_ready(&cluster.addresses()[cluster.leader()]));

    cluster::stop_when_read(&job, &mut cluster, &log);
    let said = job.messages();
    assert!(said.contains("taking over the attempt, which runs on"), "{}", job.last_messages());
    assert_eq!(said.matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
}
