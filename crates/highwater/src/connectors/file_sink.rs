//! A sink that writes files, exactly-once.
//!
//! A *part file* goes through three stages, as in Flink:
//!
//! * **in progress**: `.part-0-7-3.csv.inprogress`, hidden, being appended to. A checkpoint remembers its length;
//! * **pending**: the same name, complete and synced. A checkpoint holds it as a committable;
//! * **finished**: renamed to `part-0-7-3.csv` when that checkpoint has completed. It never changes again.
//!
//! The name is prefix, subtask, first epoch of the attempt, and a counter, then the suffix. So no attempt ever writes to a file of
//! another: what a restored checkpoint remembers as in progress is cut to the length it had, and is pending from then on.
//!
//! Invariants (I4): a file without a leading dot holds only records of completed checkpoints; every record of them is in exactly
//! one such file or in one that a completed checkpoint refers to; everything else is swept away when a job is restored.
//!
//! Source: Flink's `FileSink`, <https://nightlies.apache.org/flink/flink-docs-stable/docs/connectors/datastream/filesystem/>.

mod folder;
mod name;
mod part;
mod writer;

use std::fmt::{self, Display};
use std::marker::PhantomData;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use highwater_core::Result;
use highwater_runtime::batch::Record;
use highwater_runtime::sink::{Sink, SinkContext};
use highwater_storage::disk::{Disk, RealDisk};

pub use name::PartFile;
pub use writer::FileWriter;

use self::folder::Folder;
use self::name::Naming;
use super::lines::append_line;

/// Writes records to files of a folder, which is created if missing. Exactly-once.
///
/// Output is in files without a leading dot, and there only after the checkpoint that covers it has completed; what is hidden is
/// not output yet. A file ends after 128 MiB or a minute, and at the end of the job.
///
/// The folder may hold other files, but no other sink may use the same prefix and suffix in it: its unfinished files would be
/// taken for leftovers. That is refused while both are running.
///
/// ```
/// use highwater::connectors::FileSink;
///
/// let lines = FileSink::<String, _>::lines("/tmp/words");
/// let csv = FileSink::new("/tmp/counts", |(word, count): &(String, u64), out: &mut Vec<u8>| {
///     out.extend_from_slice(format!("{word},{count}\n").as_bytes());
/// })
/// .suffix(".csv");
/// ```
pub struct FileSink<T, F> {
    dir: PathBuf,
    prefix: String,
    suffix: String,
    rolling: Rolling,
    disk: Arc<dyn Disk>,
    format: Arc<F>,
    record: PhantomData<fn(T)>,
}

/// When a part file is complete.
#[derive(Clone, Copy, Debug)]
struct Rolling {
    bytes: u64,
    interval: Duration,
}

impl<T: Display> FileSink<T, fn(&T, &mut Vec<u8>)> {
    /// Writes to files in `dir`, each record as a line.
    pub fn lines(dir: impl Into<PathBuf>) -> Self {
        FileSink::new(dir, append_line::<T>)
    }
}

impl<T, F: Fn(&T, &mut Vec<u8>)> FileSink<T, F> {
    /// Writes to files in `dir` what `format` appends for each record, separators included.
    pub fn new(dir: impl Into<PathBuf>, format: F) -> Self {
        FileSink {
            dir: dir.into(),
            prefix: "part".into(),
            suffix: String::new(),
            rolling: Rolling { bytes: 128 * 1024 * 1024, interval: Duration::from_secs(60) },
            disk: Arc::new(RealDisk),
            format: Arc::new(format),
            record: PhantomData,
        }
    }
}

impl<T, F> FileSink<T, F> {
    /// Begins the names of the files with `prefix` instead of `part`.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<String>) -> Self {
        self.prefix = prefix.into();
        self
    }

    /// Ends the names of the files with `suffix`, for example `.csv`.
    #[must_use]
    pub fn suffix(mut self, suffix: impl Into<String>) -> Self {
        self.suffix = suffix.into();
        self
    }

    /// Ends a file when it has at least `bytes`.
    #[must_use]
    pub fn roll_bytes(mut self, bytes: u64) -> Self {
        self.rolling.bytes = bytes;
        self
    }

    /// Ends a file that was begun longer than `interval` ago, after a batch of records or at a checkpoint.
    #[must_use]
    pub fn roll_interval(mut self, interval: Duration) -> Self {
        self.rolling.interval = interval;
        self
    }

    /// Writes through `disk` instead of the machine's file system.
    #[must_use]
    pub fn disk(mut self, disk: Arc<dyn Disk>) -> Self {
        self.disk = disk;
        self
    }
}

impl<T, F> fmt::Debug for FileSink<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileSink")
            .field("dir", &self.dir)
            .field("prefix", &self.prefix)
            .field("suffix", &self.suffix)
            .field("rolling", &self.rolling)
            .finish_non_exhaustive()
    }
}

impl<T: Record, F: Fn(&T, &mut Vec<u8>) + Send + Sync + 'static> Sink for FileSink<T, F> {
    type Record = T;
    type Writer = FileWriter<T, F>;

    fn open(&self, context: &SinkContext, states: Vec<PartFile>) -> Result<FileWriter<T, F>> {
        let naming = Naming::parse(&self.prefix, &self.suffix)?;
        let folder = Folder::open(self.disk.clone(), self.dir.clone(), naming)?;
        FileWriter::open(folder, self.rolling, self.format.clone(), context, states)
    }
}
