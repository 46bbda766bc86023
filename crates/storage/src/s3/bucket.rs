//! The prefix of a storage and how to reach it: keys, the client, and the operations that take few requests.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt, TryStreamExt};
use highwater_core::{Error as CoreError, ErrorKind, Result as OpenResult};
use object_store::aws::{AmazonS3, AmazonS3Builder, AmazonS3ConfigKey};
use object_store::path::Path as Key;
use object_store::{
    Attribute, Attributes, BackoffConfig, ClientOptions, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt,
    PutMode, PutOptions, PutPayload, RetryConfig,
};
use rustls::crypto::{CryptoProvider, ring};

use super::answer::{Connector, failed};
use crate::checkpoint_storage::Entry;
use crate::disk::check_range;
use crate::error::{Error, Outcome, Result, What};
use crate::remote::{Attempt, Failed, Io, Limits, Operation, RemoteUri, pieces, token};

/// What makes a folder exist. Below it, so that listing the folder finds it.
const MARKER: &str = ".dir";
/// Name of the metadata that tells our object from another's of the same content.
const WRITER: &str = "highwater-writer";

/// Where the storage lies, and the client.
#[derive(Debug)]
pub(super) struct Bucket {
    pub(super) io: Io,
    pub(super) client: Arc<AmazonS3>,
    bucket: String,
    /// Without slashes at its ends; empty for the whole bucket.
    prefix: String,
    /// The URI's options, as given.
    query: String,
}

impl Bucket {
    /// Does not ask the server anything yet.
    pub(super) fn new(uri: &mut RemoteUri<'_>) -> OpenResult<Self> {
        if uri.authority.is_empty() {
            return Err(uri.unusable("give s3://bucket/prefix"));
        }
        let (endpoint, region) = (uri.take("endpoint"), uri.take("region"));
        let (path_style, allow_http) = (uri.take_flag("path_style")?, uri.take_flag("allow_http")?);
        let limits = uri.take_limits()?;
        let mut builder = AmazonS3Builder::from_env()
            .with_bucket_name(uri.authority)
            .with_http_connector(Connector::default())
            .with_client_options(client_options(&limits))
            .with_retry(no_retries());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        if let Some(region) = region {
            builder = builder.with_region(region);
        }
        if let Some(path_style) = path_style {
            builder = builder.with_virtual_hosted_style_request(!path_style);
        }
        let allowed = allow_http.unwrap_or(std::env::var("AWS_ALLOW_HTTP").is_ok_and(|value| value == "true"));
        builder = builder.with_allow_http(allowed);
        let plain = builder.get_config_value(&AmazonS3ConfigKey::Endpoint).is_some_and(|at| at.starts_with("http://"));
        if plain && !allowed {
            return Err(uri.unusable("the endpoint is without encryption: add allow_http=true to use it all the same"));
        }
        install_crypto();
        let client = builder.build().map_err(|source| uri.unusable(&source.to_string()))?;
        let (bucket, prefix) = (uri.authority.to_owned(), uri.path.to_owned());
        Ok(Bucket { io: start(limits)?, client: Arc::new(client), bucket, prefix, query: uri.query.clone() })
    }

    /// The same prefix with threads of its own, which nothing else holds up.
    pub(super) fn apart(&self, limits: Limits) -> OpenResult<Self> {
        let (bucket, prefix, query) = (self.bucket.clone(), self.prefix.clone(), self.query.clone());
        Ok(Bucket { io: start(limits)?, client: Arc::clone(&self.client), bucket, prefix, query })
    }

    /// Shows that objects can be made here, and that the server keeps the promise publishing rests on.
    pub(super) fn probe(&self) -> Result<()> {
        let (client, key) = (Arc::clone(&self.client), self.key(&format!(".probe-{}", token())));
        let place = self.uri();
        let operation = Operation::writes("use the checkpoint directory", &place).within(self.io.limits().open);
        let probed = self.io.run(operation, |attempt| {
            let (client, key) = (Arc::clone(&client), key.clone());
            async move {
                let create = async || client.put_opts(&key, PutPayload::new(), PutMode::Create.into()).await;
                let first = create().await.map_err(failed);
                match first {
                    Err(error) if error.what() == What::AlreadyExists && attempt.index > 0 => {}
                    result => result.map(drop)?,
                }
                let second = create().await.map_err(failed);
                client.delete(&key).await.map_err(failed)?;
                match second {
                    Err(error) if error.what() == What::AlreadyExists => Ok(()),
                    Err(error) => Err(error),
                    Ok(_) => Err(Failed::plain(What::Other).with_detail(
                        "this server overwrites an object although `If-None-Match: *` forbids it: use one that keeps \
                         conditional writes, as S3 does",
                    )),
                }
            }
        });
        probed.map_err(|error| error.with_outcome(Outcome::DidNotHappen))
    }

    pub(super) fn uri(&self) -> String {
        if self.prefix.is_empty() {
            format!("s3://{}", self.bucket)
        } else {
            format!("s3://{}/{}", self.bucket, self.prefix)
        }
    }

    pub(super) fn reopen_uri(&self) -> String {
        format!("{}{}", self.uri(), self.query)
    }

    /// A path of the storage, for people.
    pub(super) fn place_of(&self, path: &str) -> String {
        format!("{}/{path}", self.uri())
    }

    pub(super) fn key(&self, path: &str) -> Key {
        let parts = self.prefix.split('/').chain(path.split('/')).filter(|part| !part.is_empty());
        Key::from_iter(parts)
    }

    fn marker(&self, dir: &str) -> Key {
        self.key(&format!("{dir}/{MARKER}"))
    }

    /// Whether a folder or a file has this path.
    fn exists(&self, operation: &'static str, path: &str) -> Result<bool> {
        let (file, marker) = (self.key(path), self.marker(path));
        self.io.run(Operation::reads(operation, &self.place_of(path)), |_| {
            let (client, file, marker) = (Arc::clone(&self.client), file.clone(), marker.clone());
            async move { Ok(head(&client, &file).await?.is_some() || head(&client, &marker).await?.is_some()) }
        })
    }

    pub(super) fn check_free(&self, operation: &'static str, path: &str) -> Result<()> {
        if self.exists(operation, path)? {
            return Err(Error::new(What::AlreadyExists, Outcome::DidNotHappen, operation, self.place_of(path)));
        }
        Ok(())
    }

    /// Marks a folder and those above it, none of which may be a file.
    pub(super) fn create_dir(&self, dir: &str) -> Result<()> {
        let prefixes = dir.match_indices('/').map(|(end, _)| &dir[..end]).chain([dir]);
        let keys: Vec<(Key, Key)> = prefixes.map(|prefix| (self.key(prefix), self.marker(prefix))).collect();
        self.io.run(Operation::writes("create the folder", &self.place_of(dir)), |_| {
            let (client, keys) = (Arc::clone(&self.client), keys.clone());
            async move {
                // The marker of a folder is made after those of the folders above it.
                if let Some((_, marker)) = keys.last()
                    && head(&client, marker).await?.is_some()
                {
                    return Ok(());
                }
                for (file, marker) in keys {
                    if head(&client, &file).await?.is_some() {
                        return Err(
                            Failed::plain(What::Other).with_detail(format!("s3 key {file} is a file, in the way"))
                        );
                    }
                    client.put(&marker, PutPayload::new()).await.map_err(failed)?;
                }
                Ok(())
            }
        })
    }

    /// Creates an object that was not there, whole or not at all. Of several who try, one succeeds.
    pub(super) fn put_new(&self, operation: Operation<'_>, path: &str, content: PutPayload) -> Result<()> {
        let (key, writer) = (self.key(path), token());
        self.io.run(operation, |attempt| {
            let (client, key, writer, content) =
                (Arc::clone(&self.client), key.clone(), writer.clone(), content.clone());
            async move {
                let attributes = Attributes::from_iter([(Attribute::Metadata(WRITER.into()), writer.clone())]);
                let options = PutOptions { mode: PutMode::Create, attributes, ..PutOptions::default() };
                match client.put_opts(&key, content, options).await.map_err(failed) {
                    Ok(_) => Ok(()),
                    Err(exists) if exists.what() == What::AlreadyExists => {
                        settle(&client, &key, &writer, attempt, exists).await
                    }
                    Err(failed) => Err(failed),
                }
            }
        })
    }

    /// A whole object.
    pub(super) fn read(&self, path: &str) -> Result<Vec<u8>> {
        let len = self.len("read", path)?;
        self.read_range(path, 0, len)
    }

    /// Exactly `len` bytes from `offset`.
    pub(super) fn read_range(&self, path: &str, offset: u64, len: u64) -> Result<Vec<u8>> {
        let (place, key) = (self.place_of(path), self.key(path));
        let check = || check_range(Path::new(&place), offset, len, self.len("read", path)?);
        if len == 0 {
            check()?;
        }
        let mut bytes = Vec::new();
        for (at, len) in pieces(offset, len) {
            let piece: Result<_> = self.io.run(Operation::reads("read", &place), |_| {
                let (client, key) = (Arc::clone(&self.client), key.clone());
                async move {
                    let range = Some(GetRange::Bounded(at..at + len));
                    let answer =
                        client.get_opts(&key, GetOptions { range, ..GetOptions::default() }).await.map_err(failed)?;
                    let piece = answer.bytes().await.map_err(failed)?;
                    if piece.len() as u64 == len { Ok(piece) } else { Err(Failed::plain(What::CutOff)) }
                }
            });
            match piece {
                Ok(piece) => bytes.extend_from_slice(&piece),
                // Servers answer in different ways where an object ends before the range does.
                Err(error) => return check().and(Err(error)),
            }
        }
        Ok(bytes)
    }

    fn len(&self, operation: &'static str, path: &str) -> Result<u64> {
        match self.head(operation, path)? {
            Some(found) => Ok(found.size),
            None => Err(Error::new(What::NotFound, Outcome::DidNotHappen, operation, self.place_of(path))),
        }
    }

    /// What is known of an object, if there is one.
    pub(super) fn head(&self, operation: &'static str, path: &str) -> Result<Option<ObjectMeta>> {
        let key = self.key(path);
        self.io.run(Operation::reads(operation, &self.place_of(path)), |_| {
            let (client, key) = (Arc::clone(&self.client), key.clone());
            async move { head(&client, &key).await }
        })
    }

    /// What a folder holds, in no particular order, names with a leading dot included. A folder without anything, its
    /// marker included, is none.
    pub(super) fn list(&self, dir: &str) -> Result<Vec<Entry>> {
        let key = self.key(dir);
        let place = if dir.is_empty() { self.uri() } else { self.place_of(dir) };
        let found = self.io.run(Operation::reads("list", &place), |_| {
            let (client, key) = (Arc::clone(&self.client), key.clone());
            async move { client.list_with_delimiter(Some(&key)).await.map_err(failed) }
        })?;
        let name = |key: &Key| key.filename().unwrap_or_default().to_owned();
        let dirs = found.common_prefixes.iter().map(|key| Entry { name: name(key), is_dir: true, len: 0 });
        let files =
            found.objects.iter().map(|object| Entry { name: name(&object.location), is_dir: false, len: object.size });
        let entries: Vec<Entry> = dirs.chain(files).collect();
        if entries.is_empty() && !dir.is_empty() {
            return Err(Error::new(What::NotFound, Outcome::DidNotHappen, "list", place));
        }
        Ok(entries)
    }

    /// Removes a file. Not there is Ok.
    pub(super) fn remove_file(&self, path: &str) -> Result<()> {
        let (key, marker) = (self.key(path), self.marker(path));
        self.io.run(Operation::writes("remove", &self.place_of(path)), |_| {
            let (client, key, marker) = (Arc::clone(&self.client), key.clone(), marker.clone());
            async move {
                if head(&client, &marker).await?.is_some() {
                    return Err(Failed::plain(What::Other).with_detail("it is a folder"));
                }
                delete(&client, &key).await
            }
        })
    }

    /// Removes a folder and all it holds. Not there is Ok.
    pub(super) fn remove_dir_all(&self, dir: &str) -> Result<()> {
        let key = self.key(dir);
        self.io.run(Operation::writes("remove the folder", &self.place_of(dir)), |_| {
            let (client, key) = (Arc::clone(&self.client), key.clone());
            async move {
                let below = client.list(Some(&key)).map_ok(|object| object.location).boxed();
                let mut removed = client.delete_stream(below);
                while let Some(result) = removed.next().await {
                    match result.map_err(failed) {
                        Err(error) if error.what() != What::NotFound => return Err(error),
                        Ok(_) | Err(_) => {}
                    }
                }
                Ok(())
            }
        })
    }
}

fn start(limits: Limits) -> OpenResult<Io> {
    Io::new(limits)
        .map_err(|source| CoreError::new(ErrorKind::Storage, "cannot start the storage's threads").with_source(source))
}

/// An object is in the way: another's, or our own of which the answer was lost.
async fn settle(client: &AmazonS3, key: &Key, writer: &str, attempt: Attempt, exists: Failed) -> Result<(), Failed> {
    if !attempt.in_doubt {
        return Err(exists);
    }
    let options = GetOptions { head: true, ..GetOptions::default() };
    let found = client.get_opts(key, options).await.map_err(failed).map_err(Failed::in_doubt)?;
    match found.attributes.get(&Attribute::Metadata(WRITER.into())) {
        Some(by) if by.as_ref() == writer => Ok(()),
        Some(_) => Err(exists.settled()),
        // A server that drops metadata: whose it is cannot be told.
        None => Err(exists.in_doubt()),
    }
}

/// What is known of an object, if there is one.
pub(super) async fn head(client: &AmazonS3, key: &Key) -> Result<Option<ObjectMeta>, Failed> {
    match client.head(key).await {
        Ok(found) => Ok(Some(found)),
        Err(error) => {
            let failed = failed(error);
            if failed.what() == What::NotFound { Ok(None) } else { Err(failed) }
        }
    }
}

async fn delete(client: &AmazonS3, key: &Key) -> Result<(), Failed> {
    match client.delete(key).await.map_err(failed) {
        Err(error) if error.what() == What::NotFound => Ok(()),
        result => result,
    }
}

fn client_options(limits: &Limits) -> ClientOptions {
    // An attempt is limited as a whole; this is for connections nobody answers.
    ClientOptions::new().with_timeout(limits.attempt).with_connect_timeout(limits.attempt.min(Duration::from_secs(5)))
}

/// What is tried again, and when, is decided in one place, which knows what it may do to an operation.
fn no_retries() -> RetryConfig {
    RetryConfig { max_retries: 0, retry_timeout: Duration::ZERO, backoff: BackoffConfig::default() }
}

/// The program may have chosen one; else it is the one that needs no CMake to build.
fn install_crypto() {
    if CryptoProvider::get_default().is_none() {
        // Fails only if another thread was faster.
        let _ = ring::default_provider().install_default();
    }
}
