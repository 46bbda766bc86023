//! Replaying the lineage of a keyed state.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;

use highwater_checkpoint::block::{self, BLOCK, Section};
use highwater_checkpoint::metadata::{Block, FileDigest, Location, StoreSnapshot};
use highwater_checkpoint::rescale::KeyedShare;
use highwater_core::frame;
use highwater_core::{CheckpointId, Error, ErrorKind, Result};
use highwater_storage::{CheckpointStorage, What};

use crate::read_ahead::read_ahead;
use crate::{Snapshot, verify};

/// Blocks that follow each other in a file are read together, up to about this many bytes.
const READ_BYTES: u64 = 4 << 20;

/// What a replay is asked for, and what it reports on the way.
pub trait Replay {
    /// Takes in a section that counts. Sections come in the order in which they have to be applied.
    ///
    /// # Errors
    /// End the replay; the place is added to them.
    fn section(&mut self, section: &Section<'_>) -> Result<()>;

    /// Bytes were read: called before they are verified.
    fn read(&mut self, bytes: u64) {
        let _ = bytes;
    }

    /// What was read has been verified: called before its sections are taken in.
    fn verified(&mut self) {}
}

/// A run of blocks that lie one after the other.
struct Run<'a> {
    segment: CheckpointId,
    blocks: Vec<&'a Block>,
}

impl Snapshot {
    /// Reads and verifies the blocks of a keyed state, and passes on the sections that count for its key groups. What comes next is
    /// read meanwhile, a few megabytes at a time.
    ///
    /// # Errors
    /// If a block cannot be read or does not verify, naming file and offset; those of `replay`.
    pub fn replay(&self, share: &KeyedShare<'_>, replay: &mut impl Replay) -> Result<()> {
        let segments = &share.lineage.segments;
        let runs: Vec<_> = segments.iter().flat_map(|segment| runs(segment.id, &segment.blocks)).collect();
        let readers = self.storage.concurrent_reads();
        read_ahead(
            runs.len(),
            readers,
            |index| self.read_run(&runs[index]),
            |index, bytes| self.replay_run(share, &runs[index], &bytes?, replay),
        )
    }

    fn replay_run(&self, share: &KeyedShare<'_>, run: &Run<'_>, bytes: &[u8], replay: &mut impl Replay) -> Result<()> {
        replay.read(bytes.len() as u64);
        let mut rest = bytes;
        for block in &run.blocks {
            let place = self.place(block);
            let (framed, after) = rest.split_at(block.bytes() as usize);
            rest = after;
            let opened = frame::open(BLOCK, framed, &place)?;
            let sections = block::sections(block, run.segment, &opened, &place)?;
            replay.verified();
            for section in &sections {
                if share.lineage.is_current(share.range, section.group, section.id) {
                    replay.section(section).map_err(|error| {
                        error.context(format!("{place}, key group {} of state {}", section.group.0, share.name))
                    })?;
                }
            }
        }
        Ok(())
    }

    fn read_run(&self, run: &Run<'_>) -> Result<Vec<u8>> {
        let Some(first) = run.blocks.first() else { return Ok(Vec::new()) };
        match &first.location {
            Location::Inline(framed) => Ok(framed.clone()),
            Location::File { name, offset, .. } => {
                let len = run.blocks.iter().map(|block| block.bytes()).sum();
                let path = self.path_of(self.file(name)?);
                let copies = self.storage.local_copies();
                let copy = copies.and_then(|copies| copies.read_range(&path, *offset, len).ok());
                if let Some(copy) = copy.filter(|copy| is_intact(run, copy)) {
                    return Ok(copy);
                }
                self.read_range(&*self.storage, &path, *offset, len)
            }
        }
    }

    /// Reads and verifies one block; its frame.
    ///
    /// # Errors
    /// If it cannot be read or does not verify, naming file and offset.
    pub fn read_block(&self, block: &Block, segment: CheckpointId) -> Result<Vec<u8>> {
        let bytes = self.read_run(&Run { segment, blocks: vec![block] })?;
        let place = self.place(block);
        block::sections(block, segment, &frame::open(BLOCK, &bytes, &place)?, &place)?;
        Ok(bytes)
    }

    /// Reads a whole file in pieces, which are verified when the last has come; how many bytes it has.
    fn read_file(
        &self,
        storage: &dyn CheckpointStorage,
        file: &FileDigest,
        mut piece: impl FnMut(&[u8]) -> Result<()>,
    ) -> Result<u64> {
        let path = self.path_of(file);
        let offsets: Vec<u64> = (0..file.len).step_by(READ_BYTES as usize).collect();
        let mut crc32c = 0;
        read_ahead(
            offsets.len(),
            storage.concurrent_reads(),
            |index| self.read_range(storage, &path, offsets[index], READ_BYTES.min(file.len - offsets[index])),
            |_, bytes| {
                let bytes = bytes?;
                crc32c = crc32c::crc32c_append(crc32c, &bytes);
                piece(&bytes)
            },
        )?;
        if crc32c == file.crc32c {
            return Ok(file.len);
        }
        let what = format!("its checksum is {crc32c:08x}, should be {:08x}", file.crc32c);
        Err(Error::new(ErrorKind::Corrupt, format!("{}/{path}: {what}", self.storage.uri())))
    }

    fn read_range(&self, storage: &dyn CheckpointStorage, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        storage.read_range(path, offset, len).map_err(|error| match error.what() {
            // Files are never changed, so it is damaged like one whose bytes are not those that were written.
            What::NotFound | What::CutOff => {
                let place = format!("{}/{path} is not as it was written", self.storage.uri());
                Error::new(ErrorKind::Corrupt, place).with_source(error)
            }
            _ => error.into(),
        })
    }

    /// Puts the files of a store into `folder`, under the names they have there; how many bytes they have. Nobody may write into them:
    /// they may be the snapshot's under second names.
    ///
    /// # Errors
    /// If one cannot be read or does not verify, or cannot be written there.
    pub fn fetch_store(&self, store: &StoreSnapshot, folder: &Path) -> Result<u64> {
        let mut bytes = 0;
        for (local, stored) in &store.files {
            if Path::new(local).file_name() != Some(local.as_ref()) {
                let what = format!("{}: a file of a store is called {local:?}, which is no name", self.path());
                return Err(Error::new(ErrorKind::Corrupt, what));
            }
            bytes += self.fetch_file(self.file(stored)?, &folder.join(local))?;
        }
        Ok(bytes)
    }

    /// Verifies a file and puts it at `to`: without copying it, if it is on the same file system.
    fn fetch_file(&self, file: &FileDigest, to: &Path) -> Result<u64> {
        let path = self.path_of(file);
        let copies = self.storage.local_copies().filter(|copies| verify::is_intact(*copies, &path, file));
        let storage = copies.unwrap_or(&*self.storage);
        if storage.local_path(&path).is_some_and(|local| link(&local, to, file.len)) {
            return if copies.is_some() { Ok(file.len) } else { self.read_file(storage, file, |_| Ok(())) };
        }
        let failed = |error: std::io::Error| {
            Error::new(ErrorKind::Storage, format!("cannot write {}", to.display())).with_source(error)
        };
        let mut copy = File::create_new(to).map_err(failed)?;
        self.read_file(storage, file, |piece| copy.write_all(piece).map_err(failed))
    }

    /// Where a block lies, for people.
    pub fn place(&self, block: &Block) -> String {
        match &block.location {
            Location::Inline(_) => format!("{}/_metadata", self.path()),
            Location::File { name, offset, .. } => {
                let path = self.file(name).map_or_else(|_| name.clone(), |file| self.path_of(file));
                format!("{}/{path} at byte {offset}", self.storage.uri())
            }
        }
    }
}

/// Gives a file of `len` bytes a second name; whether that could be done.
fn link(file: &Path, to: &Path, len: u64) -> bool {
    if fs::hard_link(file, to).is_err() {
        return false;
    }
    let is_whole = fs::metadata(to).is_ok_and(|metadata| metadata.len() == len);
    if !is_whole {
        // If it cannot be removed, the copy fails and says so.
        let _ = fs::remove_file(to);
    }
    is_whole
}

/// Whether every block of the run verifies.
fn is_intact(run: &Run<'_>, mut bytes: &[u8]) -> bool {
    run.blocks.iter().all(|block| {
        let (framed, rest) = bytes.split_at(block.bytes() as usize);
        bytes = rest;
        frame::open(BLOCK, framed, "").is_ok()
    })
}

/// Cuts the blocks of a segment into runs, in order.
fn runs(segment: CheckpointId, blocks: &[Block]) -> Vec<Run<'_>> {
    let mut runs = Vec::<Run<'_>>::new();
    let mut bytes = 0;
    for block in blocks {
        let follows = runs.last().and_then(|run| run.blocks.last()).is_some_and(|last| is_next(last, block));
        match runs.last_mut() {
            Some(run) if follows && bytes < READ_BYTES => run.blocks.push(block),
            _ => {
                bytes = 0;
                runs.push(Run { segment, blocks: vec![block] });
            }
        }
        bytes += block.bytes();
    }
    runs
}

fn is_next(last: &Block, block: &Block) -> bool {
    match (&last.location, &block.location) {
        (Location::File { name, offset, len }, Location::File { name: next, offset: at, .. }) => {
            name == next && offset.checked_add(*len) == Some(*at)
        }
        _ => false,
    }
}
