//! What a JobManager says of itself, and whom it may stand in for.
//!
//! JobManagers of one cluster that run the same program stand in for each other. One of another program, or of another
//! cluster, must not: they would pull the job to and fro. It is refused while the other leads and lives. Once that one is
//! gone it may lead: so a new version of a program takes over from the old one.

use std::time::Duration;

use highwater_core::{Error, JobName, Result};

use crate::entry::{JobState, Leader, Token};

/// A JobManager that wants to lead, or to stand in.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Contender {
    /// The job.
    pub job: JobName,
    /// Which cluster it belongs to (Flink: `high-availability.cluster-id`).
    pub cluster: String,
    /// The digest of its program's graph.
    pub program: String,
    /// Where it listens.
    pub address: String,
    /// How long it leads without another entry: at least 100 ms.
    pub holds_for: Duration,
    /// How many completed checkpoints stay on record: at least those that the job retains.
    pub retained: usize,
    /// How many entries behind the newest are kept, for those who follow the log one by one.
    pub kept_entries: u64,
    /// A number that comes once, by which it knows its own entries.
    pub writer: u128,
}

impl Contender {
    /// How long a leader holds unless something else is set. With it another leads 2 to 3 s after the leader was killed.
    pub const HOLDS_FOR: Duration = Duration::from_secs(2);
    /// Entries kept behind the newest unless something else is set.
    pub const KEPT_ENTRIES: u64 = 8;

    /// Refuses what cannot work.
    ///
    /// # Errors
    /// [`Settings`](highwater_core::ErrorKind::Settings) with what to change.
    pub fn check(&self) -> Result<()> {
        if self.holds_for < Duration::from_millis(100) || self.holds_for > Duration::from_secs(3600) {
            return Err(Error::settings(format!(
                "a leader cannot hold for {:?}: give between 100ms and 1h, several times what a request to the HA directory takes",
                self.holds_for
            )));
        }
        if self.cluster.is_empty() || self.address.is_empty() {
            return Err(Error::settings(
                "a JobManager needs the id of its cluster and an address that others reach it at",
            ));
        }
        Ok(())
    }

    /// Itself as a leader, without a token yet.
    pub(super) fn leader(&self) -> Leader {
        Leader {
            token: Token(0),
            cluster: self.cluster.clone(),
            program: self.program.clone(),
            address: self.address.clone(),
            holds_ms: u64::try_from(self.holds_for.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// What makes `leader` one that this JobManager must not stand in for.
    pub(super) fn differs_from(&self, leader: &Leader) -> Option<Difference> {
        if leader.cluster != self.cluster {
            Some(Difference::Cluster)
        } else if leader.program != self.program {
            Some(Difference::Program)
        } else {
            None
        }
    }

    /// The error of a JobManager that must not stand in for `leader`, who lives.
    pub(super) fn refused(&self, leader: &Leader, what: Difference) -> Error {
        let job = &self.job;
        let address = &leader.address;
        Error::settings(match what {
            Difference::Cluster => format!(
                "job {job} is led by another cluster, {:?}, at {address}, and this one is {:?}: give this job another name or HA \
                 directory, or stop the other one first",
                leader.cluster, self.cluster
            ),
            Difference::Program => format!(
                "job {job} is led from {address} by a program with another graph, {}, and this one is {}: to replace it, stop it \
                 first; to stand in for it, run the same program",
                leader.program, self.program
            ),
        })
    }
}

/// What two JobManagers differ in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Difference {
    Cluster,
    Program,
}

impl JobState {
    /// The job under a new leader. What another program or cluster has deployed is not attached to.
    pub(super) fn led_by(&self, leader: Leader) -> JobState {
        let same = self.leader.cluster == leader.cluster && self.leader.program == leader.program;
        let attempt = self.attempt.clone().filter(|_| same);
        JobState { leader, attempt, completed: self.completed.clone(), ended: None }
    }
}
