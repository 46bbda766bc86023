//! What is reported of a run.

use std::fmt;
use std::ops::AddAssign;
use std::time::Duration;

/// What has happened in a run, so that runs in which nothing happens do not pass for good ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// Things that happened.
    pub steps: u64,
    /// JobManagers that began to lead.
    pub leaders: u64,
    /// Attempts that were deployed.
    pub deployments: u64,
    /// Attempts that a new leader took over.
    pub attached: u64,
    /// Checkpoints that counted.
    pub completed: u64,
    /// Requests for another parallelism that were answered with it.
    pub rescaled: u64,
    /// Checkpoints that were taken for another parallelism.
    pub taken_to_redeploy: u64,
    /// Processes that were killed.
    pub kills: u64,
    /// Parts of attempts that failed.
    pub failures: u64,
    /// Publishes that were not confirmed by the log.
    pub not_recorded: u64,
    /// Records that waited for a barrier.
    pub stashed: u64,
    /// Times at which a source was held back by what was on the way.
    pub held_back: u64,
    /// Checkpoints that were damaged on their way to a reader.
    pub misread: u64,
    /// TaskManagers that were told to stop, and were let go.
    pub left: u64,
    /// Parts of attempts that were dropped because the leader fell silent and no other came.
    pub dropped_alone: u64,
    /// Savepoints that were taken.
    pub savepoints: u64,
    /// Jobs that read everything.
    pub finished: u64,
    /// Jobs that were stopped.
    pub stopped: u64,
    /// Jobs that were cancelled.
    pub cancelled: u64,
    /// Jobs that ended with an error before they had ever run.
    pub never_ran: u64,
}

impl AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.steps += other.steps;
        self.leaders += other.leaders;
        self.deployments += other.deployments;
        self.attached += other.attached;
        self.completed += other.completed;
        self.rescaled += other.rescaled;
        self.taken_to_redeploy += other.taken_to_redeploy;
        self.kills += other.kills;
        self.failures += other.failures;
        self.not_recorded += other.not_recorded;
        self.stashed += other.stashed;
        self.held_back += other.held_back;
        self.misread += other.misread;
        self.left += other.left;
        self.dropped_alone += other.dropped_alone;
        self.savepoints += other.savepoints;
        self.finished += other.finished;
        self.stopped += other.stopped;
        self.cancelled += other.cancelled;
        self.never_ran += other.never_ran;
    }
}

/// How a run ended badly: what did not hold, and when.
#[derive(Clone, Debug)]
pub struct Violation {
    /// The run.
    pub seed: u64,
    /// When.
    pub at: Duration,
    /// What.
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (seed, at) = (self.seed, self.at.as_secs_f64());
        write!(f, "seed {seed}, after {at:.4} s: {}\n  replay: cargo xtask simulate --seed {seed} --trace", self.what)
    }
}
