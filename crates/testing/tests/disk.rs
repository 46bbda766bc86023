//! The simulated disk keeps the rules of a real one, and loses all that it may lose.

use std::collections::BTreeSet;
use std::path::Path;

use highwater_storage::{Disk, Outcome, What, conformance};
use highwater_testing::{SimulatedDisk, SyncEffect};

const SEEDS: u64 = 200;

fn path(path: &str) -> &Path {
    Path::new(path)
}

/// Writes a file and syncs its content, but not its name.
fn write_synced(disk: &SimulatedDisk, at: &str, bytes: &[u8]) {
    let mut file = disk.create_new(path(at)).unwrap();
    file.append(bytes).unwrap();
    file.sync().unwrap();
}

/// Every state that some seed finds at `at` after the power is cut at the end of `scenario`.
fn found_after(scenario: impl Fn(&SimulatedDisk), at: &str) -> BTreeSet<Option<Vec<u8>>> {
    let found = |seed| {
        let disk = SimulatedDisk::new(seed);
        scenario(&disk);
        disk.reboot().read(path(at)).ok()
    };
    (0..SEEDS).map(found).collect()
}

#[test]
fn it_conforms() {
    let disk = SimulatedDisk::new(0);
    disk.create_dir_all(path("/somewhere/empty")).unwrap();
    conformance::disk(&disk, path("/somewhere/empty"));
}

#[test]
fn what_was_synced_with_its_name_is_always_found() {
    let scenario = |disk: &SimulatedDisk| {
        write_synced(disk, "/file", b"kept");
        disk.sync_dir(path("/")).unwrap();
    };
    assert_eq!(found_after(scenario, "/file"), [Some(b"kept".to_vec())].into());
}

#[test]
fn a_synced_file_without_a_synced_name_may_be_lost() {
    let found = found_after(|disk| write_synced(disk, "/file", b"kept"), "/file");
    assert_eq!(found, [None, Some(b"kept".to_vec())].into());
}

#[test]
fn of_an_unsynced_append_any_part_may_be_found_and_zeros_for_the_rest() {
    let found = found_after(
        |disk| {
            write_synced(disk, "/file", b"old");
            disk.sync_dir(path("/")).unwrap();
            disk.truncate(path("/file"), 3).unwrap().append(b"new").unwrap();
        },
        "/file",
    );
    for expected in [&b"old"[..], b"oldn", b"oldnew", b"old\0", b"oldn\0\0"] {
        assert!(found.contains(&Some(expected.to_vec())), "{expected:?} is missing in {found:?}");
    }
    assert!(found.iter().flatten().all(|bytes| bytes.starts_with(b"old")), "{found:?}");
}

#[test]
fn a_rename_is_done_or_undone_but_never_half() {
    let scenario = |disk: &SimulatedDisk| {
        for (name, bytes) in [("/old", b"1"), ("/new", b"2")] {
            write_synced(disk, name, bytes);
        }
        disk.sync_dir(path("/")).unwrap();
        disk.rename(path("/new"), path("/old")).unwrap();
    };
    assert_eq!(found_after(scenario, "/old"), [Some(b"1".to_vec()), Some(b"2".to_vec())].into());
}

#[test]
fn a_rename_may_be_found_without_the_content() {
    let scenario = |disk: &SimulatedDisk| {
        disk.create_new(path("/temp")).and_then(|mut file| file.append(b"x")).unwrap();
        disk.rename(path("/temp"), path("/file")).unwrap();
        disk.sync_dir(path("/")).unwrap();
    };
    assert!(found_after(scenario, "/file").contains(&Some(Vec::new())));
}

#[test]
fn an_unsynced_removal_may_come_back() {
    let scenario = |disk: &SimulatedDisk| {
        write_synced(disk, "/file", b"x");
        disk.sync_dir(path("/")).unwrap();
        disk.remove_file(path("/file")).unwrap();
    };
    assert_eq!(found_after(scenario, "/file"), [None, Some(b"x".to_vec())].into());
}

#[test]
fn the_sync_that_kills_took_effect_or_not_and_nothing_works_after_it() {
    for (effect, expected) in [(SyncEffect::Took, Ok(b"new".to_vec())), (SyncEffect::Lost, Err(What::NotFound))] {
        // A seed that keeps nothing unsynced.
        let seed = (0..SEEDS).find(|seed| {
            let disk = SimulatedDisk::new(*seed);
            write_synced(&disk, "/file", b"new");
            disk.reboot().read(path("/file")).is_err()
        });
        let disk = SimulatedDisk::new(seed.expect("some seed loses it"));
        write_synced(&disk, "/file", b"new");
        disk.crash_at_sync(2, effect);
        assert_eq!(disk.sync_dir(path("/")).unwrap_err().outcome(), Outcome::MayHaveHappened);
        assert_eq!(disk.read(path("/file")).unwrap_err().outcome(), Outcome::DidNotHappen);
        assert_eq!(disk.create_new(path("/other")).unwrap_err().outcome(), Outcome::DidNotHappen);
        assert_eq!(disk.syncs(), 2);
        assert_eq!(disk.reboot().read(path("/file")).map_err(|error| error.what()), expected, "{effect:?}");
    }
}

#[test]
fn a_killed_process_leaves_everything_visible_and_no_lock() {
    let disk = SimulatedDisk::new(0);
    disk.create_new(path("/file")).and_then(|mut file| file.append(b"x")).unwrap();
    let lock = disk.lock(path("/.lock")).unwrap();
    let next = disk.restart();
    assert_eq!(next.read(path("/file")).unwrap(), b"x");
    drop(next.lock(path("/.lock")).expect("the lock of a dead process is gone"));
    disk.read(path("/file")).expect_err("the old process lives on");
    drop(lock);
}

#[test]
fn a_full_disk_takes_what_fits_and_gives_the_file_up() {
    let disk = SimulatedDisk::new(0).with_capacity(10);
    let mut file = disk.create_new(path("/file")).unwrap();
    file.append(b"1234567").unwrap();
    let error = file.append(b"890ab").unwrap_err();
    assert_eq!((error.what(), error.outcome()), (What::Full, Outcome::MayHaveHappened));
    assert_eq!(disk.read(path("/file")).unwrap(), b"1234567890");
    file.sync().expect_err("a file that lacks bytes was synced");

    disk.remove_file(path("/file")).unwrap();
    disk.create_new(path("/other")).and_then(|mut file| file.append(b"1234567890")).expect("the room is free again");
}
