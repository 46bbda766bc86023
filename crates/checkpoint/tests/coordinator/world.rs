//! A driver and tasks that do what they are told, in any order, late, or not at all.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, Command, Coordinator, Event, RequestKind};
use highwater_core::CheckpointId;

use crate::job::{TASKS, acknowledgement, coordinator, coordinator_after, file, ms, request, shared_file, task};
use crate::ledger::Ledger;

/// Something that can happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// The time comes that the coordinator wants to be woken at.
    Wake,
    Request(RequestKind),
    Locate(CheckpointId),
    FailLocate(CheckpointId),
    Prepare(CheckpointId, u32),
    Acknowledge(CheckpointId, u32),
    Decline(CheckpointId, u32),
    Publish(CheckpointId),
    FailPublish(CheckpointId, MayHaveHappened),
    Shutdown,
    /// The attempt is lost, and a new one begins. Its coordinator hears what was still under way from the old one.
    Restart {
        in_doubt_exist: bool,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MayHaveHappened {
    No,
    Yes,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TaskStep {
    Triggered,
    Prepared,
    Done,
}

pub struct World {
    config: CheckpointConfig,
    coordinator: Coordinator,
    /// The first checkpoint of this attempt.
    first_id: CheckpointId,
    ledger: Ledger,
    now: Duration,
    locating: BTreeSet<CheckpointId>,
    publishing: BTreeSet<CheckpointId>,
    /// Those of the pending that are savepoints.
    savepoints: BTreeSet<CheckpointId>,
    tasks: BTreeMap<(CheckpointId, u32), TaskStep>,
    /// The checkpoints that wrote the shared files which each task's state consists of.
    lineages: BTreeMap<u32, Vec<CheckpointId>>,
}

impl World {
    /// A job that runs.
    pub fn new(config: &CheckpointConfig) -> Self {
        let mut world = World {
            config: config.clone(),
            coordinator: coordinator(config, CheckpointId(1), vec![]),
            first_id: CheckpointId(1),
            ledger: Ledger::new(config),
            now: Duration::ZERO,
            locating: BTreeSet::new(),
            publishing: BTreeSet::new(),
            savepoints: BTreeSet::new(),
            tasks: BTreeMap::new(),
            lineages: BTreeMap::new(),
        };
        world.tell(Event::Running);
        world
    }

    /// What can happen next, in a fixed order.
    pub fn actions(&self) -> Vec<Action> {
        let mut actions = Vec::new();
        if self.coordinator.next_wake().is_some() {
            actions.push(Action::Wake);
        }
        for &id in &self.locating {
            actions.extend([Action::Locate(id), Action::FailLocate(id)]);
        }
        for (&(id, index), step) in &self.tasks {
            let (acknowledge, decline) = (Action::Acknowledge(id, index), Action::Decline(id, index));
            match step {
                TaskStep::Triggered => actions.extend([Action::Prepare(id, index), acknowledge, decline]),
                TaskStep::Prepared => actions.extend([acknowledge, decline]),
                TaskStep::Done => {}
            }
        }
        for &id in &self.publishing {
            let failures = [MayHaveHappened::No, MayHaveHappened::Yes].map(|may| Action::FailPublish(id, may));
            actions.push(Action::Publish(id));
            actions.extend(failures);
        }
        let requests = [RequestKind::Manual, RequestKind::Final, RequestKind::Savepoint, RequestKind::FinalSavepoint];
        actions.extend(requests.map(Action::Request));
        actions.push(Action::Shutdown);
        actions.extend([true, false].map(|in_doubt_exist| Action::Restart { in_doubt_exist }));
        actions
    }

    pub fn act(&mut self, action: Action) {
        self.now += ms(1);
        match action {
            Action::Wake => {
                self.now = self.now.max(self.coordinator.next_wake().expect("a time to wake at"));
                self.tell(Event::Tick);
            }
            Action::Request(kind) => self.tell(request(kind)),
            Action::Locate(id) => {
                self.locating.remove(&id);
                self.tell(Event::Located { id, created_unix_ms: 0 });
            }
            Action::FailLocate(id) => {
                self.locating.remove(&id);
                self.tell(Event::LocateFailed { id, error: "denied".to_owned() });
            }
            Action::Prepare(id, index) => {
                self.tasks.insert((id, index), TaskStep::Prepared);
                self.tell(Event::Prepared { id, task: task(index) });
            }
            Action::Acknowledge(id, index) => {
                self.tasks.insert((id, index), TaskStep::Done);
                // One of the tasks keeps its state inline.
                let mut files: Vec<_> = (1..=index).map(|n| file(&format!("{index}-{n}"))).collect();
                if id >= self.first_id && !self.savepoints.contains(&id) {
                    let lineage = self.lineages.entry(index).or_default();
                    lineage.push(id);
                    // Every third file of a task holds its whole state.
                    if id.0.is_multiple_of(3) {
                        lineage.drain(..lineage.len() - 1);
                    }
                    files.extend(lineage.iter().map(|by| shared_file(*by, index)));
                }
                self.tell(acknowledgement(id, index, files));
            }
            Action::Decline(id, index) => {
                self.tasks.insert((id, index), TaskStep::Done);
                self.lineages.remove(&index);
                self.tell(Event::Declined { id, task: task(index), reason: "disk full".to_owned() });
            }
            Action::Publish(id) => {
                self.publishing.remove(&id);
                self.tell(Event::Published { id });
            }
            Action::FailPublish(id, may) => {
                self.publishing.remove(&id);
                let may_have_happened = may == MayHaveHappened::Yes;
                self.tell(Event::PublishFailed { id, error: "timed out".to_owned(), may_have_happened });
            }
            Action::Shutdown => self.tell(Event::Shutdown),
            Action::Restart { in_doubt_exist } => self.restart(in_doubt_exist),
        }
    }

    /// Everything under way goes well: then every checkpoint must come to an end.
    pub fn settle(&mut self) {
        let pending: Vec<CheckpointId> = self.ledger.pending().collect();
        for id in pending {
            let good = |action: &Action| match action {
                Action::Locate(of) | Action::Acknowledge(of, _) => *of <= id,
                // Also of a newer one, which it may have to wait for.
                Action::Publish(_) => true,
                _ => false,
            };
            while self.ledger.is_pending(id) {
                let action = self.actions().into_iter().find(good);
                self.act(action.unwrap_or_else(|| panic!("checkpoint {id} never ends")));
            }
        }
    }

    fn tell(&mut self, event: Event) {
        self.ledger.observe(&event);
        let commands = self.coordinator.step(event, self.now);
        self.ledger.check(&commands, self.now);
        for command in commands {
            match command {
                Command::Locate { id, savepoint } => {
                    self.locating.insert(id);
                    self.savepoints.extend(savepoint.map(|_| id));
                }
                Command::Trigger { id, .. } => {
                    self.tasks.extend((0..TASKS).map(|index| ((id, index), TaskStep::Triggered)));
                }
                Command::Publish { metadata, .. } => {
                    self.publishing.insert(metadata.id);
                }
                Command::NotifyComplete { .. }
                | Command::NotifyAborted { .. }
                | Command::Discard { .. }
                | Command::DeleteShared { .. }
                | Command::Report(_)
                | Command::Refuse { .. }
                | Command::FailJob { .. } => {}
            }
        }
        let wake = self.coordinator.next_wake();
        assert!(
            wake.is_none_or(|wake| wake > self.now),
            "wants to be woken at {wake:?}, which is not after {:?}",
            self.now
        );
    }

    /// The publish of the old attempt has ended one way or the other before the new one looks for checkpoints.
    fn restart(&mut self, in_doubt_exist: bool) {
        self.publishing.clear();
        let restored = self.ledger.restart(in_doubt_exist);
        self.lineages.clear();
        for by in restored.last().iter().flat_map(|newest| newest.shared_files.iter()) {
            let (_, index) = by.0.split_once('-').expect("the name of a shared file");
            self.lineages.entry(index.parse().expect("a task")).or_default().push(*by.1);
        }
        self.lineages.values_mut().for_each(|lineage| lineage.sort_unstable());
        self.first_id = self.coordinator.next_id();
        self.coordinator = coordinator_after(&self.config, self.first_id, restored);
        self.tell(Event::Running);
    }
}
