//! A checkpoint that is being restored, as the tasks of the new attempt read it.
//!
//! Invariant I7: every block is verified before a byte of it is used; what does not verify is named by file and offset.

use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::block::Section;
use highwater_checkpoint::metadata::{Metadata, OperatorSnapshot, StoreSnapshot};
use highwater_checkpoint::rescale::{self, ElementShare, KeyedShare};
use highwater_core::{
    CheckpointId, Clock, Error, ErrorKind, MaxParallelism, OperatorUid, Parallelism, Result, SubtaskIndex,
};
use highwater_snapshot::{Replay, Snapshot};
use highwater_state::Data;
use highwater_storage::SnapshotDir;

use crate::migrate;
use crate::upload::Restorable;

/// A completed checkpoint whose metadata has been verified; its files verify when they are read.
#[derive(Debug)]
pub struct Restored {
    snapshot: Snapshot,
    /// Whether it is one of the job's own, whose files the job may go on to refer to.
    is_own: bool,
}

/// How long a task's state took to come up, by phase: `T_state = T_init + T_prepare + T_confirm + T_complete`, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateTimes {
    /// Setting up the empty state.
    pub init: Duration,
    /// Fetching this subtask's key groups.
    pub prepare: Duration,
    /// Verifying checksums, schema and key-group coverage.
    pub confirm: Duration,
    /// Decoding into the state, after which the task is ready to process.
    pub complete: Duration,
}

impl StateTimes {
    /// From the first moment to the last.
    pub fn total(&self) -> Duration {
        self.init + self.prepare + self.confirm + self.complete
    }
}

/// Gives every moment between start and end to one phase.
pub(crate) struct StateClock<'a> {
    clock: &'a dyn Clock,
    last: Duration,
    times: StateTimes,
}

impl<'a> StateClock<'a> {
    pub fn start(clock: &'a dyn Clock) -> Self {
        StateClock { clock, last: clock.monotonic(), times: StateTimes::default() }
    }

    /// The time since the last call belongs to `phase`.
    pub fn spend(&mut self, phase: impl FnOnce(&mut StateTimes) -> &mut Duration) {
        let now = self.clock.monotonic();
        *phase(&mut self.times) += now.saturating_sub(self.last);
        self.last = now;
    }

    pub fn times(self) -> StateTimes {
        self.times
    }
}

/// Loads sections, and gives each moment of it to a phase.
struct Loading<'a, 'c, F> {
    clock: &'a mut StateClock<'c>,
    load: F,
    bytes: u64,
}

impl<F: FnMut(&Section<'_>) -> Result<()>> Replay for Loading<'_, '_, F> {
    fn section(&mut self, section: &Section<'_>) -> Result<()> {
        // It verified, so it is as it was written: an older checkpoint would do no better.
        (self.load)(section).map_err(|error| match error.kind() {
            ErrorKind::Corrupt => Error::new(ErrorKind::Incompatible, error.to_string()),
            _ => error,
        })?;
        self.clock.spend(|times| &mut times.complete);
        Ok(())
    }

    fn read(&mut self, bytes: u64) {
        self.bytes += bytes;
        self.clock.spend(|times| &mut times.prepare);
    }

    fn verified(&mut self) {
        self.clock.spend(|times| &mut times.confirm);
    }
}

impl Restored {
    /// A snapshot to restore from. `is_own` says that the job may go on to refer to its files.
    pub fn new(snapshot: Snapshot, is_own: bool) -> Self {
        Restored { snapshot, is_own }
    }

    /// Number of the checkpoint.
    pub fn id(&self) -> CheckpointId {
        self.metadata().id
    }

    /// What the checkpoint holds.
    pub fn metadata(&self) -> &Metadata {
        self.snapshot.metadata()
    }

    /// The part of an operator, if it had any state.
    pub fn operator(&self, uid: &OperatorUid) -> Option<&OperatorSnapshot> {
        self.metadata().operators.iter().find(|operator| operator.uid == *uid)
    }

    /// The keyed states of a subtask.
    ///
    /// # Errors
    /// If the checkpoint was taken with another max parallelism, or does not cover every key group (I2); if the operator stored no
    /// keyed state.
    pub fn keyed(
        &self,
        uid: &OperatorUid,
        subtask: SubtaskIndex,
        parallelism: Parallelism,
        max: MaxParallelism,
    ) -> Result<Vec<KeyedShare<'_>>> {
        let Some(operator) = self.operator(uid) else { return Ok(Vec::new()) };
        rescale::check_coverage(operator)?;
        let shares = rescale::assign_keyed(operator, subtask, parallelism, max)?;
        if shares.is_empty() {
            return Err(of_another(uid, "keyed state"));
        }
        Ok(shares)
    }

    /// Reads and verifies what a keyed state consists of, and passes on what counts of it; how many bytes were read.
    ///
    /// # Errors
    /// If a block cannot be read, or does not verify ([`ErrorKind::Corrupt`]), or from `load`.
    pub(crate) fn load(
        &self,
        share: &KeyedShare<'_>,
        clock: &mut StateClock<'_>,
        load: impl FnMut(&Section<'_>) -> Result<()>,
    ) -> Result<u64> {
        let mut loading = Loading { clock, load, bytes: 0 };
        self.snapshot.replay(share, &mut loading)?;
        Ok(loading.bytes)
    }

    /// What later checkpoints of a keyed state may refer to: nothing, if it is not the job's to keep.
    pub(crate) fn restorable(&self, share: &KeyedShare<'_>) -> Option<Restorable> {
        let file = |name: &str| self.metadata().files.iter().find(|file| file.name == name);
        let store = whole_store(share);
        let stored = store.iter().flat_map(|store| &store.files).map(|(_, name)| name.as_str());
        let files = share.lineage.files().chain(stored).map(|name| Some((name.to_owned(), file(name)?.clone())));
        let files = files.collect::<Option<std::collections::BTreeMap<_, _>>>()?;
        let may_be_kept = self.is_own && files.values().all(|file| file.shared_by.is_some());
        may_be_kept.then(|| Restorable { lineage: share.lineage.clone(), store: store.cloned(), files })
    }

    /// The snapshot, for what is in files of its own.
    pub(crate) fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// The elements of an operator state that go to a subtask, in the order in which they were stored. `what` says what they are.
    ///
    /// # Errors
    /// If the operator stored no such state, or one of another type; if an element does not decode.
    pub fn elements<T: Data>(
        &self,
        uid: &OperatorUid,
        (state, what): (&str, &str),
        subtask: SubtaskIndex,
        parallelism: Parallelism,
    ) -> Result<Vec<T>> {
        let Some(operator) = self.operator(uid) else { return Ok(Vec::new()) };
        let shares = rescale::split_elements(operator, subtask, parallelism)?;
        let share = share_of(shares, uid, state, what)?;
        decode_all(&migrated::<T>(&share, uid, what, subtask == SubtaskIndex(0))?, what)
    }

    /// The elements of an operator state, of all subtasks, as the program encodes them.
    ///
    /// # Errors
    /// As [`elements`](Self::elements).
    pub fn all_elements<T: Data>(&self, uid: &OperatorUid, (state, what): (&str, &str)) -> Result<Vec<Vec<u8>>> {
        let Some(operator) = self.operator(uid) else { return Ok(Vec::new()) };
        let share = share_of(rescale::all_elements(operator), uid, state, what)?;
        migrated::<T>(&share, uid, what, false)
    }

    /// Its folder.
    pub(crate) fn dir(&self) -> SnapshotDir {
        SnapshotDir::new(Arc::clone(self.snapshot.storage()), self.snapshot.folder())
    }

    /// Where it is, for another process to open.
    pub(crate) fn location(&self) -> SnapshotLocation {
        let (storage, folder) = (self.snapshot.storage().reopen_uri(), self.snapshot.folder().to_owned());
        SnapshotLocation { storage, folder, is_own: self.is_own }
    }

    /// Where the checkpoint lies, for people.
    pub fn path(&self) -> String {
        self.snapshot.path()
    }
}

/// The store that has the rows of exactly the key groups of a share, if there is one.
fn whole_store<'a>(share: &KeyedShare<'a>) -> Option<&'a StoreSnapshot> {
    match share.stores[..] {
        [(range, store)] if range == share.range => Some(store),
        _ => None,
    }
}

/// Where a snapshot to restore is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SnapshotLocation {
    /// The storage.
    pub storage: String,
    /// The folder in it.
    pub folder: String,
    /// Whether the job may go on to refer to its files.
    pub is_own: bool,
}

/// What of an operator's states is `state`.
fn share_of<'a>(shares: Vec<ElementShare<'a>>, uid: &OperatorUid, state: &str, what: &str) -> Result<ElementShare<'a>> {
    shares.into_iter().find(|share| share.name == state).ok_or_else(|| of_another(uid, what))
}

/// The elements of a state as values of `T` are encoded.
fn migrated<T: Data>(share: &ElementShare<'_>, uid: &OperatorUid, what: &str, is_first: bool) -> Result<Vec<Vec<u8>>> {
    let migration = migrate::elements(uid, what, share.schema, &T::schema(), is_first)?;
    let element = |mut bytes: &[u8]| {
        let mut element = Vec::with_capacity(bytes.len());
        migration.value(&mut bytes, &mut element).map_err(|error| does_not_decode(what).with_source(error))?;
        if bytes.is_empty() { Ok(element) } else { Err(does_not_decode(what)) }
    };
    share.elements.iter().map(|bytes| element(bytes)).collect()
}

fn does_not_decode(what: &str) -> Error {
    Error::new(ErrorKind::Corrupt, format!("a stored {what} does not decode"))
}

/// Every operator stores all of its states, if only empty ones: what is missing is of an operator of another kind.
pub(crate) fn of_another(uid: &OperatorUid, what: &str) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "no {what} is stored under uid {uid}, but the state of another kind of operator: give each operator the uid it had"
        ),
    )
}

/// Decodes stored elements.
///
/// # Errors
/// If one does not decode or has bytes left over, naming `what`.
pub(crate) fn decode_all<T: Data>(elements: &[Vec<u8>], what: &str) -> Result<Vec<T>> {
    let decode = |bytes: &Vec<u8>| {
        let mut input = bytes.as_slice();
        let value = T::decode(&mut input);
        match value {
            Ok(value) if input.is_empty() => Ok(value),
            Ok(_) => Err(does_not_decode(what)),
            Err(error) => Err(does_not_decode(what).with_source(error)),
        }
    };
    elements.iter().map(decode).collect()
}
