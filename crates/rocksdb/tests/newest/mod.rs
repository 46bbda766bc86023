//! What a job has left.

use std::fs;
use std::path::{Path, PathBuf};

use highwater_snapshot::Snapshot;

/// The newest checkpoint of a job, in its folder.
pub fn newest(job: &Path) -> Snapshot {
    let folders = fs::read_dir(job).expect("checkpoints").map(|entry| entry.expect("a folder").path());
    let number = |path: &PathBuf| path.to_str()?.rsplit_once("chk-")?.1.parse::<u64>().ok();
    let newest = folders.filter(|path| path.join("_metadata").exists()).max_by_key(number).expect("a checkpoint");
    Snapshot::at_path(newest.to_str().expect("it is Unicode")).expect("it opens")
}
