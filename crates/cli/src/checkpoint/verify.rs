//! `highwater checkpoint verify`

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::{Error, ErrorKind, Result};
use highwater_snapshot::{Damage, Found, JobFolder, Snapshot, SnapshotFolder, Touched, Verifier, find};
use serde::Serialize;

use super::VerifyArgs;
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::progress::Progress;
use crate::text;

#[derive(Debug, Default, Serialize)]
struct Report {
    snapshots: Vec<Verified>,
    unreferenced: Vec<Unreferenced>,
}

#[derive(Debug, Serialize)]
struct Verified {
    path: String,
    status: Status,
    bytes: u64,
    damages: Vec<DamageAt>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Status {
    Sound,
    Damaged,
    NoMetadata,
}

#[derive(Debug, Serialize)]
struct DamageAt {
    path: String,
    offset: Option<u64>,
    what: String,
    touches: Vec<TouchedState>,
    #[serde(skip)]
    text: String,
}

#[derive(Debug, Serialize)]
struct TouchedState {
    operator: String,
    state: String,
    key_groups: [u32; 2],
}

/// A shared file that no snapshot refers to.
#[derive(Debug, Serialize)]
struct Unreferenced {
    path: String,
    bytes: u64,
}

/// A snapshot as far as its metadata tells.
struct Candidate {
    folder: SnapshotFolder,
    opened: Result<Snapshot, Vec<Damage>>,
    /// Named by the user itself, rather than found in a folder of snapshots.
    is_named: bool,
}

pub fn run(args: &VerifyArgs, out: &mut Output) -> Result<Finding, Failure> {
    let (mut candidates, mut report) = (Vec::new(), Report::default());
    for path in &args.paths {
        let found = candidates.len();
        match find(path)? {
            Found::Snapshot(folder) => candidates.push(Candidate::open(folder, true)?),
            Found::Jobs(jobs) => {
                for job in &jobs {
                    let first = candidates.len();
                    for folder in job.snapshots() {
                        candidates.push(Candidate::open(folder.clone(), false)?);
                    }
                    report.unreferenced.extend(unreferenced(job, &candidates[first..])?);
                }
            }
        }
        if candidates.len() == found {
            return Err(Error::settings(format!("there are no snapshots in {path}")).into());
        }
    }
    let mut progress = Progress::of(bytes_to_read(&candidates));
    let mut verifier = Verifier::with_progress(|bytes| progress.add(bytes));
    for candidate in candidates {
        let verified = candidate.verify(&mut verifier)?;
        if !out.is_json() {
            verified.print(out)?;
        }
        report.snapshots.push(verified);
    }
    drop(verifier);
    drop(progress);
    if out.is_json() {
        out.document(&report)?;
    } else {
        for Unreferenced { path, bytes } in &report.unreferenced {
            out.line(format!("{path}: nothing refers to its {}", text::bytes(*bytes)))?;
        }
    }
    Ok(Finding::amiss_if(report.snapshots.iter().any(|verified| verified.status == Status::Damaged)))
}

impl Candidate {
    fn open(folder: SnapshotFolder, is_named: bool) -> Result<Self> {
        let damage =
            |path: String, what: &str| Damage { path, offset: None, what: what.to_owned(), touches: Vec::new() };
        let opened = match folder.has_metadata() || folder.names_savepoint() {
            true => match folder.open() {
                Ok(snapshot) => Ok(snapshot),
                Err(error) if matches!(error.kind(), ErrorKind::Corrupt | ErrorKind::Incompatible) => {
                    let (path, message) = (folder.metadata_path(), error.to_string());
                    let what = message.strip_prefix(&format!("{path}: ")).unwrap_or(&message).to_owned();
                    Err(vec![damage(path, &format!("{what}; the whole snapshot cannot be restored"))])
                }
                Err(error) => return Err(error),
            },
            false if is_named => {
                let what = "the file is missing: the snapshot was never completed, or is being deleted";
                Err(vec![damage(folder.metadata_path(), what)])
            }
            false => Err(Vec::new()),
        };
        Ok(Candidate { folder, opened, is_named })
    }

    fn verify(self, verifier: &mut Verifier<'_>) -> Result<Verified> {
        let path = self.folder.path();
        let is_there = self.folder.has_metadata() || self.folder.names_savepoint() || self.is_named;
        let (bytes, damages) = match self.opened {
            Ok(snapshot) => (snapshot.bytes(), verifier.damages(&snapshot)?),
            Err(damages) => (0, damages),
        };
        let status = match (is_there, damages.is_empty()) {
            (false, _) => Status::NoMetadata,
            (true, true) => Status::Sound,
            (true, false) => Status::Damaged,
        };
        Ok(Verified { path, status, bytes, damages: damages.into_iter().map(DamageAt::of).collect() })
    }
}

impl Verified {
    fn print(&self, out: &mut Output) -> std::io::Result<()> {
        let path = &self.path;
        match self.status {
            Status::Sound => out.line(format!("{path}: sound, {}", text::bytes(self.bytes))),
            Status::NoMetadata => out.line(format!("{path}: no metadata: never completed, or being deleted")),
            Status::Damaged => {
                out.line(format!("{path}: DAMAGED"))?;
                self.damages.iter().try_for_each(|damage| out.line(format!("  {}", damage.text)))
            }
        }
    }
}

impl DamageAt {
    fn of(damage: Damage) -> Self {
        let text = damage.to_string();
        let touched = |Touched { operator, state, range }| TouchedState {
            operator: operator.to_string(),
            state,
            key_groups: text::key_groups(range),
        };
        let Damage { path, offset, what, touches } = damage;
        DamageAt { path, offset, what, touches: touches.into_iter().map(touched).collect(), text }
    }
}

/// The shared files of a job that none of its snapshots refers to. If one of them cannot be read, nobody knows.
fn unreferenced(job: &JobFolder, candidates: &[Candidate]) -> Result<Vec<Unreferenced>> {
    let mut referenced = BTreeSet::new();
    for candidate in candidates.iter().filter(|candidate| candidate.folder.has_metadata()) {
        let Ok(snapshot) = &candidate.opened else { return Ok(Vec::new()) };
        referenced.extend(snapshot.metadata().shared_files().map(|(name, _)| name.to_owned()));
    }
    let files = job.shared_files()?.into_iter().filter(|file| !referenced.contains(&file.name));
    Ok(files.map(|file| Unreferenced { path: job.shared_path(&file.name), bytes: file.len }).collect())
}

/// The bytes of all files, each once.
fn bytes_to_read(candidates: &[Candidate]) -> u64 {
    let mut files = BTreeMap::new();
    for snapshot in candidates.iter().filter_map(|candidate| candidate.opened.as_ref().ok()) {
        for file in &snapshot.metadata().files {
            files.insert(format!("{}/{}", snapshot.storage().uri(), snapshot.path_of(file)), file.len);
        }
    }
    files.into_values().fold(0, u64::saturating_add)
}
