//! Finding the checkpoint to start from: looks at what is in storage, verifies it, and lets the pure rules choose.

use std::sync::Arc;

use highwater_checkpoint::recovery::{self, Candidate, Choice};
use highwater_checkpoint::{Metadata, metadata::FileDigest};
use highwater_core::{CheckpointId, Error, ErrorKind, JobName, Result};
use highwater_storage::layout::{Layout, METADATA};
use highwater_storage::{CheckpointStorage, JobStore, open_uri};

use crate::restore::Restored;

/// Bytes read at once to verify a file.
const VERIFY_STEP: u64 = 4 << 20;

/// What a job starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The newest checkpoint in the checkpoint directory that verifies; without any, from the beginning.
    #[default]
    Latest,
    /// The beginning, whatever is in the checkpoint directory.
    Fresh,
    /// The checkpoint in this folder.
    Path(String),
}

/// What was found to start from.
#[derive(Debug)]
pub(crate) struct Found {
    /// The checkpoint to restore.
    pub restored: Option<Arc<Restored>>,
    /// Completed checkpoints that lead up to the one restored, oldest first.
    pub completed: Vec<CheckpointId>,
    /// Completed checkpoints of a course that the job does not go on with: not wanted once it has a checkpoint of its own.
    pub superseded: Vec<CheckpointId>,
    /// Folders of checkpoints that were never completed.
    pub garbage: Vec<CheckpointId>,
    /// The id to go on with.
    pub next_id: CheckpointId,
}

/// Looks for the checkpoint to start from; of its own, the job has taken those from `own` on.
///
/// # Errors
/// If the storage cannot be read; if the checkpoint asked for does not verify; if there are checkpoints but none verifies.
pub(crate) fn find(
    store: &JobStore,
    storage: &Arc<dyn CheckpointStorage>,
    job: &JobName,
    from: &StartFrom,
    own: CheckpointId,
) -> Result<Found> {
    let seen = store.checkpoints()?;
    let found: Vec<_> = seen.iter().filter(|dir| dir.has_metadata).map(|dir| dir.id).collect();
    let garbage = seen.iter().filter(|dir| !dir.has_metadata).map(|dir| dir.id).collect();
    let mut next_id = recovery::next_id(seen.iter().map(|dir| dir.id))?;
    let (restored, completed, superseded) = match from {
        StartFrom::Latest => {
            let (older, own): (Vec<_>, Vec<_>) = found.into_iter().partition(|id| *id < own);
            let restored = latest(store, storage, job, &own)?;
            // What is newer than the one restored is damaged: left for its owner to look at.
            let up_to = restored.as_ref().map(Restored::id);
            (restored, own.into_iter().filter(|id| Some(*id) <= up_to).collect(), older)
        }
        StartFrom::Fresh => {
            if !found.is_empty() {
                tracing::info!(found = found.len(), "starting fresh: the checkpoints found are not used");
            }
            (None, Vec::new(), found)
        }
        StartFrom::Path(path) => {
            let restored = at_path(path)?;
            let (uri, folder) = restored.location();
            let named = |id: &CheckpointId| uri == storage.uri() && folder == Layout::new(job.clone()).checkpoint(*id);
            // What a user names stays theirs.
            let superseded = found.into_iter().filter(|id| !named(id)).collect();
            (Some(restored), Vec::new(), superseded)
        }
    };
    if let Some(restored) = &restored {
        // A checkpoint of another directory may be ahead of the ids here; epochs never go back.
        next_id = next_id.max(restored.id().next());
    }
    Ok(Found { restored: restored.map(Arc::new), completed, superseded, garbage, next_id })
}

fn latest(
    store: &JobStore,
    storage: &Arc<dyn CheckpointStorage>,
    job: &JobName,
    completed: &[CheckpointId],
) -> Result<Option<Restored>> {
    let layout = Layout::new(job.clone());
    let mut verified = None;
    let mut candidates = Vec::new();
    for id in completed.iter().rev() {
        let verdict = match read(storage, &layout.checkpoint(*id)) {
            Ok(restored) => {
                verified = Some(restored);
                Ok(())
            }
            // Storage that does not answer says nothing about the checkpoint: never fall back silently for that.
            Err(error) if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        candidates.push(Candidate { id: *id, path: store.path_of(*id), verdict });
        if verified.is_some() {
            break;
        }
    }
    match recovery::choose(candidates) {
        Choice::Begin => Ok(None),
        Choice::Restore { passed_over, .. } => {
            for passed in passed_over {
                tracing::warn!(checkpoint = passed.path, reason = passed.reason, "checkpoint passed over");
            }
            Ok(verified)
        }
        Choice::Refuse { passed_over } => {
            let all: Vec<_> = passed_over.iter().map(|passed| format!("{}: {}", passed.path, passed.reason)).collect();
            Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "there are checkpoints and none can be used, so the job does not start: {}. \
                     Repair one, name another with --restore, or begin again from nothing with --fresh",
                    all.join("; ")
                ),
            ))
        }
    }
}

/// Opens the checkpoint in folder `path`, which a user named.
pub(crate) fn at_path(path: &str) -> Result<Restored> {
    let trimmed = path.trim_end_matches('/');
    let trimmed = trimmed.strip_suffix(&format!("/{METADATA}")).unwrap_or(trimmed);
    let (parent, folder) = match trimmed.rsplit_once('/') {
        Some(("", folder)) => ("/", folder),
        Some((parent, folder)) => (parent, folder),
        None => (".", trimmed),
    };
    let unusable =
        |error: Error| error.context(format!("cannot restore {path}: name the folder of a checkpoint, .../chk-<id>"));
    // Opening a folder would create it. What has another scheme is left to the storage, which says which ones it knows.
    let local = parent.strip_prefix("file://").or_else(|| (!parent.contains("://")).then_some(parent));
    if local.is_some_and(|local| !std::path::Path::new(local).is_dir()) {
        return Err(unusable(Error::settings(format!("{parent} is no folder"))));
    }
    let storage = open_uri(parent).map_err(unusable)?;
    read(&storage, folder).map_err(|error| match error.kind() {
        // What the user named is not usable: nothing will change that by itself.
        ErrorKind::Corrupt => Error::new(ErrorKind::Incompatible, error.to_string())
            .context(format!("cannot restore {path}: it is damaged, so name another checkpoint")),
        ErrorKind::Incompatible => error.context(format!("cannot restore {path}")),
        _ => unusable(error),
    })
}

/// Reads and verifies a checkpoint: its metadata, and every file it refers to (I7).
pub(crate) fn read(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Restored> {
    let place = format!("{}/{folder}/{METADATA}", storage.uri());
    let bytes = storage.read(&format!("{folder}/{METADATA}"))?;
    let metadata = Metadata::decode(&bytes, &place)?;
    for file in &metadata.files {
        verify(storage, folder, file)?;
    }
    Ok(Restored::new(metadata, Arc::clone(storage), folder.to_string()))
}

fn verify(storage: &Arc<dyn CheckpointStorage>, folder: &str, file: &FileDigest) -> Result<()> {
    let path = format!("{folder}/{}", file.name);
    let damaged = |what: String| Error::new(ErrorKind::Corrupt, format!("{}/{path}: {what}", storage.uri()));
    let entries = storage.list(folder)?;
    let Some(entry) = entries.iter().find(|entry| entry.name == file.name) else {
        return Err(damaged("the file is missing".into()));
    };
    if entry.len != file.len {
        return Err(damaged(format!("it has {} bytes, should have {}", entry.len, file.len)));
    }
    let (mut offset, mut crc32c) = (0, 0);
    while offset < file.len {
        let len = VERIFY_STEP.min(file.len - offset);
        crc32c = crc32c::crc32c_append(crc32c, &storage.read_range(&path, offset, len)?);
        offset += len;
    }
    if crc32c != file.crc32c {
        return Err(damaged(format!("its checksum is {crc32c:08x}, should be {:08x}", file.crc32c)));
    }
    Ok(())
}
