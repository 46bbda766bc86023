//! Whether a snapshot is all there, and if not, what is damaged.
//!
//! A file is compared with its length and its checksum first. Only if they do not fit it is gone through block by block: the blocks
//! that a lineage refers to are known, and between them lie others, of which nothing counts any more.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use highwater_checkpoint::block::BLOCK;
use highwater_checkpoint::metadata::{Block, FileDigest, KeyedSnapshot, Location};
use highwater_core::frame::{self, HEADER_LEN};
use highwater_core::{CheckpointId, Error, ErrorKind, KeyGroupRange, OperatorUid, Result};
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
    /// What cannot be restored; empty if it is nothing that counts any more.
    pub touches: Vec<Touched>,
}

/// State that damage touches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Touched {
    /// The operator.
    pub operator: OperatorUid,
    /// Its state.
    pub state: String,
    /// The key groups, from the first to the last.
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
pub(crate) fn is_intact(copies: &dyn CheckpointStorage, path: &str, file: &FileDigest) -> bool {
    checksum(copies, path, file.len, |_| {}).is_ok_and(|crc32c| crc32c == file.crc32c)
}

/// The checksum of the first `len` bytes of a file; `progress` hears of each step.
fn checksum(
    storage: &dyn CheckpointStorage,
    path: &str,
    len: u64,
    mut progress: impl FnMut(u64),
) -> highwater_storage::Result<u32> {
    let (mut offset, mut crc32c) = (0, 0);
    while offset < len {
        let step = STEP.min(len - offset);
        crc32c = crc32c::crc32c_append(crc32c, &storage.read_range(path, offset, step)?);
        offset += step;
        progress(step);
    }
    Ok(crc32c)
}

impl Snapshot {
    /// Looks whether every file that the snapshot refers to is there and has its length. Its bytes verify when they are read.
    ///
    /// # Errors
    /// [`ErrorKind::Corrupt`] if one is not, naming it and what it touches; those of the storage.
    pub fn check_files(&self) -> Result<()> {
        let mut verifier = Verifier::default();
        for file in &self.metadata().files {
            if verifier.len_of(self.storage(), &self.path_of(file))? == Some(file.len) {
                continue;
            }
            if let Some(damage) = verifier.check_file(self, file)?.into_iter().next() {
                return Err(Error::new(ErrorKind::Corrupt, damage.to_string()));
            }
        }
        Ok(())
    }
}

/// Reads every byte that snapshots refer to: a file that several of them share once, if it is as it was written.
#[derive(Default)]
pub struct Verifier<'p> {
    progress: Option<Box<dyn FnMut(u64) + 'p>>,
    /// Files that were as they should be: path, length and checksum.
    sound: BTreeSet<(String, u64, u32)>,
    /// The lengths of the files in each folder.
    folders: BTreeMap<String, BTreeMap<String, u64>>,
}

impl<'p> Verifier<'p> {
    /// A verifier that tells how many bytes it has read, each time it has read some.
    pub fn with_progress(progress: impl FnMut(u64) + 'p) -> Self {
        Verifier { progress: Some(Box::new(progress)), ..Verifier::default() }
    }

    /// Everything of a snapshot that is not as it was written.
    ///
    /// # Errors
    /// Those of the storage: it says nothing about the snapshot when it does not answer.
    pub fn damages(&mut self, snapshot: &Snapshot) -> Result<Vec<Damage>> {
        let mut damages = inline_damages(snapshot)?;
        for file in &snapshot.metadata().files {
            damages.extend(self.check_file(snapshot, file)?);
        }
        Ok(damages)
    }

    fn check_file(&mut self, snapshot: &Snapshot, file: &FileDigest) -> Result<Vec<Damage>> {
        let path = snapshot.path_of(file);
        let place = format!("{}/{path}", snapshot.storage().uri());
        let fingerprint = (place.clone(), file.len, file.crc32c);
        if self.sound.contains(&fingerprint) {
            return Ok(Vec::new());
        }
        // What the job would restore from.
        if snapshot.storage().local_copies().is_some_and(|copies| is_intact(copies, &path, file)) {
            return Ok(Vec::new());
        }
        let uses = Uses::of(snapshot, file);
        let whole = |what: String, touches| Damage { path: place.clone(), offset: None, what, touches };
        let Some(len) = self.len_of(snapshot.storage(), &path)? else {
            return Ok(vec![whole("the file is missing".into(), uses.touched(0))]);
        };
        let progress = |bytes| {
            if let Some(progress) = &mut self.progress {
                progress(bytes);
            }
        };
        let crc32c = checksum(&**snapshot.storage(), &path, len.min(file.len), progress)?;
        if (len, crc32c) == (file.len, file.crc32c) {
            self.sound.insert(fingerprint);
            return Ok(Vec::new());
        }
        let mut damages = Vec::new();
        if len < file.len {
            let what = format!("it ends after {len} of its {} bytes", file.len);
            damages.push(whole(what, uses.touched(len)));
        } else if len > file.len {
            damages.push(whole(format!("{} bytes follow its {}", len - file.len, file.len), Vec::new()));
        }
        // A checksum of less than the file says nothing.
        if len < file.len || crc32c != file.crc32c {
            damages.extend(Blocks { snapshot, path: &path, place: &place, end: len.min(file.len) }.damages(&uses)?);
        }
        if damages.is_empty() {
            let what = format!("its checksum is {crc32c:08x}, should be {:08x}", file.crc32c);
            damages.push(whole(what, uses.touched(0)));
        }
        Ok(damages)
    }

    /// The length of a file; `None` if it is not there.
    fn len_of(&mut self, storage: &std::sync::Arc<dyn CheckpointStorage>, path: &str) -> Result<Option<u64>> {
        let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
        let key = format!("{}/{folder}", storage.uri());
        if !self.folders.contains_key(&key) {
            let entries = match storage.list(folder) {
                Ok(entries) => entries,
                Err(error) if error.what() == What::NotFound => Vec::new(),
                Err(error) => return Err(error.into()),
            };
            let files = entries.into_iter().filter(|entry| !entry.is_dir).map(|entry| (entry.name, entry.len));
            self.folders.insert(key.clone(), files.collect());
        }
        Ok(self.folders.get(&key).and_then(|files| files.get(name)).copied())
    }
}

/// A block in a file that a lineage refers to.
struct Used<'a> {
    block: &'a Block,
    len: u64,
    segment: CheckpointId,
    touches: Vec<Touched>,
}

/// Everything that a snapshot has in a file.
struct Uses<'a> {
    /// By their offsets.
    blocks: BTreeMap<u64, Used<'a>>,
    /// Stores that the file as a whole belongs to.
    stores: Vec<Touched>,
}

impl<'a> Uses<'a> {
    fn of(snapshot: &'a Snapshot, file: &FileDigest) -> Self {
        let mut uses = Uses { blocks: BTreeMap::new(), stores: Vec::new() };
        for (operator, keyed) in keyed(snapshot) {
            let touched = |range| Touched { operator: operator.clone(), state: keyed.name.clone(), range };
            let mut names = keyed.store.iter().flat_map(|store| &store.files);
            if names.any(|(_, name)| *name == file.name) {
                uses.stores.push(touched(keyed.range));
            }
            for (segment, block) in
                keyed.lineage.segments.iter().flat_map(|segment| segment.blocks.iter().map(|block| (segment.id, block)))
            {
                let Location::File { name, offset, len } = &block.location else { continue };
                if *name != file.name {
                    continue;
                }
                // One block may be in the lineage of several tasks after the parallelism has changed.
                let used = uses.blocks.entry(*offset).or_insert(Used { block, len: *len, segment, touches: vec![] });
                used.touches.extend(current(keyed, block, segment).map(touched));
            }
        }
        uses
    }

    /// What has something in the file beyond `offset`, each with all of its key groups there.
    fn touched(&self, offset: u64) -> Vec<Touched> {
        let mut all = self.stores.clone();
        let beyond = self.blocks.iter().filter(|(at, used)| at.saturating_add(used.len) > offset);
        for touched in beyond.flat_map(|(_, used)| &used.touches) {
            match all.iter_mut().find(|known| known.operator == touched.operator && known.state == touched.state) {
                Some(known) => known.range = around(known.range, touched.range),
                None => all.push(touched.clone()),
            }
        }
        all
    }
}

/// A file, or what there is of it, block by block.
struct Blocks<'a> {
    snapshot: &'a Snapshot,
    path: &'a str,
    place: &'a str,
    /// How many bytes of it there are.
    end: u64,
}

impl Blocks<'_> {
    fn damages(&self, uses: &Uses<'_>) -> Result<Vec<Damage>> {
        let (mut damages, mut next) = (Vec::new(), 0);
        // Files of stores are no blocks.
        if !uses.stores.is_empty() {
            return Ok(damages);
        }
        for (offset, used) in &uses.blocks {
            self.walk_unused(next, *offset, &mut damages)?;
            next = next.max(offset.saturating_add(used.len));
            // What is beyond the end was named with it.
            if next <= self.end
                && let Err(what) = self.check_used(used)?
            {
                damages.push(Damage {
                    path: self.place.to_owned(),
                    offset: Some(*offset),
                    what,
                    touches: used.touches.clone(),
                });
            }
        }
        self.walk_unused(next, self.end, &mut damages)?;
        Ok(damages)
    }

    fn check_used(&self, used: &Used<'_>) -> Result<Result<(), String>> {
        match self.snapshot.read_block(used.block, used.segment) {
            Ok(_) => Ok(Ok(())),
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                let prefix = format!("{}: ", self.snapshot.place(used.block));
                Ok(Err(error.message().strip_prefix(&prefix).unwrap_or(error.message()).to_owned()))
            }
            Err(error) => Err(error),
        }
    }

    /// Goes from frame to frame between two offsets, where nothing lies that counts, up to the first that is damaged.
    fn walk_unused(&self, start: u64, end: u64, damages: &mut Vec<Damage>) -> Result<()> {
        let (mut offset, end) = (start, end.min(self.end));
        while offset < end {
            match self.check_unused(offset, end)? {
                Ok(len) => offset += len,
                Err(what) => {
                    let what = format!("{what}; it is in a block that nothing refers to any more");
                    let (path, touches) = (self.place.to_owned(), Vec::new());
                    damages.push(Damage { path, offset: Some(offset), what, touches });
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Opens the frame at `offset`; its length.
    fn check_unused(&self, offset: u64, end: u64) -> Result<Result<u64, String>> {
        let read = |len: u64| Ok::<_, Error>(self.snapshot.storage().read_range(self.path, offset, len)?);
        let header = read((HEADER_LEN as u64).min(end - offset))?;
        // Twenty bytes tell how many there are; `open` does the rest.
        let payload = header.get(8..16).and_then(|len| Some(u64::from_le_bytes(len.try_into().ok()?)));
        let len = payload.and_then(|len| len.checked_add(HEADER_LEN as u64)).filter(|len| *len <= end - offset);
        let bytes = match len {
            Some(len) => read(len)?,
            None => header,
        };
        match frame::open(BLOCK, &bytes, "") {
            Ok(opened) => Ok(Ok(opened.len as u64)),
            Err(error) => Ok(Err(error.message().trim_start_matches(": ").to_owned())),
        }
    }
}

/// Blocks within `_metadata` whose sections are not what it says: its checksum says nothing about that.
fn inline_damages(snapshot: &Snapshot) -> Result<Vec<Damage>> {
    let mut damages = Vec::new();
    for (operator, keyed) in keyed(snapshot) {
        for segment in &keyed.lineage.segments {
            for block in segment.blocks.iter().filter(|block| matches!(block.location, Location::Inline(_))) {
                let Err(error) = snapshot.read_block(block, segment.id) else { continue };
                if error.kind() != ErrorKind::Corrupt {
                    return Err(error);
                }
                let path = snapshot.place(block);
                let what = error.message().strip_prefix(&format!("{path}: ")).unwrap_or(error.message()).to_owned();
                let touched = |range| Touched { operator: operator.clone(), state: keyed.name.clone(), range };
                let touches = current(keyed, block, segment.id).map(touched).into_iter().collect();
                damages.push(Damage { path, offset: None, what, touches });
            }
        }
    }
    Ok(damages)
}

/// Around the key groups of a block that may count for a task.
fn current(keyed: &KeyedSnapshot, block: &Block, segment: CheckpointId) -> Option<KeyGroupRange> {
    let mut groups = block.range.iter().filter(|group| keyed.lineage.is_current(keyed.range, *group, segment));
    let first = u32::from(groups.next()?.0);
    let last = groups.last().map_or(first, |group| u32::from(group.0));
    Some(KeyGroupRange::new(first..last + 1))
}

fn around(a: KeyGroupRange, b: KeyGroupRange) -> KeyGroupRange {
    KeyGroupRange::new(a.start().min(b.start())..a.end().max(b.end()))
}

fn keyed(snapshot: &Snapshot) -> impl Iterator<Item = (&OperatorUid, &KeyedSnapshot)> {
    snapshot.metadata().operators.iter().flat_map(|operator| {
        operator.subtasks.iter().flat_map(|(_, task)| task.keyed.iter().map(|keyed| (&operator.uid, keyed)))
    })
}
