//! The machine's file system, through `std::fs`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::{DirEntry, Disk, DiskFile, Metadata, check_range, cut_off, given_up};
use crate::error::{Error, Outcome, Result};
use crate::lock::{Lock, lock_file};

/// The machine's file system.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_new(&self, path: &Path) -> Result<Box<dyn DiskFile>> {
        let file = OpenOptions::new().append(true).create_new(true).open(path).map_err(on("create", path))?;
        Ok(Box::new(RealFile { file, path: path.to_owned(), len: 0, failed: false }))
    }

    fn truncate(&self, path: &Path, len: u64) -> Result<Box<dyn DiskFile>> {
        let truncate = "truncate";
        let file = OpenOptions::new().append(true).open(path).map_err(on(truncate, path))?;
        let found = file.metadata().map_err(on(truncate, path))?.len();
        if found < len {
            return Err(cut_off(truncate, path, format!("{found} bytes, to be cut to {len}")));
        }
        file.set_len(len).and_then(|()| file.sync_all()).map_err(in_doubt(truncate, path))?;
        Ok(Box::new(RealFile { file, path: path.to_owned(), len, failed: false }))
    }

    fn read(&self, path: &Path) -> Result<Vec<u8>> {
        fs::read(path).map_err(reading("read", path))
    }

    fn read_range(&self, path: &Path, offset: u64, len: u64) -> Result<Vec<u8>> {
        let read = || reading("read", path);
        let mut file = File::open(path).map_err(read())?;
        check_range(path, offset, len, file.metadata().map_err(read())?.len())?;
        file.seek(SeekFrom::Start(offset)).map_err(read())?;
        // The file has so many, so this is not more than there is: without it the memory would grow again and again.
        let mut bytes = Vec::with_capacity(len as usize);
        file.take(len).read_to_end(&mut bytes).map_err(read())?;
        // The file may have been cut since its length was asked for.
        check_range(path, 0, len, bytes.len() as u64)?;
        Ok(bytes)
    }

    fn sync_dir(&self, path: &Path) -> Result<()> {
        match File::open(path).and_then(|dir| dir.sync_all()) {
            // Some network file systems cannot sync a folder at all, and keep names by other means.
            Err(source) if source.kind() == io::ErrorKind::InvalidInput => {
                tracing::debug!(path = %path.display(), "this file system does not sync folders");
                Ok(())
            }
            result => result.map_err(on("sync the folder", path)),
        }
    }

    fn rename(&self, from: &Path, to: &Path) -> Result<()> {
        fs::rename(from, to)
            .map_err(on("rename", from))
            .map_err(|error| error.with_detail(format!("to {}", to.display())))
    }

    fn rename_new(&self, from: &Path, to: &Path) -> Result<()> {
        match rename_noreplace(from, to) {
            Err(source) if is_unknown(&source) => {
                link_and_unlink(from, to).map_err(on("rename", from)).map_err(|error| {
                    let to = to.display();
                    error.with_detail(format!(
                        "to {to}; the file system must be able to rename without replacing, or to link"
                    ))
                })
            }
            renamed => {
                renamed.map_err(on("rename", from)).map_err(|error| error.with_detail(format!("to {}", to.display())))
            }
        }
    }

    fn remove_file(&self, path: &Path) -> Result<()> {
        fs::remove_file(path).map_err(on("remove", path))
    }

    fn create_dir(&self, path: &Path) -> Result<()> {
        fs::create_dir(path).map_err(on("create the folder", path))
    }

    fn remove_dir(&self, path: &Path) -> Result<()> {
        fs::remove_dir(path).map_err(on("remove the folder", path))
    }

    fn list(&self, path: &Path) -> Result<Vec<DirEntry>> {
        let list = || reading("list", path);
        let mut entries = Vec::new();
        for entry in fs::read_dir(path).map_err(list())? {
            let entry = entry.map_err(list())?;
            match entry.metadata() {
                Ok(found) => {
                    entries.push(DirEntry { name: entry.file_name(), is_dir: found.is_dir(), len: found.len() })
                }
                // Removed since the folder was opened.
                Err(source) if source.kind() == io::ErrorKind::NotFound => {}
                Err(source) => return Err(list()(source)),
            }
        }
        entries.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(entries)
    }

    fn metadata(&self, path: &Path) -> Result<Metadata> {
        let found = fs::metadata(path).map_err(reading("look at", path))?;
        Ok(Metadata { is_dir: found.is_dir(), len: found.len() })
    }

    fn lock(&self, path: &Path) -> Result<Lock> {
        lock_file(path)
    }
}

#[derive(Debug)]
struct RealFile {
    file: File,
    path: PathBuf,
    len: u64,
    failed: bool,
}

impl RealFile {
    fn attempt(&mut self, operation: &'static str, act: impl FnOnce(&mut File) -> io::Result<()>) -> Result<()> {
        if self.failed {
            return Err(given_up(operation, &self.path));
        }
        let result = act(&mut self.file).map_err(in_doubt(operation, &self.path));
        self.failed = result.is_err();
        result
    }
}

impl DiskFile for RealFile {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        self.attempt("append to", |file| file.write_all(bytes))?;
        self.len += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        self.attempt("sync", |file| file.sync_all())
    }

    fn len(&self) -> u64 {
        self.len
    }
}

/// One step where the file system has it. NFS has not.
#[cfg(any(target_os = "linux", target_os = "macos"))]
fn rename_noreplace(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    Ok(renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE)?)
}

#[cfg(not(any(target_os = "linux", target_os = "macos")))]
fn rename_noreplace(_: &Path, _: &Path) -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// The classical way (`open(2)` describes it for NFS): a second name, which exists once, and then not the first any more.
fn link_and_unlink(from: &Path, to: &Path) -> io::Result<()> {
    match fs::hard_link(from, to) {
        // An answer of NFS was lost, and the request sent again.
        Err(source) if source.kind() == io::ErrorKind::AlreadyExists && is_one_file(from, to) => {}
        other => other?,
    }
    if let Err(source) = fs::remove_file(from) {
        tracing::debug!(path = %from.display(), %source, "a temporary name stays");
    }
    Ok(())
}

#[cfg(unix)]
fn is_one_file(one: &Path, other: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let identity = |path: &Path| fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()));
    matches!((identity(one), identity(other)), (Ok(one), Ok(other)) if one == other)
}

#[cfg(not(unix))]
fn is_one_file(_: &Path, _: &Path) -> bool {
    false
}

/// What a file system answers to a request that it does not know.
fn is_unknown(source: &io::Error) -> bool {
    matches!(source.kind(), io::ErrorKind::Unsupported | io::ErrorKind::InvalidInput)
}

fn on(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::io(operation, path, source)
}

/// Reading has no effect that could have happened.
fn reading(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::io(operation, path, source).with_outcome(Outcome::DidNotHappen)
}

/// On an open file even a refusal may come after part of the work: a network file system sends pages late.
fn in_doubt(operation: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    move |source| Error::io(operation, path, source).with_outcome(Outcome::MayHaveHappened)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// File systems have one way or the other, and not both have to work on this machine's.
    #[test]
    fn a_new_name_is_never_one_that_is_taken() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for (round, rename) in [rename_noreplace, link_and_unlink].into_iter().enumerate() {
            let taken = path(&format!("taken-{round}"));
            fs::write(path("from"), "first").unwrap();
            match rename(&path("from"), &taken) {
                Err(source) if is_unknown(&source) => continue,
                result => result.unwrap(),
            }
            assert!(!path("from").exists());
            fs::write(path("from"), "second").unwrap();
            assert_eq!(rename(&path("from"), &taken).unwrap_err().kind(), io::ErrorKind::AlreadyExists);
            assert_eq!(
                (fs::read(&taken).unwrap(), fs::read(path("from")).unwrap()),
                (b"first".into(), b"second".into())
            );
        }
    }

    #[cfg(unix)]
    #[test]
    fn a_link_that_is_there_already_is_the_one_that_was_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let (from, to) = (dir.path().join("from"), dir.path().join("to"));
        fs::write(&from, "content").unwrap();
        fs::hard_link(&from, &to).unwrap();
        link_and_unlink(&from, &to).unwrap();
        assert!(!from.exists() && to.exists());
    }

    #[test]
    fn a_file_is_given_up_after_an_error() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        // Opened for reading only: it cannot be appended to, but it could be synced.
        let mut file = RealFile { file: File::open(&path).unwrap(), path, len: 0, failed: false };
        assert_eq!(file.append(b"lost").unwrap_err().outcome(), Outcome::MayHaveHappened);
        let error = file.sync().expect_err("a file that lacks bytes was synced");
        assert!(error.to_string().contains("must be written anew"), "{error}");
        assert_eq!(file.len(), 0);
    }
}
