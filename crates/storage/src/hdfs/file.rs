//! A new file: written under a temporary name, which is renamed once all is durable.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use hdfs_native::HdfsError;
use hdfs_native::file::FileWriter;
use tokio::sync::Mutex;

use super::answer::failed;
use super::namespace::{Namespace, status};
use crate::checkpoint_storage::SnapshotWriter;
use crate::disk::given_up;
use crate::error::{Error, Outcome, Result, What};
use crate::remote::{Failed, Operation, token};

/// Appends are gathered up to this many bytes before they go to the DataNodes.
const WRITE_BUFFER: usize = 1024 * 1024;

/// Writes a file that is not there before and whole afterwards. `still_allowed` is asked right before the commit.
pub(super) fn publish(
    namespace: &Arc<Namespace>,
    path: &str,
    bytes: &[u8],
    still_allowed: impl FnOnce() -> Result<()>,
) -> Result<()> {
    let not_yet = |error: Error| error.with_outcome(Outcome::DidNotHappen);
    let content = Bytes::copy_from_slice(bytes);
    let options = namespace.write_options();
    let temp = namespace.run(Operation::writes("publish", &namespace.place_of(path)), |client, _| {
        // Another name at each attempt: a request of an earlier one may still be under way.
        let temp = namespace.resolve(&temp_of(path));
        let (content, options) = (content.clone(), options.clone());
        async move {
            let mut writer = client.create(&temp, options).await.map_err(failed)?;
            let written = async {
                writer.write_bytes(content).await?;
                close(&mut writer).await
            };
            match written.await {
                Ok(()) => Ok(temp),
                Err(error) => {
                    // Garbage, to which nothing refers; it goes with its folder if not now.
                    let _ = client.delete(&temp, false).await;
                    Err(failed(error))
                }
            }
        }
    });
    let temp = temp.map_err(not_yet)?;
    still_allowed().map_err(not_yet)?;
    commit(namespace, "publish", &temp, path)
}

/// A file under way to `path`.
pub(super) struct NewFile {
    namespace: Arc<Namespace>,
    path: String,
    temp: String,
    /// Taken out while a request is under way: a writer whose request was given up is of no use any more.
    writer: Arc<Mutex<Option<FileWriter>>>,
}

impl NewFile {
    pub(super) fn create(namespace: &Arc<Namespace>, operation: &'static str, path: &str) -> Result<Self> {
        let options = namespace.write_options();
        let created = namespace.run(Operation::writes(operation, &namespace.place_of(path)), |client, _| {
            let temp = namespace.resolve(&temp_of(path));
            let options = options.clone();
            async move { client.create(&temp, options).await.map(|writer| (temp, writer)).map_err(failed) }
        });
        // What may be there has a temporary name, that nobody sees.
        let (temp, writer) = created.map_err(|error| error.with_outcome(Outcome::DidNotHappen))?;
        let writer = Arc::new(Mutex::new(Some(writer)));
        Ok(NewFile { namespace: Arc::clone(namespace), path: path.to_owned(), temp, writer })
    }

    fn append(&self, bytes: Bytes) -> Result<()> {
        self.step("append to", Step::Append(bytes))
    }

    fn finish(&self) -> Result<()> {
        self.step("finish", Step::Close)?;
        commit(&self.namespace, "finish", &self.temp, &self.path)
    }

    /// Not tried again: how much of it was written is not known. The client itself replaces a DataNode that fails.
    fn step(&self, operation: &'static str, step: Step) -> Result<()> {
        let slot = Arc::clone(&self.writer);
        let place = self.namespace.place_of(&self.path);
        self.namespace.io.once(Operation::writes(operation, &place), async move {
            let mut slot = slot.lock().await;
            let Some(mut writer) = slot.take() else { return Err(Failed::plain(What::Other)) };
            match step {
                Step::Append(bytes) => writer.write_bytes(bytes).await.map_err(failed)?,
                Step::Close => return close(&mut writer).await.map_err(failed),
            };
            *slot = Some(writer);
            Ok(())
        })
    }
}

/// What is done with a writer.
enum Step {
    Append(Bytes),
    Close,
}

/// The writer of a data file.
pub(super) struct HdfsWriter {
    file: NewFile,
    buffer: Vec<u8>,
    failed: bool,
}

impl HdfsWriter {
    pub(super) fn new(file: NewFile) -> Self {
        HdfsWriter { file, buffer: Vec::new(), failed: false }
    }

    fn flush(&mut self) -> Result<()> {
        if self.failed {
            return Err(given_up("append to", self.file.namespace.place_of(&self.file.path).as_ref()));
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        let result = self.file.append(std::mem::take(&mut self.buffer).into());
        self.failed = result.is_err();
        result
    }
}

impl SnapshotWriter for HdfsWriter {
    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        if self.buffer.len() + bytes.len() > WRITE_BUFFER {
            self.flush()?;
        }
        self.buffer.extend_from_slice(bytes);
        if self.failed || self.buffer.len() >= WRITE_BUFFER { self.flush() } else { Ok(()) }
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.flush()?;
        self.file.finish()
    }
}

impl fmt::Debug for HdfsWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HdfsWriter").field("path", &self.file.path).finish_non_exhaustive()
    }
}

/// Makes all of a file durable, on disks, and closes it.
async fn close(writer: &mut FileWriter) -> Result<(), HdfsError> {
    match writer.hsync().await {
        // Files with erasure coding know no sync.
        Ok(()) | Err(HdfsError::UnsupportedFeature(_)) => writer.close().await,
        Err(error) => Err(error),
    }
}

/// Gives a closed file its name, which must be free.
fn commit(namespace: &Arc<Namespace>, operation: &'static str, temp: &str, path: &str) -> Result<()> {
    let target = namespace.resolve(path);
    let result = namespace.run(Operation::writes(operation, &namespace.place_of(path)), |client, attempt| {
        let (temp, target) = (temp.to_owned(), target.clone());
        async move {
            if attempt.in_doubt && status(&client, &temp).await?.is_none() && status(&client, &target).await?.is_some()
            {
                // Nobody but an earlier attempt has taken the temporary name away.
                return Ok(());
            }
            match client.rename(&temp, &target, false).await.map_err(failed) {
                // While the temporary name is there nothing was renamed; and a late request will meet the same file.
                Err(exists) if exists.what() == What::AlreadyExists && status(&client, &temp).await?.is_some() => {
                    Err(exists.settled())
                }
                // An earlier attempt may have come first after all: look again.
                Err(gone) if gone.what() == What::NotFound && attempt.in_doubt => Err(gone.in_doubt().again()),
                result => result,
            }
        }
    });
    if result.as_ref().is_err_and(|error| error.outcome() == Outcome::DidNotHappen) {
        // Garbage, to which nothing refers; it goes with its folder if not now.
        let _ = namespace.remove_temp(temp);
    }
    result
}

/// A name that comes once and that [`check_path`](crate::checkpoint_storage::check_path) keeps free: `.<name>-<token>.tmp`.
fn temp_of(path: &str) -> String {
    let (dir, name) = path.rsplit_once('/').map_or(("", path), |(dir, name)| (dir, name));
    let separator = if dir.is_empty() { "" } else { "/" };
    format!("{dir}{separator}.{name}-{}.tmp", token())
}
