//! Where the servers are, and places of one's own on them.

use std::env;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use highwater_storage::{CheckpointStorage, Error, Outcome, Result, What, open_uri};
use highwater_testing::Proxy;

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

/// One of the servers, for tests that are the same for both.
pub struct Server {
    pub address: SocketAddr,
    /// A URI below a server at this address, with a folder and options.
    pub uri: fn(SocketAddr, &str, &str) -> String,
    /// What is in the request with which a file that is published comes to be there.
    pub publishes: &'static [&'static str],
    /// What is in the request with which reading begins.
    pub reads: &'static [&'static str],
}

/// The call that gives a file its name.
pub const RENAME: &[&str] = &["rename2"];
/// What a put has in it that may create and not overwrite.
pub const CREATE: &[&str] = &["PUT /", "if-none-match", "_metadata"];

pub fn hdfs_server() -> Server {
    Server { address: hdfs(), uri: hdfs_at, publishes: RENAME, reads: &["getBlockLocations"] }
}

pub fn s3_server() -> Server {
    Server { address: s3(), uri: s3_at, publishes: CREATE, reads: &["GET /"] }
}

/// A storage behind a proxy, and the same without.
pub fn behind_a_proxy(
    server: &Server,
    limits: &str,
) -> (Proxy, Arc<dyn CheckpointStorage>, Arc<dyn CheckpointStorage>) {
    let (proxy, folder) = (Proxy::new(server.address), fresh());
    let storage = open(&(server.uri)(proxy.address(), &folder, limits));
    storage.create_dir("job").unwrap();
    (proxy, storage, open(&(server.uri)(server.address, &folder, USUAL)))
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
