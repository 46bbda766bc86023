//! The example `sessions` against plain loops over the log: each session, top page and burst must be there once, as they find it,
//! also when the job is killed with SIGKILL and started again with another number of workers.
//!
//! `cargo test` builds the example too; with `--test sessions` alone, run `cargo build --example sessions` before.
//!
//! The log is generated, or that of `HIGHWATER_ACCESS_LOG`, whose lines must be in order up to a minute; lines that come hours too
//! late are put into it. Which of them are too late for a result depends on how far the watermark has come: each is either among
//! the late ones of the result, or in it.
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]

#[path = "sessions/calendar.rs"]
mod calendar;
#[path = "sessions/expected.rs"]
mod expected;
#[path = "sessions/input.rs"]
mod input;
#[expect(dead_code, reason = "another test watches more closely")]
#[path = "visitors_kill/job.rs"]
mod job;

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use expected::Hit;
use job::{Job, Outcome};

/// The folder of each kind of result, and the loop that finds them.
const RESULTS: [(&str, Loop); 3] =
    [("sessions", expected::sessions), ("pages", expected::top_pages), ("bursts", expected::bursts)];
type Loop = fn(&[Hit]) -> Vec<expected::Result>;
const FOLDERS: [&str; 5] = ["sessions", "pages", "bursts", "late", "rejected"];
#[test]
fn results_are_those_of_plain_loops_over_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = (input::log(1, 20_000, true), folder.path().join("access.log"));
    std::fs::write(&path, &log).unwrap();
    let job = Job::new("sessions", folder.path(), &path, &["--checkpoint-interval", "300ms"]);
    job.start(2).wait_for_end();
    assert_same(&job, &log);
}

#[test]
fn results_come_when_the_tolerance_has_passed_and_later_lines_are_late_for_them() {
    let folder = tempfile::tempdir().unwrap();
    let (log, path) = (input::generated(3, 4_000).join("\n") + "\n", folder.path().join("access.log"));
    std::fs::write(&path, &log).unwrap();
    let options = ["--follow", "--checkpoint-interval", "100ms", "--roll-bytes", "1"];
    let job = Job::new("sessions", folder.path(), &path, &options);
    // With one subtask of each operator its last result shows how far its watermark has come.
    let mut run = job.start(1);
    let (hits, _) = expected::hits(&log);
    let watermark = hits.iter().map(Hit::time).max().unwrap() - 60;
    let complete = RESULTS.map(|(folder, expect)| {
        let results = expect(&hits).into_iter().filter(|(end, _)| *end <= watermark);
        (folder, sorted(results.map(|(_, row)| row)))
    });
    let are_there = |job: &Job| complete.iter().all(|(folder, rows)| lines(job, folder).len() >= rows.len());
    assert_eq!(run.wait_until(are_there, Duration::ZERO), Outcome::Due);

    let late = input::of_the_first_hour(12);
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(late.as_bytes()).unwrap();
    let (hits, _) = expected::hits(&late);
    let row = |(result, _)| hits.iter().map(move |hit| format!("{result},{}", hit.row()));
    let expect = sorted(RESULTS.into_iter().flat_map(row));
    assert_eq!(run.wait_until(|job| lines(job, "late").len() >= expect.len(), Duration::ZERO), Outcome::Due);
    assert_eq!(lines(&job, "late"), expect);
    for (folder, rows) in complete {
        assert_eq!(lines(&job, folder), rows, "{folder}");
    }
}

#[test]
fn killed_and_started_again_it_has_every_result_once() {
    let folder = tempfile::tempdir().unwrap();
    // Late pages would make hours of their own after a restore.
    let (log, path) = (input::log(2, 60_000, false), folder.path().join("access.log"));
    std::fs::write(&path, &log).unwrap();
    let job = Job::new("sessions", folder.path(), &path, &["--checkpoint-interval", "30ms", "--roll-bytes", "20000"]);
    let mut killed = 0;
    for workers in [2, 1, 2] {
        let known = job.completed();
        let mut run = job.start(workers);
        if run.wait_until(|job| job.completed() > known, Duration::from_millis(7)) == Outcome::Due {
            killed += usize::from(run.kill());
        }
        println!("killed {killed} times, {} sessions visible", lines(&job, "sessions").len());
    }
    assert!(killed > 0, "the log was read before there was a checkpoint: it is too short");
    job.start(2).wait_for_end();
    assert_same(&job, &log);
}

/// Compares all that the job has written with what plain loops find.
#[track_caller]
fn assert_same(job: &Job, log: &str) {
    let (hits, rejected) = expected::hits(log);
    assert!(lines(job, "rejected") == sorted(rejected), "the rejected lines are not those that do not fit");
    for (folder, expect) in RESULTS {
        let expect = sorted(expect(&without_late(&hits, &lines(job, "late"), folder)).into_iter().map(|(_, row)| row));
        let results = lines(job, folder);
        for (result, expect) in results.iter().zip(&expect) {
            assert_eq!(result, expect, "the first that differs in {folder}");
        }
        assert_eq!(results.len(), expect.len(), "number of {folder}");
        assert!(!results.is_empty(), "the log has no {folder}");
    }
    assert_eq!(job.unfinished(&FOLDERS), Vec::<String>::new(), "nothing in progress is left");
}

/// The hits but those that came too late for `result`: once each, and only those that were made to.
fn without_late(hits: &[Hit], late: &[String], result: &str) -> Vec<Hit> {
    let rows: Vec<_> = late.iter().filter_map(|line| line.strip_prefix(result)?.strip_prefix(',')).collect();
    let late: BTreeSet<_> = rows.iter().copied().collect();
    assert_eq!(rows.len(), late.len(), "a hit is late for {result} twice");
    let (late, others): (Vec<_>, Vec<_>) = hits.iter().cloned().partition(|hit| late.contains(hit.row().as_str()));
    assert_eq!(late.len(), rows.len(), "late for {result} is what is not in the log");
    assert!(late.iter().all(Hit::is_made_late), "a hit within the tolerance is late for {result}");
    others
}

/// The visible lines of a folder, sorted.
fn lines(job: &Job, folder: &str) -> Vec<String> {
    sorted(job.visible(folder).lines().map(String::from))
}

fn sorted(lines: impl IntoIterator<Item = String>) -> Vec<String> {
    let mut lines: Vec<_> = lines.into_iter().collect();
    lines.sort();
    lines
}
