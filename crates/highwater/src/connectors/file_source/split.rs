//! A part of a file, how far it has been read, and what the file looked like.

use std::fmt::Display;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::ops::Range;

use highwater_core::{Error, ErrorKind, KeyHash, Result};
use highwater_state::Data;

/// A range of a file, with the position up to which it has been read.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct FileSplit {
    pub(super) path: String,
    pub(super) gzip: bool,
    pub(super) begin: u64,
    /// [`UNTIL_END`](Self::UNTIL_END) until the end of a compressed or growing file is known.
    pub(super) end: u64,
    /// Offset of the next line. While it is `begin`, that need not be the start of a line.
    pub(super) position: u64,
    pub(super) fingerprint: Fingerprint,
}

impl FileSplit {
    pub(super) const UNTIL_END: u64 = u64::MAX;

    pub(super) fn new(path: String, gzip: bool, range: Range<u64>, fingerprint: Fingerprint) -> Self {
        FileSplit { path, gzip, begin: range.start, end: range.end, position: range.start, fingerprint }
    }

    /// The file's path as it was given.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Offset of the next line, in uncompressed bytes.
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Whether every line that begins in the range has been read.
    pub(super) fn is_finished(&self) -> bool {
        self.position >= self.end
    }

    /// Opens the file, at its start, if it is the one that was read so far.
    pub(super) fn open(&self) -> Result<File> {
        let mut file = open_file(&self.path)?;
        let found = self.look_at(&mut file, self.fingerprint.head_len.into())?;
        let read = if self.gzip { 0 } else { self.position };
        let expected = self.fingerprint.len.max(read);
        if found.len < expected {
            return Err(self.replaced(format_args!("it has {} bytes, after {expected} had been seen", found.len)));
        }
        if found.head != self.fingerprint.head {
            return Err(self.replaced("it begins with other bytes"));
        }
        Ok(file)
    }

    /// Remembers the first bytes of a file that was too short for it, now that it has grown up to the position.
    pub(super) fn refine_fingerprint(&mut self, file: &mut File) -> Result<()> {
        if u64::from(self.fingerprint.head_len) < self.position.min(Fingerprint::HEAD_BYTES) {
            self.fingerprint = self.look_at(file, self.position)?;
        }
        Ok(())
    }

    /// Leaves `file` at its start.
    fn look_at(&self, file: &mut File, head_limit: u64) -> Result<Fingerprint> {
        let found = Fingerprint::take(file, head_limit).map_err(|error| self.unreadable(error))?;
        file.seek(SeekFrom::Start(0)).map_err(|error| self.unreadable(error))?;
        Ok(found)
    }

    /// The error for a file that cannot be read on.
    pub(super) fn replaced(&self, why: impl Display) -> Error {
        self.error(format_args!(
            "is no longer the file that was read: {why}; put the original back, or start the job fresh"
        ))
    }

    pub(super) fn error(&self, what: impl Display) -> Error {
        Error::new(ErrorKind::Input, format!("{} {what}", self.path))
    }

    pub(super) fn unreadable(&self, error: io::Error) -> Error {
        self.error(format_args!("cannot be read at byte {}", self.position)).with_source(error)
    }
}

/// What tells a file from another of the same path, and survives copying it to another machine.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub(super) struct Fingerprint {
    len: u64,
    head_len: u32,
    /// Hash of the first `head_len` bytes.
    head: u64,
}

impl Fingerprint {
    /// How many bytes at the start are looked at.
    const HEAD_BYTES: u64 = 1024;

    /// The fingerprint of an open file by at most `head_limit` of its first bytes. Reads from its current position, the start.
    pub(super) fn take(file: &mut File, head_limit: u64) -> io::Result<Self> {
        let len = file.metadata()?.len();
        let mut head = Vec::new();
        file.take(head_limit.min(Self::HEAD_BYTES)).read_to_end(&mut head)?;
        Ok(Fingerprint { len, head_len: head.len() as u32, head: KeyHash::of(&head).0 })
    }

    pub(super) fn len(&self) -> u64 {
        self.len
    }
}

pub(super) fn open_file(path: &str) -> Result<File> {
    File::open(path).map_err(|error| {
        let message = format!("cannot open {path}: check that it exists and that this user may read it");
        Error::new(ErrorKind::Input, message).with_source(error)
    })
}
