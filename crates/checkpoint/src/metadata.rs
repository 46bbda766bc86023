//! The content of `_metadata`: what a checkpoint consists of.
//!
//! A checkpoint exists from the moment its `_metadata` exists (I3), so this is written last, and everything it names is
//! durable before. The file is one frame (magic `HWMD`, version 2) around the [postcard] encoding of [`Metadata`]: the order
//! and types of the fields below *are* the format, and changing them takes a new version of the frame. What version 1 looked
//! like is kept in `metadata/v1.rs`.
//!
//! Invariants, checked before writing and after reading: every task of every operator is there exactly once; the key groups
//! of each keyed state cover `0..max_parallelism` with no gap and no overlap (I2); every block lies within a file that is
//! listed with its length and checksum (I7); file names stay inside the checkpoint's folder and the job's shared one.
//!
//! [postcard]: https://postcard.jamesmunns.com/wire-format

mod v1;

use highwater_core::frame::{self, Kind};
use highwater_core::{
    CheckpointId, Error, ErrorKind, JobName, KeyGroupRange, MaxParallelism, OperatorUid, Parallelism, Result,
    SubtaskIndex,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::config::CheckpointingMode;
use crate::lineage::Lineage;
use crate::times::CheckpointTimes;

/// The frame around [`Metadata`].
const METADATA: Kind = Kind { magic: *b"HWMD", version: 2, name: "checkpoint metadata" };

/// Everything needed to restore a snapshot, except the content of its files.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metadata {
    /// The job that wrote it.
    pub job: JobName,
    /// Number of the checkpoint, and of the epoch it ends.
    pub id: CheckpointId,
    /// Who it is for.
    pub kind: SnapshotKind,
    /// When its location was fixed, in milliseconds since the Unix epoch.
    pub created_unix_ms: i64,
    /// How records that arrived while the barrier passed were treated.
    pub mode: CheckpointingMode,
    /// Every operator of the job.
    pub operators: Vec<OperatorSnapshot>,
    /// Every file that it refers to, by name.
    pub files: Vec<FileDigest>,
    /// The times as known when this was written: `complete` is what had passed of it by then.
    pub times: CheckpointTimes,
}

/// Who a snapshot is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SnapshotKind {
    /// For the job itself, to recover from: refers to files that it shares with other checkpoints, and is deleted when newer
    /// ones have taken its place.
    Checkpoint,
    /// For its user: complete within its folder, and never deleted by the job.
    Savepoint,
}

/// A file that a snapshot refers to, as it was when it was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileDigest {
    /// Its name within its folder: up to 200 letters, digits, `-`, `_` and `.`, not starting with a dot.
    pub name: String,
    /// The checkpoint that wrote it into the job's folder of shared files; `None` if it is in the snapshot's own folder.
    pub shared_by: Option<CheckpointId>,
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
    /// What is replayed to get the entries.
    pub lineage: Lineage,
    /// What lies in a store on local disk rather than in memory; the lineage goes before it.
    pub store: Option<StoreSnapshot>,
}

/// The files of a store on local disk (an LSM tree), as they were at the barrier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreSnapshot {
    /// Which store: `rocksdb`.
    pub kind: String,
    /// Each file's name in the store, and its name in [`Metadata::files`].
    pub files: Vec<(String, String)>,
}

/// Changes of the entries of some key groups.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    /// Covers the key groups of all entries.
    pub range: KeyGroupRange,
    /// How many entries.
    pub entries: u64,
    /// Where the frame of kind [`BLOCK`](crate::block::BLOCK) is that holds them.
    pub location: Location,
}

/// Where the bytes of a block are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Location {
    /// Right here.
    Inline(Vec<u8>),
    /// In a file.
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
    /// Who gets the elements at a restore; the same for all subtasks.
    pub redistribution: Redistribution,
    /// The elements, each as its serializer wrote it.
    pub elements: Vec<Vec<u8>>,
}

/// Who gets the elements of an operator state at a restore.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Redistribution {
    /// Each goes to one subtask: Flink's `SPLIT_DISTRIBUTE`.
    Split,
    /// The same, and every subtask is shown all of them: Flink's `UNION`.
    Union,
    /// Every subtask gets all elements; they are the same in all subtasks, and one of them has stored them.
    Broadcast,
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
        let metadata = match opened.version {
            1 => parse::<v1::Metadata>(opened.payload, place)?.into(),
            2 => parse::<Metadata>(opened.payload, place)?,
            unknown => return Err(corrupt(format!("version {unknown} of checkpoint metadata never existed"))),
        };
        metadata.validate().map_err(corrupt)?;
        Ok(metadata)
    }

    /// The files in the job's shared folder, each with the checkpoint that wrote it.
    pub fn shared_files(&self) -> impl Iterator<Item = (&str, CheckpointId)> {
        self.files.iter().filter_map(|file| Some((file.name.as_str(), file.shared_by?)))
    }
}

fn parse<T: DeserializeOwned>(payload: &[u8], place: &str) -> Result<T> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("{place}: {what}"));
    let (metadata, rest) = postcard::take_from_bytes::<T>(payload)
        .map_err(|error| corrupt("not readable as checkpoint metadata".into()).with_source(error))?;
    if !rest.is_empty() {
        return Err(corrupt(format!("{} bytes of the checkpoint metadata are left over", rest.len())));
    }
    Ok(metadata)
}
