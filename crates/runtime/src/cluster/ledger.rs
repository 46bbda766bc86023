//! What the leader makes known for those that lead after it, and what counts.

use std::collections::BTreeSet;
use std::sync::Mutex;

use highwater_core::{CheckpointId, Result};
use highwater_ha::{JobState, Leadership, NotRecorded};
use highwater_jobmaster::JobRecord;

use super::record::{Outcome, Record, encode_outcome};
use crate::control::lock;

/// How many ids a leader takes at a time: so many checkpoints cost one more entry in the log. And so many ids are left out at most when
/// another leads, each of which costs the tasks an empty snapshot, since they go through every epoch.
const IDS: u64 = 8;

/// The log of leaders, as the one that leads writes it.
pub(crate) struct Ledger {
    leadership: Leadership,
    /// Held while it is appended to the log: each entry repeats what the one before says of the rest.
    record: Mutex<Record>,
    /// The newest checkpoints that count.
    completed: Mutex<BTreeSet<CheckpointId>>,
}

impl Ledger {
    /// Of a leader that finds the job in this `state`.
    ///
    /// # Errors
    /// If what the leader before has left cannot be read.
    pub fn new(leadership: Leadership, state: &JobState) -> Result<Self> {
        let before = state.attempt.as_ref().map(|attempt| Record::decode(&attempt.content)).transpose()?;
        let record = before.unwrap_or(Record { job: None, ids_below: CheckpointId(0), first_own: None });
        let completed = state.completed.iter().map(|completed| completed.id).collect();
        Ok(Ledger { leadership, record: Mutex::new(record), completed: Mutex::new(completed) })
    }

    /// The token of the leader that writes it.
    pub fn token(&self) -> u64 {
        self.leadership.token().0
    }

    /// The attempt that was deployed last.
    pub fn job(&self) -> Option<JobRecord> {
        lock(&self.record).job.clone()
    }

    /// No leader has used an id from here on.
    pub fn ids_below(&self) -> CheckpointId {
        lock(&self.record).ids_below
    }

    /// The first checkpoint that the job has taken in this cluster.
    pub fn first_own(&self) -> Option<CheckpointId> {
        lock(&self.record).first_own
    }

    /// Whether a checkpoint that is in the storage is one of the job's: whoever wrote what is not on record did not lead any more.
    pub fn counts(&self, id: CheckpointId) -> bool {
        let completed = lock(&self.completed);
        completed.first().is_none_or(|oldest| id < *oldest) || completed.contains(&id)
    }

    /// The newest checkpoint on record.
    pub fn newest(&self) -> Option<CheckpointId> {
        lock(&self.completed).last().copied()
    }

    /// Makes an attempt known before it is deployed.
    ///
    /// # Errors
    /// If this process leads no longer, or cannot tell.
    pub fn record(&self, job: JobRecord) -> Result<(), NotRecorded> {
        self.append(&mut lock(&self.record), |record| record.job = Some(job))
    }

    /// Takes `id` for this leader, with those after it.
    ///
    /// # Errors
    /// If this process leads no longer, or cannot tell.
    pub fn reserve(&self, id: CheckpointId) -> Result<(), NotRecorded> {
        let mut record = lock(&self.record);
        if id < record.ids_below {
            return Ok(());
        }
        self.append(&mut record, |record| {
            record.ids_below = CheckpointId(id.0 + IDS);
            record.first_own.get_or_insert(id);
        })
    }

    fn append(&self, record: &mut Record, change: impl FnOnce(&mut Record)) -> Result<(), NotRecorded> {
        let mut changed = record.clone();
        change(&mut changed);
        self.leadership.record_attempt(changed.encode())?;
        *record = changed;
        Ok(())
    }

    /// From here on a checkpoint counts, whose metadata is in the storage.
    ///
    /// # Errors
    /// If it does not, or nobody can tell yet.
    pub fn complete(&self, id: CheckpointId) -> Result<(), NotRecorded> {
        self.leadership.record_completed(id)?;
        lock(&self.completed).insert(id);
        Ok(())
    }

    /// The job is over, for all who may lead.
    ///
    /// # Errors
    /// If this process leads no longer, or cannot tell.
    pub fn end(&self, outcome: &Outcome) -> Result<(), NotRecorded> {
        self.leadership.record_end(encode_outcome(outcome))
    }
}
