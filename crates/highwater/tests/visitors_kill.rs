//! Exactly-once, proved the hard way: the `visitors` example is killed with SIGKILL at random moments, started again with another
//! number of workers or processes, and in the end its output must be what a plain loop over the log counts.
//!
//! `cargo test` builds the example too; with `--test visitors_kill` alone, run `cargo build --example visitors` before.
//!
//! A moment is found by looking at the checkpoint directory (before the first checkpoint, while one is being written, after one
//! completed) and adding a random delay. A job that has read its input is compared, and the next one starts with another input:
//! so a fast machine needs more jobs for the same number of kills.
//!
//! | variable | meaning |
//! |---|---|
//! | `HIGHWATER_SEED` | the seed of all random choices, printed by every run |
//! | `HIGHWATER_KILLS` | how many times the job is killed, 8 if not set |
//! | `HIGHWATER_ACCESS_LOG` | an access log to read, repeated until it is long enough, instead of a generated one |
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

#[path = "visitors_kill/count.rs"]
mod count;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;

use std::path::Path;
use std::time::Duration;

use highwater_testing::Random;

use count::Counts;
use job::{Job, Outcome, Run};

/// Lines of a job's input: some seconds of work. A debug build reads more slowly.
const LINES: usize = if cfg!(debug_assertions) { 800_000 } else { 3_000_000 };
const INTERVAL_MS: usize = 30;

#[test]
fn killed_at_any_moment_it_counts_every_request_once() {
    let seed = number("HIGHWATER_SEED").unwrap_or(1);
    let kills = number("HIGHWATER_KILLS").unwrap_or(8) as usize;
    println!("HIGHWATER_SEED={seed} HIGHWATER_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut killed = 0;
    while killed < kills {
        killed += killed_job(&mut random, kills - killed);
    }
}

/// One job from its first start to its end, with up to `kills` kills in between: how many there were.
fn killed_job(random: &mut Random, kills: usize) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    // Of its own, so that the moments of the kills do not depend on the input.
    input::write(&log, &mut Random::new(random.any()), LINES);
    // From many files in each checkpoint to a few.
    let roll_bytes = 16_000 << random.up_to(4);
    let job = Job::new(folder.path(), &log, INTERVAL_MS, roll_bytes);
    let mut killed = 0;
    while killed < kills {
        match killed_run(&job, random) {
            0 => break,
            count => killed += count,
        }
    }
    let (checkpoint, results) = (job.completed(), job.results().lines().count());
    println!("killed {killed} times, up to checkpoint {checkpoint}, with {results} results visible then");
    start(&job, random).wait_for_end();
    assert_same(&job, &log);
    killed
}

/// The variable as a number, if it is set.
fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One start of the job that ends with the death of all its processes: how many were killed, 0 if the input ended before.
fn killed_run(job: &Job, random: &mut Random) -> usize {
    let run = &mut start(job, random);
    if wait(job, run, random) == Outcome::Ended {
        return 0;
    }
    if run.len() == 1 {
        return run.kill(0);
    }
    let first = random.up_to(1);
    let killed = run.kill(first);
    if random.chance(50) {
        return killed + run.kill(1 - first);
    }
    // The one that is left goes on with the other's successor.
    run.restart(first);
    match wait(job, run, random) {
        Outcome::Ended => killed,
        Outcome::Due => killed + run.kill(0) + run.kill(1),
    }
}

/// Starts one process with one or two workers, or two processes with one worker each.
fn start<'a>(job: &'a Job, random: &mut Random) -> Run<'a> {
    match random.up_to(2) {
        0 => job.start(1, 1),
        1 => job.start(1, 2),
        _ => job.start(2, 1),
    }
}

/// Waits for the moment of a kill.
fn wait(job: &Job, run: &mut Run<'_>, random: &mut Random) -> Outcome {
    // Whatever was left behind counts as known, and the folder after it exists as soon as the job starts: another one only
    // when the checkpoint in that has completed.
    let known = job.completed().max(job.in_progress());
    let more = 1 + random.up_to(2) as u64;
    let delay = Duration::from_millis(random.up_to(INTERVAL_MS) as u64);
    match random.up_to(4) {
        0 => run.wait_until(|_| true, 10 * delay),
        1 => run.wait_until(|job| job.in_progress() > known + more, delay / 2),
        2 | 3 => run.wait_until(|job| job.being_written() > known + more, delay),
        _ => run.wait_until(|job| job.completed() >= known + more, delay),
    }
}

/// Compares what the job has written with what a plain loop counts.
fn assert_same(job: &Job, log: &Path) {
    let expected = Counts::of_log(log);
    let results = job.results();
    Counts::of_results(&results).assert_equals(&expected);
    let mut rejected: Vec<_> = job.rejected().lines().map(String::from).collect();
    rejected.sort();
    assert_eq!(rejected.len(), expected.rejected.len(), "number of rejected lines");
    assert!(rejected == expected.rejected, "the rejected lines are not those that do not fit");
    assert_eq!(job.unfinished(), Vec::<String>::new(), "nothing in progress is left");
}
