//! A source that reads the lines of files.
//!
//! A big file is divided into ranges, so that all subtasks read it. A range owns the lines that *begin* in it: its reader looks
//! for the first line that begins at or after the start of the range, and reads on past the end until the last line it owns is
//! complete. A position is the offset of the next line, in uncompressed bytes.
//!
//! Invariants: every line of a file belongs to exactly one range, whatever their sizes; and a file that was read up to a
//! position is read on only if it still is that file, as far as its length and its first bytes can tell.

mod discovery;
mod reader;
mod split;

use std::path::PathBuf;

use highwater_core::{Error, Result};
use highwater_runtime::source::Source;

pub use reader::FileReader;
pub use split::FileSplit;

use super::lines::MAX_LINE_BYTES;

/// The lines of one file, several, or all in a folder.
///
/// A line ends with `\n` or `\r\n`, which is removed; what follows the last `\n` is a line too. What is not UTF-8 becomes
/// U+FFFD. Of a folder its regular files are read in order of their names, without hidden ones and subfolders, as they
/// are when the job starts fresh. A file whose name ends in `.gz` is decompressed, in one split.
///
/// ```
/// use highwater::connectors::FileSource;
///
/// let requests = FileSource::lines("/var/log/nginx/access.log.1.gz");
/// let growing = FileSource::lines("/var/log/nginx/access.log").follow(true);
/// ```
#[derive(Clone, Debug)]
pub struct FileSource {
    paths: Vec<PathBuf>,
    follow: bool,
    /// `None`: by the name of each file.
    gzip: Option<bool>,
    split_bytes: u64,
    max_line_bytes: usize,
}

impl FileSource {
    /// The lines of the file at `path`, or of all files in that folder.
    pub fn lines(path: impl Into<PathBuf>) -> Self {
        FileSource {
            paths: vec![path.into()],
            follow: false,
            gzip: None,
            split_bytes: 16 * 1024 * 1024,
            max_line_bytes: MAX_LINE_BYTES,
        }
    }

    /// Also the lines of the file or folder at `path`.
    #[must_use]
    pub fn and(mut self, path: impl Into<PathBuf>) -> Self {
        self.paths.push(path.into());
        self
    }

    /// With `true`, waits for more at the end of a file, and the source never ends. Each file is one split. A last line without
    /// `\n` waits until it is complete. It is an error if a file is truncated, removed or replaced (rotated).
    ///
    /// What is set here when a job starts fresh holds for as long as it is restored.
    #[must_use]
    pub fn follow(mut self, follow: bool) -> Self {
        self.follow = follow;
        self
    }

    /// Whether the files are compressed with gzip, whatever their names.
    #[must_use]
    pub fn gzip(mut self, gzip: bool) -> Self {
        self.gzip = Some(gzip);
        self
    }

    /// Divides files into ranges of this many bytes instead of 16 MiB.
    #[must_use]
    pub fn split_bytes(mut self, bytes: u64) -> Self {
        self.split_bytes = bytes;
        self
    }

    /// Refuses lines that are longer than this many bytes instead of 16 MiB.
    #[must_use]
    pub fn max_line_bytes(mut self, bytes: usize) -> Self {
        self.max_line_bytes = bytes;
        self
    }
}

impl Source for FileSource {
    type Record = String;
    type Split = FileSplit;
    type Reader = FileReader;

    fn discover(&self, _parallelism: u32) -> Result<Vec<FileSplit>> {
        if self.split_bytes == 0 {
            return Err(Error::settings("split_bytes of a file source is 0: give at least 1"));
        }
        let mut splits = Vec::new();
        for path in discovery::files(&self.paths)? {
            splits.extend(discovery::splits_of(self, path)?);
        }
        Ok(splits)
    }

    fn reader(&self, splits: Vec<FileSplit>) -> Result<FileReader> {
        FileReader::open(splits, self.follow, self.max_line_bytes)
    }
}
