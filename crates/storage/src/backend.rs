//! From what a user writes to a checkpoint storage.

use std::path::{Path, PathBuf, absolute};
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, Result};

use crate::checkpoint_storage::CheckpointStorage;
use crate::disk::RealDisk;
use crate::local::LocalStorage;
use crate::memory::MemoryStorage;

const SUPPORTED: &str = "give a path, file:///path, hdfs://host:port/path, s3://bucket/prefix, or memory:";

/// What a URI stands for.
#[derive(Debug, PartialEq, Eq)]
enum Place<'a> {
    Memory,
    Local(&'a str),
    /// What follows the scheme.
    Hdfs(&'a str),
    S3(&'a str),
}

/// What a storage is opened for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// It is created if missing, and must be writable.
    Write,
    /// It is taken as it is.
    Read,
}

/// Opens the checkpoint storage that `uri` stands for.
///
/// | `uri` | storage |
/// |---|---|
/// | `/path`, `path` | [`LocalStorage`] in that folder; a relative path is made absolute now |
/// | `file:///path` | the same; the path is taken as it stands, `%20` is not a space |
/// | `hdfs://host:port/path`, `hdfs://nameservice/path` | a folder in HDFS (feature `hdfs`) |
/// | `s3://bucket/prefix` | a prefix of a bucket in S3 (feature `s3`) |
/// | `memory:` | a new, empty [`MemoryStorage`] at every call |
///
/// HDFS and S3 take options after a `?`, as in `s3://bucket/prefix?region=eu-central-1&timeout=30s`:
///
/// | option | of | meaning | default |
/// |---|---|---|---|
/// | `timeout` | both | limit of an operation, all its attempts included | `60s` |
/// | `lease` | both | how long the lock of a job holds without being renewed; a run waits that long for a killed one | `15s` |
/// | `user` | HDFS | who the client is, without Kerberos | `HADOOP_USER_NAME`, else the user of the process |
/// | `replication` | HDFS | copies of each block | the server's |
/// | `endpoint` | S3 | address of the server | `AWS_ENDPOINT_URL`, else Amazon's |
/// | `region` | S3 | region of the bucket | `AWS_REGION`, else `us-east-1` |
/// | `path_style` | S3 | `true` for `endpoint/bucket/key`, `false` for an endpoint that has the bucket in its name | `true` |
/// | `allow_http` | S3 | whether an endpoint without encryption may be used | `AWS_ALLOW_HTTP`, else `false` |
///
/// Credentials have no place in a URI. For S3 they come from the environment (`AWS_ACCESS_KEY_ID`,
/// `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`, a web identity, a container's role) or from the machine's role; for
/// HDFS from Kerberos, if `core-site.xml` below `HADOOP_CONF_DIR` asks for it.
///
/// # Errors
/// [`ErrorKind::Settings`] for anything else, [`ErrorKind::Storage`] if it cannot be used: not reachable, not found, not
/// writable, with the way out.
pub fn open_uri(uri: &str) -> Result<Arc<dyn CheckpointStorage>> {
    match parse(uri)? {
        Place::Memory => Ok(Arc::new(MemoryStorage::new())),
        Place::Local(path) => Ok(Arc::new(LocalStorage::open(local_dir(path)?, Arc::new(RealDisk))?)),
        Place::Hdfs(rest) => open_hdfs(uri, rest, Access::Write),
        Place::S3(rest) => open_s3(uri, rest, Access::Write),
    }
}

/// Opens the storage that `uri` stands for in order to read what is there. Unlike [`open_uri`] it creates nothing, and asks for no
/// right to write.
///
/// # Errors
/// [`ErrorKind::Settings`] if `uri` is not usable, is `memory:`, or there is no such folder.
pub fn open_existing(uri: &str) -> Result<Arc<dyn CheckpointStorage>> {
    match parse(uri)? {
        Place::Memory => {
            Err(Error::settings("what is in memory: is gone with its process: give a path or another URI"))
        }
        Place::Local(path) => {
            let dir = local_dir(path)?;
            if !dir.is_dir() {
                return Err(Error::settings(format!("{} is no folder", dir.display())));
            }
            Ok(Arc::new(LocalStorage::existing(dir, Arc::new(RealDisk))))
        }
        Place::Hdfs(rest) => open_hdfs(uri, rest, Access::Read),
        Place::S3(rest) => open_s3(uri, rest, Access::Read),
    }
}

fn local_dir(path: &str) -> Result<PathBuf> {
    absolute(Path::new(path)).map_err(|source| {
        Error::new(ErrorKind::Storage, format!("cannot make checkpoint directory {path:?} absolute"))
            .with_source(source)
    })
}

#[cfg(feature = "hdfs")]
fn open_hdfs(uri: &str, rest: &str, access: Access) -> Result<Arc<dyn CheckpointStorage>> {
    use crate::hdfs::HdfsStorage;
    let uri = crate::remote::RemoteUri::parse(uri, rest)?;
    Ok(Arc::new(match access {
        Access::Write => HdfsStorage::open(uri)?,
        Access::Read => HdfsStorage::existing(uri)?,
    }))
}

#[cfg(feature = "s3")]
fn open_s3(uri: &str, rest: &str, access: Access) -> Result<Arc<dyn CheckpointStorage>> {
    use crate::s3::S3Storage;
    let uri = crate::remote::RemoteUri::parse(uri, rest)?;
    Ok(Arc::new(match access {
        Access::Write => S3Storage::open(uri)?,
        Access::Read => S3Storage::existing(uri)?,
    }))
}

#[cfg(not(feature = "hdfs"))]
fn open_hdfs(uri: &str, _: &str, _: Access) -> Result<Arc<dyn CheckpointStorage>> {
    Err(unusable(uri, "this program was built without HDFS: build it with feature \"hdfs\" of highwater"))
}

#[cfg(not(feature = "s3"))]
fn open_s3(uri: &str, _: &str, _: Access) -> Result<Arc<dyn CheckpointStorage>> {
    Err(unusable(uri, "this program was built without S3: build it with feature \"s3\" of highwater"))
}

fn parse(uri: &str) -> Result<Place<'_>> {
    if uri == "memory:" {
        return Ok(Place::Memory);
    }
    match uri.split_once("://") {
        Some(("file", path)) if path.starts_with('/') => Ok(Place::Local(path)),
        Some(("file", _)) => Err(unusable(uri, &format!("a file URI has three slashes; {SUPPORTED}"))),
        Some(("hdfs", rest)) => Ok(Place::Hdfs(rest)),
        Some(("s3", rest)) => Ok(Place::S3(rest)),
        Some((scheme, _)) => Err(unusable(uri, &format!("scheme {scheme:?} is not supported; {SUPPORTED}"))),
        None if uri.is_empty() => Err(unusable(uri, &format!("it is empty; {SUPPORTED}"))),
        None => Ok(Place::Local(uri)),
    }
}

fn unusable(uri: &str, why: &str) -> Error {
    // Options may be secrets that somebody put there against all advice.
    let place = uri.split('?').next().unwrap_or_default();
    Error::settings(format!("checkpoint storage {place:?} is not usable: {why}"))
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
        assert_eq!(parse("hdfs://host:9000/c?user=me").unwrap(), Place::Hdfs("host:9000/c?user=me"));
        assert_eq!(parse("s3://bucket/c").unwrap(), Place::S3("bucket/c"));
    }

    #[test]
    fn what_is_opened_for_reading_is_not_touched() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        let error = open_existing(missing.to_str().unwrap()).unwrap_err();
        assert!(error.kind() == ErrorKind::Settings && error.to_string().ends_with("is no folder"), "{error}");
        assert!(!missing.exists());
        let storage = open_existing(dir.path().to_str().unwrap()).unwrap();
        assert_eq!(storage.list("").unwrap(), []);
        assert!(open_existing("memory:").is_err());
    }

    #[test]
    fn anything_else_is_refused_with_what_is_supported() {
        for uri in ["", "gs://bucket/c", "s3a://bucket/c", "file://host/c", "memory://"] {
            let error = parse(uri).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Settings);
            assert!(error.to_string().contains("s3://bucket/prefix, or memory:"), "{error}");
        }
        assert!(parse("gs://bucket/c").unwrap_err().to_string().contains("scheme \"gs\""));
    }
}
