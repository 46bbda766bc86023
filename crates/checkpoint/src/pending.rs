//! A checkpoint that has started and not ended.
//!
//! Invariants: it goes through its four phases in order and never back; a task counts once, with what it said first; it can be
//! published only when no acknowledgement is missing.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_core::{CheckpointId, SubtaskIndex, TaskId};

use crate::config::CheckpointingMode;
use crate::metadata::{FileDigest, Metadata, OperatorSnapshot, SnapshotKind, TaskSnapshot};
use crate::plan::{JobPlan, OperatorPlan};
use crate::protocol::{CheckpointKind, CheckpointReport, Outcome, RequestId};
use crate::retention::CompletedCheckpoint;
use crate::times::{Phase, PhaseClock};

#[derive(Debug)]
pub(crate) struct Pending {
    id: CheckpointId,
    kind: CheckpointKind,
    requests: Vec<RequestId>,
    clock: PhaseClock,
    created_unix_ms: i64,
    unprepared: BTreeSet<TaskId>,
    unacknowledged: BTreeSet<TaskId>,
    snapshots: BTreeMap<TaskId, TaskSnapshot>,
    files: BTreeMap<String, FileDigest>,
    bytes: u64,
    tasks: usize,
    publishing: bool,
}

impl Pending {
    /// A checkpoint that answers `requests`.
    pub(crate) fn start(
        id: CheckpointId,
        kind: CheckpointKind,
        requests: Vec<RequestId>,
        tasks: &BTreeSet<TaskId>,
        now: Duration,
    ) -> Self {
        Pending {
            id,
            kind,
            requests,
            clock: PhaseClock::start(now),
            created_unix_ms: 0,
            unprepared: tasks.clone(),
            unacknowledged: tasks.clone(),
            snapshots: BTreeMap::new(),
            files: BTreeMap::new(),
            bytes: 0,
            tasks: tasks.len(),
            publishing: false,
        }
    }

    pub(crate) fn id(&self) -> CheckpointId {
        self.id
    }

    pub(crate) fn kind(&self) -> CheckpointKind {
        self.kind
    }

    /// Takes the requests that it was to answer.
    pub(crate) fn take_requests(&mut self) -> Vec<RequestId> {
        std::mem::take(&mut self.requests)
    }

    /// It answers these requests too.
    pub(crate) fn join(&mut self, requests: impl IntoIterator<Item = RequestId>) {
        self.requests.extend(requests);
    }

    pub(crate) fn phase(&self) -> Phase {
        self.clock.phase()
    }

    pub(crate) fn is_publishing(&self) -> bool {
        self.publishing
    }

    /// Whether tasks may be waiting for its outcome.
    pub(crate) fn was_triggered(&self) -> bool {
        self.phase() != Phase::Init
    }

    /// When it expires: never, once all have acknowledged, since then only the storage is waited for.
    pub(crate) fn expires_at(&self, timeout: Duration) -> Option<Duration> {
        (self.phase() < Phase::Complete).then(|| self.clock.started().saturating_add(timeout))
    }

    /// The tasks that have not acknowledged.
    pub(crate) fn missing(&self) -> impl Iterator<Item = &TaskId> {
        self.unacknowledged.iter()
    }

    /// The location is fixed. Returns whether it was not before.
    pub(crate) fn locate(&mut self, created_unix_ms: i64, now: Duration) -> bool {
        let first = self.phase() == Phase::Init;
        if first {
            self.created_unix_ms = created_unix_ms;
            self.clock.enter(Phase::Prepare, now);
        }
        first
    }

    /// `task` has taken the synchronous part of its snapshot.
    pub(crate) fn prepare(&mut self, task: &TaskId, now: Duration) {
        if self.phase() == Phase::Prepare && self.unprepared.remove(task) && self.unprepared.is_empty() {
            self.clock.enter(Phase::Confirm, now);
        }
    }

    /// `task` has acknowledged.
    ///
    /// # Errors
    /// If it wrote a file that another task wrote differently: one of them has overwritten the other's.
    pub(crate) fn acknowledge(
        &mut self,
        task: TaskId,
        snapshot: TaskSnapshot,
        files: Vec<FileDigest>,
        bytes: u64,
        now: Duration,
    ) -> Result<(), String> {
        if !self.was_triggered() || !self.unacknowledged.remove(&task) {
            return Ok(());
        }
        self.prepare(&task, now);
        for file in files {
            let known = self.files.entry(file.name.clone()).or_insert_with(|| file.clone());
            if *known != file {
                return Err(format!("{task} wrote another file {} than a task before it", file.name));
            }
        }
        self.snapshots.insert(task, snapshot);
        self.bytes = self.bytes.saturating_add(bytes);
        if self.unacknowledged.is_empty() {
            self.clock.enter(Phase::Complete, now);
        }
        Ok(())
    }

    /// The metadata of this checkpoint, all of whose tasks have acknowledged.
    ///
    /// # Errors
    /// If what they acknowledged breaks an invariant of the metadata.
    pub(crate) fn publish(
        &mut self,
        plan: &JobPlan,
        mode: CheckpointingMode,
        now: Duration,
    ) -> Result<Metadata, String> {
        assert!(self.unacknowledged.is_empty(), "checkpoint {} is published before all tasks acknowledged", self.id);
        let mut snapshots = std::mem::take(&mut self.snapshots);
        let metadata = Metadata {
            job: plan.job().clone(),
            id: self.id,
            kind: if self.kind.is_savepoint() { SnapshotKind::Savepoint } else { SnapshotKind::Checkpoint },
            created_unix_ms: self.created_unix_ms,
            mode,
            operators: plan.operators().iter().map(|operator| operator_snapshot(operator, &mut snapshots)).collect(),
            files: self.files.values().cloned().collect(),
            times: self.clock.times_at(now),
        };
        metadata.validate()?;
        self.publishing = true;
        Ok(metadata)
    }

    /// What is kept in mind of it once it has completed.
    pub(crate) fn completed(&self) -> CompletedCheckpoint {
        let shared = |file: &FileDigest| Some((file.name.clone(), file.shared_by?));
        CompletedCheckpoint { id: self.id, shared_files: self.files.values().filter_map(shared).collect() }
    }

    /// The report of its end.
    pub(crate) fn report(&self, outcome: Outcome, now: Duration) -> CheckpointReport {
        CheckpointReport {
            id: self.id,
            kind: self.kind,
            outcome,
            times: self.clock.times_at(now),
            bytes: self.bytes,
            acknowledged: self.tasks - self.unacknowledged.len(),
            tasks: self.tasks,
            requests: self.requests.clone(),
        }
    }
}

fn operator_snapshot(plan: &OperatorPlan, snapshots: &mut BTreeMap<TaskId, TaskSnapshot>) -> OperatorSnapshot {
    let subtasks = plan.tasks().filter_map(|task| Some((task.subtask, snapshots.remove(&task)?)));
    let subtasks: Vec<(SubtaskIndex, TaskSnapshot)> = subtasks.collect();
    OperatorSnapshot {
        uid: plan.uid.clone(),
        name: plan.name.clone(),
        parallelism: plan.parallelism,
        max_parallelism: plan.max_parallelism,
        subtasks,
    }
}
