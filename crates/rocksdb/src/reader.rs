//! Looking into the stores of a checkpoint, without the job that wrote it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, Result};
use highwater_state::spill::{LocalSnapshot, StoreReader, StoredRows};
use rocksdb::{LogLevel, Options};

use crate::store::KIND;
use crate::view::View;
use crate::working_dir::WorkingDir;

/// Files that are open at once.
const OPEN_FILES: i32 = 256;

/// Opens the RocksDBs of checkpoints, each in a copy that is removed afterwards.
#[derive(Clone, Debug)]
pub struct RocksDBReader {
    local_dir: PathBuf,
}

impl RocksDBReader {
    /// A reader that has its copies below `local_dir`, which needs room for the largest store.
    pub fn new(local_dir: impl Into<PathBuf>) -> Self {
        RocksDBReader { local_dir: local_dir.into() }
    }
}

impl StoreReader for RocksDBReader {
    fn kind(&self) -> &'static str {
        KIND
    }

    fn open(&self, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Box<dyn StoredRows>> {
        let working_dir = Arc::new(WorkingDir::create(&self.local_dir)?);
        let files = LocalSnapshot { kind: KIND, folder: working_dir.next_folder("read"), files: Vec::new() };
        fill_snapshot(&files.folder, fill)?;
        let mut options = Options::default();
        options.set_max_open_files(OPEN_FILES);
        options.set_log_level(LogLevel::Warn);
        Ok(Box::new(View::open(&options, files, &working_dir)?))
    }
}

/// Makes `folder` and has the files of a snapshot put into it. If that fails, nothing of it is left.
pub(crate) fn fill_snapshot(folder: &Path, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<()> {
    fs::create_dir(folder).map_err(|error| {
        Error::new(ErrorKind::Storage, format!("cannot create {}", folder.display())).with_source(error)
    })?;
    let filled = fill(folder).and_then(|()| match folder.join("CURRENT").try_exists() {
        Ok(true) => Ok(()),
        // RocksDB would open an empty store.
        _ => Err(Error::new(ErrorKind::Corrupt, "the snapshot of a store has no file CURRENT")),
    });
    if filled.is_err() {
        // What cannot be removed now goes with the working directory.
        let _ = fs::remove_dir_all(folder);
    }
    filled
}
