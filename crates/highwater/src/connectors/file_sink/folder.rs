//! The folder of a file sink: what can be done to part files in it.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_core::{CheckpointId, Error, ErrorKind, Result, SubtaskIndex};
use highwater_state::Data;
use highwater_storage::What;
use highwater_storage::disk::{Disk, DiskFile, unless_not_found};
use highwater_storage::lock::Lock;

use super::name::{Naming, PartFile, in_progress};

/// A folder that exists and can be written to.
#[derive(Clone, Debug)]
pub(super) struct Folder {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    naming: Naming,
}

impl Folder {
    /// The folder `dir`, created if missing.
    pub(super) fn open(disk: Arc<dyn Disk>, dir: PathBuf, naming: Naming) -> Result<Self> {
        let folder = Folder { disk, dir, naming };
        folder.on(folder.disk.create_dir_all(&folder.dir))?;
        Ok(folder)
    }

    /// Keeps every other sink of the same names out, as long as the lock lives.
    pub(super) fn lock(&self) -> Result<Lock> {
        match self.disk.lock(&self.dir.join(self.naming.lock())) {
            Err(error) if error.what() == What::Locked => {
                let message = format!(
                    "another job or sink is writing files of the same names to {}: give each its own folder or prefix",
                    self.dir.display()
                );
                Err(Error::new(ErrorKind::Input, message))
            }
            result => self.on(result),
        }
    }

    /// Creates a part file under a name that nobody has used. `counter` is moved past it.
    pub(super) fn create(
        &self,
        subtask: SubtaskIndex,
        epoch: CheckpointId,
        counter: &mut u64,
    ) -> Result<(String, Box<dyn DiskFile>)> {
        loop {
            let name = self.naming.part(subtask, epoch, *counter);
            *counter += 1;
            // A job that started fresh in the folder of an earlier one: epochs begin anew, output stays.
            if self.exists(&self.finished(&name))? {
                continue;
            }
            match self.disk.create_new(&self.unfinished(&name)) {
                Err(error) if error.what() == What::AlreadyExists => {}
                result => return Ok((name, self.on(result)?)),
            }
        }
    }

    /// Removes a part file that was created and not used.
    pub(super) fn remove(&self, name: &str) -> Result<()> {
        self.on(self.disk.remove_file(&self.unfinished(name)))
    }

    /// Makes the names of part files durable.
    pub(super) fn sync(&self) -> Result<()> {
        self.on(self.disk.sync_dir(&self.dir))
    }

    /// Makes a file that was in progress at a checkpoint what it was then. What was written to it later is gone.
    pub(super) fn restore(&self, part: &PartFile) -> Result<()> {
        match self.disk.truncate(&self.unfinished(&part.name), part.len) {
            Ok(_) => return Ok(()),
            Err(error) if error.what() == What::NotFound => {}
            Err(error) => return self.on(Err(error)),
        }
        // Restored from this checkpoint a second time: the first time it was committed by the next one.
        match self.on(unless_not_found(self.disk.metadata(&self.finished(&part.name))))? {
            Some(found) if found.len == part.len => Ok(()),
            Some(found) => Err(self.broken(part, format_args!(
                "already holds {} bytes, but {} at the restored checkpoint, so a later one had completed; restore that one, or \
                 remove all part files of later checkpoints and cut this one to that length",
                found.len, part.len
            ))),
            None => Err(self.gone(part)),
        }
    }

    /// Makes pending files visible, durably. Those that are visible already are left alone.
    pub(super) fn commit(&self, parts: &[PartFile]) -> Result<()> {
        for part in parts {
            self.finish(part)?;
        }
        if parts.is_empty() { Ok(()) } else { self.sync() }
    }

    fn finish(&self, part: &PartFile) -> Result<()> {
        let (from, to) = (self.unfinished(&part.name), self.finished(&part.name));
        let finished = self.exists(&to)?;
        match self.on(unless_not_found(self.disk.metadata(&from)))? {
            None if finished => Ok(()),
            None => Err(self.gone(part)),
            Some(_) if finished => {
                Err(self.broken(part, "exists, though it was not written yet: move it elsewhere, then restart the job"))
            }
            Some(found) if found.len != part.len => Err(self.broken(
                part,
                format_args!(
                    "has {} bytes instead of {} before it is finished: its folder is damaged",
                    found.len, part.len
                ),
            )),
            Some(_) => self.on(self.disk.rename(&from, &to)),
        }
    }

    /// Removes unfinished files of earlier attempts that are not in `referenced`, encoded states and committables.
    pub(super) fn sweep(&self, first_epoch: CheckpointId, referenced: &[Vec<u8>]) -> Result<()> {
        let mut kept = HashSet::new();
        for encoded in referenced {
            let part = PartFile::decode(&mut encoded.as_slice()).map_err(|error| {
                Error::new(
                    ErrorKind::Incompatible,
                    "the restored checkpoint holds no states of a file sink under this uid",
                )
                .with_source(error)
            })?;
            kept.insert(part.name);
        }
        for entry in self.on(self.disk.list(&self.dir))? {
            let Some(file_name) = entry.name.to_str().filter(|_| !entry.is_dir) else { continue };
            let Some((name, epoch)) = self.naming.parse_in_progress(file_name) else { continue };
            if epoch < first_epoch && !kept.contains(name) {
                tracing::info!(dir = %self.dir.display(), file_name, "removing what an earlier attempt left unfinished");
                self.on(unless_not_found(self.disk.remove_file(&self.dir.join(file_name))))?;
            }
        }
        Ok(())
    }

    fn exists(&self, path: &Path) -> Result<bool> {
        Ok(self.on(unless_not_found(self.disk.metadata(path)))?.is_some())
    }

    fn finished(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    fn unfinished(&self, name: &str) -> PathBuf {
        self.dir.join(in_progress(name))
    }

    /// The error of a sink for that of its disk, which names the file and the way out.
    pub(super) fn on<R>(&self, result: highwater_storage::Result<R>) -> Result<R> {
        result.map_err(|error| {
            Error::new(ErrorKind::Input, format!("cannot write output to {}", self.dir.display())).with_source(error)
        })
    }

    fn broken(&self, part: &PartFile, why: impl std::fmt::Display) -> Error {
        Error::new(ErrorKind::Input, format!("output file {} {why}", self.finished(&part.name).display()))
    }

    fn gone(&self, part: &PartFile) -> Error {
        self.broken(part, format_args!(
            "is gone, and so is {}, from which it was to be made: put it back; if it had been finished and was taken away on \
             purpose, create an empty file of its name",
            in_progress(&part.name)
        ))
    }
}
