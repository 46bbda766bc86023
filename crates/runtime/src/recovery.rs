//! Finding the checkpoint to start from: looks at what is in storage, and lets the pure rules choose.
//!
//! What is in data files verifies only while the tasks load it. If some of it does not, the attempt is over before anything ran, and
//! the leader looks again, knowing that. What does not verify is loaded a second time before it is passed over.
//!
//! The folder of a checkpoint may stand for the savepoint that the job has ended with, which is its user's: the job goes on from
//! it as from any snapshot that it is told to start from, and leaves it alone.

use std::sync::Arc;

use highwater_checkpoint::CompletedCheckpoint;
use highwater_checkpoint::recovery::{self, Candidate, Choice, Damaged, PassedOver};
use highwater_core::{CheckpointId, Error, ErrorKind, JobName, Result};
use highwater_snapshot::Snapshot;
use highwater_storage::layout::Layout;
use highwater_storage::{CheckpointDir, CheckpointStorage, JobStore};

use crate::restore::Restored;

/// What a job starts from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum StartFrom {
    /// The newest checkpoint in the checkpoint directory that verifies, or the savepoint that the job has ended with if that is
    /// newer; without any, from the beginning.
    #[default]
    Latest,
    /// The beginning, whatever is in the checkpoint directory.
    Fresh,
    /// The checkpoint in this folder.
    Path(String),
}

/// Whose the snapshot is that a job is told to start from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ClaimMode {
    /// Its user's: the job leaves it alone. The first checkpoint of the job holds everything in either mode.
    #[default]
    NoClaim,
    /// The job's: it is deleted once the job has a checkpoint of its own.
    Claim,
}

/// What was found to start from.
#[derive(Debug)]
pub(crate) struct Found {
    /// The checkpoint to restore.
    pub restored: Option<Arc<Restored>>,
    /// Completed checkpoints that lead up to the one restored, oldest first.
    pub completed: Vec<CompletedCheckpoint>,
    /// Completed checkpoints of a course that the job does not go on with: not wanted once it has a checkpoint of its own.
    pub superseded: Vec<CheckpointId>,
    /// Folders of checkpoints that were never completed.
    pub garbage: Vec<CheckpointId>,
    /// The id to go on with.
    pub next_id: CheckpointId,
}

/// What is known of the checkpoints in storage.
pub(crate) struct Known<'a> {
    /// Of its own, the job has taken those from this one on.
    pub own: CheckpointId,
    /// Whether the one who published a checkpoint led the job then. What does not count is garbage.
    pub counts: &'a dyn Fn(CheckpointId) -> bool,
    /// Those that were tried and did not verify.
    pub damaged: &'a Damaged,
}

/// Looks for the checkpoint to start from.
///
/// # Errors
/// If the storage cannot be read; if the checkpoint asked for does not verify; if there are checkpoints but none verifies.
pub(crate) fn find(
    store: &JobStore,
    storage: &Arc<dyn CheckpointStorage>,
    job: &JobName,
    from: &StartFrom,
    &Known { own, counts, damaged }: &Known<'_>,
) -> Result<Found> {
    let seen = store.checkpoints()?;
    let is_completed = |dir: &&CheckpointDir| dir.is_completed() && counts(dir.id);
    let found: Vec<_> = seen.iter().filter(is_completed).copied().collect();
    let garbage = seen.iter().filter(|dir| !is_completed(dir)).map(|dir| dir.id).collect();
    let ids = |dirs: Vec<CheckpointDir>| dirs.into_iter().map(|dir| dir.id);
    // A file may be all that is left of a checkpoint.
    let files = store.shared_files()?.into_iter().map(|(_, by)| by);
    let mut next_id = recovery::next_id(seen.iter().map(|dir| dir.id).chain(files))?;
    let (restored, completed, superseded) = match from {
        StartFrom::Latest => {
            let (older, own): (Vec<_>, Vec<_>) = found.into_iter().partition(|dir| dir.id < own);
            let restored = latest(store, storage, job, &own, damaged)?;
            // What is newer than the one restored is damaged: left for its owner to look at.
            let up_to = restored.as_ref().map(Restored::id);
            let layout = Layout::new(job.clone());
            let completed = own.into_iter().filter(|dir| Some(dir.id) <= up_to);
            (restored, completed.map(|dir| completed_checkpoint(storage, &layout, dir)).collect(), ids(older).collect())
        }
        StartFrom::Fresh => {
            if !found.is_empty() {
                tracing::info!(found = found.len(), "starting fresh: the checkpoints found are not used");
            }
            (None, Vec::new(), ids(found).collect())
        }
        StartFrom::Path(path) => {
            let restored = at_path(path)?;
            let named = |id: &CheckpointId| restored.path() == store.path_of(*id);
            // What a user names stays theirs.
            let superseded = ids(found).filter(|id| !named(id)).collect();
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
    completed: &[CheckpointDir],
    damaged: &Damaged,
) -> Result<Option<Restored>> {
    let layout = Layout::new(job.clone());
    let mut verified = None;
    let mut candidates = Vec::new();
    for CheckpointDir { id, has_metadata, .. } in completed.iter().rev() {
        let found = match damaged.verdict(*id) {
            Err(reason) => Err(Error::new(ErrorKind::Corrupt, reason)),
            Ok(()) => read(storage, &layout.checkpoint(*id)),
        };
        let verdict = match found {
            Ok(snapshot) if snapshot.metadata().job != *job => Err(of_another_job(&snapshot, job)),
            Ok(snapshot) => {
                verified = Some(Restored::new(snapshot, *has_metadata));
                Ok(())
            }
            // Storage that does not answer says nothing about the checkpoint: never fall back silently for that.
            Err(error) if !matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) => return Err(error),
            Err(error) => Err(error.to_string()),
        };
        candidates.push(Candidate { id: *id, path: store.path_of(*id), is_savepoint: !has_metadata, verdict });
        if verified.is_some() || !has_metadata {
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
        Choice::SavepointLost { lost: PassedOver { path, reason } } => Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "{path}: the job has ended with a savepoint that cannot be used: {reason}. Its output was committed up to there, so \
                 the job does not go back to an older checkpoint: put the savepoint back, name where it is now, or another \
                 snapshot, with --restore, or begin again from nothing with --fresh"
            ),
        )),
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

/// Why a checkpoint that somebody has put into the job's folder is not the job's.
fn of_another_job(snapshot: &Snapshot, job: &JobName) -> String {
    let other = &snapshot.metadata().job;
    format!("it is of job {other}, not of {job}: begin from it with --restore if it is meant")
}

/// Opens the checkpoint in folder `path`, which a user named, and looks whether it is whole.
pub(crate) fn at_path(path: &str) -> Result<Restored> {
    let read = || {
        let snapshot = Snapshot::at_path(path)?;
        snapshot.check_files()?;
        Ok(Restored::new(snapshot, false))
    };
    read().map_err(|error: Error| match error.kind() {
        ErrorKind::Corrupt => damaged(error.context(format!("cannot restore {path}"))),
        ErrorKind::Incompatible => error.context(format!("cannot restore {path}")),
        _ => error.context(format!("cannot restore {path}: name the folder of a checkpoint, .../chk-<id>")),
    })
}

/// What the user named is not usable: nothing will change that by itself.
pub(crate) fn damaged(error: Error) -> Error {
    Error::new(ErrorKind::Incompatible, error.to_string()).context("it is damaged, so name another checkpoint")
}

/// Reads the metadata of a checkpoint, or of the savepoint that its folder names, and looks whether every file that it refers to is
/// there. What is in them verifies when it is loaded (I7): so it is read once. Twice, if it does not verify.
fn read(storage: &Arc<dyn CheckpointStorage>, folder: &str) -> Result<Snapshot> {
    let read_once = || -> Result<Snapshot> {
        let snapshot = Snapshot::follow(storage, folder)?;
        snapshot.check_files()?;
        Ok(snapshot)
    };
    match read_once() {
        Err(error) if error.kind() == ErrorKind::Corrupt => {
            tracing::warn!(%error, "a checkpoint does not verify: reading it again");
            read_once()
        }
        read => read,
    }
}

/// What a completed checkpoint refers to; a savepoint refers to nothing. Of one that cannot be read nothing is known, and so
/// nothing will be deleted with it.
fn completed_checkpoint(
    storage: &Arc<dyn CheckpointStorage>,
    layout: &Layout,
    CheckpointDir { id, has_metadata, .. }: CheckpointDir,
) -> CompletedCheckpoint {
    if !has_metadata {
        return CompletedCheckpoint { id, shared_files: Default::default() };
    }
    let shared_files = match Snapshot::open(storage, &layout.checkpoint(id)) {
        Ok(snapshot) => snapshot.metadata().shared_files().map(|(name, by)| (name.to_owned(), by)).collect(),
        Err(error) => {
            tracing::warn!(checkpoint = %id, %error, "a retained checkpoint cannot be read");
            Default::default()
        }
    };
    CompletedCheckpoint { id, shared_files }
}
