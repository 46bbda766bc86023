//! Both storages conform, and what a user does wrong is told clearly.

use std::fs;
use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use highwater_core::{CheckpointId, JobName};
use highwater_storage::memory::DEFAULT_MAX_FILE_BYTES;
use highwater_storage::{
    CheckpointStorage, Disk, JobStore, LocalCopies, LocalStorage, MemoryStorage, Outcome, RealDisk, What, conformance,
    open_uri,
};
use highwater_testing::SimulatedDisk;

fn local(dir: &Path) -> Arc<dyn CheckpointStorage> {
    Arc::new(LocalStorage::open(dir, Arc::new(RealDisk)).expect("open"))
}

fn job() -> JobName {
    JobName::parse("visitors").unwrap()
}

#[test]
fn the_real_disk_conforms() {
    let dir = tempfile::tempdir().unwrap();
    conformance::disk(&RealDisk, dir.path());
}

#[test]
fn local_storage_conforms() {
    let dir = tempfile::tempdir().unwrap();
    let fresh = || local(tempfile::tempdir_in(dir.path()).unwrap().keep().as_path());
    conformance::checkpoint_storage(fresh);
}

#[test]
fn local_storage_on_a_simulated_disk_conforms() {
    conformance::checkpoint_storage(|| {
        Arc::new(LocalStorage::open("/checkpoints", Arc::new(SimulatedDisk::new(0))).unwrap())
    });
}

/// Each has nothing in common with the others but the folder.
#[test]
fn of_several_processes_that_publish_one_path_one_succeeds() {
    let dir = tempfile::tempdir().unwrap();
    let storages: Vec<_> = (0..3).map(|_| local(dir.path())).collect();
    for round in 0..100 {
        let (path, start) = (format!("file-{round}"), Barrier::new(storages.len()));
        let publish = |index: usize| {
            start.wait();
            storages[index].publish(&path, &[index as u8; 100])
        };
        let results: Vec<_> = thread::scope(|scope| {
            let publish = &publish;
            let threads: Vec<_> = (0..storages.len()).map(|index| scope.spawn(move || publish(index))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        let won: Vec<usize> = (0..storages.len()).filter(|index| results[*index].is_ok()).collect();
        assert_eq!(won.len(), 1, "round {round}: {results:?}");
        assert_eq!(storages[0].read(&path).unwrap(), [won[0] as u8; 100]);
        for error in results.into_iter().filter_map(Result::err) {
            assert_eq!((error.what(), error.outcome()), (What::AlreadyExists, Outcome::DidNotHappen), "{error:?}");
        }
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 100, "no temporary file is left");
}

#[test]
fn memory_storage_conforms() {
    conformance::checkpoint_storage(|| Arc::new(MemoryStorage::new()));
}

#[test]
fn storage_with_local_copies_conforms() {
    let memory = || Arc::new(MemoryStorage::new());
    conformance::checkpoint_storage(|| Arc::new(LocalCopies::new(memory(), memory())));
}

/// A copy is there when the file is, and is never missed.
#[test]
fn copies_come_with_their_files_and_are_never_missed() {
    let (storage, local) = (Arc::new(MemoryStorage::new()), Arc::new(MemoryStorage::new()));
    let both = LocalCopies::new(storage.clone(), local.clone());
    let write = |storage: &dyn CheckpointStorage, path: &str| {
        let mut writer = storage.create(path).unwrap();
        writer.append(b"entries").unwrap();
        writer.finish().unwrap();
    };
    both.create_dir("job/shared").unwrap();
    for name in ["1-0", "2-0", "3-0"] {
        write(&both, &format!("job/shared/{name}"));
    }
    assert_eq!(local.read("job/shared/1-0").unwrap(), b"entries");
    // Whoever removes a file may be on another machine than its copy.
    both.remove_file("job/shared/1-0").unwrap();
    assert_eq!(local.read("job/shared/1-0").unwrap(), b"entries");
    // A name that a crash has left is written anew; what has gone from the local disk does not matter.
    storage.remove_file("job/shared/3-0").unwrap();
    write(&both, "job/shared/3-0");
    local.remove_dir_all("job").unwrap();
    both.remove_file("job/shared/3-0").unwrap();
}

#[test]
fn a_folder_that_cannot_be_used_is_named_with_the_way_out() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "in the way").unwrap();
    // Below a file nobody can create anything, not even root.
    for unusable in [file.clone(), file.join("below")] {
        let error = LocalStorage::open(&unusable, Arc::new(RealDisk)).expect_err("usable");
        assert_eq!(error.outcome(), Outcome::DidNotHappen);
        assert_eq!(error.path(), unusable.display().to_string());
        assert!(error.to_string().contains("give a folder that this user can create"), "{error}");
        let uri_error = open_uri(&format!("file://{}", unusable.display())).expect_err("usable");
        assert!(uri_error.to_string().contains(&unusable.display().to_string()), "{uri_error}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_without_permission_is_denied_unless_the_user_is_root() {
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    let dir = tempfile::tempdir().unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o500)).unwrap();
    if fs::metadata(dir.path()).unwrap().uid() != 0 {
        let error = LocalStorage::open(dir.path(), Arc::new(RealDisk)).expect_err("usable");
        assert_eq!(error.what(), What::Denied, "{error:?}");
    }
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o700)).unwrap();
}

#[test]
fn what_another_run_left_half_published_is_in_nobodys_way() {
    let dir = tempfile::tempdir().unwrap();
    let storage = local(dir.path());
    storage.create_dir("chk-1").unwrap();
    fs::write(dir.path().join("chk-1/._metadata-0123456789abcdef.tmp"), "half").unwrap();
    storage.publish("chk-1/_metadata", b"whole").unwrap();
    assert_eq!(storage.read("chk-1/_metadata").unwrap(), b"whole");
    assert_eq!(fs::read_dir(dir.path().join("chk-1")).unwrap().count(), 2, "nothing but that is left");
    assert_eq!(storage.list("chk-1").unwrap().len(), 1);
    storage.remove_dir_all("chk-1").unwrap();
    assert_eq!(storage.list("").unwrap(), []);
}

#[test]
fn names_that_are_not_ours_are_not_listed() {
    let dir = tempfile::tempdir().unwrap();
    let storage = local(dir.path());
    fs::write(dir.path().join(".hidden"), "").unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::ffi::OsStrExt;
        fs::write(dir.path().join(std::ffi::OsStr::from_bytes(b"not \xff unicode")), "").unwrap();
    }
    assert_eq!(storage.list("").unwrap(), []);
}

#[cfg(unix)]
#[test]
fn removing_does_not_follow_a_link_out_of_the_storage() {
    let (dir, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    fs::write(outside.path().join("file"), "kept").unwrap();
    let storage = local(dir.path());
    storage.create_dir("job").unwrap();
    std::os::unix::fs::symlink(outside.path(), dir.path().join("job/link")).unwrap();
    storage.remove_dir_all("job").unwrap();
    assert_eq!(fs::read(outside.path().join("file")).unwrap(), b"kept");
}

#[test]
fn a_second_run_is_kept_out_until_the_first_has_gone() {
    let dir = tempfile::tempdir().unwrap();
    let store = || JobStore::open(local(dir.path()), job()).unwrap();
    let first = store().lock().unwrap();
    let error = store().lock().expect_err("locked twice");
    assert_eq!(error.what(), What::Locked);
    let folder = dir.path().join("visitors").display().to_string();
    assert!(error.to_string().contains(&folder) && error.to_string().contains("stop that run"), "{error}");
    let other = JobStore::open(local(dir.path()), JobName::parse("other").unwrap()).unwrap();
    drop(other.lock().expect("another job is not kept out"));
    drop(first);
    drop(store().lock().expect("the first has gone"));
}

#[test]
fn a_full_disk_fails_the_checkpoint_and_leaves_none() {
    let disk: Arc<dyn Disk> = Arc::new(SimulatedDisk::new(0).with_capacity(1000));
    let store = JobStore::open(Arc::new(LocalStorage::open("/c", disk).unwrap()), job()).unwrap();
    store.locate(CheckpointId(1)).unwrap();
    let mut writer = store.create_data(CheckpointId(1), 0).unwrap();
    let error = writer.append(&[7; 2000]).and_then(|()| writer.finish()).expect_err("it does not fit");
    assert_eq!(error.what(), What::Full);

    let error = store.publish_metadata(CheckpointId(1), b"more").expect_err("the disk is full");
    assert_eq!((error.what(), error.outcome()), (What::Full, Outcome::DidNotHappen));
    assert!(store.checkpoints().unwrap().iter().all(|checkpoint| !checkpoint.has_metadata));

    store.discard(CheckpointId(1)).expect("discarding needs no room");
    store.locate(CheckpointId(2)).unwrap();
    store.publish_metadata(CheckpointId(2), &[7; 900]).expect("the room is free again");
}

#[test]
fn memory_is_limited_per_file() {
    let storage = MemoryStorage::new();
    let limit = DEFAULT_MAX_FILE_BYTES as usize;
    storage.publish("fits", &vec![0; limit]).unwrap();
    let error = storage.publish("large", &vec![0; limit + 1]).unwrap_err();
    assert_eq!((error.what(), error.outcome()), (What::TooLarge, Outcome::DidNotHappen));
    assert!(error.to_string().contains("use a directory for checkpoints"), "{error}");

    let small = storage.clone().with_max_file_bytes(10);
    let mut writer = small.create("data").unwrap();
    writer.append(&[0; 10]).unwrap();
    assert_eq!(writer.append(&[0]).unwrap_err().what(), What::TooLarge);
    writer.finish().expect_err("a file that lacks bytes was finished");
    small.read("data").expect_err("it is there");
    assert_eq!(small.read("fits").unwrap().len(), limit, "a clone is the same storage");
}

#[test]
fn a_uri_opens_the_storage_it_names() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("made/for you");
    for uri in [format!("file://{}", path.display()), path.display().to_string()] {
        let storage = open_uri(&uri).unwrap();
        assert_eq!(storage.uri(), format!("file://{}", path.display()));
    }
    assert!(path.is_dir());
    assert_eq!(open_uri("memory:").unwrap().uri(), "memory:");
}
