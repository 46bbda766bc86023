//! From paths to files, and from files to splits.

use std::fs;
use std::path::{Path, PathBuf};

use highwater_core::{Error, ErrorKind, Result};

use super::FileSource;
use super::split::{FileSplit, Fingerprint, open_file};

/// The files that `paths` stand for, in order.
pub(super) fn files(paths: &[PathBuf]) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for path in paths {
        let found = fs::metadata(path).map_err(|error| unreadable(path, error))?;
        if found.is_dir() {
            files.extend(files_in(path)?);
        } else if found.is_file() {
            files.push(text_of(path)?);
        } else {
            let message = format!("{} is neither a regular file nor a folder: give the path of one", path.display());
            return Err(Error::new(ErrorKind::Input, message));
        }
    }
    Ok(files)
}

fn files_in(dir: &Path) -> Result<Vec<String>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(|error| unreadable(dir, error))? {
        let entry = entry.map_err(|error| unreadable(dir, error))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // Not the entry's own metadata: a link to a file is as good as the file.
        if fs::metadata(&path).map_err(|error| unreadable(&path, error))?.is_file() {
            files.push(text_of(&path)?);
        }
    }
    if files.is_empty() {
        let message =
            format!("the folder {} holds no file to read: put some there or give another path", dir.display());
        return Err(Error::new(ErrorKind::Input, message));
    }
    files.sort();
    Ok(files)
}

/// The splits of one file: none if it is empty and will stay so.
pub(super) fn splits_of(source: &FileSource, path: String) -> Result<Vec<FileSplit>> {
    let gzip = source.gzip.unwrap_or_else(|| path.ends_with(".gz"));
    if gzip && source.follow {
        let message = format!("{path} is compressed and cannot be followed: follow the uncompressed file");
        return Err(Error::settings(message));
    }
    let mut file = open_file(&path)?;
    let fingerprint = Fingerprint::take(&mut file, u64::MAX).map_err(|error| unreadable(Path::new(&path), error))?;
    let len = fingerprint.len();
    if gzip || source.follow {
        return Ok(vec![FileSplit::new(path, gzip, 0..FileSplit::UNTIL_END, fingerprint)]);
    }
    let begins = (0..len).step_by(usize::try_from(source.split_bytes).unwrap_or(usize::MAX));
    let range_from = |begin: u64| begin..begin.saturating_add(source.split_bytes).min(len);
    Ok(begins.map(|begin| FileSplit::new(path.clone(), gzip, range_from(begin), fingerprint.clone())).collect())
}

fn text_of(path: &Path) -> Result<String> {
    let Some(text) = path.to_str() else {
        let message =
            format!("the name of {} is not UTF-8 and cannot be kept in a checkpoint: rename it", path.display());
        return Err(Error::new(ErrorKind::Input, message));
    };
    Ok(text.to_owned())
}

fn unreadable(path: &Path, error: std::io::Error) -> Error {
    let message = format!("cannot read {}: check the path and its permissions", path.display());
    Error::new(ErrorKind::Input, message).with_source(error)
}
