//! A checkpoint that is being restored, as the tasks of the new attempt read it.
//!
//! Invariant I7: every block is verified before a byte of it is used; what does not verify is named by file and offset.

use std::sync::Arc;
use std::time::Duration;

use highwater_checkpoint::metadata::{BLOCK, Block, Location, Metadata, OperatorSnapshot};
use highwater_checkpoint::rescale;
use highwater_core::frame;
use highwater_core::{
    CheckpointId, Clock, Error, ErrorKind, KeyGroup, MaxParallelism, OperatorUid, Parallelism, Result, SubtaskIndex,
};
use highwater_state::{Data, Schema};
use highwater_storage::CheckpointStorage;

/// A completed checkpoint whose metadata has been verified.
#[derive(Debug)]
pub struct Restored {
    metadata: Metadata,
    storage: Arc<dyn CheckpointStorage>,
    /// The folder of the checkpoint in the storage.
    folder: String,
}

/// One keyed state of a task as the checkpoint has it.
pub struct KeyedPart<'a> {
    /// Name of the state.
    pub name: &'a str,
    /// Its schema when it was written, as JSON.
    pub schema: &'a str,
    blocks: Vec<&'a Block>,
}

/// How long a task's state took to come up, by phase: `T_state = T_init + T_prepare + T_confirm + T_complete`, exactly.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
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

impl<'a> From<rescale::KeyedShare<'a>> for KeyedPart<'a> {
    fn from(share: rescale::KeyedShare<'a>) -> Self {
        KeyedPart { name: share.name, schema: share.schema, blocks: share.blocks }
    }
}

impl Restored {
    /// The checkpoint whose `_metadata` in `folder` was decoded to `metadata`.
    pub fn new(metadata: Metadata, storage: Arc<dyn CheckpointStorage>, folder: String) -> Self {
        Restored { metadata, storage, folder }
    }

    /// Number of the checkpoint.
    pub fn id(&self) -> CheckpointId {
        self.metadata.id
    }

    /// What the checkpoint holds.
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// The part of an operator, if it had any state.
    pub fn operator(&self, uid: &OperatorUid) -> Option<&OperatorSnapshot> {
        self.metadata.operators.iter().find(|operator| operator.uid == *uid)
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
    ) -> Result<Vec<KeyedPart<'_>>> {
        let Some(operator) = self.operator(uid) else { return Ok(Vec::new()) };
        rescale::check_coverage(operator)?;
        let shares = rescale::assign_blocks(operator, subtask, parallelism, max)?;
        if shares.is_empty() {
            return Err(of_another(uid, "keyed state"));
        }
        Ok(shares.into_iter().map(KeyedPart::from).collect())
    }

    /// Reads and verifies the blocks of a keyed state, one after the other.
    ///
    /// # Errors
    /// If a block cannot be read or does not verify, or from `load`.
    pub(crate) fn load(
        &self,
        part: &KeyedPart<'_>,
        clock: &mut StateClock<'_>,
        mut load: impl FnMut(KeyGroup, u64, &[u8]) -> Result<()>,
    ) -> Result<u64> {
        let mut bytes = 0;
        for block in &part.blocks {
            let place = self.place(&block.location);
            let framed = match &block.location {
                Location::Inline(framed) => framed.clone(),
                Location::File { name, offset, len } => {
                    self.storage.read_range(&format!("{}/{name}", self.folder), *offset, *len)?
                }
            };
            clock.spend(|times| &mut times.prepare);
            let opened = frame::open(BLOCK, &framed, &place)?;
            clock.spend(|times| &mut times.confirm);
            load(block.group, block.entries, opened.payload).map_err(|error| error.context(place))?;
            clock.spend(|times| &mut times.complete);
            bytes += framed.len() as u64;
        }
        Ok(bytes)
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
        let share = shares.into_iter().find(|share| share.name == state).ok_or_else(|| of_another(uid, what))?;
        if let Some(difference) = Schema::difference(&Schema::from_json(share.schema)?, &T::schema()) {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "the stored {what} of operator {uid} is of another type: {difference}; \
                     restore it with the program that wrote it, or start over with --fresh"
                ),
            ));
        }
        let encoded: Vec<_> = share.elements.into_iter().map(<[u8]>::to_vec).collect();
        decode_all(&encoded, what)
    }

    /// The elements of all operator states of an operator, of all subtasks.
    pub fn all_elements(&self, uid: &OperatorUid) -> Vec<Vec<u8>> {
        let shares = self.operator(uid).map(rescale::all_elements).unwrap_or_default();
        shares.into_iter().flat_map(|share| share.elements).map(<[u8]>::to_vec).collect()
    }

    /// Storage and folder, for another process to open.
    pub(crate) fn location(&self) -> (String, String) {
        (self.storage.uri(), self.folder.clone())
    }

    /// Where the checkpoint lies, for people.
    pub fn path(&self) -> String {
        format!("{}/{}", self.storage.uri(), self.folder)
    }

    fn place(&self, location: &Location) -> String {
        match location {
            Location::Inline(_) => format!("{}/_metadata", self.path()),
            Location::File { name, offset, .. } => format!("{}/{name} at byte {offset}", self.path()),
        }
    }
}

/// Every operator stores all of its states, if only empty ones: what is missing is of an operator of another kind.
fn of_another(uid: &OperatorUid, what: &str) -> Error {
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
        let corrupt = || Error::new(ErrorKind::Corrupt, format!("a stored {what} does not decode"));
        match value {
            Ok(value) if input.is_empty() => Ok(value),
            Ok(_) => Err(corrupt()),
            Err(error) => Err(corrupt().with_source(error)),
        }
    };
    elements.iter().map(decode).collect()
}
