//! The content of `_metadata`: what a checkpoint consists of.
//!
//! A checkpoint exists from the moment its `_metadata` exists (I3), so this is written last, and everything it names is
//! durable before. The file is one frame (magic `HWMD`, version 1) around the [postcard] encoding of [`Metadata`]: the order
//! and types of the fields below *are* the format, and changing them takes a new version of the frame.
//!
//! Invariants, checked before writing and after reading: every task of every operator is there exactly once; the key groups
//! of each keyed state cover `0..max_parallelism` with no gap and no overlap (I2); every block lies within a file that is
//! listed with its length and checksum (I7); file names stay inside the checkpoint's folder.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

use highwater_core::frame::{self, Kind};
use highwater_core::{
    CheckpointId, Error, ErrorKind, JobName, KeyGroup, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, Result,
    SubtaskIndex,
};
use serde::{Deserialize, Serialize};

use crate::config::CheckpointingMode;
use crate::times::CheckpointTimes;

/// The frame around [`Metadata`].
const METADATA: Kind = Kind { magic: *b"HWMD", version: 1, name: "checkpoint metadata" };

/// The frame around the entries of one [`Block`].
pub const BLOCK: Kind = Kind { magic: *b"HWBK", version: 1, name: "block of keyed state" };

/// Everything needed to restore a checkpoint, except the content of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The job that wrote it.
    pub job: JobName,
    /// Number of the checkpoint, and of the epoch it ends.
    pub id: CheckpointId,
    /// When its location was fixed, in milliseconds since the Unix epoch.
    pub created_unix_ms: i64,
    /// How records that arrived while the barrier passed were treated.
    pub mode: CheckpointingMode,
    /// Every operator of the job.
    pub operators: Vec<OperatorSnapshot>,
    /// Every other file of the checkpoint, by name.
    pub files: Vec<FileDigest>,
    /// The times as known when this was written: `complete` is what had passed of it by then.
    pub times: CheckpointTimes,
}

/// A file of the checkpoint, as it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name within the checkpoint's folder: up to 200 letters, digits, `-`, `_` and `.`, not starting with a dot.
    pub name: String,
    /// Its length in bytes.
    pub len: u64,
    /// CRC-32C of all of it.
    pub crc32c: u32,
}

/// The state of one operator.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorSnapshot {
    /// Ties it to the operator of the program that restores it.
    pub uid: OperatorUid,
    /// What people call it.
    pub name: String,
    /// How many subtasks it had.
    pub parallelism: Parallelism,
    /// How many key groups it has for as long as its keyed state is kept.
    pub max_parallelism: MaxParallelism,
    /// The snapshot of each subtask, in order.
    pub subtasks: Vec<(SubtaskIndex, TaskSnapshot)>,
}

/// What one task acknowledges with: handles to its state.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskSnapshot {
    /// Its keyed states, e.g. `state` and `timers`, each under its own name.
    pub keyed: Vec<KeyedSnapshot>,
    /// Its operator states, each under its own name.
    pub operator_state: Vec<OperatorState>,
}

/// One keyed state of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyedSnapshot {
    /// Unique within the task.
    pub name: String,
    /// The operator's number of key groups.
    pub max_parallelism: MaxParallelism,
    /// The key groups this task owned.
    pub range: KeyGroupRange,
    /// Describes keys and values, as JSON; the same for all subtasks.
    pub schema: String,
    /// The entries. A key group may have several blocks, which are restored in this order, and one without entries none.
    pub blocks: Vec<Block>,
}

/// Some entries of one key group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// The key group of every entry.
    pub group: KeyGroup,
    /// How many entries.
    pub entries: u64,
    /// Where the frame of kind [`BLOCK`] is that holds them.
    pub location: Location,
}

/// Where the bytes of a block are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// Right here.
    Inline(Vec<u8>),
    /// In a file of the checkpoint.
    File {
        /// One of [`Metadata::files`].
        name: String,
        /// Where in the file the frame begins.
        offset: u64,
        /// Length of the frame in bytes.
        len: u64,
    },
}

/// One operator state of one task: a list that is redistributed in whole elements.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorState {
    /// Unique within the task.
    pub name: String,
    /// Describes the elements, as JSON; the same for all subtasks.
    pub schema: String,
    /// The elements, each as its serializer wrote it.
    pub elements: Vec<Vec<u8>>,
}

impl Metadata {
    /// The bytes of `_metadata`.
    pub fn encode(&self) -> Vec<u8> {
        let payload = postcard::to_stdvec(self).expect("metadata holds nothing that postcard cannot write");
        let mut bytes = Vec::new();
        frame::seal(METADATA, &payload, &mut bytes);
        bytes
    }

    /// Reads the bytes of `_metadata`; `place` names the file in errors.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if the bytes do not verify, or break an invariant of this module;
    /// [`ErrorKind::Incompatible`] if they are of a newer version.
    pub fn decode(bytes: &[u8], place: &str) -> Result<Metadata> {
        let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("{place}: {what}"));
        let opened = frame::open(METADATA, bytes, place)?;
        if opened.len != bytes.len() {
            return Err(corrupt(format!("{} bytes follow the checkpoint metadata", bytes.len() - opened.len)));
        }
        let (metadata, rest) = match opened.version {
            1 => postcard::take_from_bytes::<Metadata>(opened.payload)
                .map_err(|error| corrupt("not readable as checkpoint metadata".into()).with_source(error))?,
            unknown => return Err(corrupt(format!("version {unknown} of checkpoint metadata never existed"))),
        };
        if !rest.is_empty() {
            return Err(corrupt(format!("{} bytes of the checkpoint metadata are left over", rest.len())));
        }
        metadata.validate().map_err(corrupt)?;
        Ok(metadata)
    }
}
