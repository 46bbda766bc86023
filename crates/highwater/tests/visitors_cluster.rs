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
use highwater_control::{Answer, Request, Savepoint};
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

/// A job that waits for more at the end of its log, until it has been read and the job is stopped.
fn with_endless_job(
    job_managers: usize,
    task_managers: usize,
    options: &[&str],
    run: impl FnOnce(&Job, &mut Cluster<'_>),
) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(9), 60_000, 3_000);
    let all = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000"];
    let job = Job::new("visitors", folder.path(), &log, &[all.as_slice(), options].concat());
    let mut cluster = Cluster::start(&job, job_managers, task_managers);
    run(&job, &mut cluster);
    cluster::stop_when_read(&job, &mut cluster, &log);
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
    with_endless_job(2, 2, &cluster::LASTING_LEASE, |job, cluster| {
        assert!(cluster.waits(|job| job.completed() >= 2));
        let leader = cluster.leader();
        assert!(cluster.kill(Part::JobManager, leader));
        let before = job.completed();
        assert!(cluster.waits(|job| job.completed() > before + 2), "checkpoints go on");
        let said = job.messages();
        assert!(said.contains("taking over the attempt, which runs on"), "{}", job.last_messages());
        assert_eq!(said.matches("the attempt ended, the next starts").count(), 0, "{}", job.last_messages());
    });
}

#[test]
fn another_parallelism_while_it_runs() {
    with_endless_job(1, 4, &[], |job, cluster| {
        assert!(cluster.waits(|job| job.completed() > 0));
        for parallelism in [1, 2, 4, 1] {
            let answer = cluster.ask(&Request::Rescale { parallelism });
            assert!(matches!(answer, Answer::Completed { pause_ms: Some(_), .. }), "{answer:?}");
            assert_eq!(cluster.client().job("", 0).unwrap().parallelism, parallelism);
            let before = job.completed();
            assert!(cluster.waits(|job| job.completed() > before + 2));
        }
    });
}

#[test]
fn it_goes_on_with_the_slots_that_are_left_and_uses_those_that_come() {
    with_endless_job(1, 2, &["--resource-wait", "100ms"], |job, cluster| {
        let runs_with = |cluster: &mut Cluster<'_>, parallelism: u32| {
            let mut client = cluster.client();
            let runs = |_: &Job| {
                let job = client.job("", 0).unwrap();
                job.phase == "running" && job.parallelism == parallelism
            };
            assert!(cluster.waits(runs), "with {parallelism}: {}", job.last_messages());
        };
        runs_with(cluster, 2);
        cluster.remove_task_manager();
        runs_with(cluster, 1);
        cluster.add_task_manager();
        runs_with(cluster, 2);
    });
}

#[test]
fn a_taskmanager_that_is_told_to_stop_leaves_after_a_checkpoint_that_is_taken_for_that() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(15), 60_000, 3_000);
    // Checkpoints come when they are asked for, and lost slots would be waited for.
    let options = ["--follow", "--roll-bytes", "100000", "--checkpoint-interval", "1h", "--resource-wait", "10m"];
    let job = Job::new("visitors", folder.path(), &log, &[options.as_slice(), &["--parallelism", "3"]].concat());
    let mut cluster = Cluster::start(&job, 1, 3);
    let mut client = cluster.client();
    let take_checkpoint = |cluster: &Cluster<'_>| {
        let answer = cluster.ask(&Request::Checkpoint {});
        assert!(matches!(answer, Answer::Completed { taken: Some(_), .. }), "{answer:?}");
    };
    cluster::wait_until_running(&mut cluster);
    for left in [2, 1] {
        // Taken by an attempt that runs, and not only is deployed.
        take_checkpoint(&cluster);
        let before = job.completed();
        cluster.terminate(Part::TaskManager, 0);
        let goes_on = |_: &Job| {
            let job = client.job("", 0).unwrap();
            job.phase == "running" && job.parallelism == left
        };
        assert!(cluster.waits(goes_on), "with {left}: {}", job.last_messages());
        assert!(job.completed() > before, "a checkpoint was taken");
    }
    assert_eq!(client.job("", 0).unwrap().restarts, 0, "no attempt has failed: {}", job.last_messages());
    take_checkpoint(&cluster);
    cluster::stop_when_read(&job, &mut cluster, &log);
}

#[test]
fn a_taskmanager_that_is_told_to_stop_does_not_wait_where_there_is_nobody_to_wait_for() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(17), 6_000, 300);
    let options = ["--follow", "--checkpoint-interval", "50ms", "--leave-timeout", "1h"];
    let job = Job::new("visitors", folder.path(), &log, &options);
    let mut cluster = Cluster::start(&job, 1, 2);
    assert!(cluster.waits(|job| job.completed() > 0));
    cluster.remove_job_manager(0);
    assert!(cluster.waits(|job| job.messages().matches("looking for a JobManager that leads").count() == 2));
    cluster.terminate(Part::TaskManager, 1);
    cluster.terminate(Part::TaskManager, 0);
}

#[test]
fn clients_stop_a_job_with_a_savepoint_and_cancel_one() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(11), 60_000, 3_000);
    let target = folder.path().join("savepoints").display().to_string();
    let options = ["--follow", "--checkpoint-interval", "50ms", "--roll-bytes", "100000", "--cluster-id"];
    let part = |cluster_id| Job::new("visitors", folder.path(), &log, &[options.as_slice(), &[cluster_id]].concat());

    let first = part("first");
    let mut cluster = Cluster::start(&first, 1, 2);
    assert!(cluster.waits(|job| job.completed() > 0));
    assert_eq!(cluster.client().task_managers().unwrap().len(), 2);
    let savepoint = Some(Savepoint { target: Some(target) });
    let answer = cluster.ask(&Request::Stop { drain: false, savepoint });
    assert!(matches!(answer, Answer::Completed { taken: Some(_), .. }), "{answer:?}");
    cluster.wait_for_end();

    let second = part("second");
    let mut cluster = Cluster::start(&second, 1, 1);
    let before = second.completed();
    assert!(cluster.waits(|job| job.completed() > before));
    let answer = cluster.ask(&Request::Cancel {});
    assert!(matches!(answer, Answer::Completed { taken: None, .. }), "{answer:?}");
    cluster.wait_for_end();

    // Cancelled, it goes on from its newest checkpoint.
    let third = part("third");
    let mut cluster = Cluster::start(&third, 1, 2);
    cluster::stop_when_read(&third, &mut cluster, &log);
}

#[test]
fn a_new_leader_goes_on_from_the_jobs_own_checkpoint_and_not_from_what_it_was_told_to_restore() {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    input::write(&log, &mut Random::new(13), 60_000, 3_000);
    let options = ["--follow", "--roll-bytes", "100000"];
    let part = |more: &[&str]| Job::new("visitors", folder.path(), &log, &[options.as_slice(), more].concat());

    let first = part(&["--checkpoint-interval", "50ms", "--cluster-id", "first"]);
    let mut cluster = Cluster::start(&first, 1, 2);
    cluster::wait_until_read(&mut cluster, &log);
    let savepoint = Some(Savepoint { target: Some(folder.path().join("savepoints").display().to_string()) });
    let answer = cluster.ask(&Request::Stop { drain: false, savepoint });
    let Answer::Completed { taken: Some(savepoint), .. } = answer else { panic!("{answer:?}") };
    cluster.wait_for_end();

    // Its checkpoints come when they are asked for.
    let second = part(&["--checkpoint-interval", "1h", "--cluster-id", "second", "--restore", &savepoint.path]);
    let mut cluster = Cluster::start(&second, 2, 2);
    cluster::wait_until_running(&mut cluster);
    let answer = cluster.ask(&Request::Checkpoint {});
    assert!(matches!(answer, Answer::Completed { taken: Some(_), .. }), "{answer:?}");
    let leader = cluster.leader();
    assert!(cluster.kill(Part::JobManager, leader));
    assert!(cluster.waits(|job| job.messages().contains("taking over the attempt")));
    assert!(cluster.kill(Part::TaskManager, 0));
    // That one, or the one that the new leader has taken since.
    let is_restored = |line: &str| line.contains("restoring") && line.contains("/chk-");
    assert!(cluster.waits(|job| job.messages().lines().any(is_restored)));
    cluster::wait_until_running(&mut cluster);
    let answer = cluster.ask(&Request::Stop { drain: false, savepoint: None });
    assert!(matches!(answer, Answer::Completed { .. }), "{answer:?}");
    cluster.wait_for_end();
    kills::assert_same(&second, &log);
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
