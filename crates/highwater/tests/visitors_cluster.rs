//! Exactly-once in a cluster: processes of the `visitors` example, JobManagers and TaskManagers, are killed with SIGKILL at random
//! moments and started again, and in the end the output must be what a plain loop over the log counts.
//!
//! `cargo test` builds the example too; with `--test visitors_cluster` alone, run `cargo build --example visitors` before.
//! `HIGHWATER_SEED`, `HIGHWATER_KILLS` and `HIGHWATER_ACCESS_LOG` are those of `visitors_kill`.
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

use std::time::Duration;

use cluster::{Cluster, Part};
use highwater_testing::Random;
use job::Job;

/// Lines of the input: enough for `seconds` of work of two workers.
fn lines(seconds: usize) -> usize {
    seconds * if cfg!(debug_assertions) { 150_000 } else { 1_500_000 }
}

/// A job in a folder of its own, that reads `lines` lines.
fn with_job(seed: u64, lines: usize, run: impl FnOnce(&Job, &mut Random)) {
    let folder = tempfile::tempdir().unwrap();
    let (log, random) = (folder.path().join("access.log"), &mut Random::new(seed));
    input::write(&log, random, lines, 3_000);
    let job = Job::new("visitors", folder.path(), &log, &["--checkpoint-interval", "50ms", "--roll-bytes", "100000"]);
    run(&job, random);
    kills::assert_same(&job, &log);
}

#[test]
fn killed_in_any_part_it_counts_every_request_once() {
    let seed = kills::number("HIGHWATER_SEED").unwrap_or(1);
    let kills = kills::number("HIGHWATER_KILLS").unwrap_or(8);
    println!("HIGHWATER_SEED={seed} HIGHWATER_KILLS={kills}");
    let mut killed = 0;
    for round in 0.. {
        if killed >= kills {
            break;
        }
        with_job(seed + round, lines(8), |job, random| {
            let mut cluster = Cluster::start(job, 2, 2);
            while killed < kills && cluster.waits(|job| job.completed() > 0) {
                let part = if random.chance(50) { Part::JobManager } else { Part::TaskManager };
                cluster.pause(Duration::from_millis(random.up_to(1500) as u64));
                if !cluster.kill(part, random.up_to(1)) {
                    break;
                }
                killed += 1;
            }
            cluster.wait_for_end();
        });
    }
}

#[test]
fn a_job_goes_on_while_nobody_leads_and_its_checkpoints_with_the_next_leader() {
    with_job(7, lines(6), |job, _| {
        let mut cluster = Cluster::start(job, 2, 2);
        assert!(cluster.waits(|job| job.completed() >= 2));
        let leader = cluster.leader();
        assert!(cluster.kill(Part::JobManager, leader));
        let before = job.completed();
        assert!(cluster.waits(|job| job.completed() > before + 2), "checkpoints go on");
        cluster.wait_for_end();
        let said = job.messages();
        assert!(said.contains("taking over the attempt, which runs on"), "{}", job.last_messages());
        assert_eq!(said.matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
    });
}

#[test]
fn a_job_that_has_ended_is_not_run_again() {
    with_job(8, lines(1), |job, _| {
        Cluster::start(job, 1, 1).wait_for_end();
        let before = job.visible("");
        let mut late = Cluster::start(job, 1, 0);
        late.wait_for_end();
        assert!(job.messages().contains("another --cluster-id"), "{}", job.last_messages());
        assert!(job.visible("") == before, "nothing was written again");
    });
}
