//! A job with every kind of state, timers and time-to-live, none of whose rows stay in memory: cut and rescaled, over and over.

mod in_stores;
mod newest;
mod on_disk;

use highwater_testing::every_state::{Cut, survives};
use in_stores::has_rows_in_stores;
use newest::newest;
use on_disk::OnDisk;

#[test]
fn every_kind_of_state_survives_in_rocksdb() {
    let dir = tempfile::tempdir().expect("a folder");
    let [checkpoints, savepoints, local_dir] = ["checkpoints", "savepoints", "local"].map(|name| dir.path().join(name));
    let backend = || OnDisk::new(&checkpoints, &local_dir);
    survives(Cut::Crash, &[1, 4, 3, 2], savepoints.to_str().expect("it is Unicode"), backend);
    assert!(has_rows_in_stores(&newest(&checkpoints.join("every-state"))), "no row has left the memory");
}
