//! Where the servers are, and places of one's own on them.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use highwater_storage::{CheckpointStorage, Error, Outcome, Result, What, open_uri};

/// For what must fail by its limit.
pub const SHORT: &str = "timeout=4s";
/// For what must succeed in spite of a fault, also on a machine that is busy.
pub const USUAL: &str = "timeout=40s&lease=6s";
/// No operation may take longer than its limit and a little: an attempt under way is waited for.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub fn variable(name: &str) -> String {
    env::var(name).unwrap_or_else(|_| {
        panic!("{name} is not set: run `cargo xtask services up` and export what it prints, or `cargo xtask test --only services`")
    })
}

/// Address of the NameNode.
pub fn hdfs() -> SocketAddr {
    address(&variable("HIGHWATER_TEST_HDFS"), "hdfs://")
}

/// Address of the S3 server.
pub fn s3() -> SocketAddr {
    address(&variable("HIGHWATER_TEST_S3"), "http://")
}

fn address(uri: &str, scheme: &str) -> SocketAddr {
    let address = uri.strip_prefix(scheme).and_then(|address| address.parse().ok());
    address.unwrap_or_else(|| panic!("{uri:?} is not {scheme} and an address"))
}

/// A folder that no other test uses, in the HDFS whose NameNode is at `address`.
pub fn hdfs_at(address: SocketAddr, folder: &str, options: &str) -> String {
    format!("hdfs://{address}/{folder}?user=highwater&{options}")
}

/// A prefix in the bucket for tests, of the server at `address`.
pub fn s3_at(address: SocketAddr, prefix: &str, options: &str) -> String {
    format!("s3://highwater/{prefix}?endpoint=http://{address}&allow_http=true&{options}")
}

/// A name that comes once.
pub fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("test-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

pub fn open(uri: &str) -> Arc<dyn CheckpointStorage> {
    open_uri(uri).unwrap_or_else(|error| panic!("{uri}: {error:?}"))
}

/// What opening says that must not work, within [`PATIENCE`].
pub fn refused(uri: &str) -> String {
    let error = in_time(|| open_uri(uri)).expect_err("it opened");
    format!("{error:?}")
}

/// The error of a call that must fail, with the outcome it must have, within [`PATIENCE`].
pub fn fails<T: std::fmt::Debug>(call: impl FnOnce() -> Result<T>, what: What, outcome: Outcome) -> Error {
    let error = in_time(call).expect_err("it succeeded");
    assert_eq!((error.what(), error.outcome()), (what, outcome), "{error:?}");
    error
}

pub fn in_time<T>(call: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let result = call();
    assert!(began.elapsed() < PATIENCE, "it took {:?}", began.elapsed());
    result
}

/// Writes a file in one piece.
pub fn write(storage: &dyn CheckpointStorage, path: &str, bytes: &[u8]) -> Result<()> {
    let mut writer = storage.create(path)?;
    writer.append(bytes)?;
    writer.finish()
}
