//! What a keyed state is made of when each checkpoint writes only what has changed: segments, replayed in order.
//!
//! A checkpoint appends one [`Segment`] to the lineage of each keyed state of a task and refers to the segments before it. Of a
//! key group it holds either what changed since the checkpoint before it, or every row; what older segments hold of the group
//! means nothing any more in the second case, see [`Lineage::since`].
//!
//! Invariants:
//! * replaying the sections of a key group that are [current](Lineage::is_current), segment after segment, block after block,
//!   gives exactly its entries at the barrier (I1);
//! * a segment is never changed, only left out: checkpoints that are retained refer to it too (I3);
//! * every block that is kept has a key group of which it is current.

use std::collections::BTreeMap;
use std::ops::Range;

use highwater_core::{CheckpointId, KeyGroup, KeyGroupRange};
use serde::{Deserialize, Serialize};

use crate::metadata::{Block, Location};

/// With more segments than this some are written anew as one.
const CROWDED: usize = 24;

/// How many segments become one.
const MERGED: usize = 12;

/// Segments are merged only up to this size: beyond it one more file costs less than writing them again.
const MERGED_BYTES: u64 = 32 << 20;

/// What one checkpoint wrote of a keyed state of a task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Segment {
    /// The checkpoint; of several that were merged the newest.
    pub id: CheckpointId,
    /// Its blocks, to be replayed in this order.
    pub blocks: Vec<Block>,
}

/// All segments of a keyed state of a task.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lineage {
    /// For each key group of the task's range, the checkpoint that wrote all of it: sections of older ones mean nothing.
    pub since: Vec<CheckpointId>,
    /// Oldest first.
    pub segments: Vec<Segment>,
}

impl Lineage {
    /// The lineage of a task that owns `range`, from those of the tasks whose ranges together cover it.
    pub fn assemble<'a>(
        range: KeyGroupRange,
        parts: impl IntoIterator<Item = (KeyGroupRange, &'a Lineage)>,
    ) -> Lineage {
        let mut assembled = Lineage { since: vec![CheckpointId(0); range.count()], segments: Vec::new() };
        let mut segments = BTreeMap::<CheckpointId, Vec<Block>>::new();
        for (owned, part) in parts {
            for (group, since) in owned.iter().zip(&part.since).filter(|(group, _)| range.contains(*group)) {
                assembled.since[range.index_of(group)] = *since;
            }
            for segment in &part.segments {
                segments.entry(segment.id).or_default().extend(segment.blocks.iter().cloned());
            }
        }
        assembled.segments = segments.into_iter().map(|(id, blocks)| Segment { id, blocks }).collect();
        assembled.drop_obsolete(range);
        assembled
    }

    /// Whether a section that checkpoint `id` wrote of `group`, one of `range`, still counts.
    pub fn is_current(&self, range: KeyGroupRange, group: KeyGroup, id: CheckpointId) -> bool {
        range.contains(group) && id >= self.since[range.index_of(group)]
    }

    /// Appends what a checkpoint wrote, with every row of the groups for which `is_full` holds.
    pub fn advance(&mut self, range: KeyGroupRange, segment: Segment, is_full: impl Fn(KeyGroup) -> bool) {
        self.since.resize(range.count(), CheckpointId(0));
        for group in range.iter().filter(|group| is_full(*group)) {
            self.since[range.index_of(group)] = segment.id;
        }
        if !segment.blocks.is_empty() {
            self.segments.push(segment);
        }
        self.drop_obsolete(range);
    }

    /// Which neighbouring segments should be written anew as one, if there are too many.
    pub fn crowded(&self) -> Option<Range<usize>> {
        if self.segments.len() <= CROWDED {
            return None;
        }
        let sizes: Vec<u64> = self.segments.iter().map(Segment::bytes).collect();
        let windows = sizes.windows(MERGED).map(|window| window.iter().sum::<u64>());
        let (bytes, start) = windows.zip(0..).min()?;
        (bytes <= MERGED_BYTES).then_some(start..start + MERGED)
    }

    /// Puts `blocks`, which hold the same, in the place of the segments in `merged`.
    pub fn replace(&mut self, merged: Range<usize>, blocks: Vec<Block>) {
        let Some(newest) = self.segments[merged.clone()].last() else { return };
        let segment = Segment { id: newest.id, blocks };
        self.segments.splice(merged, (!segment.blocks.is_empty()).then_some(segment));
    }

    /// All blocks, in the order they are replayed.
    pub fn blocks(&self) -> impl Iterator<Item = &Block> {
        self.segments.iter().flat_map(|segment| &segment.blocks)
    }

    /// About how many entries each key group of `range` had when it was last written in full, in order: of a block with several
    /// groups each is taken to have as many.
    pub fn full_entries(&self, range: KeyGroupRange) -> Vec<u64> {
        let mut entries = vec![0; range.count()];
        for (segment, block) in
            self.segments.iter().flat_map(|segment| segment.blocks.iter().map(move |b| (segment, b)))
        {
            let each = block.entries.div_ceil(block.range.count() as u64);
            for index in block.range.iter().filter(|group| range.contains(*group)).map(|group| range.index_of(group)) {
                if self.since[index] == segment.id {
                    entries[index] += each;
                }
            }
        }
        entries
    }

    /// The names of the files it refers to; one may come several times.
    pub fn files(&self) -> impl Iterator<Item = &str> {
        self.blocks().filter_map(|block| match &block.location {
            Location::Inline(_) => None,
            Location::File { name, .. } => Some(name.as_str()),
        })
    }

    /// Bytes of all blocks on storage.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(Segment::bytes).sum()
    }

    fn drop_obsolete(&mut self, range: KeyGroupRange) {
        let Lineage { since, segments } = self;
        for segment in segments.iter_mut() {
            let is_current = |group: KeyGroup| range.contains(group) && segment.id >= since[range.index_of(group)];
            segment.blocks.retain(|block| block.range.iter().any(is_current));
        }
        segments.retain(|segment| !segment.blocks.is_empty());
    }
}

impl Segment {
    fn bytes(&self) -> u64 {
        self.blocks.iter().map(Block::bytes).sum()
    }
}

impl Block {
    /// Bytes on storage, with the frame's header.
    pub fn bytes(&self) -> u64 {
        match &self.location {
            Location::Inline(framed) => framed.len() as u64,
            Location::File { len, .. } => *len,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(groups: Range<u32>, name: &str, len: u64) -> Block {
        let location = Location::File { name: name.to_owned(), offset: 0, len };
        Block { range: KeyGroupRange::new(groups), entries: 1, location }
    }

    fn segment(id: u64, blocks: Vec<Block>) -> Segment {
        Segment { id: CheckpointId(id), blocks }
    }

    fn ids(lineage: &Lineage) -> Vec<u64> {
        lineage.segments.iter().map(|segment| segment.id.0).collect()
    }

    const RANGE: fn() -> KeyGroupRange = || KeyGroupRange::new(4..8);

    fn sample() -> Lineage {
        let mut lineage = Lineage::default();
        lineage.advance(RANGE(), segment(1, vec![block(4..6, "1", 100), block(6..8, "1", 100)]), |_| true);
        lineage.advance(RANGE(), segment(2, vec![block(4..8, "2", 10)]), |_| false);
        lineage
    }

    #[test]
    fn a_group_written_anew_makes_older_sections_of_it_obsolete() {
        let mut lineage = sample();
        lineage.advance(RANGE(), segment(3, vec![block(4..5, "3", 50)]), |group| group.0 == 4);
        assert_eq!(ids(&lineage), [1, 2, 3]);
        assert_eq!(lineage.blocks().count(), 4, "the first block still has group 5");
        assert!(!lineage.is_current(RANGE(), KeyGroup(4), CheckpointId(2)));
        assert!(lineage.is_current(RANGE(), KeyGroup(5), CheckpointId(1)));
        assert!(!lineage.is_current(RANGE(), KeyGroup(8), CheckpointId(3)), "not its own");

        lineage.advance(RANGE(), segment(4, vec![block(5..6, "4", 50)]), |group| group.0 == 5);
        assert_eq!(lineage.blocks().filter(|block| block.range.contains(KeyGroup(5))).count(), 2);
        assert_eq!(lineage.files().collect::<Vec<_>>(), ["1", "2", "3", "4"]);

        lineage.advance(RANGE(), segment(5, vec![block(4..8, "5", 50)]), |_| true);
        assert_eq!(ids(&lineage), [5]);
    }

    #[test]
    fn what_was_written_in_full_is_counted_by_group() {
        let with = |entries, block| Block { entries, ..block };
        let mut lineage = Lineage::default();
        let blocks =
            vec![with(30, block(4..5, "1", 100)), with(11, block(4..6, "1", 100)), with(7, block(7..8, "1", 9))];
        lineage.advance(RANGE(), segment(1, blocks), |_| true);
        lineage.advance(RANGE(), segment(2, vec![with(5, block(4..8, "2", 10))]), |group| group.0 == 7);
        assert_eq!(lineage.full_entries(RANGE()), [36, 6, 0, 2]);
    }

    #[test]
    fn a_group_that_became_empty_leaves_nothing() {
        let mut lineage = sample();
        lineage.advance(RANGE(), segment(3, vec![]), |_| true);
        assert_eq!((ids(&lineage), lineage.since), (vec![], vec![CheckpointId(3); 4]));
    }

    #[test]
    fn ranges_can_be_cut_and_joined() {
        let (left, right) = (KeyGroupRange::new(0..4), RANGE());
        let mut other = Lineage::default();
        other.advance(left, segment(2, vec![block(0..4, "0-2", 100)]), |_| true);
        let own = sample();
        let parts = [(left, &other), (right, &own)];
        let joined = Lineage::assemble(KeyGroupRange::new(2..6), parts);
        assert_eq!(joined.since, [2, 2, 1, 1].map(CheckpointId));
        assert_eq!(ids(&joined), [1, 2]);
        let files: Vec<_> = joined.files().collect();
        assert_eq!(files, ["1", "0-2", "2"], "the block of groups 6 and 7 is of another task now");
        assert_eq!(Lineage::assemble(right, parts), own);
    }

    #[test]
    fn small_neighbours_are_merged_when_there_are_many() {
        let mut lineage = sample();
        for id in 3..=CROWDED as u64 {
            lineage.advance(RANGE(), segment(id, vec![block(4..8, "x", id)]), |_| false);
            assert_eq!(lineage.crowded(), None);
        }
        lineage.advance(RANGE(), segment(99, vec![block(4..8, "y", 1 << 40)]), |_| false);
        let merged = lineage.crowded().unwrap();
        assert_eq!(merged, 1..1 + MERGED, "neither the base nor the huge one");
        lineage.replace(merged, vec![block(4..8, "merged", 5)]);
        assert_eq!(lineage.segments.len(), CROWDED + 1 - MERGED + 1);
        assert_eq!(lineage.segments[1].id, CheckpointId(1 + MERGED as u64));
        assert_eq!(lineage.crowded(), None);
    }

    #[test]
    fn huge_segments_are_left_alone() {
        let mut lineage = sample();
        for id in 3..100 {
            lineage.advance(RANGE(), segment(id, vec![block(4..8, "x", MERGED_BYTES)]), |_| false);
        }
        assert_eq!(lineage.crowded(), None);
    }
}
