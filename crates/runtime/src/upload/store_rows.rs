//! The rows of a store below a keyed state, as a savepoint has them: in blocks, as rows that were in memory are.
//!
//! They are written a part at a time, between whatever else the upload thread has to do: there may be any number of them, and what
//! comes after the savepoint must not wait for them. Replaying the savepoint they come before the rows of the table, which has the
//! newer state of a key that is in both.

use std::ops::ControlFlow;

use highwater_checkpoint::block::{BlockBuilder, Section, SectionKind};
use highwater_checkpoint::metadata::{Block, Location};
use highwater_core::{CheckpointId, Error, ErrorKind, KeyGroup, Result, TaskId};
use highwater_state::spill::StoredRows;

use super::uploader::write_block;

/// Bytes that are read at once, about.
const PART: usize = 1 << 20;

/// Bytes of a section, about.
const SECTION: usize = 256 << 10;

/// The rows of one store on their way to a savepoint.
pub(super) struct StoreRows {
    pub task: TaskId,
    pub state: &'static str,
    rows: Box<dyn StoredRows>,
    /// Key group and key of the row to go on from.
    next: Vec<u8>,
    section: OpenSection,
    builder: BlockBuilder,
    blocks: Vec<Block>,
    bytes: u64,
}

/// Rows of one key group.
#[derive(Default)]
struct OpenSection {
    group: Option<KeyGroup>,
    entries: u32,
    bytes: Vec<u8>,
}

impl StoreRows {
    pub fn new(task: TaskId, state: &'static str, rows: Box<dyn StoredRows>) -> Self {
        let (section, builder) = (OpenSection::default(), BlockBuilder::default());
        StoreRows { task, state, rows, next: Vec::new(), section, builder, blocks: Vec::new(), bytes: 0 }
    }

    /// Writes some more rows with `append`, which takes payloads of blocks; whether all are written.
    pub fn advance(&mut self, id: CheckpointId, mut append: impl FnMut(&[u8]) -> Result<Location>) -> Result<bool> {
        let StoreRows { rows, next, section, builder, blocks, bytes, state, .. } = self;
        let (from, mut read) = (std::mem::take(next), 0);
        rows.scan(&from, &mut |group, key, row| {
            if section.group != Some(group) || section.bytes.len() >= SECTION {
                section.close(id, builder);
                if builder.is_full() {
                    write_block(builder, blocks, &mut append)?;
                }
                section.group = Some(group);
            }
            section.push(key, row).ok_or_else(|| too_large(group, state))?;
            read += key.len() + row.len();
            if read < PART {
                return Ok(ControlFlow::Continue(()));
            }
            // The least that is greater than this key.
            *next = [&group.0.to_be_bytes()[..], key, &[0]].concat();
            Ok(ControlFlow::Break(()))
        })?;
        *bytes += read as u64;
        if !next.is_empty() {
            return Ok(false);
        }
        section.close(id, builder);
        write_block(builder, blocks, append)?;
        Ok(true)
    }

    /// What was written, and how many bytes.
    pub fn into_blocks(self) -> (Vec<Block>, u64) {
        (self.blocks, self.bytes)
    }
}

impl OpenSection {
    /// Adds a row; `None` if the section would have more than 4 GiB.
    fn push(&mut self, key: &[u8], row: &[u8]) -> Option<()> {
        u32::try_from(self.bytes.len() + key.len() + row.len()).ok()?;
        self.bytes.extend_from_slice(key);
        self.bytes.extend_from_slice(row);
        self.entries += 1;
        Some(())
    }

    fn close(&mut self, id: CheckpointId, builder: &mut BlockBuilder) {
        if let Some(group) = self.group.take() {
            let (kind, entries) = (SectionKind::Rows, std::mem::take(&mut self.entries));
            builder.push(&Section { id, group, kind, entries, bytes: &self.bytes });
            self.bytes.clear();
        }
    }
}

/// A row, or all of a section with it, does not fit where its length is kept.
pub(super) fn too_large(group: KeyGroup, state: &str) -> Error {
    let what = format!("a single row in key group {} of state {state} has more than 4 GiB: keep less per key", group.0);
    Error::new(ErrorKind::Checkpoint, what)
}
