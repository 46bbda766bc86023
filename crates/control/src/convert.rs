//! Between the messages and the types of the engine.
//!
//! Invariant: what a message lacks, or says wrongly, is an error of kind [`ErrorKind::Cluster`] that names the field; nothing is made
//! up in its place.

use std::time::Duration;

use bytes::Bytes;
use highwater_checkpoint::SavepointLocation;
use highwater_checkpoint::metadata::{FileDigest, TaskSnapshot};
use highwater_core::{CheckpointId, Error, ErrorKind, OperatorUid, Result, SubtaskIndex, TaskId};

use crate::proto::v1;
use crate::proto::v1::answer;
use crate::protocol::{Answer, Taken};

/// The value of a field that every honest message has.
///
/// # Errors
/// If it is missing.
pub fn required<T>(value: Option<T>, field: &str) -> Result<T> {
    value.ok_or_else(|| malformed(&format!("field {field} is missing")))
}

/// A message that does not say what it must.
pub fn malformed(what: &str) -> Error {
    Error::new(ErrorKind::Cluster, format!("a message from another process is malformed: {what}"))
}

/// For a field `_nanos`; 584 years at most.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

impl From<&TaskId> for v1::Task {
    fn from(task: &TaskId) -> Self {
        v1::Task { operator_uid: task.operator.to_string(), subtask: task.subtask.0 }
    }
}

impl TryFrom<v1::Task> for TaskId {
    type Error = Error;

    fn try_from(task: v1::Task) -> Result<Self> {
        let operator = OperatorUid::parse(&task.operator_uid);
        let operator = operator.map_err(|error| malformed("task.operator_uid").with_source(error))?;
        Ok(TaskId { operator, subtask: SubtaskIndex(task.subtask) })
    }
}

impl From<&FileDigest> for v1::FileDigest {
    fn from(file: &FileDigest) -> Self {
        let shared_by = file.shared_by.map(|id| id.0);
        v1::FileDigest { name: file.name.clone(), shared_by, len: file.len, crc32c: file.crc32c }
    }
}

impl From<v1::FileDigest> for FileDigest {
    fn from(file: v1::FileDigest) -> Self {
        let shared_by = file.shared_by.map(CheckpointId);
        FileDigest { name: file.name, shared_by, len: file.len, crc32c: file.crc32c }
    }
}

impl From<&SavepointLocation> for v1::SavepointLocation {
    fn from(location: &SavepointLocation) -> Self {
        v1::SavepointLocation { storage: location.storage.clone(), folder: location.folder.clone() }
    }
}

impl From<v1::SavepointLocation> for SavepointLocation {
    fn from(location: v1::SavepointLocation) -> Self {
        SavepointLocation { storage: location.storage, folder: location.folder }
    }
}

/// A subtask's snapshot, in the encoding that it has in `_metadata`.
///
/// # Errors
/// If it cannot be encoded.
pub fn encode_snapshot(snapshot: &TaskSnapshot) -> Result<Bytes> {
    let encoded = postcard::to_stdvec(snapshot);
    encoded.map(Bytes::from).map_err(|error| Error::internal("a snapshot cannot be encoded").with_source(error))
}

/// Reads what [`encode_snapshot`] has written.
///
/// # Errors
/// If the bytes are something else.
pub fn decode_snapshot(bytes: &[u8]) -> Result<TaskSnapshot> {
    match postcard::take_from_bytes(bytes) {
        Ok((snapshot, [])) => Ok(snapshot),
        Ok((_, rest)) => Err(malformed(&format!("{} bytes of acknowledged.snapshot are left over", rest.len()))),
        Err(error) => Err(malformed("acknowledged.snapshot").with_source(error)),
    }
}

impl From<&Error> for v1::Failure {
    fn from(error: &Error) -> Self {
        let kind = match error.kind() {
            ErrorKind::Settings => v1::ErrorKind::Settings,
            ErrorKind::Input => v1::ErrorKind::Input,
            ErrorKind::UserFunction => v1::ErrorKind::UserFunction,
            ErrorKind::Storage => v1::ErrorKind::Storage,
            ErrorKind::Corrupt => v1::ErrorKind::Corrupt,
            ErrorKind::Incompatible => v1::ErrorKind::Incompatible,
            ErrorKind::Cluster => v1::ErrorKind::Cluster,
            ErrorKind::Checkpoint => v1::ErrorKind::Checkpoint,
            ErrorKind::Internal => v1::ErrorKind::Internal,
        };
        v1::Failure { kind: kind.into(), message: error.to_string() }
    }
}

impl From<v1::Failure> for Error {
    fn from(failure: v1::Failure) -> Self {
        let kind = match failure.kind() {
            v1::ErrorKind::Settings => ErrorKind::Settings,
            v1::ErrorKind::Input => ErrorKind::Input,
            v1::ErrorKind::UserFunction => ErrorKind::UserFunction,
            v1::ErrorKind::Storage => ErrorKind::Storage,
            v1::ErrorKind::Corrupt => ErrorKind::Corrupt,
            v1::ErrorKind::Incompatible => ErrorKind::Incompatible,
            v1::ErrorKind::Cluster => ErrorKind::Cluster,
            v1::ErrorKind::Checkpoint => ErrorKind::Checkpoint,
            v1::ErrorKind::Internal | v1::ErrorKind::Unspecified => ErrorKind::Internal,
        };
        Error::new(kind, failure.message)
    }
}

impl From<std::result::Result<v1::JobEnd, &Error>> for v1::job_result::Result {
    fn from(result: std::result::Result<v1::JobEnd, &Error>) -> Self {
        match result {
            Ok(end) => v1::job_result::Result::End(end.into()),
            Err(error) => v1::job_result::Result::Failure(error.into()),
        }
    }
}

/// How the job ended.
///
/// # Errors
/// That with which it failed.
pub fn job_end(result: v1::job_result::Result) -> Result<v1::JobEnd> {
    match result {
        v1::job_result::Result::End(end) => match v1::JobEnd::try_from(end) {
            Ok(v1::JobEnd::Unspecified) | Err(_) => Err(malformed(&format!("end of a job {end}"))),
            Ok(end) => Ok(end),
        },
        v1::job_result::Result::Failure(failure) => Err(failure.into()),
    }
}

impl From<Answer> for v1::Answer {
    fn from(answer: Answer) -> Self {
        let answer = match answer {
            Answer::Accepted => Some(answer::Answer::Accepted(answer::Accepted {})),
            Answer::Started { checkpoint } => Some(answer::Answer::Started(answer::Started { checkpoint })),
            Answer::Ending { taken } => Some(answer::Answer::Ending(answer::Ending { taken: Some(taken.into()) })),
            Answer::Completed { taken, pause_ms } => {
                Some(answer::Answer::Completed(answer::Completed { taken: taken.map(Into::into), pause_ms }))
            }
            Answer::Failed { reason } => {
                let kind = v1::ErrorKind::Checkpoint.into();
                Some(answer::Answer::Failed(v1::Failure { kind, message: reason }))
            }
            // None of them is an answer here, and a reader passes over what it does not know.
            Answer::Status(_) | Answer::Unknown => None,
        };
        v1::Answer { answer }
    }
}

impl TryFrom<v1::Answer> for Answer {
    type Error = Error;

    fn try_from(answer: v1::Answer) -> Result<Self> {
        Ok(match answer.answer {
            Some(answer::Answer::Accepted(_)) => Answer::Accepted,
            Some(answer::Answer::Started(started)) => Answer::Started { checkpoint: started.checkpoint },
            Some(answer::Answer::Ending(ending)) => {
                Answer::Ending { taken: required(ending.taken, "ending.taken")?.into() }
            }
            Some(answer::Answer::Completed(answer::Completed { taken, pause_ms })) => {
                Answer::Completed { taken: taken.map(Into::into), pause_ms }
            }
            Some(answer::Answer::Failed(failure)) => Answer::Failed { reason: failure.message },
            None => Answer::Unknown,
        })
    }
}

impl From<Taken> for v1::Taken {
    fn from(taken: Taken) -> Self {
        let Taken { checkpoint, path, bytes, duration_ms } = taken;
        v1::Taken { checkpoint, path, bytes, duration_ms }
    }
}

impl From<v1::Taken> for Taken {
    fn from(taken: v1::Taken) -> Self {
        let v1::Taken { checkpoint, path, bytes, duration_ms } = taken;
        Taken { checkpoint, path, bytes, duration_ms }
    }
}
