//! A cluster on three hosts whose network is cut, each way and both, or slow and losing packets, and healed again: the output must be what a
//! plain loop over the log counts.
//!
//! The hosts are network namespaces with a switch between them, which takes Linux, `ip` and the right to make them. Where that is not to
//! be had the test says so and ends: `HIGHWATER_NETWORK=required` makes it an error.
#![cfg(target_os = "linux")]
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]
#![allow(dead_code, reason = "the modules are those of another test too")]

#[path = "visitors_kill/count.rs"]
mod count;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;
#[path = "visitors_kill/kills.rs"]
mod kills;
#[path = "visitors_kill/network.rs"]
mod network;

use std::path::Path;
use std::process::Child;
use std::time::{Duration, Instant};

use count::Counts;
use highwater_testing::Random;
use job::{Job, PATIENCE};
use network::Network;

const HOSTS: usize = 3;
/// After how much silence the other end counts as lost.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// The processes, which none outlives this.
struct Processes(Vec<Child>);

impl Drop for Processes {
    fn drop(&mut self) {
        for process in &mut self.0 {
            // Of no use for one that has ended, and a panic here would hide the first.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// A JobManager on the first two hosts, a TaskManager with one slot on each.
fn start(job: &Job, network: &Network) -> Processes {
    let job_managers: Vec<String> = (0..2).map(|host| format!("{}:7001", network.address(host))).collect();
    let all = job_managers.join(",");
    let mut processes = Vec::new();
    for (host, address) in job_managers.iter().enumerate() {
        let timeout = format!("{}s", HEARTBEAT_TIMEOUT.as_secs());
        let beats = ["--heartbeat-interval", "200ms", "--heartbeat-timeout", &timeout];
        let waits = ["--resource-wait", "1s", "--scale-up-pause", "0s", "--parallelism", "2"];
        let arguments = [["jobmanager", "--listen", address.as_str()].as_slice(), &beats, &waits].concat();
        processes.push(job.spawn_on(network.on(host), &arguments));
    }
    for host in 0..HOSTS {
        let listen = format!("{}:0", network.address(host));
        let arguments = ["taskmanager", "--jobmanager", &all, "--slots", "1", "--listen", &listen];
        processes.push(job.spawn_on(network.on(host), &arguments));
    }
    Processes(processes)
}

/// Waits until a checkpoint has completed that had not begun.
fn goes_on(job: &Job) {
    let (began, known) = (Instant::now(), job.completed().max(job.in_progress()));
    while job.completed() <= known {
        assert!(began.elapsed() < PATIENCE, "no checkpoint completes:\n{}", job.last_messages());
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// What a machine gave, unless it does not have it and need not.
fn had<T>(given: Result<T, String>) -> Option<T> {
    match given {
        Ok(given) => Some(given),
        Err(why) if std::env::var("HIGHWATER_NETWORK").is_ok_and(|wanted| wanted == "required") => panic!("{why}"),
        Err(why) => {
            println!("not tested, since this machine does not have such networks: {why}");
            None
        }
    }
}

/// Waits until all of the log has been counted, and compares.
fn assert_counted(job: &Job, log: &Path) {
    let counts = Counts::of_log(log);
    let began = Instant::now();
    while job.visible("").lines().count() as u64 != counts.requests() {
        assert!(began.elapsed() < PATIENCE, "not all is visible:\n{}", job.last_messages());
        std::thread::sleep(Duration::from_millis(200));
    }
    Counts::of_results(&job.visible("")).assert_equals(&counts);
}

#[test]
fn cut_off_from_each_other_in_any_way_they_count_every_request_once() {
    let Some(network) = had(Network::new(HOSTS)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(12), 40_000, 3_000);
    let options = ["--follow", "--checkpoint-interval", "100ms", "--roll-bytes", "100000"];
    let job = Job::new("visitors", folder.path(), &log, &options);
    let _processes = start(&job, &network);
    goes_on(&job);
    // Whoever leads and whoever has workers: between them they are cut in every way that there is, a few seconds each.
    for (from, to, both) in [(0, 1, true), (1, 0, false), (0, 2, true), (2, 1, false), (1, 2, true)] {
        network.cut(from, to);
        if both {
            network.cut(to, from);
        }
        // A cut is noticed after the heartbeat timeout, and an attempt without its leader dropped after another.
        std::thread::sleep(3 * HEARTBEAT_TIMEOUT);
        goes_on(&job);
        network.heal(from, to);
        if both {
            network.heal(to, from);
        }
        goes_on(&job);
    }
    assert_counted(&job, &log);
    let said = job.messages();
    for noticed in ["no heartbeat", "looking for a JobManager that leads", "dropping the attempt"] {
        assert!(said.contains(noticed), "a cut was noticed: {noticed}");
    }
}

#[test]
fn over_links_that_are_slow_and_lose_packets_they_count_every_request_once() {
    let Some(network) = had(Network::new(HOSTS)) else { return };
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(17), 40_000, 3_000);
    let options = ["--follow", "--checkpoint-interval", "100ms", "--roll-bytes", "100000"];
    let job = Job::new("visitors", folder.path(), &log, &options);
    for host in 0..HOSTS {
        let Some(()) = had(network.slow_down(host)) else { return };
    }
    let _processes = start(&job, &network);
    goes_on(&job);
    assert_counted(&job, &log);
    let lost: u64 = (0..HOSTS).map(|host| network.speed_up(host)).sum();
    println!("{lost} packets were lost");
    assert!(lost > 0, "the links lose packets");
    goes_on(&job);
}
