//! What a lane of a bucket says of its row: 28 bits of the key's hash, and what snapshots and the tier below know of it.
//!
//! ```text
//! | upper 28 bits of the lower half of the hash, never 0 | used | spilled | fresh | changed |      a row
//! | 0                                                    |  0   |    0    |   0   |    0    |      EMPTY
//! | 0                                                    |  0   |    0    |   1   |    0    |      TOMBSTONE
//! ```
//!
//! The flags lie where they cost no memory of their own and no cache miss: a look-up has the tag in a register. It
//! compares with all flags set on either side, which is one instruction more for a whole bucket.

use highwater_core::KeyHash;

/// The bits of a tag that are flags.
const FLAGS: u32 = 0b1111;

/// How many they are.
pub(super) const FLAG_BITS: u32 = FLAGS.count_ones();

/// Those of them that are a [`Standing`].
const STANDING: u32 = 0b11;

/// The row may lie in the tier below, in an older state.
const SPILLED: u32 = 0b100;

/// The row was changed since the eviction last came by, or came in: who changes a row sets this too, at no cost.
const USED: u32 = 0b1000;

/// What a lane holds: a row's part of the hash and how it stands to the snapshots, or why there is no row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(transparent)]
pub(super) struct Tag(u32);

/// How a row stands to the snapshots. The numbers are the flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// As the last snapshot has it, or the one that was loaded.
    Stored = 0b00,
    /// Changed since the last snapshot began, which has an older state of it.
    Changed = 0b01,
    /// In no snapshot, so that none has to be told when it goes.
    Fresh = 0b11,
}

impl Tag {
    /// No row here, and none has gone past this bucket: a search ends here.
    pub(super) const EMPTY: Tag = Tag(0);
    /// A row was removed from a full bucket, which others may have gone past: a search goes on.
    pub(super) const TOMBSTONE: Tag = Tag(0b10);

    #[inline]
    pub(super) fn new(fingerprint: Fingerprint, standing: Standing) -> Self {
        Tag(fingerprint.0 & !FLAGS | standing as u32)
    }

    #[inline]
    pub(super) fn is_row(self) -> bool {
        self.0 > FLAGS
    }

    /// The row's part of the hash.
    #[inline]
    pub(super) fn fingerprint(self) -> Fingerprint {
        Fingerprint(self.0 | FLAGS)
    }

    /// How the row stands to the snapshots.
    #[inline]
    pub(super) fn standing(self) -> Standing {
        match self.0 & STANDING {
            0b00 => Standing::Stored,
            0b01 => Standing::Changed,
            _ => Standing::Fresh,
        }
    }

    /// The tag of the same row once it has changed. What is fresh stays so.
    #[inline]
    pub(super) fn changed(self) -> Self {
        Tag(self.0 | Standing::Changed as u32 | USED)
    }

    /// The tag of the same row once a snapshot has it.
    #[inline]
    pub(super) fn stored(self) -> Self {
        Tag(self.0 & !STANDING)
    }

    /// The tag of the same row if it may lie in the tier below.
    pub(super) fn spilled(self) -> Self {
        Tag(self.0 | SPILLED)
    }

    /// Whether the row may lie in the tier below.
    #[inline]
    pub(super) fn is_spilled(self) -> bool {
        self.0 & SPILLED != 0
    }

    /// The tag of the same row once the eviction has come by.
    pub(super) fn unused(self) -> Self {
        Tag(self.0 & !USED)
    }

    /// Whether the row was changed since the eviction came by.
    pub(super) fn is_used(self) -> bool {
        self.0 & USED != 0
    }
}

/// What a row is searched by: the upper 28 bits of the lower half of its key's hash, with all flags set.
///
/// The upper half has chosen the key group. This much is enough to find a row's home, also in a larger table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Fingerprint(u32);

impl Fingerprint {
    #[inline]
    pub(super) fn of(hash: KeyHash) -> Self {
        Fingerprint((hash.0 as u32 | FLAGS).max(1 << FLAG_BITS | FLAGS))
    }

    /// Where a row is searched first in a table of `buckets`: its part of the hash, scaled.
    #[inline]
    pub(super) fn home(self, buckets: usize) -> usize {
        ((u64::from(self.0) * buckets as u64) >> 32) as usize
    }
}

/// The home of a key, or in very few cases the bucket before it: good enough to fetch memory, and saves the flags.
#[inline]
pub(super) fn about_home(hash: KeyHash, buckets: usize) -> usize {
    ((u64::from(hash.0 as u32) * buckets as u64) >> 32) as usize
}

/// The tags of four lanes, which are looked at all together, without branches. Answers have a bit per lane.
pub(super) type Four = [Tag; 4];

#[cfg(target_arch = "x86_64")]
mod vector {
    use std::arch::x86_64::{
        __m128i, _mm_castsi128_ps, _mm_cmpeq_epi32, _mm_loadu_si128, _mm_movemask_ps, _mm_or_si128, _mm_set1_epi32,
        _mm_slli_epi32,
    };

    use super::{FLAGS, Fingerprint, Four, Tag};

    #[inline]
    fn load(tags: &Four) -> __m128i {
        // SAFETY: the instruction belongs to the architecture, and sixteen bytes are read of a reference to as many.
        unsafe { _mm_loadu_si128(tags.as_ptr().cast()) }
    }

    #[inline]
    fn lanes(equal: __m128i) -> u32 {
        // SAFETY: the instruction belongs to the architecture.
        unsafe { _mm_movemask_ps(_mm_castsi128_ps(equal)) as u32 }
    }

    /// Those that are `tag`, with its flags.
    #[inline]
    pub(in super::super) fn equal(tags: &Four, tag: Tag) -> u32 {
        // SAFETY: the instructions belong to the architecture.
        lanes(unsafe { _mm_cmpeq_epi32(load(tags), _mm_set1_epi32(tag.0 as i32)) })
    }

    /// Those with these bits above the flags.
    #[inline]
    fn alike(tags: &Four, above_flags: u32) -> u32 {
        // SAFETY: the instructions belong to the architecture.
        let tags = unsafe { _mm_or_si128(load(tags), _mm_set1_epi32(FLAGS as i32)) };
        // SAFETY: as above.
        lanes(unsafe { _mm_cmpeq_epi32(tags, _mm_set1_epi32(above_flags as i32)) })
    }

    /// Those of rows with this fingerprint.
    #[inline]
    pub(in super::super) fn matching(tags: &Four, fingerprint: Fingerprint) -> u32 {
        alike(tags, fingerprint.0)
    }

    /// Those of no row.
    #[inline]
    pub(in super::super) fn vacant(tags: &Four) -> u32 {
        alike(tags, FLAGS)
    }

    /// Those of rows that are not as stored.
    #[inline]
    pub(in super::super) fn changed(tags: &Four) -> u32 {
        // The lowest bit of a tag becomes its sign.
        // SAFETY: the instruction belongs to the architecture.
        lanes(unsafe { _mm_slli_epi32::<31>(load(tags)) })
    }
}

#[cfg(not(target_arch = "x86_64"))]
mod vector {
    use super::{Fingerprint, Four, Standing, Tag};

    #[inline]
    fn lanes(tags: &Four, holds: impl Fn(Tag) -> bool) -> u32 {
        tags.iter().enumerate().fold(0, |lanes, (lane, tag)| lanes | u32::from(holds(*tag)) << lane)
    }

    /// Those that are `tag`, with its flags.
    #[inline]
    pub(in super::super) fn equal(tags: &Four, tag: Tag) -> u32 {
        lanes(tags, |other| other == tag)
    }

    /// Those of rows with this fingerprint.
    #[inline]
    pub(in super::super) fn matching(tags: &Four, fingerprint: Fingerprint) -> u32 {
        lanes(tags, |tag| tag.fingerprint() == fingerprint)
    }

    /// Those of no row.
    #[inline]
    pub(in super::super) fn vacant(tags: &Four) -> u32 {
        lanes(tags, |tag| !tag.is_row())
    }

    /// Those of rows that are not as stored.
    #[inline]
    pub(in super::super) fn changed(tags: &Four) -> u32 {
        lanes(tags, |tag| tag.0 & Standing::Changed as u32 != 0)
    }
}

pub(super) use vector::{changed, equal, matching, vacant};

#[cfg(test)]
mod tests {
    use super::*;

    const STANDINGS: [Standing; 3] = [Standing::Stored, Standing::Changed, Standing::Fresh];
    const HASHES: [u64; 8] = [0, 1, 15, 16, 31, 32, 1 << 31, u64::MAX];

    #[test]
    fn flags_tell_nothing_of_the_hash_and_the_hash_nothing_of_the_flags() {
        for hash in HASHES.map(KeyHash) {
            let fingerprint = Fingerprint::of(hash);
            for standing in STANDINGS {
                let tag = Tag::new(fingerprint, standing);
                assert!(tag.is_row() && tag != Tag::EMPTY && tag != Tag::TOMBSTONE);
                assert_eq!((tag.fingerprint(), tag.standing()), (fingerprint, standing));
                assert_eq!(tag.changed().standing() == Standing::Fresh, standing == Standing::Fresh);
                assert_ne!(tag.changed().standing(), Standing::Stored);
                let marked = tag.changed().spilled();
                assert!(marked.is_used() && marked.is_spilled() && !marked.unused().is_used());
                assert!(!tag.is_used() && !tag.is_spilled() && marked.unused().is_spilled());
                assert_eq!((marked.fingerprint(), marked.standing()), (fingerprint, tag.changed().standing()));
                assert_eq!(marked.stored(), Tag::new(fingerprint, Standing::Stored).changed().spilled().stored());
            }
        }
        assert!(!Tag::EMPTY.is_row() && !Tag::TOMBSTONE.is_row());
    }

    #[test]
    fn four_tags_are_looked_at_as_one_is() {
        let rows = HASHES.iter().flat_map(|hash| STANDINGS.map(|s| Tag::new(Fingerprint::of(KeyHash(*hash)), s)));
        let tags: Vec<Tag> = rows.chain([Tag::EMPTY, Tag::TOMBSTONE, Tag::EMPTY]).collect();
        for four in tags.windows(4).map(|four| <&Four>::try_from(four).unwrap()) {
            for (lane, tag) in four.iter().enumerate() {
                let of = |lanes: u32| lanes >> lane & 1 == 1;
                assert_eq!(of(vacant(four)), !tag.is_row());
                assert_eq!(of(changed(four)), tag.is_row() && tag.standing() != Standing::Stored);
                assert!(tags.iter().all(|other| of(equal(four, *other)) == (tag == other)));
                for fingerprint in HASHES.map(|hash| Fingerprint::of(KeyHash(hash))) {
                    assert_eq!(of(matching(four, fingerprint)), tag.is_row() && tag.fingerprint() == fingerprint);
                }
            }
        }
    }
}
