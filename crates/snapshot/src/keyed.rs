//! Keyed state of an operator, read one key group at a time: so that a snapshot of any size can be looked through.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use highwater_checkpoint::block::{BLOCK, Section, sections};
use highwater_checkpoint::metadata::{Block, Location, OperatorSnapshot};
use highwater_checkpoint::rescale::{KeyedShare, assign_keyed};
use highwater_core::{CheckpointId, Error, KeyGroup, MaxParallelism, Parallelism, Result, SubtaskIndex, frame};

use crate::Snapshot;
use crate::stores::Stores;

/// Blocks with sections of several key groups are kept for the next ones, up to about this many bytes.
const KEPT_BYTES: usize = 64 << 20;

/// A block by its position: segment and block within it.
type Position = (usize, usize);

/// Reads a keyed state of an operator.
#[derive(Debug)]
pub struct KeyedReader<'a> {
    snapshot: &'a Snapshot,
    max: MaxParallelism,
    share: KeyedShare<'a>,
    stores: Stores<'a>,
    kept: BTreeMap<Position, Vec<u8>>,
    kept_bytes: usize,
}

impl<'a> KeyedReader<'a> {
    /// Of the keyed state that is called `name`: `state` or `timers`; `None` if the operator has none.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`](highwater_core::ErrorKind::Incompatible) if part of it is in a store, and the snapshot has
    /// nothing that [reads](Snapshot::with_stores) it.
    pub fn open(snapshot: &'a Snapshot, operator: &'a OperatorSnapshot, name: &str) -> Result<Option<Self>> {
        let Some(one) = Parallelism::new(1) else { return Err(Error::internal("one is no parallelism")) };
        let max = operator.max_parallelism;
        let shares = assign_keyed(operator, SubtaskIndex(0), one, max)?;
        let Some(share) = shares.into_iter().find(|share| share.name == name) else { return Ok(None) };
        let stores = Stores::new(snapshot, operator, &share.stores)?;
        Ok(Some(KeyedReader { snapshot, max, share, stores, kept: BTreeMap::new(), kept_bytes: 0 }))
    }

    /// The stored schema of keys and states, as JSON.
    pub fn schema(&self) -> &'a str {
        self.share.schema
    }

    /// The number of key groups.
    pub fn max_parallelism(&self) -> MaxParallelism {
        self.max
    }

    /// Whether `other` reads a key group from the very same blocks and stores: then it holds the same there.
    pub fn is_same_at(&self, group: KeyGroup, other: &KeyedReader<'_>) -> bool {
        self.max == other.max
            && self.sources(group) == other.sources(group)
            && self.stores.places(group) == other.stores.places(group)
    }

    /// Passes on the keys and rows of `group` that are in stores; those of the [sections](Self::sections) go before them.
    ///
    /// # Errors
    /// If a store cannot be fetched, verified or opened; those of `each`.
    pub fn stored(&mut self, group: KeyGroup, each: impl FnMut(&[u8], &[u8]) -> Result<()>) -> Result<()> {
        self.stores.rows(group, each)
    }

    /// Passes on the sections that count for `group`, in the order in which they have to be applied. Only blocks that may hold it
    /// are read.
    ///
    /// # Errors
    /// If a block cannot be read or does not verify, naming file and offset; those of `each`, with the place.
    pub fn sections(&mut self, group: KeyGroup, mut each: impl FnMut(&Section<'_>) -> Result<()>) -> Result<()> {
        for (at, segment) in self.positions(group) {
            let block = &self.share.lineage.segments[at.0].blocks[at.1];
            let framed = match self.kept.entry(at) {
                Entry::Occupied(kept) => kept.into_mut(),
                Entry::Vacant(vacant) => {
                    let framed = self.snapshot.read_block(block, segment)?;
                    self.kept_bytes += framed.len();
                    vacant.insert(framed)
                }
            };
            let place = self.snapshot.place(block);
            let opened = frame::open(BLOCK, framed, &place)?;
            for section in sections(block, segment, &opened, &place)? {
                if section.group == group && self.share.lineage.is_current(self.share.range, group, section.id) {
                    each(&section).map_err(|error| {
                        error.context(format!("{place}, key group {} of state {}", group.0, self.share.name))
                    })?;
                }
            }
            self.forget(group);
        }
        Ok(())
    }

    /// Forgets what no later key group is in, and what is too much.
    fn forget(&mut self, group: KeyGroup) {
        let segments = &self.share.lineage.segments;
        self.kept.retain(|at, _| segments[at.0].blocks[at.1].range.end() > u32::from(group.0) + 1);
        self.kept_bytes = self.kept.values().map(Vec::len).sum();
        while self.kept_bytes > KEPT_BYTES {
            let Some((_, framed)) = self.kept.pop_last() else { break };
            self.kept_bytes -= framed.len();
        }
    }

    /// Which blocks may hold something that counts for `group`, with the checkpoints that wrote them.
    fn positions(&self, group: KeyGroup) -> Vec<(Position, CheckpointId)> {
        let mut positions = Vec::new();
        for (index, segment) in self.share.lineage.segments.iter().enumerate() {
            if self.share.lineage.is_current(self.share.range, group, segment.id) {
                let blocks = segment.blocks.iter().enumerate().filter(|(_, block)| block.range.contains(group));
                positions.extend(blocks.map(|(block, _)| ((index, block), segment.id)));
            }
        }
        positions
    }

    /// The checkpoint since which sections count, and where they are.
    fn sources(&self, group: KeyGroup) -> (CheckpointId, Vec<(CheckpointId, Source<'_>)>) {
        let since = self.share.lineage.since[self.share.range.index_of(group)];
        let source = |((segment, block), id): (Position, CheckpointId)| {
            (id, self.source(&self.share.lineage.segments[segment].blocks[block]))
        };
        (since, self.positions(group).into_iter().map(source).collect())
    }

    fn source<'s>(&'s self, block: &'s Block) -> Source<'s> {
        match &block.location {
            Location::Inline(framed) => Source::Inline(framed),
            Location::File { .. } => Source::File(self.snapshot.place(block)),
        }
    }
}

/// Where the bytes of a block come from: the same source, the same bytes.
#[derive(Debug, PartialEq, Eq)]
enum Source<'s> {
    Inline(&'s [u8]),
    /// File and offset.
    File(String),
}
