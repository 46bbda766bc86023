//! The roles of a job's processes in a cluster.
//!
//! JobManagers are elected ([`highwater_ha`]); the one that leads runs the job's JobManager for as
//! long as it does. TaskManagers register with it over the network ([`highwater_control`]) and keep what they run while nobody leads.
//!
//! Invariants:
//! * a checkpoint counts, and sinks hear of it, only after the log of leaders says so (I8);
//! * an id of a checkpoint is used only below a bound that is in that log, and the next leader begins at the bound: so what an earlier
//!   leader still has under way meets nothing of a later one (I3).

mod convert;
mod desk;
mod leader;
mod ledger;
mod record;
mod worker;

use std::net::SocketAddr;
use std::time::Duration;

use highwater_control::{Addresses, Heartbeats, Identity};
use highwater_core::Parallelism;

use crate::job::Process;

pub(crate) use leader::manage;
pub(crate) use ledger::Ledger;
pub(crate) use worker::{Connection, work};

/// What a process is to its job.
#[derive(Clone, Debug, Default)]
pub enum Role {
    /// All of it, or one of a fixed list of processes.
    #[default]
    Run,
    /// A JobManager of a cluster: leads the job, or stands by.
    JobManager(JobManagerConfig),
    /// A TaskManager of a cluster: has workers.
    TaskManager(TaskManagerConfig),
}

impl Role {
    /// The cluster that a JobManager is of; empty without one.
    pub(crate) fn cluster_id(&self) -> &str {
        match self {
            Role::JobManager(role) => &role.cluster_id,
            Role::Run | Role::TaskManager(_) => "",
        }
    }
}

/// The settings of a JobManager in a cluster.
#[derive(Clone, Debug)]
pub struct JobManagerConfig {
    /// Where it listens for TaskManagers, other programs and probes: `host:port`.
    pub listen: String,
    /// What the others are told instead, if they do not reach it there.
    pub advertise: Option<String>,
    /// Path or URI of what the JobManagers of the job share.
    pub ha_dir: String,
    /// Tells the cluster from another that runs the same job.
    pub cluster_id: String,
    /// How long it leads without a sign of life in the HA directory.
    pub lease: Duration,
    /// How many workers the job has: as many as there are slots, if `None`.
    pub parallelism: Option<Parallelism>,
    /// With fewer slots the job waits.
    pub min_parallelism: Parallelism,
    /// How long the job waits for lost slots before it goes on with fewer.
    pub resource_wait: Duration,
    /// How long an attempt runs at least before it is interrupted to use new slots.
    pub scale_up_pause: Duration,
    /// How silent processes are noticed.
    pub heartbeats: Heartbeats,
}

/// The settings of a TaskManager in a cluster.
#[derive(Clone, Debug)]
pub struct TaskManagerConfig {
    /// The JobManagers of the job, or some of them.
    pub job_managers: Addresses,
    /// How many workers it can have.
    pub slots: u32,
    /// Where it listens for other TaskManagers: `host:port`, with port 0 for any.
    pub listen: String,
    /// What the others are told instead, if they do not reach it there.
    pub advertise: Option<String>,
    /// Where it answers probes: `host:port`.
    pub health: Option<String>,
    /// How long it waits for the job to go on without it, when it is told to stop.
    pub leave_timeout: Duration,
}

/// Where the others are told that a process is which listens at `listen`, on `local`: unknown, if that is every address of its machine.
fn told_address(advertise: Option<&str>, listen: &str, local: SocketAddr) -> Option<String> {
    let host = listen.rsplit_once(':').map_or(listen, |(host, _)| host);
    let own = || (!local.ip().is_unspecified()).then(|| format!("{host}:{}", local.port()));
    advertise.map(str::to_owned).or_else(own)
}

/// What the processes of the cluster must have in common.
fn identity(process: &Process) -> Identity {
    Identity {
        highwater_version: env!("CARGO_PKG_VERSION").to_owned(),
        job: process.config.name.to_string(),
        graph: convert::graph(&process.plan, process.digest()),
    }
}
