//! From what a user writes to a checkpoint storage.

use std::path::{Path, absolute};
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, Result};

use crate::checkpoint_storage::CheckpointStorage;
use crate::disk::RealDisk;
use crate::local::LocalStorage;
use crate::memory::MemoryStorage;

const SUPPORTED: &str = "give a path, file:///path, or memory:";

/// What a URI stands for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Memory,
    Local(&'a str),
}

/// Opens the checkpoint storage that `uri` stands for.
///
/// | `uri` | storage |
/// |---|---|
/// | `/path`, `path` | [`LocalStorage`] in that folder; a relative path is made absolute now |
/// | `file:///path` | the same; the path is taken as it stands, `%20` is not a space |
/// | `memory:` | a new, empty [`MemoryStorage`] at every call |
///
/// # Errors
/// [`ErrorKind::Settings`] for anything else, [`ErrorKind::Storage`] if the folder cannot be used.
pub fn open_uri(uri: &str) -> Result<Arc<dyn CheckpointStorage>> {
    match parse(uri)? {
        Place::Memory => Ok(Arc::new(MemoryStorage::new())),
        Place::Local(path) => {
            let dir = absolute(Path::new(path)).map_err(|source| {
                Error::new(ErrorKind::Storage, format!("cannot make checkpoint directory {path:?} absolute"))
                    .with_source(source)
            })?;
            Ok(Arc::new(LocalStorage::open(dir, Arc::new(RealDisk))?))
        }
    }
}

fn parse(uri: &str) -> Result<Place<'_>> {
    let unusable =
        |why: &str| Err(Error::settings(format!("checkpoint storage {uri:?} is not usable: {why}; {SUPPORTED}")));
    if uri == "memory:" {
        return Ok(Place::Memory);
    }
    if let Some(path) = uri.strip_prefix("file://") {
        return if path.starts_with('/') { Ok(Place::Local(path)) } else { unusable("a file URI has three slashes") };
    }
    match uri.split_once("://") {
        Some((scheme, _)) => unusable(&format!("scheme {scheme:?} is not supported")),
        None if uri.is_empty() => unusable("it is empty"),
        None => Ok(Place::Local(uri)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_file_uris_and_memory_are_understood() {
        assert_eq!(parse("/c/k").unwrap(), Place::Local("/c/k"));
        assert_eq!(parse("checkpoints").unwrap(), Place::Local("checkpoints"));
        assert_eq!(parse("file:///c/k").unwrap(), Place::Local("/c/k"));
        assert_eq!(parse("memory:").unwrap(), Place::Memory);
    }

    #[test]
    fn anything_else_is_refused_with_what_is_supported() {
        for uri in ["", "s3://bucket/c", "hdfs://host/c", "file://host/c", "memory://"] {
            let error = parse(uri).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains("file:///path, or memory:"), "{error}");
        }
        assert!(parse("s3://bucket/c").unwrap_err().to_string().contains("scheme \"s3\""));
    }
}
