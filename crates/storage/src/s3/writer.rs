//! The writer of a data file: one object if it is small, else a multipart upload.
//!
//! One part is in memory at a time. What is uploaded is no object until the upload is completed, so a file that is not
//! finished leaves nothing that anybody sees. The parts of a process that was killed stay, unseen and paid for, until
//! the bucket's lifecycle rule for incomplete multipart uploads removes them.
//!
//! Completing an upload overwrites, other than the put of a small file. It does not come to that: a data file's name is
//! free when it is begun, and only the run that holds the job's lease begins one.

use std::fmt;
use std::sync::Arc;

use object_store::PutPayload;
use object_store::multipart::{MultipartStore, PartId};
use object_store::path::Path as Key;

use super::answer::failed;
use super::bucket::{Bucket, head};
use crate::checkpoint_storage::SnapshotWriter;
use crate::disk::given_up;
use crate::error::{Error, Outcome, Result, What};
use crate::remote::Operation;

/// S3 takes up to 10,000 parts of 5 MiB to 5 GiB, and some servers want all but the last to be alike.
const PART_BYTES: usize = 16 * 1024 * 1024;
const MOST_PARTS: usize = 10_000;

/// A file under way.
pub(super) struct S3Writer {
    bucket: Arc<Bucket>,
    path: String,
    buffer: Vec<u8>,
    upload: Option<Upload>,
    failed: bool,
}

impl S3Writer {
    pub(super) fn new(bucket: Arc<Bucket>, path: &str) -> Self {
        S3Writer { bucket, path: path.to_owned(), buffer: Vec::new(), upload: None, failed: false }
    }

    fn refuse_after_failure(&self, operation: &'static str) -> Result<()> {
        if self.failed { Err(given_up(operation, self.bucket.place_of(&self.path).as_ref())) } else { Ok(()) }
    }

    /// Uploads what is gathered as the next part.
    fn flush(&mut self) -> Result<()> {
        let upload = match self.upload.take() {
            Some(upload) => self.upload.insert(upload),
            None => self.upload.insert(Upload::begin(&self.bucket, &self.path)?),
        };
        upload.add(std::mem::take(&mut self.buffer).into())
    }
}

impl SnapshotWriter for S3Writer {
    fn append(&mut self, mut bytes: &[u8]) -> Result<()> {
        self.refuse_after_failure("append to")?;
        while self.buffer.len() + bytes.len() >= PART_BYTES {
            let (now, later) = bytes.split_at(PART_BYTES - self.buffer.len());
            self.buffer.extend_from_slice(now);
            bytes = later;
            self.flush().inspect_err(|_| self.failed = true)?;
        }
        self.buffer.extend_from_slice(bytes);
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.refuse_after_failure("finish")?;
        if self.upload.is_none() {
            let place = self.bucket.place_of(&self.path);
            let content = std::mem::take(&mut self.buffer).into();
            return self.bucket.put_new(Operation::writes("finish", &place), &self.path, content);
        }
        if !self.buffer.is_empty() {
            self.flush()?;
        }
        self.upload.as_mut().map_or(Ok(()), Upload::complete)
    }
}

impl fmt::Debug for S3Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Writer").field("path", &self.path).finish_non_exhaustive()
    }
}

/// A multipart upload; given up when dropped before it is completed.
struct Upload {
    bucket: Arc<Bucket>,
    place: String,
    path: String,
    key: Key,
    id: String,
    parts: Vec<PartId>,
    bytes: u64,
    completed: bool,
}

impl Upload {
    fn begin(bucket: &Arc<Bucket>, path: &str) -> Result<Self> {
        let (place, key) = (bucket.place_of(path), bucket.key(path));
        // One that is begun twice is no object either.
        let id = bucket.io.run(Operation::writes("begin the upload of", &place), |_| {
            let (client, key) = (Arc::clone(&bucket.client), key.clone());
            async move { client.create_multipart(&key).await.map_err(failed) }
        });
        let id = id.map_err(|error| error.with_outcome(Outcome::DidNotHappen))?;
        let (bucket, path) = (Arc::clone(bucket), path.to_owned());
        Ok(Upload { bucket, place, path, key, id, parts: Vec::new(), bytes: 0, completed: false })
    }

    fn add(&mut self, part: PutPayload) -> Result<()> {
        let index = self.parts.len();
        if index == MOST_PARTS {
            return Err(Error::new(What::TooLarge, Outcome::DidNotHappen, "append to", &self.place)
                .with_detail(format!("a file may have {MOST_PARTS} parts of {PART_BYTES} bytes: use more workers")));
        }
        self.bytes += part.content_length() as u64;
        let uploaded = self.bucket.io.run(Operation::writes("append to", &self.place), |_| {
            let (client, key, id, part) =
                (Arc::clone(&self.bucket.client), self.key.clone(), self.id.clone(), part.clone());
            async move { client.put_part(&key, &id, index, part).await.map_err(failed) }
        });
        self.parts.push(uploaded?);
        Ok(())
    }

    fn complete(&mut self) -> Result<()> {
        let (bytes, parts) = (self.bytes, std::mem::take(&mut self.parts));
        let result = self.bucket.io.run(Operation::writes("finish", &self.place), |attempt| {
            let (client, key, id, parts) =
                (Arc::clone(&self.bucket.client), self.key.clone(), self.id.clone(), parts.clone());
            async move {
                let completed = client.complete_multipart(&key, &id, parts).await.map_err(failed);
                match completed {
                    // An upload that is not known any more may have been completed by an attempt whose answer was lost.
                    Err(error) if attempt.in_doubt => match head(&client, &key).await? {
                        Some(found) if found.size == bytes => Ok(()),
                        _ => Err(error),
                    },
                    result => result.map(drop),
                }
            }
        });
        self.completed = result.is_ok();
        result
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if self.completed {
            return;
        }
        let (client, key, id) = (Arc::clone(&self.bucket.client), self.key.clone(), std::mem::take(&mut self.id));
        tracing::debug!(path = %self.path, "an upload is given up");
        // Nobody waits for it. What it cannot remove, the bucket's lifecycle rule does.
        self.bucket.io.handle().spawn(async move {
            let _ = client.abort_multipart(&key, &id).await;
        });
    }
}
