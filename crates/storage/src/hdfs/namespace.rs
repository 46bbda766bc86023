//! The folder of a storage and how to reach it: paths, the client, and the operations that take one request each.

use std::future::Future;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use hdfs_native::client::FileStatus;
use hdfs_native::{Client, ClientBuilder, HdfsError, WriteOptions};
use highwater_core::{Error as CoreError, ErrorKind, Result as OpenResult};

use super::answer::failed;
use crate::checkpoint_storage::Entry;
use crate::disk::check_range;
use crate::error::{Error, Outcome, Result, What};
use crate::remote::{Attempt, Failed, Io, Limits, Operation, RemoteUri, pieces, token};

const DIR_PERMISSION: u32 = 0o755;

/// Where the storage lies, and the client.
#[derive(Debug)]
pub(super) struct Namespace {
    pub(super) io: Io,
    /// `hdfs://host:port`, or a name service.
    address: String,
    /// Absolute, without a slash at its end; empty for the root.
    root: String,
    /// The URI's options, as given.
    query: String,
    user: Option<String>,
    replication: Option<u32>,
    client: Mutex<Client>,
    /// Whether an attempt had no answer: the connection may be stuck, so the next attempt has another.
    suspect: Arc<AtomicBool>,
}

impl Namespace {
    /// Does not ask the NameNode anything yet.
    pub(super) fn new(mut uri: RemoteUri<'_>, options: &str) -> OpenResult<Self> {
        let user = uri.take("user");
        let replication = uri.take_count("replication")?;
        let limits = uri.take_limits()?;
        uri.nothing_left(options)?;
        let threads =
            |source| CoreError::new(ErrorKind::Storage, "cannot start the storage's threads").with_source(source);
        let io = Io::new(limits).map_err(threads)?;
        let address = format!("hdfs://{}", uri.authority);
        let client = make_client(&io, &address, user.as_deref()).map_err(|source| {
            uri.unusable("give hdfs://host:port/path, or a name service of hdfs-site.xml below HADOOP_CONF_DIR")
                .with_source(source.to_string())
        })?;
        let root = if uri.path.is_empty() { String::new() } else { format!("/{}", uri.path) };
        let (query, client) = (uri.query, Mutex::new(client));
        let suspect = Arc::default();
        Ok(Namespace { io, address, root, query, user, replication, client, suspect })
    }

    /// The same folder on a connection and with threads of its own, which nothing else holds up.
    pub(super) fn apart(&self, limits: Limits) -> OpenResult<Self> {
        let threads =
            |source| CoreError::new(ErrorKind::Storage, "cannot start the storage's threads").with_source(source);
        let io = Io::new(limits).map_err(threads)?;
        let client = make_client(&io, &self.address, self.user.as_deref())
            .map_err(|source| CoreError::new(ErrorKind::Storage, "cannot make an HDFS client").with_source(source))?;
        let (address, root) = (self.address.clone(), self.root.clone());
        let (query, user) = (self.query.clone(), self.user.clone());
        let (replication, client, suspect) = (self.replication, Mutex::new(client), Arc::default());
        Ok(Namespace { io, address, root, query, user, replication, client, suspect })
    }

    /// Creates the folder and shows that files can be made in it.
    pub(super) fn probe(&self) -> Result<()> {
        let place = self.uri();
        let folder = self.resolve("");
        let file = self.resolve(&format!(".probe-{}", token()));
        let options = self.write_options().overwrite(true);
        let operation = Operation::writes("use the checkpoint directory", &place).within(self.io.limits().open);
        self.run(operation, |client, _| {
            let (folder, file, options) = (folder.clone(), file.clone(), options.clone());
            async move {
                client.mkdirs(&folder, DIR_PERMISSION, true).await.map_err(failed)?;
                client.create(&file, options).await.map_err(failed)?.close().await.map_err(failed)?;
                client.delete(&file, false).await.map_err(failed)
            }
        })
        .map(drop)
        .map_err(|error| error.with_outcome(Outcome::DidNotHappen))
    }

    pub(super) fn uri(&self) -> String {
        format!("{}{}", self.address, self.root)
    }

    pub(super) fn reopen_uri(&self) -> String {
        format!("{}{}", self.uri(), self.query)
    }

    /// A path of the storage, for people.
    pub(super) fn place_of(&self, path: &str) -> String {
        format!("{}/{path}", self.uri())
    }

    /// A path of the storage as HDFS knows it.
    pub(super) fn resolve(&self, path: &str) -> String {
        match (self.root.as_str(), path) {
            ("", "") => "/".to_owned(),
            (root, "") => root.to_owned(),
            (root, path) => format!("{root}/{path}"),
        }
    }

    pub(super) fn write_options(&self) -> WriteOptions {
        let options = WriteOptions::default().create_parent(false);
        match self.replication {
            Some(replication) => options.replication(replication),
            None => options,
        }
    }

    /// Carries out `operation`.
    pub(super) fn run<T, F>(&self, operation: Operation<'_>, mut attempt: impl FnMut(Client, Attempt) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, Failed>> + Send + 'static,
    {
        self.io.run(operation, |at| {
            let mut client = self.client.lock().unwrap_or_else(PoisonError::into_inner);
            if self.suspect.swap(false, Ordering::Relaxed)
                && let Ok(fresh) = make_client(&self.io, &self.address, self.user.as_deref())
            {
                *client = fresh;
            }
            let suspicion = Suspicion { suspect: Some(Arc::clone(&self.suspect)) };
            let attempt = attempt(client.clone(), at);
            async move {
                let result = attempt.await;
                // A refusal is an answer too.
                if result.as_ref().err().is_none_or(|failed| !failed.is_to_be_tried_again()) {
                    suspicion.forget();
                }
                result
            }
        })
    }

    pub(super) fn create_dir(&self, dir: &str) -> Result<()> {
        let path = self.resolve(dir);
        self.run(Operation::writes("create the folder", &self.place_of(dir)), |client, _| {
            let path = path.clone();
            async move { client.mkdirs(&path, DIR_PERMISSION, true).await.map_err(failed) }
        })
    }

    /// What a path stands for, if anything.
    pub(super) fn status(&self, operation: &'static str, path: &str) -> Result<Option<FileStatus>> {
        let file = self.resolve(path);
        self.run(Operation::reads(operation, &self.place_of(path)), |client, _| {
            let file = file.clone();
            async move { status(&client, &file).await }
        })
    }

    /// The length of a file.
    pub(super) fn len(&self, operation: &'static str, path: &str) -> Result<u64> {
        let unusable = |what| Error::new(what, Outcome::DidNotHappen, operation, self.place_of(path));
        match self.status(operation, path)? {
            Some(found) if found.isdir => Err(unusable(What::Other).with_detail("it is a folder")),
            Some(found) => Ok(found.length as u64),
            None => Err(unusable(What::NotFound)),
        }
    }

    /// A whole file.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let len = self.len("read", path)?;
        self.read_range(path, 0, len)
    }

    /// Exactly `len` bytes from `offset`.
    pub(super) fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        let (place, file) = (self.place_of(path), self.resolve(path));
        check_range(Path::new(&place), offset, len, self.len("read", path)?)?;
        let mut bytes = Vec::new();
        for (at, len) in pieces(offset, len) {
            let piece = self.run(Operation::reads("read", &place), |client, _| {
                let file = file.clone();
                async move { read_piece(&client, &file, at, len).await }
            });
            bytes.extend_from_slice(&piece?);
        }
        Ok(bytes)
    }

    pub(super) fn check_free(&self, operation: &'static str, path: &str) -> Result<()> {
        match self.status(operation, path)? {
            None => Ok(()),
            Some(_) => Err(Error::new(What::AlreadyExists, Outcome::DidNotHappen, operation, self.place_of(path))),
        }
    }

    /// What a folder holds, in no particular order, names with a leading dot included.
    pub(super) fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        let path = self.resolve(dir);
        let place = if dir.is_empty() { self.uri() } else { self.place_of(dir) };
        self.run(Operation::reads("list", &place), |client, _| {
            let path = path.clone();
            async move {
                let found = client.list_status(&path, false).await.map_err(failed)?;
                // Listing a file gives the file.
                if found.iter().any(|found| !found.isdir && found.path.trim_end_matches('/') == path) {
                    return Err(Failed::plain(What::Other).with_detail("it is a file"));
                }
                Ok(found.into_iter().map(entry).collect())
            }
        })
    }

    /// Removes a file, or a folder and all it holds. Not there is Ok.
    pub(super) fn remove(&self, operation: &'static str, path: &str, is_dir: bool) -> Result<()> {
        let target = self.resolve(path);
        self.run(Operation::writes(operation, &self.place_of(path)), |client, _| {
            let target = target.clone();
            async move {
                match status(&client, &target).await? {
                    None => Ok(()),
                    Some(found) if found.isdir == is_dir => {
                        client.delete(&target, is_dir).await.map(drop).map_err(failed)
                    }
                    Some(_) if is_dir => Err(Failed::plain(What::Other).with_detail("it is a file")),
                    Some(_) => Err(Failed::plain(What::Other).with_detail("it is a folder")),
                }
            }
        })
    }

    /// Removes a file that only we know, by its absolute path.
    pub(super) fn remove_temp(&self, temp: &str) -> Result<()> {
        let file = temp.to_owned();
        self.run(Operation::writes("remove", temp), |client, _| {
            let file = file.clone();
            async move { client.delete(&file, false).await.map(drop).map_err(failed) }
        })
    }
}

/// An attempt under way. One that is given up is dropped, and leaves its connection suspect.
struct Suspicion {
    suspect: Option<Arc<AtomicBool>>,
}

impl Suspicion {
    fn forget(mut self) {
        self.suspect = None;
    }
}

impl Drop for Suspicion {
    fn drop(&mut self) {
        if let Some(suspect) = &self.suspect {
            suspect.store(true, Ordering::Relaxed);
        }
    }
}

/// What an absolute path stands for, if anything.
pub(super) async fn status(client: &Client, path: &str) -> Result<Option<FileStatus>, Failed> {
    match client.get_file_info(path).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let failed = failed(error);
            if failed.what() == What::NotFound { Ok(None) } else { Err(failed) }
        }
    }
}

async fn read_piece(client: &Client, file: &str, offset: u64, len: u64) -> Result<Bytes, Failed> {
    let reader = client.read(file).await.map_err(failed)?;
    if (reader.file_length() as u64) < offset + len {
        return Err(Failed::plain(What::CutOff));
    }
    let read = reader.read_range(offset as usize, len as usize).await.map_err(failed)?;
    if read.len() as u64 == len { Ok(read) } else { Err(Failed::plain(What::CutOff)) }
}

fn entry(found: FileStatus) -> Entry {
    let name = found.path.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned();
    Entry { name, is_dir: found.isdir, len: if found.isdir { 0 } else { found.length as u64 } }
}

/// A client whose own patience is shorter than ours, so that it is our errors that people see.
fn make_client(io: &Io, address: &str, user: Option<&str>) -> Result<Client, HdfsError> {
    let socket_timeout = io.limits().attempt.as_millis().to_string();
    let builder = ClientBuilder::new().with_url(address).with_io_runtime(io.handle().clone()).with_config([
        ("dfs.client.socket-timeout", socket_timeout.as_str()),
        // Enough to reach each of the NameNodes of a name service; when to come back is decided here.
        ("dfs.client.failover.max.attempts", "3"),
        ("dfs.client.failover.sleep.base.millis", "50"),
    ]);
    match user {
        Some(user) => builder.with_user(user).build(),
        None => builder.build(),
    }
}
