//! The TaskManagers that are connected, and whether they live.
//!
//! How long nothing was heard of one is counted in *attended* time: between two looks no more than one heartbeat interval counts. So a
//! JobManager that was itself suspended, or too busy to look, reads what has arrived meanwhile before it gives anybody up; and a jump of
//! the clock ends no process.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::id::{AttemptToken, TaskManagerId};

/// A connected TaskManager.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskManager {
    /// Its name.
    pub id: TaskManagerId,
    /// Where other processes reach it.
    pub address: String,
    /// How many workers it can have.
    pub slots: u32,
    /// The attempt it has a part of.
    pub holds: Option<AttemptToken>,
    /// Whether it wants to leave: it gets no part of an attempt any more.
    pub is_leaving: bool,
    /// In attended time.
    heard: Duration,
    /// When it was told to drop its part, in attended time.
    told_to_release: Option<Duration>,
}

impl TaskManager {
    /// For people.
    pub(crate) fn name(&self) -> String {
        format!("TaskManager {} at {}", self.id, self.address)
    }
}

#[derive(Debug)]
pub(crate) struct Registry {
    interval: Duration,
    timeout: Duration,
    release_timeout: Duration,
    attended: Duration,
    looked: Duration,
    known: BTreeMap<TaskManagerId, TaskManager>,
    /// When a TaskManager last came or went.
    changed: Duration,
}

impl Registry {
    pub(crate) fn new(interval: Duration, timeout: Duration, release_timeout: Duration, now: Duration) -> Self {
        let (attended, known) = (Duration::ZERO, BTreeMap::new());
        Registry { interval, timeout, release_timeout, attended, looked: now, known, changed: now }
    }

    /// Time goes on to `now`.
    pub(crate) fn look(&mut self, now: Duration) {
        self.attended += now.saturating_sub(self.looked).min(self.interval);
        self.looked = now;
    }

    /// When to look again, so that attended time keeps up with time.
    pub(crate) fn next_look(&self) -> Option<Duration> {
        (!self.known.is_empty()).then(|| self.looked.saturating_add(self.interval))
    }

    pub(crate) fn add(&mut self, id: TaskManagerId, address: String, slots: u32, holds: Option<AttemptToken>) {
        let (heard, told_to_release, is_leaving) = (self.attended, None, false);
        self.known.insert(id, TaskManager { id, address, slots, holds, is_leaving, heard, told_to_release });
        self.changed = self.looked;
    }

    pub(crate) fn hear(&mut self, id: TaskManagerId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.heard = self.attended;
        }
    }

    pub(crate) fn leave(&mut self, id: TaskManagerId) {
        if let Some(known) = self.known.get_mut(&id) {
            known.is_leaving = true;
        }
    }

    pub(crate) fn remove(&mut self, id: TaskManagerId) -> Option<TaskManager> {
        let gone = self.known.remove(&id)?;
        self.changed = self.looked;
        Some(gone)
    }

    /// Who is given up by now, and why.
    pub(crate) fn next_given_up(&self) -> Option<(TaskManagerId, String)> {
        self.known.values().find_map(|known| {
            let silent = self.attended.saturating_sub(known.heard);
            if silent >= self.timeout {
                return Some((known.id, format!("nothing was heard of it for {silent:?}")));
            }
            let since = self.attended.saturating_sub(known.told_to_release?);
            let why = || format!("it has not dropped its part of a failed attempt within {since:?}");
            (since >= self.release_timeout).then(|| (known.id, why()))
        })
    }

    pub(crate) fn deploy(&mut self, id: TaskManagerId, token: AttemptToken) {
        if let Some(known) = self.known.get_mut(&id) {
            known.holds = Some(token);
        }
    }

    /// Whoever holds `token` has to be told to drop it; each is named once.
    pub(crate) fn tell_to_release(&mut self, token: AttemptToken) -> Vec<TaskManagerId> {
        let is_untold = |known: &&mut TaskManager| known.holds == Some(token) && known.told_to_release.is_none();
        let mut told = Vec::new();
        for holder in self.known.values_mut().filter(is_untold) {
            holder.told_to_release = Some(self.attended);
            told.push(holder.id);
        }
        told
    }

    pub(crate) fn release(&mut self, id: TaskManagerId, token: AttemptToken) {
        if let Some(known) = self.known.get_mut(&id).filter(|known| known.holds == Some(token)) {
            (known.holds, known.told_to_release) = (None, None);
        }
    }

    pub(crate) fn is_held(&self, token: AttemptToken) -> bool {
        self.known.values().any(|known| known.holds == Some(token))
    }

    pub(crate) fn get(&self, id: TaskManagerId) -> Option<&TaskManager> {
        self.known.get(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &TaskManager> {
        self.known.values()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.known.is_empty()
    }

    pub(crate) fn changed(&self) -> Duration {
        self.changed
    }
}
