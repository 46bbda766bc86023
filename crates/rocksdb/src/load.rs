//! Loading many rows that come in order: they are written to table files, which the store then takes over.
//!
//! Rows that go through the memory of a store are sorted there, and merged level by level afterwards. Files of rows in order go
//! to the level that they are to end at.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, KeyGroup, Result};
use rocksdb::{DB, IngestExternalFileOptions, Options, SstFileWriter};

use crate::working_dir::WorkingDir;

/// About so many bytes go to a file.
const FILE_BYTES: u64 = 32 << 20;

/// Table files that are being written, in a folder that is removed when this is dropped.
pub(crate) struct Loader<'a> {
    options: &'a Options,
    writer: Option<SstFileWriter<'a>>,
    files: Vec<PathBuf>,
    key: Vec<u8>,
    folder: Folder,
}

struct Folder(PathBuf);

impl<'a> Loader<'a> {
    /// Files as a store with `options` has them.
    pub fn new(options: &'a Options, working_dir: &Arc<WorkingDir>) -> Result<Self> {
        let folder = Folder(working_dir.next_folder("load"));
        fs::create_dir(&folder.0).map_err(|error| {
            let what = format!("cannot create {}", folder.0.display());
            Error::new(ErrorKind::Storage, what).with_source(error)
        })?;
        Ok(Loader { options, writer: None, files: Vec::new(), key: Vec::new(), folder })
    }

    /// Adds a row, whose key comes after those before.
    pub fn put(&mut self, group: KeyGroup, key: &[u8], row: &[u8]) -> Result<()> {
        self.key.clear();
        self.key.extend_from_slice(&group.0.to_be_bytes());
        self.key.extend_from_slice(key);
        let writer = match self.writer.take() {
            Some(writer) => self.writer.insert(writer),
            None => {
                let path = self.folder.0.join(self.files.len().to_string());
                let writer = SstFileWriter::create(self.options);
                writer.open(&path).map_err(|error| failed(&path, error))?;
                self.files.push(path);
                self.writer.insert(writer)
            }
        };
        writer.put(&self.key, row).map_err(|error| failed(&self.folder.0, error))?;
        if writer.file_size() >= FILE_BYTES {
            self.finish_file()?;
        }
        Ok(())
    }

    /// Has the store take over all that was put.
    pub fn finish(mut self, store: &DB) -> Result<()> {
        self.finish_file()?;
        if self.files.is_empty() {
            return Ok(());
        }
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        let files = std::mem::take(&mut self.files);
        store.ingest_external_file_opts(&options, files).map_err(|error| failed(&self.folder.0, error))
    }

    fn finish_file(&mut self) -> Result<()> {
        let Some(mut writer) = self.writer.take() else { return Ok(()) };
        writer.finish().map_err(|error| failed(&self.folder.0, error))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed now goes with the working directory.
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn failed(place: &Path, error: rocksdb::Error) -> Error {
    Error::new(ErrorKind::Storage, format!("RocksDB cannot load rows in {}", place.display())).with_source(error)
}
