//! A job that is killed at random moments and started again, until it has read its input; and a look at what it has written.

use std::path::Path;
use std::time::Duration;

use highwater_testing::Random;

use crate::count::Counts;
use crate::input;
use crate::job::{Job, Outcome, Run};

/// The time between two checkpoints.
const INTERVAL_MS: usize = 30;

/// What is killed.
pub struct Victim {
    /// The example.
    pub program: &'static str,
    /// Lines of a job's input: some seconds of work.
    pub lines: usize,
    /// How many clients there are in it.
    pub clients: usize,
}

/// Kills the job until it was `HIGHWATER_KILLS` times, `default_kills` if that is not set; of each job `after` sees the folder at
/// its end.
pub fn kill(victim: &Victim, default_kills: usize, after: impl Fn(&Path)) {
    let seed = number("HIGHWATER_SEED").unwrap_or(1);
    let kills = number("HIGHWATER_KILLS").map_or(default_kills, |kills| kills as usize);
    println!("HIGHWATER_SEED={seed} HIGHWATER_KILLS={kills}");
    let mut random = Random::new(seed);
    let mut killed = 0;
    while killed < kills {
        killed += killed_job(victim, &mut random, kills - killed, &after);
    }
}

/// The variable as a number, if it is set.
pub fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is no number")))
}

/// One job from its first start to its end, with up to `kills` kills in between: how many there were.
fn killed_job(victim: &Victim, random: &mut Random, kills: usize, after: &impl Fn(&Path)) -> usize {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("access.log");
    // Of its own, so that the moments of the kills do not depend on the input.
    input::write(&log, &mut Random::new(random.any()), victim.lines, victim.clients);
    // From many files in each checkpoint to a few.
    let roll_bytes = 16_000 << random.up_to(4);
    let (interval, roll_bytes) = (format!("{INTERVAL_MS}ms"), roll_bytes.to_string());
    let options = ["--checkpoint-interval", &interval, "--roll-bytes", &roll_bytes];
    let job = Job::new(victim.program, folder.path(), &log, &options);
    let mut killed = 0;
    while killed < kills && killed_run(&job, random) {
        killed += 1;
    }
    let (checkpoint, results) = (job.completed(), job.visible("").lines().count());
    println!("killed {killed} times, up to checkpoint {checkpoint}, with {results} results visible then");
    start(&job, random).wait_for_end();
    assert_same(&job, &log);
    after(folder.path());
    killed
}

/// One start of the job that ends with its death: false if the input ended before.
fn killed_run(job: &Job, random: &mut Random) -> bool {
    let run = &mut start(job, random);
    wait(job, run, random) == Outcome::Due && run.kill()
}

/// Starts it with one or two workers.
fn start<'a>(job: &'a Job, random: &mut Random) -> Run<'a> {
    job.start(1 + random.up_to(1))
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
pub fn assert_same(job: &Job, log: &Path) {
    let expected = Counts::of_log(log);
    let results = job.visible("");
    Counts::of_results(&results).assert_equals(&expected);
    let mut rejected: Vec<_> = job.visible("rejected").lines().map(String::from).collect();
    rejected.sort();
    assert_eq!(rejected.len(), expected.rejected.len(), "number of rejected lines");
    assert!(rejected == expected.rejected, "the rejected lines are not those that do not fit");
    assert_eq!(job.unfinished(&["", "rejected"]), Vec::<String>::new(), "nothing in progress is left");
}
