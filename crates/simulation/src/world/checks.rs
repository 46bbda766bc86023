//! What must hold all the time.
//!
//! * I1, I2: a checkpoint that counts holds exactly the records before its sources' positions, each with its owner;
//! * I3: what the log counts as the newest checkpoints is whole, and so is every savepoint;
//! * I4: a sink's output is visible only if its checkpoint counts, once, and all of it when the job has ended;
//! * I5: asserted by the workers ([`job`](crate::job));
//! * I6: between a source and a count there is never more than what flow control grants, however slow the sinks;
//! * I7: what was damaged on its way from the storage is found out, and named, before anything of it is used;
//! * I8: the log is written by one leader after the other, and what a task is told has completed is in it;
//! * tokens of attempts grow, and a TaskManager has a part of one at a time.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::{CheckpointId, Error, ErrorKind};
use highwater_ha::Change;
use highwater_jobmaster::{AttemptToken, JobEnd};

use super::World;
use super::leading::OnRecord;
use crate::job::{LIMITS, Payload, Record, Restored, Transaction};
use crate::network::{Data, Process};

/// What everybody can see.
#[derive(Debug, Default)]
pub(crate) struct Outside {
    /// Whether all tasks of some attempt have run.
    pub has_run: bool,
    committed: BTreeMap<(AttemptToken, u32, u64), Vec<Record>>,
    visible: BTreeSet<Record>,
    newest_token: Option<AttemptToken>,
    /// Those that were reported.
    savepoints: BTreeSet<CheckpointId>,
    leader: u64,
}

impl Outside {
    pub fn is_savepoint(&self, id: CheckpointId) -> bool {
        self.savepoints.contains(&id)
    }
}

impl World {
    /// A new entry of the log of leaders counts.
    pub fn check_entry(&mut self) {
        let Some(entry) = self.storage.newest.clone() else { return };
        let leader = entry.state.leader.token.0;
        self.engine.say(format_args!("log: entry {} of leader {leader}: {:?}", entry.number, entry.change));
        if leader < self.outside.leader {
            self.violate(format!("I8: leader {leader} wrote after leader {}", self.outside.leader));
        }
        self.outside.leader = leader;
        match entry.change {
            Change::Leads => self.seen.leaders += 1,
            Change::Completed => {
                self.seen.completed += 1;
                if let Some(id) = entry.state.newest_completed() {
                    self.check_completed(id);
                }
            }
            Change::Attempt => self.check_attempt(&entry.state.attempt.map(|it| it.content).unwrap_or_default()),
            Change::Renews | Change::Ended | Change::Resigns => {}
        }
    }

    fn check_attempt(&mut self, content: &[u8]) {
        let Ok((record, _)) = postcard::from_bytes::<OnRecord>(content) else {
            return self.violate("the record of an attempt is not readable".to_owned());
        };
        let token = record.deployment.token;
        let parallelism = record.deployment.parallelism();
        if self.outside.newest_token.is_some_and(|newest| newest > token) {
            self.violate(format!("attempt {token} was recorded after {:?}", self.outside.newest_token));
        }
        self.outside.newest_token = Some(token);
        let wanted = record.rescaled_to.or(self.setup.config.parallelism).map(|wanted| wanted.count());
        let most = wanted.unwrap_or(u32::MAX).min(self.setup.input.key_groups.count());
        if parallelism < self.setup.config.min_parallelism.count() || parallelism > most {
            self.violate(format!("attempt {token} has {parallelism} workers, up to {most} are wanted"));
        }
    }

    /// I1 and I2 of a checkpoint that begins to count.
    fn check_completed(&mut self, id: CheckpointId) {
        let restored = match self.storage.open(id) {
            Ok((metadata, restored)) => {
                let parallelism = metadata.operators[1].parallelism;
                self.engine.say(format_args!("checkpoint {id} counts, of {parallelism} workers"));
                restored
            }
            Err(error) => return self.violate(format!("I3: what counts is not whole: {error}")),
        };
        let Restored { positions, counted, .. } = restored;
        let is_before = |record: &Record| positions.get(&record.split).is_some_and(|end| record.offset < *end);
        let expected: Vec<Record> = self.setup.input.all().filter(is_before).collect();
        let mut found = counted;
        found.sort_unstable();
        if positions.len() != self.setup.input.splits as usize {
            self.violate(format!("I1: checkpoint {id} has the positions of {} splits only", positions.len()));
        }
        if found != expected {
            let (found, expected) = (found.len(), expected.len());
            self.violate(format!("I1: checkpoint {id} has {found} records, its sources had read {expected}"));
        }
    }

    /// I3: nothing was taken from the newest checkpoints, or from any savepoint.
    pub fn check_retained(&mut self) {
        let Some(entry) = &self.storage.newest else { return };
        let retained = self.setup.checkpoints.retained as usize;
        let newest: Vec<CheckpointId> =
            entry.state.completed.iter().rev().take(retained).map(|completed| completed.id).collect();
        let kept = newest.iter().chain(&self.outside.savepoints);
        if let Some(error) = kept.filter_map(|id| self.storage.open(*id).err()).next() {
            self.violate(format!("I3: what is to be kept is not whole: {error}"));
        }
    }

    /// I6: a record was sent, and so much is between its source and its count.
    pub fn check_on_the_way(&mut self, at: Process, to: Process, data: Data) {
        let is_alike = |other: &&Data| {
            let ends = |data: &Data| (data.token, data.from, data.to);
            ends(other) == ends(&data) && matches!(other.what, Payload::Record { .. })
        };
        let channel = self.network.channels.get(&(at, to)).into_iter().flatten().filter(is_alike).count();
        let target = &self.task_managers[to.index];
        let early = target.early.iter().filter(is_alike).count();
        let part = target.part.as_ref().filter(|part| part.token == data.token);
        let held = part.and_then(|part| part.workers.get(&data.to)).map_or(0, |worker| worker.holds_of(data.from));
        let on_the_way = channel + early + held;
        if on_the_way as u64 > LIMITS.max {
            let (from, to) = (data.from, data.to);
            self.violate(format!("I6: {on_the_way} records are on the way from source {from} to count {to}"));
        }
    }

    /// I7: a bit was flipped in what was read of a checkpoint.
    pub fn check_verified(&mut self, id: CheckpointId, name: &str, byte: usize, opened: &Result<Restored, Error>) {
        let place = format!("byte {byte} of {name} of checkpoint {id}");
        match opened {
            Ok(_) => self.violate(format!("I7: {place} was damaged, and it was used")),
            Err(error) if error.kind() != ErrorKind::Corrupt || !error.to_string().contains(name) => {
                self.violate(format!("I7: {place} was damaged, and what is said is: {error}"));
            }
            Err(_) => {}
        }
    }

    /// A savepoint is reported: from now on it is its user's.
    pub fn check_savepoint(&mut self, id: CheckpointId) {
        self.seen.savepoints += 1;
        self.outside.savepoints.insert(id);
        self.check_completed(id);
    }

    /// A task is told that checkpoint `id` has completed, or restores it.
    pub fn check_counts(&mut self, id: CheckpointId) {
        if !self.storage.completed.contains(&id) {
            self.violate(format!("I8: a task is told of checkpoint {id}, which does not count"));
        }
    }

    /// A sink makes output visible.
    pub fn commit(&mut self, transaction: Transaction) {
        let Transaction { token, subtask, epoch, records } = transaction;
        if let Some(before) = self.outside.committed.get(&(token, subtask, epoch)) {
            if *before != records {
                self.violate(format!(
                    "I4: epoch {epoch} of sink {subtask} of {token} was committed with other records"
                ));
            }
            return;
        }
        for record in &records {
            if !self.outside.visible.insert(*record) {
                self.violate(format!(
                    "I4: {record:?} is visible twice, now by epoch {epoch} of sink {subtask} of {token}"
                ));
            }
        }
        self.outside.committed.insert((token, subtask, epoch), records);
    }

    /// The log says that the job has ended.
    pub fn check_end(&mut self) -> Option<String> {
        let ended = self.storage.newest.as_ref().and_then(|entry| entry.state.ended.clone())?;
        let result = String::from_utf8_lossy(&ended.result).into_owned();
        self.engine.say(format_args!("the job has ended: {result}"));
        let (visible, all) = (self.outside.visible.len(), self.setup.input.all().count());
        if result == format!("{:?}", JobEnd::Finished) {
            self.seen.finished += 1;
            return (visible != all).then(|| format!("I4: {visible} of {all} records are visible at the end"));
        }
        if result == format!("{:?}", JobEnd::Stopped) {
            self.seen.stopped += 1;
            let newest = self.storage.newest.as_ref().and_then(|entry| entry.state.newest_completed());
            let last = newest.and_then(|id| self.storage.open(id).ok()).map(|(_, restored)| restored);
            let read = last.map_or(0, |last| last.positions.values().sum::<u32>() as usize);
            return (visible != read).then(|| format!("I4: {visible} of {read} records are visible after the stop"));
        }
        // Its output up to the newest checkpoint may be visible or not: whoever goes on from there commits it.
        if result == format!("{:?}", JobEnd::Cancelled) {
            self.seen.cancelled += 1;
            return None;
        }
        // What fails before a job has ever run ends it: nobody has seen anything of it.
        if !self.outside.has_run {
            self.seen.never_ran += 1;
            return None;
        }
        Some(format!("liveness: the job gave up: {result}"))
    }
}
