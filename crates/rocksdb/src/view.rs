//! The rows of a snapshot, read where its files are.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, KeyGroup, Result};
use highwater_state::spill::{LocalSnapshot, RowVisit, StoredRows};
use rocksdb::{DB, Options};

use crate::options::scan_options;
use crate::working_dir::WorkingDir;

/// The files of a snapshot as a RocksDB that is only read; they are removed when this is dropped.
pub(crate) struct View {
    // First, so that it is closed before its files are removed.
    db: DB,
    files: LocalSnapshot,
    /// What the folder of the files is in.
    _working_dir: Arc<WorkingDir>,
}

impl fmt::Debug for View {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("View").field("folder", &self.files.folder).finish()
    }
}

impl View {
    /// Opens the files of a snapshot.
    pub fn open(options: &Options, files: LocalSnapshot, working_dir: &Arc<WorkingDir>) -> Result<Self> {
        let db = DB::open_for_read_only(options, &files.folder, false);
        let db = db.map_err(|error| failed("open", &files.folder, error))?;
        Ok(View { db, files, _working_dir: Arc::clone(working_dir) })
    }
}

impl StoredRows for View {
    fn scan(&self, from: &[u8], row: &mut RowVisit<'_>) -> Result<()> {
        let mut rows = self.db.raw_iterator_opt(scan_options());
        rows.seek(from);
        while let Some((key, state)) = rows.item() {
            let (group, key) = split(key, &self.files.folder)?;
            if row(group, key, state)?.is_break() {
                return Ok(());
            }
            rows.next();
        }
        rows.status().map_err(|error| failed("read", &self.files.folder, error))
    }
}

/// The key group and the key of a row, as a RocksDB in `folder` has it.
pub(crate) fn split<'a>(key: &'a [u8], folder: &Path) -> Result<(KeyGroup, &'a [u8])> {
    match key.split_first_chunk() {
        Some((group, key)) => Ok((KeyGroup(u16::from_be_bytes(*group)), key)),
        None => Err(Error::new(
            ErrorKind::Corrupt,
            format!("the RocksDB in {} has a row without a key group", folder.display()),
        )),
    }
}

fn failed(what: &str, folder: &Path, error: rocksdb::Error) -> Error {
    let kind = match error.kind() {
        rocksdb::ErrorKind::Corruption => ErrorKind::Corrupt,
        _ => ErrorKind::Storage,
    };
    Error::new(kind, format!("RocksDB cannot {what} the snapshot in {}", folder.display())).with_source(error)
}
