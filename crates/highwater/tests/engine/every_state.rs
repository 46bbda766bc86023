//! Every kind of state in one job, with each pair of working state and snapshot storage.

use highwater::prelude::*;
use highwater_testing::every_state::{Cut, survives};

use crate::support::returns;

const PARALLELISM: [usize; 4] = [1, 4, 3, 2];

#[test]
fn every_kind_of_state_survives_rescaling_from_checkpoints_and_savepoints() {
    for cut in [Cut::Stop, Cut::Savepoint, Cut::Crash] {
        returns(move || {
            let (savepoints, backend) = (tempfile::tempdir().unwrap(), MemoryStateBackend::new());
            survives(cut, &PARALLELISM, savepoints.path().to_str().unwrap(), || backend.clone());
        });
    }
}

#[test]
fn every_kind_of_state_survives_in_a_file_system() {
    returns(|| {
        let (savepoints, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let dir = dir.path().to_str().unwrap();
        survives(Cut::Crash, &PARALLELISM, savepoints.path().to_str().unwrap(), || FsStateBackend::new(dir));
    });
}
