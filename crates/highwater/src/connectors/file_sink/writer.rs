//! Writes the part files of one subtask.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use highwater_core::{CheckpointId, Clock, Result, SubtaskIndex};
use highwater_runtime::batch::Record;
use highwater_runtime::sink::{MakeDurable, Prepared, SinkContext, SinkWriter};
use highwater_storage::lock::Lock;

use super::Rolling;
use super::folder::Folder;
use super::name::PartFile;
use super::part::{ClosedPart, OpenPart, SharedFile};

/// Writes for one subtask of a [`FileSink`](super::FileSink).
pub struct FileWriter<T, F> {
    folder: Folder,
    rolling: Rolling,
    format: Arc<F>,
    clock: Arc<dyn Clock>,
    subtask: SubtaskIndex,
    epoch: CheckpointId,
    /// Number of the next part file.
    counter: u64,
    open: Option<OpenPart>,
    /// Complete, and in no checkpoint yet.
    pending: Vec<PartFile>,
    /// Complete, and perhaps not durable: a checkpoint that was aborted may never have synced them.
    closed: Vec<ClosedPart>,
    /// Held by one subtask for all.
    _lock: Option<Lock>,
    record: PhantomData<fn(T)>,
}

impl<T, F> FileWriter<T, F> {
    pub(super) fn open(
        folder: Folder,
        rolling: Rolling,
        format: Arc<F>,
        context: &SinkContext,
        states: Vec<PartFile>,
    ) -> Result<Self> {
        let (subtask, epoch) = (context.subtask, context.first_epoch);
        let lock = if subtask == SubtaskIndex(0) {
            let lock = folder.lock()?;
            folder.sweep(epoch, &context.referenced)?;
            Some(lock)
        } else {
            None
        };
        // Tells now, not at the first record, that the folder is read-only or the disk full.
        let (probe, _) = folder.create(subtask, epoch, &mut 0)?;
        folder.remove(&probe)?;
        states.iter().try_for_each(|part| folder.restore(part))?;
        Ok(FileWriter {
            folder,
            rolling,
            format,
            clock: context.clock.clone(),
            subtask,
            epoch,
            counter: 0,
            open: None,
            pending: states,
            closed: Vec::new(),
            _lock: lock,
            record: PhantomData,
        })
    }

    fn create(&mut self) -> Result<OpenPart> {
        let (name, file) = self.folder.create(self.subtask, self.epoch, &mut self.counter)?;
        Ok(OpenPart::new(name, file, self.clock.monotonic()))
    }

    /// Ends the file in progress.
    fn roll(&mut self) -> Result<()> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let closed = self.folder.on(open.close())?;
        if closed.part.is_empty() {
            return self.folder.remove(&closed.part.name);
        }
        self.pending.push(closed.part.clone());
        self.closed.push(closed);
        Ok(())
    }

    fn is_due(&self) -> bool {
        let age = |open: &OpenPart| self.clock.monotonic().saturating_sub(open.begun());
        self.open.as_ref().is_some_and(|open| age(open) >= self.rolling.interval)
    }
}

impl<T, F> fmt::Debug for FileWriter<T, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileWriter")
            .field("folder", &self.folder)
            .field("subtask", &self.subtask)
            .field("open", &self.open.as_ref().map(OpenPart::describe))
            .field("pending", &self.pending)
            .finish_non_exhaustive()
    }
}

impl<T: Record, F: Fn(&T, &mut Vec<u8>) + 'static> SinkWriter for FileWriter<T, F> {
    type Record = T;
    type Committable = PartFile;
    type State = PartFile;

    fn write(&mut self, record: T, _time: i64) -> Result<()> {
        let open = match &mut self.open {
            Some(open) => open,
            None => {
                let created = self.create()?;
                self.open.insert(created)
            }
        };
        self.folder.on(open.write(|buffer| (self.format)(&record, buffer)))?;
        if open.len() >= self.rolling.bytes { self.roll() } else { Ok(()) }
    }

    fn flush(&mut self) -> Result<()> {
        if self.is_due() { self.roll() } else { Ok(()) }
    }

    fn prepare(&mut self, _id: CheckpointId, last: bool) -> Result<Prepared<PartFile, PartFile>> {
        if last || self.is_due() {
            self.roll()?;
        }
        self.closed.retain(|closed| !closed.is_durable());
        let mut files: Vec<_> = self.closed.iter().map(|closed| closed.file.clone()).collect();
        let mut states = Vec::new();
        if let Some(open) = self.open.as_mut().filter(|open| open.len() > 0) {
            self.folder.on(open.flush())?;
            states.push(open.describe());
            files.push(open.file());
        }
        let durable = (!files.is_empty()).then(|| make_durable(self.folder.clone(), files));
        Ok(Prepared { committables: std::mem::take(&mut self.pending), states, durable })
    }

    fn commit(&mut self, committables: Vec<PartFile>) -> Result<()> {
        self.folder.commit(&committables)
    }
}

/// Content first, then the names; only then do they count as durable.
fn make_durable(folder: Folder, files: Vec<Arc<SharedFile>>) -> MakeDurable {
    Box::new(move || {
        let mut synced = Vec::with_capacity(files.len());
        for file in &files {
            synced.push(folder.on(file.sync())?);
        }
        folder.sync()?;
        for (file, len) in files.iter().zip(synced) {
            file.confirm(len);
        }
        Ok(())
    })
}
