//! Whether a snapshot is all there, and if not, what is damaged.

use std::collections::BTreeMap;
use std::fmt;

use highwater_checkpoint::metadata::{Block, FileDigest, KeyedSnapshot, Location};
use highwater_core::{CheckpointId, Error, ErrorKind, KeyGroupRange, OperatorUid, Result, TaskId};
use highwater_storage::{CheckpointStorage, What};

use crate::Snapshot;

/// Bytes read at once.
const STEP: u64 = 4 << 20;

/// Something of a snapshot that does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The file, with the storage it lies in.
    pub path: String,
    /// Where in the file; `None` if it is the file as a whole.
    pub offset: Option<u64>,
    /// What is wrong.
    pub what: String,
    /// What cannot be restored.
    pub touches: Vec<Touched>,
}

/// State that damage touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The operator.
    pub operator: OperatorUid,
    /// Its state.
    pub state: String,
    /// The key groups.
    pub range: KeyGroupRange,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.path)?;
        if let Some(offset) = self.offset {
            write!(f, " at byte {offset}")?;
        }
        write!(f, ": {}", self.what)?;
        for (index, Touched { operator, state, range }) in self.touches.iter().enumerate() {
            let lead = if index == 0 { "; touches" } else { "," };
            write!(f, "{lead} state {state} of operator {operator} ({range})")?;
        }
        Ok(())
    }
}

/// Whether a copy of a file is what was written.
fn is_intact(copies: &dyn CheckpointStorage, path: &str, file: &FileDigest) -> bool {
    checksum(copies, path, file.len).is_ok_and(|crc32c| crc32c == file.crc32c)
}

/// The checksum of the first `len` bytes of a file.
fn checksum(storage: &dyn CheckpointStorage, path: &str, len: u64) -> highwater_storage::Result<u32> {
    let (mut offset, mut crc32c) = (0, 0);
    while offset < len {
        let step = STEP.min(len - offset);
        crc32c = crc32c::crc32c_append(crc32c, &storage.read_range(path, offset, step)?);
        offset += step;
    }
    Ok(crc32c)
}

/// A block with what it belongs to.
struct Owned<'a> {
    block: &'a Block,
    segment: CheckpointId,
    task: TaskId,
    state: &'a str,
}

impl Snapshot {
    /// Reads every file that the snapshot refers to, and fails on the first that is not as it was written.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if something does not verify, naming it; those of the storage.
    pub fn verify(&self) -> Result<()> {
        for file in &self.metadata().files {
            if let Some(damage) = self.check_file(file)?.into_iter().next() {
                return Err(Error::new(ErrorKind::Corrupt, damage.to_string()));
            }
        }
        Ok(())
    }

    /// Reads every file that the snapshot refers to; everything that is not as it was written.
    ///
    /// # Errors
    /// Those of the storage: it says nothing about the snapshot when it does not answer.
    pub fn damages(&self) -> Result<Vec<Damage>> {
        let mut damages = Vec::new();
        for file in &self.metadata().files {
            damages.extend(self.check_file(file)?);
        }
        Ok(damages)
    }

    fn check_file(&self, file: &FileDigest) -> Result<Vec<Damage>> {
        let path = self.path_of(file);
        if self.storage().local_copies().is_some_and(|copies| is_intact(copies, &path, file)) {
            return Ok(Vec::new());
        }
        let place = format!("{}/{path}", self.storage().uri());
        let whole = |what: String| Damage { path: place.clone(), offset: None, what, touches: self.touched_by(file) };
        let crc32c = match checksum(&**self.storage(), &path, file.len) {
            Ok(crc32c) => crc32c,
            Err(error) if error.what() == What::NotFound => return Ok(vec![whole("the file is missing".into())]),
            Err(error) if error.what() == What::CutOff => {
                return Ok(vec![whole(format!("it ends before its {} bytes", file.len))]);
            }
            Err(error) => return Err(error.into()),
        };
        if crc32c == file.crc32c {
            return Ok(Vec::new());
        }
        let mut damages = self.damaged_blocks(file, &place)?;
        if damages.is_empty() {
            damages.push(whole(format!("its checksum is {crc32c:08x}, should be {:08x}", file.crc32c)));
        }
        Ok(damages)
    }

    /// The blocks in a file that do not verify.
    fn damaged_blocks(&self, file: &FileDigest, place: &str) -> Result<Vec<Damage>> {
        // One block may be in the lineage of several tasks after the parallelism has changed.
        let mut damages = BTreeMap::<u64, Damage>::new();
        for Owned { block, segment, task, state } in self.blocks_in(file) {
            let Location::File { offset, .. } = &block.location else { continue };
            let touched = Touched { operator: task.operator, state: state.to_owned(), range: block.range };
            if let Some(damage) = damages.get_mut(offset) {
                if !damage.touches.contains(&touched) {
                    damage.touches.push(touched);
                }
                continue;
            }
            let what = match self.read_block(block, segment) {
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::Corrupt => error.message().to_owned(),
                Err(error) => return Err(error),
            };
            let prefix = format!("{place} at byte {offset}: ");
            let what = what.strip_prefix(&prefix).map_or(what.clone(), str::to_owned);
            let damage = Damage { path: place.to_owned(), offset: Some(*offset), what, touches: vec![touched] };
            damages.insert(*offset, damage);
        }
        Ok(damages.into_values().collect())
    }

    /// Everything that has something in a file.
    fn touched_by(&self, file: &FileDigest) -> Vec<Touched> {
        let mut touched = Vec::<Touched>::new();
        for Owned { block, task, state, .. } in self.blocks_in(file) {
            match touched.iter_mut().find(|known| known.operator == task.operator && known.state == state) {
                Some(known) => {
                    let start = known.range.start().min(block.range.start());
                    known.range = KeyGroupRange::new(start..known.range.end().max(block.range.end()));
                }
                None => {
                    touched.push(Touched { operator: task.operator, state: state.to_owned(), range: block.range });
                }
            }
        }
        for (task, keyed) in self.keyed() {
            let stored = keyed.store.iter().flat_map(|store| &store.files).any(|(_, name)| *name == file.name);
            if stored {
                touched.push(Touched { operator: task.operator, state: keyed.name.clone(), range: keyed.range });
            }
        }
        touched
    }

    fn keyed(&self) -> impl Iterator<Item = (TaskId, &KeyedSnapshot)> {
        self.metadata().operators.iter().flat_map(|operator| {
            operator.subtasks.iter().flat_map(|(subtask, task)| {
                let task_id = TaskId { operator: operator.uid.clone(), subtask: *subtask };
                task.keyed.iter().map(move |keyed| (task_id.clone(), keyed))
            })
        })
    }

    fn blocks_in(&self, file: &FileDigest) -> impl Iterator<Item = Owned<'_>> {
        self.keyed().flat_map(move |(task, keyed)| {
            let blocks = keyed.lineage.segments.iter();
            let blocks = blocks.flat_map(|segment| segment.blocks.iter().map(|block| (block, segment.id)));
            let within = blocks.filter(|(block, _)| match &block.location {
                Location::Inline(_) => false,
                Location::File { name, .. } => *name == file.name,
            });
            within.map(move |(block, segment)| Owned { block, segment, task: task.clone(), state: &keyed.name })
        })
    }
}
