//! An entry on its way into the log: put, tried again, checked.

use std::time::Duration;

use highwater_storage::Outcome;

use super::Request;
use super::protocol::{Command, PutAnswer, RequestId};
use crate::entry::{Change, Entry};
use crate::store::Put;

/// An entry that is being appended.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Placing {
    pub(super) entry: Entry,
    /// A time before which it was certainly not in the log.
    pub(super) began: Duration,
    /// Whom the answer is for; nobody if it was the election's own idea.
    pub(super) request: Option<RequestId>,
    pub(super) stage: Stage,
    /// Whether an earlier put may have happened, or may still.
    in_doubt: bool,
    unanswered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Stage {
    /// To be put, for the first time or again.
    Put,
    /// It was created: it counts if nothing is newer.
    Created,
    /// Something is in its place, or may be, and that may be itself.
    Unclear,
}

impl Placing {
    pub(super) fn new(entry: Entry, request: Option<RequestId>) -> Self {
        let began = Duration::ZERO;
        Placing { entry, began, request, stage: Stage::Put, in_doubt: false, unanswered: false }
    }

    /// What to ask of the store next.
    pub(super) fn request(&mut self, now: Duration) -> (Request, Command) {
        let number = self.entry.number;
        match self.stage {
            Stage::Put => {
                if !self.in_doubt {
                    self.began = now;
                }
                self.unanswered = true;
                (Request::Put, Command::Put(self.entry.clone()))
            }
            Stage::Created => (Request::Check, Command::Look { known: number }),
            Stage::Unclear => (Request::Check, Command::Look { known: number - 1 }),
        }
    }

    /// Takes in the answer to a put.
    pub(super) fn answered(&mut self, answer: &PutAnswer) {
        self.unanswered = false;
        match answer {
            Ok(Put::Created) => self.stage = Stage::Created,
            Ok(Put::Exists) => self.stage = Stage::Unclear,
            Err((Outcome::DidNotHappen, _)) => {}
            Err((Outcome::MayHaveHappened, _)) => (self.in_doubt, self.stage) = (true, Stage::Unclear),
        }
    }

    /// Whether it may be in the log, or come to be.
    pub(super) fn may_be_there(&self) -> bool {
        self.in_doubt || self.unanswered || self.stage == Stage::Created
    }

    /// Whether the log has it, as far as `newest` tells, an entry of another in its place or behind it.
    pub(super) fn shows_in(&self, newest: &Entry) -> Option<bool> {
        if newest.number <= self.entry.number || !self.may_be_there() {
            return Some(false);
        }
        let (ours, found) = (&self.entry.state, &newest.state);
        let token = ours.leader.token;
        match self.entry.change {
            Change::Completed => {
                let completed = ours.completed.last()?;
                let forgotten = found.completed.first().is_none_or(|oldest| oldest.id > completed.id);
                if found.completed.contains(completed) { Some(true) } else { (!forgotten).then_some(false) }
            }
            Change::Attempt => match &found.attempt {
                attempt if *attempt == ours.attempt => Some(true),
                Some(attempt) if attempt.token <= token => Some(false),
                Some(_) | None => None,
            },
            Change::Ended => match &found.ended {
                ended if *ended == ours.ended => Some(true),
                Some(_) | None => None,
            },
            Change::Leads | Change::Renews | Change::Resigns => None,
        }
    }
}
