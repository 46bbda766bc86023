//! Blocks: the entries of keyed state as they lie on storage, and how they are read back.
//!
//! A block is a frame of kind [`BLOCK`] around sections, one directly after the other. A section is what one checkpoint wrote
//! of one key group:
//!
//! ```text
//! offset  size  field, little endian
//!      0     2  key group
//!      2     1  kind: 0 rows, 1 removed
//!      3     1  zero
//!      4     4  number of entries
//!      8     4  length of the entries in bytes
//!     12     8  the checkpoint that wrote it
//!     20     n  entries
//! ```
//!
//! So small changes of many key groups share a block, and a block tells by itself what is in it. In version 1 a block was the
//! entries of one key group, without sections.

use highwater_core::frame::{Kind, Opened};
use highwater_core::{CheckpointId, Error, ErrorKind, KeyGroup, KeyGroupRange, Result};

use crate::metadata::Block;

/// The frame around the sections of one [`Block`].
pub const BLOCK: Kind = Kind { magic: *b"HWBK", version: 2, name: "block of keyed state" };

/// A block is closed with the section with which it reaches this size.
pub const BLOCK_BYTES: usize = 256 << 10;

const SECTION_HEADER: usize = 20;

/// What the entries of a section are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionKind {
    /// Keys with their states, each in place of what there was.
    Rows,
    /// Keys alone, of rows that are gone.
    Removed,
}

/// What one checkpoint wrote of one key group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section<'a> {
    /// The checkpoint that wrote it.
    pub id: CheckpointId,
    /// The key group of every entry.
    pub group: KeyGroup,
    /// What the entries are.
    pub kind: SectionKind,
    /// How many entries.
    pub entries: u32,
    /// The entries, one after the other.
    pub bytes: &'a [u8],
}

/// Sections on their way to a block.
#[derive(Debug, Default)]
pub struct BlockBuilder {
    payload: Vec<u8>,
    entries: u64,
    groups: Option<(KeyGroup, KeyGroup)>,
}

impl BlockBuilder {
    /// Adds a section.
    ///
    /// # Panics
    /// If it has more than 4 GiB.
    pub fn push(&mut self, section: &Section<'_>) {
        let len = u32::try_from(section.bytes.len()).expect("a section has at most 4 GiB");
        let kind = match section.kind {
            SectionKind::Rows => 0,
            SectionKind::Removed => 1,
        };
        self.payload.extend_from_slice(&section.group.0.to_le_bytes());
        self.payload.extend_from_slice(&[kind, 0]);
        self.payload.extend_from_slice(&section.entries.to_le_bytes());
        self.payload.extend_from_slice(&len.to_le_bytes());
        self.payload.extend_from_slice(&section.id.0.to_le_bytes());
        self.payload.extend_from_slice(section.bytes);
        self.entries += u64::from(section.entries);
        let (first, last) = self.groups.unwrap_or((section.group, section.group));
        self.groups = Some((first.min(section.group), last.max(section.group)));
    }

    /// Bytes of the sections so far.
    pub fn len(&self) -> usize {
        self.payload.len()
    }

    /// Whether there is no section.
    pub fn is_empty(&self) -> bool {
        self.payload.is_empty()
    }

    /// Whether it should be closed before another section is added.
    pub fn is_full(&self) -> bool {
        self.payload.len() >= BLOCK_BYTES
    }

    /// Hands the payload of the block to `write` with the key groups it covers and its number of entries, and begins a new one.
    /// Nothing is done if there is no section.
    ///
    /// # Errors
    /// Those of `write`; the sections are gone then too.
    pub fn close(&mut self, write: impl FnOnce(KeyGroupRange, u64, &[u8]) -> Result<()>) -> Result<()> {
        let Some((first, last)) = self.groups.take() else { return Ok(()) };
        let range = KeyGroupRange::new(u32::from(first.0)..u32::from(last.0) + 1);
        let result = write(range, std::mem::take(&mut self.entries), &self.payload);
        self.payload.clear();
        result
    }
}

/// The sections of `block`, which `segment` holds, from its opened frame; `place` names it in errors.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if the payload is not what the metadata says it is.
pub fn sections<'a>(
    block: &Block,
    segment: CheckpointId,
    opened: &Opened<'a>,
    place: &str,
) -> Result<Vec<Section<'a>>> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, format!("{place}: {what}"));
    let sections = match opened.version {
        1 => {
            let group = block.range.iter().next().ok_or_else(|| corrupt("a block of no key group".into()))?;
            let entries = u32::try_from(block.entries).map_err(|_| corrupt("a block of too many entries".into()))?;
            vec![Section { id: segment, group, kind: SectionKind::Rows, entries, bytes: opened.payload }]
        }
        _ => parse(opened.payload).map_err(corrupt)?,
    };
    let entries: u64 = sections.iter().map(|section| u64::from(section.entries)).sum();
    if entries != block.entries {
        return Err(corrupt(format!("{entries} entries, the metadata says {}", block.entries)));
    }
    if let Some(section) = sections.iter().find(|section| !block.range.contains(section.group)) {
        return Err(corrupt(format!("a section of key group {}, the metadata says {}", section.group.0, block.range)));
    }
    if let Some(section) = sections.iter().find(|section| section.id > segment) {
        return Err(corrupt(format!("a section of checkpoint {}, the metadata says {segment}", section.id)));
    }
    Ok(sections)
}

fn parse(mut payload: &[u8]) -> Result<Vec<Section<'_>>, String> {
    let mut sections = Vec::new();
    while !payload.is_empty() {
        let Some((header, rest)) = payload.split_first_chunk::<SECTION_HEADER>() else {
            return Err(format!("{} bytes where a section begins", payload.len()));
        };
        let kind = match (header[2], header[3]) {
            (0, 0) => SectionKind::Rows,
            (1, 0) => SectionKind::Removed,
            (kind, _) => return Err(format!("a section of unknown kind {kind}")),
        };
        let number = |at: usize| u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let len = number(8) as usize;
        let Some((bytes, rest)) = rest.split_at_checked(len) else {
            return Err(format!("{} of {len} bytes of a section", rest.len()));
        };
        let group = KeyGroup(u16::from_le_bytes([header[0], header[1]]));
        let id = CheckpointId(u64::from(number(12)) | u64::from(number(16)) << 32);
        sections.push(Section { id, group, kind, entries: number(4), bytes });
        payload = rest;
    }
    Ok(sections)
}

#[cfg(test)]
mod tests {
    use highwater_core::frame;

    use super::*;
    use crate::metadata::Location;

    fn section(id: u64, group: u16, kind: SectionKind, bytes: &[u8]) -> Section<'_> {
        Section { id: CheckpointId(id), group: KeyGroup(group), kind, entries: bytes.len() as u32, bytes }
    }

    fn framed(payload: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        frame::seal(BLOCK, payload, &mut bytes);
        bytes
    }

    #[test]
    fn sections_come_back_as_they_were_pushed() {
        let pushed = [
            section(7, 9, SectionKind::Removed, b"ab"),
            section(8, 3, SectionKind::Rows, b"cde"),
            section(1 << 40, 5, SectionKind::Rows, b""),
        ];
        let mut builder = BlockBuilder::default();
        pushed.iter().for_each(|section| builder.push(section));
        let mut block = None;
        builder
            .close(|range, entries, payload| {
                block = Some((Block { range, entries, location: Location::Inline(vec![]) }, framed(payload)));
                Ok(())
            })
            .unwrap();
        let (block, bytes) = block.unwrap();
        assert_eq!((block.range, block.entries), (KeyGroupRange::new(3..10), 5));
        let opened = frame::open(BLOCK, &bytes, "here").unwrap();
        assert_eq!(sections(&block, CheckpointId(1 << 40), &opened, "here").unwrap(), pushed);
        assert!(builder.is_empty());
        builder.close(|_, _, _| panic!("an empty block is not written")).unwrap();
    }

    #[test]
    fn what_the_metadata_does_not_say_is_refused() {
        let mut builder = BlockBuilder::default();
        builder.push(&section(7, 3, SectionKind::Rows, b"abc"));
        let mut payload = Vec::new();
        builder
            .close(|_, _, bytes| {
                payload.extend_from_slice(bytes);
                Ok(())
            })
            .unwrap();
        let read = |range: std::ops::Range<u32>, entries, segment, payload: &[u8]| {
            let block = Block { range: KeyGroupRange::new(range), entries, location: Location::Inline(vec![]) };
            let bytes = framed(payload);
            let opened = frame::open(BLOCK, &bytes, "here").unwrap();
            sections(&block, CheckpointId(segment), &opened, "here").map(|_| ()).map_err(|error| error.to_string())
        };
        assert_eq!(read(3..4, 3, 7, &payload), Ok(()));
        assert_eq!(read(3..4, 2, 7, &payload), Err("here: 3 entries, the metadata says 2".into()));
        assert_eq!(read(3..4, 3, 6, &payload), Err("here: a section of checkpoint 7, the metadata says 6".into()));
        let other = read(4..5, 3, 7, &payload).unwrap_err();
        assert!(other.starts_with("here: a section of key group 3, the metadata says"), "{other}");
        for len in 1..payload.len() {
            assert!(read(3..4, 3, 7, &payload[..len]).is_err(), "cut at {len}");
        }
        payload[2] = 9;
        assert_eq!(read(3..4, 3, 7, &payload), Err("here: a section of unknown kind 9".into()));
    }

    #[test]
    fn a_block_of_version_1_is_one_section() {
        let version_1 = Kind { version: 1, ..BLOCK };
        let mut bytes = Vec::new();
        frame::seal(version_1, b"entries", &mut bytes);
        let block = Block { range: KeyGroupRange::new(3..4), entries: 2, location: Location::Inline(vec![]) };
        let opened = frame::open(BLOCK, &bytes, "here").unwrap();
        let read = sections(&block, CheckpointId(5), &opened, "here").unwrap();
        let expected =
            Section { id: CheckpointId(5), group: KeyGroup(3), kind: SectionKind::Rows, entries: 2, bytes: b"entries" };
        assert_eq!(read, [expected]);
    }
}
