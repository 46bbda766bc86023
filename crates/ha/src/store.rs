//! What a log needs of a store: that of several who create the same name, one succeeds.
//!
//! Nothing is ever overwritten. Names are `<folder>/<name>`, both without slashes and not starting with a dot.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_core::{Error, Result as OpenResult};
use highwater_storage::{Result, open_uri};

use crate::over_storage::StorageStore;

/// A store of small files that each can be created once.
///
/// Every implementation runs [`conformance::ha_store`](crate::conformance::ha_store).
pub trait HaStore: Send + Sync + fmt::Debug + 'static {
    /// Where this is, for people, without a slash at the end.
    fn uri(&self) -> String;

    /// Creates `name`, whole or not at all, and durable. Of several processes that try, one is told [`Put::Created`].
    ///
    /// After [`Outcome::MayHaveHappened`](highwater_storage::Outcome::MayHaveHappened) it may exist, or come to exist at
    /// any later time.
    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put>;

    /// What `name` holds; `None` if there is none.
    fn get(&self, name: &str) -> Result<Option<Vec<u8>>>;

    /// The names in `folder`, without it, in any order; none if there is no such folder. Whatever was created or removed
    /// before the call shows, whoever did it.
    fn list(&self, folder: &str) -> Result<Vec<String>>;

    /// Removes `name`. Not there is Ok.
    fn remove(&self, name: &str) -> Result<()>;
}

/// What became of a [`put_if_absent`](HaStore::put_if_absent).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Put {
    /// The name is there now, with these bytes, and was not before.
    Created,
    /// The name was there: another's, or one of this caller's whose outcome was in doubt.
    Exists,
}

/// Opens the store that `uri` stands for:
///
/// | `uri` | store |
/// |---|---|
/// | a path, `file:///path`, `hdfs://..`, `s3://..` | a folder that JobManagers share, as [`open_uri`] knows them |
/// | `etcd://host:port[,host:port..]/prefix` | keys below a prefix in etcd 3.4 or newer (feature `etcd`) |
///
/// A request to a store behind a network ends after `patience`, unless the URI says otherwise (`timeout`): what leads has to
/// know soon whether it still does. An etcd keeps what was removed until it is compacted: let it do so by itself
/// (`--auto-compaction-retention=1h`).
///
/// # Errors
/// [`Settings`](highwater_core::ErrorKind::Settings) for a URI that is not understood, or that other processes cannot see;
/// [`Storage`](highwater_core::ErrorKind::Storage) if the store cannot be used.
pub fn open_store(uri: &str, patience: Duration) -> OpenResult<Arc<dyn HaStore>> {
    if uri == "memory:" {
        return Err(Error::settings(
            "the HA directory cannot be memory:, since no other process sees it: give a folder that all JobManagers share",
        ));
    }
    let opened = match uri.strip_prefix("etcd://") {
        Some(rest) => open_etcd(rest, patience),
        None => open_uri(&with_timeout(uri, patience)).map(|storage| Arc::new(StorageStore::new(storage)) as _),
    };
    opened.map_err(|error| error.context("cannot use the HA directory"))
}

#[cfg(feature = "etcd")]
fn open_etcd(rest: &str, patience: Duration) -> OpenResult<Arc<dyn HaStore>> {
    Ok(Arc::new(crate::etcd::EtcdStore::open(rest, patience)?))
}

#[cfg(not(feature = "etcd"))]
fn open_etcd(_: &str, _: Duration) -> OpenResult<Arc<dyn HaStore>> {
    Err(Error::settings("this program was built without etcd: build it with feature \"etcd\" of highwater-ha"))
}

/// `uri` with a limit for each operation, if it is of a store behind a network and has none.
fn with_timeout(uri: &str, patience: Duration) -> String {
    let remote = ["hdfs://", "s3://"].iter().any(|scheme| uri.starts_with(scheme));
    let options = uri.split_once('?').map(|(_, options)| options);
    let has_one = options.is_some_and(|options| options.split('&').any(|option| option.starts_with("timeout=")));
    if !remote || has_one {
        return uri.to_owned();
    }
    let separator = if options.is_some() { '&' } else { '?' };
    format!("{uri}{separator}timeout={}ms", patience.as_millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_store_behind_a_network_gets_a_limit_and_only_if_it_has_none() {
        let limited = |uri: &str| with_timeout(uri, Duration::from_secs(2));
        assert_eq!(limited("/ha"), "/ha");
        assert_eq!(limited("hdfs://host:9000/ha"), "hdfs://host:9000/ha?timeout=2000ms");
        assert_eq!(limited("s3://bucket/ha?region=eu"), "s3://bucket/ha?region=eu&timeout=2000ms");
        assert_eq!(limited("s3://bucket/ha?timeout=9s"), "s3://bucket/ha?timeout=9s");
    }

    #[test]
    fn memory_is_refused_because_nobody_else_sees_it() {
        let error = open_store("memory:", Duration::from_secs(1)).unwrap_err();
        assert!(error.to_string().contains("give a folder that all JobManagers share"), "{error}");
    }
}
