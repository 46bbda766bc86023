//! Requests to the storage, and the four things that can become of one: it is carried out, it fails, nobody knows though it happened, or
//! nobody knows and it happens later or never.

use std::time::Duration;

use highwater_checkpoint::{CheckpointKind, FileDigest, TaskSnapshot};
use highwater_core::{CheckpointId, ErrorKind, TaskId};
use highwater_jobmaster::AttemptToken;

use super::{What, World, ms};
use crate::network::{Process, Role};
use crate::storage::Ask;

/// What an answer is for.
#[derive(Clone, Debug)]
pub(crate) enum Tag {
    Look,
    Read,
    Append,
    /// The folders there are, before an attempt is deployed or attached.
    Folders {
        token: AttemptToken,
    },
    /// The folder of the first checkpoint of an attempt.
    Pin {
        token: AttemptToken,
    },
    Locate {
        token: AttemptToken,
        id: CheckpointId,
    },
    Publish {
        token: AttemptToken,
        id: CheckpointId,
        kind: CheckpointKind,
    },
    Restore {
        token: AttemptToken,
        id: CheckpointId,
    },
    Wrote {
        token: AttemptToken,
        id: CheckpointId,
        task: TaskId,
        snapshot: TaskSnapshot,
        files: Vec<FileDigest>,
    },
    Nothing,
}

/// A request that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    pub kind: ErrorKind,
    pub may_have_happened: bool,
    pub why: String,
}

impl World {
    pub fn ask(&mut self, who: Process, tag: Tag, ask: Ask) {
        let tag = Box::new(tag);
        let is_rough = self.is_rough();
        let away =
            self.storage_away > 0 || (who.role == Role::JobManager && self.job_managers[who.index].storage_away > 0);
        let delay = if is_rough && self.engine.random.chance(3) {
            self.engine.between(100, 1500)
        } else {
            self.engine.between(1, 15)
        };
        let chance = if is_rough { self.engine.random.up_to(99) } else { 99 };
        if !away && chance >= 5 {
            let ask = Box::new(ask);
            return self.engine.plan(delay, What::Reach { who, tag: Some(tag), ask });
        }
        let in_doubt = away || chance < 3;
        let happens = if away { chance < 10 } else { chance < 2 };
        let answered = if away { ms(500) } else { delay };
        self.engine.say(format_args!("{who:?} asks in vain to {ask}, in doubt: {in_doubt}, happens: {happens}"));
        if in_doubt && happens {
            // Also long after whoever asked has given up.
            let late = if self.engine.random.chance(50) { Duration::ZERO } else { self.engine.between(0, 5000) };
            self.engine.plan(delay + late, What::Reach { who, tag: None, ask: Box::new(ask) });
        }
        let why = "the storage does not answer".to_owned();
        let result = Box::new(Err(Failure { kind: ErrorKind::Storage, may_have_happened: in_doubt, why }));
        self.engine.plan(answered, What::Answer { who, tag, result });
    }

    /// A request reaches the storage.
    pub fn reach(&mut self, who: Process, tag: Option<Box<Tag>>, ask: Ask) {
        if !matches!(ask, Ask::Look { .. } | Ask::Read { .. }) {
            self.engine.say(format_args!("storage: {who:?}: {ask}"));
        }
        let before = self.storage.newest.as_ref().map(|entry| entry.number);
        let touches = match &ask {
            Ask::Discard(_) => true,
            Ask::Write { id, .. } => self.storage.completed.contains(id) || self.outside.is_savepoint(*id),
            _ => false,
        };
        let result = self.storage.act(ask);
        if self.storage.newest.as_ref().map(|entry| entry.number) != before {
            self.check_entry();
        }
        if touches {
            self.check_retained();
        }
        if let Some(tag) = tag {
            let failed = |error: highwater_core::Error| Failure {
                kind: error.kind(),
                may_have_happened: false,
                why: error.to_string(),
            };
            let back = self.engine.between(0, 5);
            self.engine.plan(back, What::Answer { who, tag, result: Box::new(result.map_err(failed)) });
        }
    }
}
