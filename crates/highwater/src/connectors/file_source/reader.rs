//! Reads the splits of one subtask, one after the other; files that grow, in turns.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::time::Duration;

use flate2::read::MultiGzDecoder;
use highwater_core::{Error, Result};
use highwater_runtime::source::{SourceOutput, SourceReader, SourceStatus};

use super::split::FileSplit;
use crate::connectors::lines::{LineCutter, TooLong};

/// How much is read before the task gets its turn again, also if there are few lines in it.
const POLL_BYTES: usize = 1024 * 1024;

/// How often a file that grows is looked at.
const FOLLOW_INTERVAL: Duration = Duration::from_millis(100);

/// Reads a [`FileSource`](super::FileSource).
#[derive(Debug)]
pub struct FileReader {
    slots: Vec<Slot>,
    current: usize,
    /// Whether the output knows the files that grow, which are read side by side; the others it hears of when their turn comes.
    named: bool,
}

impl FileReader {
    pub(super) fn open(splits: Vec<FileSplit>, follow: bool, max_line_bytes: usize) -> Result<Self> {
        let mut checked = HashSet::new();
        for split in splits.iter().filter(|split| !split.is_finished()) {
            if checked.insert(&split.path) {
                split.open()?;
            }
        }
        let slots = splits.into_iter().map(|split| Slot::new(split, follow, max_line_bytes)).collect();
        Ok(FileReader { slots, current: 0, named: false })
    }
}

impl SourceReader for FileReader {
    type Record = String;
    type Split = FileSplit;

    fn poll(&mut self, output: &mut SourceOutput<String>) -> Result<SourceStatus> {
        if !std::mem::replace(&mut self.named, true) {
            let growing = (0u32..).zip(&self.slots).filter(|(_, slot)| slot.grows);
            growing.for_each(|(number, _)| output.split(number));
        }
        let mut budget = POLL_BYTES;
        let mut waiting = false;
        for _ in 0..self.slots.len() {
            let (number, slot) = (self.current as u32, &mut self.slots[self.current]);
            let is_unfinished = !slot.split.is_finished();
            if is_unfinished {
                output.split(number);
            }
            let progress = slot.advance(output, &mut budget)?;
            if is_unfinished && progress == Progress::Finished {
                output.finish_split(number);
            }
            // A file that grows fast must not keep the others waiting; of the rest only one shall be open at a time.
            if progress != Progress::Full || slot.grows {
                self.current = (self.current + 1) % self.slots.len();
            }
            match progress {
                Progress::Full => return Ok(SourceStatus::More),
                Progress::Waiting => waiting = true,
                Progress::Finished => {}
            }
        }
        Ok(if waiting { SourceStatus::Idle(FOLLOW_INTERVAL) } else { SourceStatus::End })
    }

    fn snapshot(&self) -> Vec<FileSplit> {
        self.slots.iter().map(|slot| slot.split.clone()).collect()
    }
}

/// Why a split was left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    /// The output or the budget is used up.
    Full,
    /// The file's end, and it may grow.
    Waiting,
    /// There will be no more lines.
    Finished,
}

/// A split, and its file while it is being read.
#[derive(Debug)]
struct Slot {
    split: FileSplit,
    open: Option<OpenFile>,
    grows: bool,
    max_line_bytes: usize,
}

impl Slot {
    fn new(split: FileSplit, follow: bool, max_line_bytes: usize) -> Self {
        Slot { grows: follow && !split.gzip && split.end == FileSplit::UNTIL_END, split, open: None, max_line_bytes }
    }

    fn advance(&mut self, output: &mut SourceOutput<String>, budget: &mut usize) -> Result<Progress> {
        while !self.split.is_finished() {
            let open = match &mut self.open {
                Some(open) => open,
                None => self.open.insert(OpenFile::new(&self.split, self.max_line_bytes)?),
            };
            if open.emit_lines(&mut self.split, output)? {
                return Ok(Progress::Full);
            }
            if self.split.is_finished() {
                break;
            }
            if *budget == 0 {
                return Ok(Progress::Full);
            }
            let count = open.read(&mut self.split)?;
            *budget = budget.saturating_sub(count);
            if count == 0 && self.grows {
                open.check_unchanged(&mut self.split)?;
                return Ok(Progress::Waiting);
            }
            if count == 0 {
                open.finish(&mut self.split, output)?;
            }
        }
        self.open = None;
        Ok(Progress::Finished)
    }
}

/// What lies between the start of an open file's input and its split's next line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Skip {
    Nothing,
    /// The rest of a line that begins before the range.
    Line,
    /// This many bytes of a compressed file.
    Bytes(u64),
}

/// The file of a split, opened.
struct OpenFile {
    input: Box<dyn Read>,
    /// Holds what has been read beyond `offset`.
    cutter: LineCutter,
    /// Up to where the input has been emitted or skipped: the split's position, unless there is something to skip.
    offset: u64,
    to_skip: Skip,
    identity: (u64, u64),
}

impl fmt::Debug for OpenFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenFile").field("offset", &self.offset).field("to_skip", &self.to_skip).finish_non_exhaustive()
    }
}

impl OpenFile {
    fn new(split: &FileSplit, max_line_bytes: usize) -> Result<Self> {
        let mut file = split.open()?;
        let identity = identity(&file, split)?;
        let (offset, to_skip) = match split.position {
            0 => (0, Skip::Nothing),
            position if split.gzip => (0, Skip::Bytes(position)),
            // From one byte before the range: if that is a `\n`, a line begins right at the start of the range.
            position if position == split.begin => (position - 1, Skip::Line),
            position => (position, Skip::Nothing),
        };
        file.seek(SeekFrom::Start(offset)).map_err(|error| split.unreadable(error))?;
        let input: Box<dyn Read> = if split.gzip { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
        Ok(OpenFile { input, cutter: LineCutter::new(max_line_bytes), offset, to_skip, identity })
    }

    /// Reads a block and returns its length: 0 at the end of the file.
    fn read(&mut self, split: &mut FileSplit) -> Result<usize> {
        let count = self.cutter.read_from(&mut self.input).map_err(|error| split.unreadable(error))?;
        self.skip(split);
        Ok(count)
    }

    fn skip(&mut self, split: &mut FileSplit) {
        match self.to_skip {
            Skip::Nothing => {}
            Skip::Line => {
                let (skipped, found) = self.cutter.skip_line();
                self.offset += skipped as u64;
                // Until then the position stays: within a line it would be taken for the start of one.
                if found || self.offset >= split.end {
                    split.position = self.offset;
                    self.to_skip = Skip::Nothing;
                }
            }
            Skip::Bytes(left) => {
                let skipped = self.cutter.skip_bytes(left) as u64;
                self.offset += skipped;
                self.to_skip = if skipped == left { Skip::Nothing } else { Skip::Bytes(left - skipped) };
            }
        }
    }

    /// Emits the lines at hand: whether the output is full.
    fn emit_lines(&mut self, split: &mut FileSplit, output: &mut SourceOutput<String>) -> Result<bool> {
        let max_line_bytes = self.cutter.max_line_bytes();
        while self.to_skip == Skip::Nothing && !split.is_finished() {
            if output.room() == 0 {
                return Ok(true);
            }
            let line = self.cutter.next_line().map_err(|TooLong| too_long(split, max_line_bytes))?;
            let Some(line) = line else { break };
            output.emit(line.text());
            self.offset += line.taken as u64;
            split.position = self.offset;
        }
        Ok(false)
    }

    /// At the end of a file that does not grow: its last line may lack the `\n`. There is room for it.
    fn finish(&mut self, split: &mut FileSplit, output: &mut SourceOutput<String>) -> Result<()> {
        let max_line_bytes = self.cutter.max_line_bytes();
        let line = self.cutter.last_line().map_err(|TooLong| too_long(split, max_line_bytes))?;
        if let Some(line) = line {
            output.emit(line.text());
            self.offset += line.taken as u64;
            split.position = self.offset;
        }
        let end = if split.end == FileSplit::UNTIL_END { split.position } else { split.end };
        if self.offset < end {
            return Err(split.replaced(format_args!("it ends at byte {}, before {end}", self.offset)));
        }
        split.end = end;
        Ok(())
    }

    /// At the end of a file that grows: it must not have been replaced or truncated meanwhile.
    fn check_unchanged(&self, split: &mut FileSplit) -> Result<()> {
        let mut file = split.open()?;
        if identity(&file, split)? != self.identity {
            return Err(split.replaced("another file took its place"));
        }
        let len = file.metadata().map_err(|error| split.unreadable(error))?.len();
        let read = self.offset + self.cutter.buffered() as u64;
        if len < read {
            return Err(split.replaced(format_args!("it has {len} bytes, after {read} had been read")));
        }
        split.refine_fingerprint(&mut file)
    }
}

fn too_long(split: &FileSplit, max_line_bytes: usize) -> Error {
    split.error(format_args!(
        "has a line at byte {} that is longer than {max_line_bytes} bytes: raise max_line_bytes, or check that it is text",
        split.position
    ))
}

/// Which file it is, where the system can tell.
#[cfg(unix)]
fn identity(file: &File, split: &FileSplit) -> Result<(u64, u64)> {
    use std::os::unix::fs::MetadataExt;
    let found = file.metadata().map_err(|error| split.unreadable(error))?;
    Ok((found.dev(), found.ino()))
}

/// Which file it is: the system cannot tell, so all are the same.
#[cfg(not(unix))]
fn identity(_file: &File, _split: &FileSplit) -> Result<(u64, u64)> {
    Ok((0, 0))
}
