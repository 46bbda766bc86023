//! `highwater checkpoint list`

use highwater_checkpoint::metadata::SnapshotKind;
use highwater_core::{ErrorKind, Timestamp};
use highwater_snapshot::{Found, STATE, Snapshot, SnapshotFolder, find};
use serde::Serialize;

use super::ListArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::table::Table;
use crate::text;

#[derive(Debug, Serialize)]
struct Listing {
    snapshots: Vec<Listed>,
}

#[derive(Debug, Serialize)]
struct Listed {
    path: String,
    #[serde(flatten)]
    status: Status,
}

#[derive(Debug, Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
enum Status {
    Complete(Complete),
    /// The folder stands for the savepoint that the job has ended with.
    EndedWithSavepoint {
        savepoint: String,
    },
    NoMetadata,
    Unreadable {
        reason: String,
    },
}

#[derive(Debug, Serialize)]
struct Complete {
    job: String,
    id: u64,
    kind: &'static str,
    created: String,
    written_bytes: u64,
    bytes: u64,
    operators: usize,
    entries: u64,
}

pub fn run(args: &ListArgs, out: &mut Output) -> Result<Finding, Failure> {
    let folders = match find(&args.path)? {
        Found::Snapshot(folder) => vec![folder],
        Found::Jobs(jobs) => jobs.iter().flat_map(|job| job.snapshots().to_vec()).collect(),
    };
    let snapshots = folders.iter().map(Listed::of).collect::<Result<Vec<_>, _>>()?;
    let is_damaged = snapshots.iter().any(|listed| matches!(listed.status, Status::Unreadable { .. }));
    let listing = Listing { snapshots };
    if out.is_json() {
        out.document(&listing)?;
    } else if listing.snapshots.is_empty() {
        out.line(format!("no snapshots in {}", args.path))?;
    } else {
        out.table(&listing.table())?;
    }
    Ok(Finding::amiss_if(is_damaged))
}

impl Listed {
    fn of(folder: &SnapshotFolder) -> highwater_core::Result<Self> {
        let path = folder.path();
        let looked = match folder.savepoint() {
            Ok(Some(savepoint)) => Ok(Status::EndedWithSavepoint { savepoint: savepoint.to_string() }),
            Ok(None) if !folder.has_metadata() => Ok(Status::NoMetadata),
            Ok(None) => folder.open().map(|snapshot| Status::Complete(Complete::of(&snapshot))),
            Err(error) => Err(error),
        };
        let status = match looked {
            Ok(status) => status,
            Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) => {
                Status::Unreadable { reason: error.to_string() }
            }
            Err(error) => return Err(error),
        };
        Ok(Listed { path, status })
    }
}

impl Complete {
    fn of(snapshot: &Snapshot) -> Self {
        let metadata = snapshot.metadata();
        let tasks = metadata.operators.iter().flat_map(|operator| &operator.subtasks);
        let rows = tasks.flat_map(|(_, task)| &task.keyed).filter(|keyed| keyed.name == STATE);
        Complete {
            job: metadata.job.to_string(),
            id: metadata.id.0,
            kind: kind(metadata.kind),
            created: Timestamp::from_unix_ms(metadata.created_unix_ms).to_string(),
            written_bytes: snapshot.written_bytes(),
            bytes: snapshot.bytes(),
            operators: metadata.operators.len(),
            entries: rows.flat_map(|keyed| keyed.lineage.blocks()).map(|block| block.entries).sum(),
        }
    }
}

impl Listing {
    fn table(&self) -> Table {
        let header = ["JOB", "ID", "KIND", "CREATED", "WRITTEN", "SIZE", "OPERATORS", "ENTRIES", "STATUS", "PATH"];
        let mut table = Table::new(header);
        for Listed { path, status } in &self.snapshots {
            let unknown = |status: String| {
                let none = String::new;
                [none(), none(), none(), none(), none(), none(), none(), none(), status, path.clone()]
            };
            table.row(match status {
                Status::Complete(complete) => [
                    complete.job.clone(),
                    complete.id.to_string(),
                    complete.kind.to_owned(),
                    complete.created.clone(),
                    text::bytes(complete.written_bytes),
                    text::bytes(complete.bytes),
                    complete.operators.to_string(),
                    complete.entries.to_string(),
                    "complete".to_owned(),
                    path.clone(),
                ],
                Status::EndedWithSavepoint { savepoint } => unknown(format!("ended with {savepoint}")),
                Status::NoMetadata => unknown("no metadata".to_owned()),
                Status::Unreadable { reason } => unknown(format!("unreadable: {reason}")),
            });
        }
        table
    }
}

/// The word for a kind of snapshot.
pub(super) fn kind(kind: SnapshotKind) -> &'static str {
    match kind {
        SnapshotKind::Checkpoint => "checkpoint",
        SnapshotKind::Savepoint => "savepoint",
    }
}
