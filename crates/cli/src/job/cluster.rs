//! What a JobManager tells, as documents and for people.

use std::time::Duration;

use highwater_control::proto::v1;
use serde::Serialize;

use crate::output::Output;
use crate::table::Table;
use crate::text;

/// A job of a cluster.
#[derive(Debug, Serialize)]
pub(super) struct ClusterJob {
    pub job: String,
    pub phase: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    attempt: Option<u64>,
    pub attempts: u64,
    pub parallelism: u32,
    pub restarts: u64,
    pub checkpoints_completed: u64,
    pub checkpoints_failed: u64,
    pub savepoints: u64,
    restored: Option<String>,
    leader: String,
    leader_token: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    checkpoints: Vec<Checkpoint>,
}

/// A checkpoint of it.
#[derive(Debug, Serialize)]
struct Checkpoint {
    id: u64,
    kind: String,
    outcome: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    init_ns: u64,
    prepare_ns: u64,
    confirm_ns: u64,
    complete_ns: u64,
    total_ns: u64,
    bytes: u64,
    acknowledged: u32,
    tasks: u32,
}

/// A TaskManager.
#[derive(Debug, Serialize)]
pub(super) struct TaskManager {
    id: String,
    data_address: String,
    peer: String,
    pid: u32,
    slots: u32,
    used_slots: u32,
    last_heartbeat_ns: u64,
}

fn some(text: String) -> Option<String> {
    Some(text).filter(|text| !text.is_empty())
}

impl From<v1::Job> for ClusterJob {
    fn from(job: v1::Job) -> Self {
        ClusterJob {
            job: job.name,
            phase: job.phase,
            reason: some(job.reason),
            attempt: Some(job.attempt).filter(|attempt| *attempt > 0),
            attempts: job.attempts,
            parallelism: job.parallelism,
            restarts: job.restarts,
            checkpoints_completed: job.checkpoints_completed,
            checkpoints_failed: job.checkpoints_failed,
            savepoints: job.savepoints,
            restored: some(job.restored),
            leader: job.leader,
            leader_token: job.leader_token,
            checkpoints: job.checkpoints.into_iter().map(Checkpoint::from).collect(),
        }
    }
}

impl From<v1::Checkpoint> for Checkpoint {
    fn from(checkpoint: v1::Checkpoint) -> Self {
        let v1::Checkpoint { init_nanos, prepare_nanos, confirm_nanos, complete_nanos, .. } = checkpoint;
        let phases = [init_nanos, prepare_nanos, confirm_nanos, complete_nanos];
        Checkpoint {
            id: checkpoint.id,
            kind: checkpoint.kind,
            outcome: checkpoint.outcome,
            reason: some(checkpoint.reason),
            init_ns: init_nanos,
            prepare_ns: prepare_nanos,
            confirm_ns: confirm_nanos,
            complete_ns: complete_nanos,
            total_ns: phases.into_iter().fold(0, u64::saturating_add),
            bytes: checkpoint.bytes,
            acknowledged: checkpoint.acknowledged,
            tasks: checkpoint.tasks,
        }
    }
}

impl From<v1::TaskManager> for TaskManager {
    fn from(task_manager: v1::TaskManager) -> Self {
        TaskManager {
            id: task_manager.id,
            data_address: task_manager.data_address,
            peer: task_manager.peer,
            pid: task_manager.pid,
            slots: task_manager.slots,
            used_slots: task_manager.used_slots,
            last_heartbeat_ns: task_manager.last_heartbeat_nanos,
        }
    }
}

impl ClusterJob {
    /// Shows it to people.
    pub fn show(&self, out: &mut Output) -> std::io::Result<()> {
        let none = || "none".to_owned();
        for (what, value) in [
            ("job", self.job.clone()),
            ("phase", self.reason.as_ref().map_or(self.phase.clone(), |why| format!("{}: {why}", self.phase))),
            ("leader", format!("{}, token {}", self.leader, self.leader_token)),
            ("attempt", self.attempt.map_or_else(none, |attempt| format!("{attempt}, {} begun", self.attempts))),
            ("parallelism", self.parallelism.to_string()),
            ("restarts", self.restarts.to_string()),
            ("checkpoints", format!("{} completed, {} failed", self.checkpoints_completed, self.checkpoints_failed)),
            ("savepoints", self.savepoints.to_string()),
            ("restored from", self.restored.clone().unwrap_or_else(none)),
        ] {
            out.line(format!("{what:16} {value}"))?;
        }
        if self.checkpoints.is_empty() {
            return Ok(());
        }
        out.line("")?;
        out.table(&Checkpoint::table(&self.checkpoints))
    }
}

impl Checkpoint {
    fn table(checkpoints: &[Checkpoint]) -> Table {
        let header = ["ID", "KIND", "OUTCOME", "INIT", "PREPARE", "CONFIRM", "COMPLETE", "TOTAL", "BYTES"];
        let mut table = Table::new(header);
        let time = |nanos| text::millis(Duration::from_nanos(nanos));
        for checkpoint in checkpoints {
            let why = checkpoint.reason.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
            table.row([
                checkpoint.id.to_string(),
                checkpoint.kind.clone(),
                format!("{}{why}", checkpoint.outcome),
                time(checkpoint.init_ns),
                time(checkpoint.prepare_ns),
                time(checkpoint.confirm_ns),
                time(checkpoint.complete_ns),
                time(checkpoint.total_ns),
                text::bytes(checkpoint.bytes),
            ]);
        }
        table
    }
}

impl TaskManager {
    /// Shows some to people.
    pub fn table(task_managers: &[TaskManager]) -> Table {
        let mut table = Table::new(["ID", "ADDRESS", "PID", "SLOTS", "USED", "HEARTBEAT"]);
        for task_manager in task_managers {
            table.row([
                task_manager.id.clone(),
                task_manager.data_address.clone(),
                task_manager.pid.to_string(),
                task_manager.slots.to_string(),
                task_manager.used_slots.to_string(),
                format!("{} ago", text::millis(Duration::from_nanos(task_manager.last_heartbeat_ns))),
            ]);
        }
        table
    }
}
