//! The lineage of one keyed state of one task, and the files of the store below, as the upload thread keeps them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use highwater_checkpoint::block::{self, BLOCK, BlockBuilder};
use highwater_checkpoint::metadata::{Block, FileDigest, KeyedSnapshot, Location, StoreSnapshot};
use highwater_checkpoint::{Lineage, Segment};
use highwater_core::{CheckpointId, Error, KeyGroupRange, Result, frame};
use highwater_storage::JobStore;

use super::KeyedFrame;

/// A lineage, and whether it can be relied upon.
pub(super) struct Tracked {
    lineage: Lineage,
    /// The store below, as the last snapshot has it.
    store: Option<StoreSnapshot>,
    is_lost: bool,
    /// Tells the task.
    lost: Arc<AtomicBool>,
}

impl Tracked {
    pub fn new(lineage: Lineage, store: Option<StoreSnapshot>, lost: Arc<AtomicBool>) -> Self {
        Tracked { lineage, store, is_lost: false, lost }
    }

    /// The names of the files that a snapshot of the state as it is now refers to.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        let stored = self.store.iter().flat_map(|store| &store.files).map(|(_, name)| name.as_str());
        self.lineage.files().chain(stored)
    }

    /// The store below, as the last snapshot has it.
    pub fn store(&mut self) -> &mut Option<StoreSnapshot> {
        &mut self.store
    }

    /// Something that the task handed over could not be written.
    pub fn lose(&mut self) {
        self.is_lost = true;
        self.lost.store(true, Ordering::Release);
    }

    /// Appends what checkpoint `id` wrote.
    ///
    /// # Errors
    /// If something before it was lost, and it does not hold everything.
    pub fn advance(&mut self, id: CheckpointId, frame: &KeyedFrame, blocks: Vec<Block>) -> Result<()> {
        if self.is_lost && !frame.full.iter().all(|full| *full) {
            self.lose();
            return Err(Error::internal(format!(
                "state {} has a gap, since an earlier snapshot could not be written; the next one will hold everything",
                frame.name
            )));
        }
        self.is_lost = false;
        let is_full = |group| frame.full[frame.range.index_of(group)];
        self.lineage.advance(frame.range, Segment { id, blocks }, is_full);
        Ok(())
    }

    /// Bytes of the blocks that are not in a file.
    pub fn inline_bytes(&self) -> u64 {
        let inline = self.lineage.blocks().filter(|block| matches!(block.location, Location::Inline(_)));
        inline.map(Block::bytes).sum()
    }

    /// Moves the blocks that are not in a file into one, with `append`.
    pub fn move_inline(&mut self, mut append: impl FnMut(&[u8]) -> Result<Location>) -> Result<()> {
        for block in self.lineage.segments.iter_mut().flat_map(|segment| &mut segment.blocks) {
            if let Location::Inline(framed) = &block.location {
                block.location = append(framed)?;
            }
        }
        Ok(())
    }

    /// Writes small segments anew as one if there are many, with `append`, which takes payloads of blocks. Those in files that are
    /// not `durable` yet have to wait.
    pub fn merge(
        &mut self,
        range: KeyGroupRange,
        store: &JobStore,
        durable: &BTreeMap<String, FileDigest>,
        mut append: impl FnMut(&[u8]) -> Result<Location>,
    ) -> Result<()> {
        let Some(crowded) = self.lineage.crowded() else { return Ok(()) };
        let segments = &self.lineage.segments[crowded.clone()];
        let is_durable = |block: &Block| match &block.location {
            Location::Inline(_) => true,
            Location::File { name, .. } => durable.contains_key(name),
        };
        if !segments.iter().flat_map(|segment| &segment.blocks).all(is_durable) {
            return Ok(());
        }
        let (mut builder, mut blocks) = (BlockBuilder::default(), Vec::new());
        let mut close = |builder: &mut BlockBuilder| {
            builder.close(|range, entries, payload| {
                blocks.push(Block { range, entries, location: append(payload)? });
                Ok(())
            })
        };
        for segment in segments {
            for block in &segment.blocks {
                let (framed, place) = read(store, block)?;
                let opened = frame::open(BLOCK, &framed, &place)?;
                for section in block::sections(block, segment.id, &opened, &place)? {
                    if self.lineage.is_current(range, section.group, section.id) {
                        builder.push(&section);
                    }
                    if builder.is_full() {
                        close(&mut builder)?;
                    }
                }
            }
        }
        close(&mut builder)?;
        self.lineage.replace(crowded, blocks);
        Ok(())
    }

    /// The snapshot of the state as it is now.
    pub fn snapshot(&self, frame: KeyedFrame) -> KeyedSnapshot {
        KeyedSnapshot {
            name: frame.name.to_string(),
            max_parallelism: frame.max_parallelism,
            range: frame.range,
            schema: frame.schema,
            lineage: self.lineage.clone(),
            store: self.store.clone(),
        }
    }
}

/// The frame of a block, and where it was read.
fn read(store: &JobStore, block: &Block) -> Result<(Vec<u8>, String)> {
    match &block.location {
        Location::Inline(framed) => Ok((framed.clone(), "a block in memory".to_owned())),
        Location::File { name, offset, len } => {
            Ok((store.read_shared(name, *offset, *len)?, format!("shared file {name} at byte {offset}")))
        }
    }
}
