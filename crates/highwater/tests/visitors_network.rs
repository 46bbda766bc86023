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
#[path = "visitors_kill/hosts.rs"]
mod hosts;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;
#[path = "visitors_kill/kills.rs"]
mod kills;
#[path = "visitors_kill/network.rs"]
mod network;

use std::time::Duration;

use highwater_testing::Random;
use hosts::{Processes, assert_counted, goes_on, wait};
use job::Job;
use network::{Network, had};

const HOSTS: usize = 3;
/// After how much silence the other end counts as lost.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(2);

/// A JobManager on the first two hosts, a TaskManager with one slot on each.
fn start(job: &Job, network: &Network) -> Processes {
    let timeout = format!("{}s", HEARTBEAT_TIMEOUT.as_secs());
    let beats = ["--heartbeat-interval", "200ms", "--heartbeat-timeout", &timeout];
    let options = [beats.as_slice(), &["--resource-wait", "1s", "--parallelism", "3"]].concat();
    hosts::start(job, network, 0..2, 0..HOSTS, &options)
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
    // One that nobody reaches any more drops its part by itself, unless it hears before that the others are gone.
    let around: Vec<_> = (0..2).flat_map(|other| [(2, other), (other, 2)]).collect();
    let mut spread = 0;
    while !job.messages().contains("dropping the attempt") {
        assert!(spread < 5, "nothing is dropped:\n{}", job.last_messages());
        spread += 1;
        let on_all = format!("task_managers={HOSTS}");
        wait(&job, "an attempt on all hosts", || job.messages().matches(&on_all).count() >= spread);
        goes_on(&job);
        around.iter().for_each(|(from, to)| network.cut(*from, *to));
        std::thread::sleep(3 * HEARTBEAT_TIMEOUT);
        goes_on(&job);
        around.iter().for_each(|(from, to)| network.heal(*from, *to));
    }
    goes_on(&job);
    // Whoever leads and whoever has workers: between them they are cut in every way that there is, a few seconds each.
    for (from, to, both) in [(0, 1, true), (1, 0, false), (0, 2, true), (2, 1, false), (1, 2, true)] {
        network.cut(from, to);
        if both {
            network.cut(to, from);
        }
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
    for noticed in ["no heartbeat", "looking for a JobManager that leads"] {
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
