//! What happened to each checkpoint, kept apart from the coordinator, and what must hold of it after every step.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_checkpoint::CompletedCheckpoint;
use highwater_checkpoint::{
    CheckpointConfig, CheckpointKind, CheckpointReport, Command, Event, Metadata, Outcome, SnapshotKind,
};
use highwater_core::CheckpointId;

use crate::job::TASKS;

/// How a checkpoint ended, as far as anybody outside the coordinator can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Completed,
    Failed,
    InDoubt,
    /// It had completed, or might have, and newer ones have taken its place.
    Subsumed,
    /// It is a savepoint that completed or may have: its user's.
    Handed,
    /// Its coordinator was lost before it said anything.
    Forgotten,
}

#[derive(Debug)]
struct Life {
    savepoint: bool,
    started: Duration,
    located: bool,
    triggered: bool,
    acknowledged: BTreeSet<u32>,
    publishing: bool,
    /// How the publish ended, and so how the checkpoint has to end.
    published: Option<End>,
    notified: Option<End>,
    end: Option<End>,
    /// The shared files its tasks refer to.
    shared_files: BTreeMap<String, CheckpointId>,
}

/// The lives of all checkpoints of a job across its attempts.
#[derive(Debug)]
pub struct Ledger {
    config: CheckpointConfig,
    lives: BTreeMap<CheckpointId, Life>,
    consecutive_failures: u32,
    failed: bool,
    stopped: bool,
    completed_final: bool,
}

impl Ledger {
    pub fn new(config: &CheckpointConfig) -> Self {
        Ledger {
            config: config.clone(),
            lives: BTreeMap::new(),
            consecutive_failures: 0,
            failed: false,
            stopped: false,
            completed_final: false,
        }
    }

    /// The ids that have not ended.
    pub fn pending(&self) -> impl Iterator<Item = CheckpointId> {
        self.lives.iter().filter(|(_, life)| life.end.is_none()).map(|(id, _)| *id)
    }

    /// Whether `id` has not ended.
    pub fn is_pending(&self, id: CheckpointId) -> bool {
        self.lives.get(&id).is_some_and(|life| life.end.is_none())
    }

    /// Takes note of a fact before the coordinator hears of it.
    pub fn observe(&mut self, event: &Event) {
        match event {
            Event::Located { id, .. } => self.life(*id).located = true,
            Event::Acknowledged { id, task, files, .. } => {
                let life = self.life(*id);
                life.acknowledged.insert(task.subtask.0);
                let shared = files.iter().filter_map(|file| Some((file.name.clone(), file.shared_by?)));
                life.shared_files.extend(shared);
            }
            Event::Published { id } => self.life(*id).published = Some(End::Completed),
            Event::PublishFailed { id, may_have_happened, .. } => {
                self.life(*id).published = Some(if *may_have_happened { End::InDoubt } else { End::Failed });
            }
            Event::Shutdown => self.stopped = true,
            Event::Running
            | Event::Tick
            | Event::Request(_)
            | Event::LocateFailed { .. }
            | Event::Prepared { .. }
            | Event::Declined { .. } => {}
        }
    }

    /// The coordinator is lost, and what it was doing with it. `in_doubt_exist` says what the search for checkpoints finds
    /// out about those that were published, or might have been. Returns what it finds.
    pub fn restart(&mut self, in_doubt_exist: bool) -> Vec<CompletedCheckpoint> {
        for life in self.lives.values_mut() {
            let doubtful = life.end == Some(End::InDoubt) || (life.publishing && life.end.is_none());
            match life.end {
                _ if doubtful && in_doubt_exist => life.end = Some(End::Completed),
                None | Some(End::InDoubt) => life.end = Some(End::Forgotten),
                Some(End::Completed | End::Failed | End::Subsumed | End::Forgotten | End::Handed) => {}
            }
            if life.savepoint && life.end == Some(End::Completed) {
                life.end = Some(End::Handed);
            }
        }
        (self.consecutive_failures, self.failed, self.stopped, self.completed_final) = (0, false, false, false);
        let completed = self.lives.iter().filter(|(_, life)| life.end == Some(End::Completed));
        completed.map(|(id, life)| CompletedCheckpoint { id: *id, shared_files: life.shared_files.clone() }).collect()
    }

    /// Checks what the coordinator decided at `now`.
    pub fn check(&mut self, commands: &[Command], now: Duration) {
        for command in commands {
            match command {
                Command::Locate { id, savepoint } => self.check_locate(*id, savepoint.is_some(), now),
                Command::Trigger { id, .. } => self.check_trigger(*id),
                Command::Publish { metadata, .. } => self.check_publish(metadata),
                Command::NotifyComplete { id } => self.check_notify(*id, End::Completed),
                Command::NotifyAborted { id, .. } => self.check_notify(*id, End::Failed),
                Command::Discard { id } => self.check_discard(*id, commands),
                Command::DeleteShared { names } => self.check_delete(names),
                Command::Report(report) => self.check_report(report, now),
                Command::Refuse { .. } => {}
                Command::FailJob { .. } => self.check_fail_job(),
            }
        }
        let failing = self.consecutive_failures > self.config.tolerable_failures;
        assert!(self.stopped || self.failed || !failing, "the job goes on after too many failures");
    }

    fn check_locate(&mut self, id: CheckpointId, savepoint: bool, now: Duration) {
        let expected = self.lives.keys().next_back().map_or(CheckpointId(1), |last| last.next());
        assert_eq!(id, expected, "ids grow by one");
        assert!(!self.stopped && !self.failed, "{id} started after the end of the attempt");
        assert!(!self.completed_final, "{id} started after the last checkpoint");
        let alone = !self.lives.values().any(|life| life.savepoint && life.end.is_none());
        assert!(alone || !savepoint, "{id} is a second savepoint at a time");
        let born = Life {
            savepoint,
            started: now,
            located: false,
            triggered: false,
            acknowledged: BTreeSet::new(),
            publishing: false,
            published: None,
            notified: None,
            end: None,
            shared_files: BTreeMap::new(),
        };
        self.lives.insert(id, born);
        let max = if self.config.min_pause.is_zero() { self.config.max_concurrent as usize } else { 1 };
        assert!(self.pending().count() <= max, "more than {max} are pending");
    }

    fn check_trigger(&mut self, id: CheckpointId) {
        let later = self.lives.range(id.next()..).any(|(_, life)| life.triggered);
        assert!(!later, "{id} is triggered after a later one");
        let life = self.life(id);
        assert!(life.located && life.end.is_none() && !life.triggered, "{id} is triggered: {life:?}");
        life.triggered = true;
    }

    fn check_publish(&mut self, metadata: &Metadata) {
        let others = self.lives.values().any(|life| life.publishing && life.end.is_none());
        assert!(!others, "{} is published while another is", metadata.id);
        let life = self.life(metadata.id);
        assert_eq!(life.acknowledged, (0..TASKS).collect(), "{} is published too early", metadata.id);
        assert!(life.triggered && life.end.is_none() && !life.publishing, "{} is published: {life:?}", metadata.id);
        life.publishing = true;
        let kind = if life.savepoint { SnapshotKind::Savepoint } else { SnapshotKind::Checkpoint };
        assert_eq!(metadata.kind, kind, "{}", metadata.id);
        let read = Metadata::decode(&metadata.encode(), "here").expect("what is published can be read");
        assert_eq!(read, *metadata);
    }

    fn check_notify(&mut self, id: CheckpointId, what: End) {
        let life = self.life(id);
        assert!(life.triggered, "tasks hear of {id}, which was not triggered");
        assert_eq!(life.notified, None, "tasks hear of the end of {id} twice");
        let expected = if life.publishing { life.published } else { Some(End::Failed) };
        assert_eq!(Some(what), expected, "what tasks hear of {id}");
        life.notified = Some(what);
    }

    fn check_report(&mut self, report: &CheckpointReport, now: Duration) {
        let end = match report.outcome {
            Outcome::Completed => End::Completed,
            Outcome::Failed(_) => End::Failed,
            Outcome::InDoubt { .. } => End::InDoubt,
        };
        let life = self.life(report.id);
        assert_eq!(life.end, None, "{} ends twice", report.id);
        life.end = Some(end);
        let expected = if life.publishing { life.published } else { Some(End::Failed) };
        assert_eq!(Some(end), expected, "how {} ends", report.id);
        assert_eq!(report.times.total(), now - life.started, "the phases of {} do not add up", report.id);
        // Of a savepoint in between tasks hear only if it fails.
        let silent = end == End::InDoubt || (end == End::Completed && report.kind == CheckpointKind::Savepoint);
        let told = if life.triggered && !silent { Some(end) } else { None };
        assert_eq!(life.notified, told, "what tasks heard of {} is not how it ended: {end:?}", report.id);
        if life.savepoint && end != End::Failed {
            life.end = Some(End::Handed);
        }
        if end == End::Completed {
            self.completed_final |= report.kind.is_final();
        }
        if report.kind.is_savepoint() {
            return;
        }
        match &report.outcome {
            Outcome::Completed => self.consecutive_failures = 0,
            Outcome::Failed(reason) if !reason.counts() => {}
            Outcome::Failed(_) | Outcome::InDoubt { .. } => self.consecutive_failures += 1,
        }
    }

    fn check_discard(&mut self, id: CheckpointId, commands: &[Command]) {
        let newer = self.lives.range(id.next()..).filter(|(_, life)| life.end == Some(End::Completed)).count();
        let retained = self.config.retained as usize;
        let life = self.life(id);
        match life.end {
            Some(End::Completed | End::InDoubt) => {
                assert!(newer >= retained, "{id} is discarded, with {newer} newer ones");
                life.end = Some(End::Subsumed);
            }
            Some(End::Failed | End::Subsumed) => {}
            Some(End::Handed) => panic!("savepoint {id} is discarded"),
            Some(End::Forgotten) => panic!("{id} is discarded by a coordinator that does not know it"),
            None => {
                let ends_now = |command: &Command| matches!(command, Command::Report(report) if report.id == id);
                assert!(commands.iter().any(ends_now), "{id} is discarded while it is pending");
            }
        }
    }

    fn check_delete(&mut self, names: &[String]) {
        for (id, life) in &self.lives {
            let may_be_restored = match life.end {
                Some(End::Completed | End::InDoubt) | None => true,
                Some(End::Failed | End::Subsumed | End::Forgotten | End::Handed) => false,
            };
            let lost = names.iter().find(|name| life.shared_files.contains_key(*name));
            assert!(!may_be_restored || lost.is_none(), "file {lost:?} is deleted, which checkpoint {id} needs");
        }
    }

    fn check_fail_job(&mut self) {
        assert!(!self.failed && !self.stopped, "the job fails twice, or after the end of the attempt");
        assert!(self.consecutive_failures > self.config.tolerable_failures, "the job fails too early");
        self.failed = true;
    }

    fn life(&mut self, id: CheckpointId) -> &mut Life {
        self.lives.get_mut(&id).expect("a checkpoint that was started")
    }
}
