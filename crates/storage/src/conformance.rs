//! One suite for each trait of this crate: the contract, as a program. Every implementation runs it, also those outside
//! this crate.
//!
//! ```
//! use std::sync::Arc;
//! use highwater_storage::{MemoryStorage, conformance};
//! conformance::checkpoint_storage(|| Arc::new(MemoryStorage::new()));
//! ```
//!
//! What a suite cannot see from outside is durability; for that the traits are run on a simulated disk that crashes.

use std::path::Path;
use std::sync::{Arc, Barrier};
use std::thread;

use crate::checkpoint_storage::{CheckpointStorage, Entry};
use crate::disk::{DirEntry, Disk, Metadata};
use crate::error::{Error, Outcome, Result, What};

/// Checks a [`CheckpointStorage`]; `make` returns a new, empty one each time.
///
/// # Panics
/// If the contract is broken.
pub fn checkpoint_storage(make: impl Fn() -> Arc<dyn CheckpointStorage>) {
    written_files_read_back(&*make());
    publishing_is_once(&*make());
    one_of_many_publishers_wins(&*make());
    nothing_is_overwritten(&*make());
    an_unfinished_file_is_in_nobodys_way(&*make());
    a_short_read_is_an_error(&*make());
    what_is_missing_is_named(&*make());
    listing_is_sorted_and_flat(&*make());
    removing_takes_exactly_what_is_named(&*make());
    paths_stay_within(&*make());
    a_lock_is_held_by_one(&*make());
}

/// Checks a [`Disk`]; `dir` is an empty folder on it.
///
/// # Panics
/// If the contract is broken.
pub fn disk(disk: &dyn Disk, dir: &Path) {
    files_are_appended_and_cut(disk, &dir.join("files"));
    names_are_moved_and_removed(disk, &dir.join("names"));
    folders_are_made_and_removed(disk, &dir.join("folders"));
    disk_refusals_are_certain(disk, &dir.join("refusals"));
    a_disk_lock_is_held_by_one(disk, &dir.join("locks"));
}

fn write(storage: &dyn CheckpointStorage, path: &str, parts: &[&[u8]]) {
    let mut writer = storage.create(path).expect("create");
    for part in parts {
        writer.append(part).expect("append");
    }
    writer.finish().expect("finish");
}

/// The error must be `what`, and certain.
fn refused<T>(result: Result<T>, what: What, case: &str) -> Error {
    let Err(error) = result else { panic!("{case}: accepted, should be {what:?}") };
    assert_eq!((error.what(), error.outcome()), (what, Outcome::DidNotHappen), "{case}: {error:?}");
    error
}

fn written_files_read_back(storage: &dyn CheckpointStorage) {
    storage.create_dir("job/chk-1").expect("create a nested folder");
    storage.create_dir("job/chk-1").expect("create it again");
    write(storage, "job/chk-1/data-0", &[b"hello", b"", b" world"]);
    write(storage, "job/chk-1/empty", &[]);
    let large: Vec<u8> = (0..1_000_000_u32).map(|i| (i % 251) as u8).collect();
    write(storage, "job/chk-1/large", &large.chunks(99_991).collect::<Vec<_>>());

    assert_eq!(storage.read("job/chk-1/data-0").expect("read"), b"hello world");
    assert_eq!(storage.read("job/chk-1/empty").expect("read an empty file"), b"");
    assert_eq!(storage.read_range("job/chk-1/data-0", 4, 3).expect("read a range"), b"o w");
    assert_eq!(storage.read_range("job/chk-1/data-0", 11, 0).expect("read nothing at the end"), b"");
    assert!(storage.read("job/chk-1/large").expect("read a large file") == large);
    assert!(!storage.uri().is_empty() && !storage.uri().ends_with('/'), "{:?}", storage.uri());
}

fn publishing_is_once(storage: &dyn CheckpointStorage) {
    storage.create_dir("job").expect("create a folder");
    storage.publish("job/_metadata", b"first").expect("publish");
    refused(storage.publish("job/_metadata", b"second"), What::AlreadyExists, "publish twice");
    assert_eq!(storage.read("job/_metadata").expect("read"), b"first");
    storage.publish("job/empty", b"").expect("publish nothing");
    assert_eq!(storage.read("job/empty").expect("read"), b"");
}

fn one_of_many_publishers_wins(storage: &dyn CheckpointStorage) {
    const PUBLISHERS: usize = 4;
    // A race that is lost seldom is lost in one of many rounds.
    for round in 0..64 {
        let dir = format!("job/chk-{round}");
        let path = format!("{dir}/_metadata");
        storage.create_dir(&dir).expect("create a folder");
        let start = Barrier::new(PUBLISHERS);
        let publish = |index: usize| {
            start.wait();
            storage.publish(&path, &[index as u8; 1000]).is_ok()
        };
        let won: Vec<usize> = thread::scope(|scope| {
            let publish = &publish;
            let threads: Vec<_> = (0..PUBLISHERS).map(|index| (index, scope.spawn(move || publish(index)))).collect();
            threads
                .into_iter()
                .filter_map(|(index, thread)| thread.join().expect("no panic").then_some(index))
                .collect()
        });
        assert_eq!(won.len(), 1, "publishers that were told Ok in round {round}: {won:?}");
        assert!(storage.read(&path).expect("read") == [won[0] as u8; 1000], "the winner's bytes are there");
    }
}

fn nothing_is_overwritten(storage: &dyn CheckpointStorage) {
    storage.create_dir("job").expect("create a folder");
    write(storage, "job/data", &[b"kept"]);
    refused(storage.create("job/data"), What::AlreadyExists, "create twice");
    refused(storage.publish("job/data", b"new"), What::AlreadyExists, "publish over a file");
    refused(storage.publish("job", b"new"), What::AlreadyExists, "publish over a folder");
    assert!(storage.create_dir("job/data").is_err(), "a folder in the place of a file");
    assert!(storage.create_dir("job/data/below").is_err(), "a folder below a file");
    assert_eq!(storage.read("job/data").expect("read"), b"kept");
}

fn an_unfinished_file_is_in_nobodys_way(storage: &dyn CheckpointStorage) {
    storage.create_dir("job/chk-1").expect("create a folder");
    let mut writer = storage.create("job/chk-1/data-0").expect("create");
    writer.append(b"half").expect("append");
    drop(writer);
    storage.publish("job/chk-1/_metadata", b"m").expect("publish next to it");
    storage.remove_dir_all("job/chk-1").expect("remove it with its folder");
    storage.create_dir("job/chk-1").expect("create the folder again");
    write(storage, "job/chk-1/data-0", &[b"whole"]);
    assert_eq!(storage.read("job/chk-1/data-0").expect("read"), b"whole");
}

fn a_short_read_is_an_error(storage: &dyn CheckpointStorage) {
    storage.create_dir("job").expect("create a folder");
    storage.publish("job/file", b"0123456789").expect("publish");
    for (offset, len) in [(0, 11), (10, 1), (11, 0), (5, 6), (u64::MAX, 1), (1, u64::MAX), (0, 1 << 60)] {
        let case = format!("{len} bytes at {offset} of 10");
        let error = refused(storage.read_range("job/file", offset, len), What::CutOff, &case);
        assert!(error.path().ends_with("job/file"), "{error}");
    }
}

fn what_is_missing_is_named(storage: &dyn CheckpointStorage) {
    storage.create_dir("job").expect("create a folder");
    for result in [storage.read("job/gone"), storage.read_range("job/gone", 0, 1)] {
        let error = refused(result, What::NotFound, "read what is not there");
        assert!(error.path().ends_with("job/gone"), "{error}");
    }
    refused(storage.list("gone"), What::NotFound, "list what is not there");
    refused(storage.list("job/gone"), What::NotFound, "list what is not there");
    storage.remove_file("job/gone").expect("remove a file that is not there");
    storage.remove_file("gone/gone").expect("remove a file whose folder is not there");
    storage.remove_dir_all("job/gone").expect("remove a folder that is not there");
    storage.remove_dir_all("gone/gone").expect("remove a folder whose parent is not there");
}

fn listing_is_sorted_and_flat(storage: &dyn CheckpointStorage) {
    assert_eq!(storage.list("").expect("list an empty storage"), []);
    for dir in ["job/chk-10", "job/chk-9", "job/empty"] {
        storage.create_dir(dir).expect("create a folder");
    }
    storage.publish("job/chk-9/_metadata", b"meta").expect("publish");
    write(storage, "job/chk-9/data-0", &[b"data data"]);

    let file = |name: &str, len| Entry { name: name.to_owned(), is_dir: false, len };
    let folder = |name: &str| Entry { name: name.to_owned(), is_dir: true, len: 0 };
    assert_eq!(storage.list("").expect("list"), [folder("job")]);
    assert_eq!(storage.list("job").expect("list"), [folder("chk-10"), folder("chk-9"), folder("empty")]);
    assert_eq!(storage.list("job/chk-9").expect("list"), [file("_metadata", 4), file("data-0", 9)]);
    assert_eq!(storage.list("job/empty").expect("list an empty folder"), []);
}

fn removing_takes_exactly_what_is_named(storage: &dyn CheckpointStorage) {
    for dir in ["job/chk-1/deep/er", "job/chk-10"] {
        storage.create_dir(dir).expect("create a folder");
    }
    storage.publish("job/chk-1/deep/er/file", b"1").expect("publish");
    storage.publish("job/chk-1/file", b"1").expect("publish");
    storage.publish("job/chk-10/file", b"10").expect("publish");

    storage.remove_file("job/chk-1/file").expect("remove a file");
    refused(storage.read("job/chk-1/file"), What::NotFound, "read what was removed");
    assert_eq!(storage.read("job/chk-1/deep/er/file").expect("its neighbour"), b"1");
    assert!(storage.remove_file("job/chk-1").is_err(), "a folder is not removed as a file");

    storage.remove_dir_all("job/chk-1").expect("remove a folder");
    refused(storage.list("job/chk-1"), What::NotFound, "list what was removed");
    assert_eq!(storage.read("job/chk-10/file").expect("one whose name begins alike"), b"10");
}

fn paths_stay_within(storage: &dyn CheckpointStorage) {
    storage.create_dir("job").expect("create a folder");
    storage.publish("job/file", b"kept").expect("publish");
    for path in [
        "",
        "/",
        "/etc/passwd",
        "..",
        "../x",
        "job/..",
        "job/../../x",
        ".",
        "./x",
        "job/./x",
        "job//x",
        "job/",
        "job/.lock",
        ".hidden/x",
        "job\\x",
        "job/a\0b",
        "job/a\nb",
    ] {
        let case = |call: &str| format!("{call} {path:?}");
        refused(storage.create_dir(path), What::Other, &case("create_dir"));
        refused(storage.create(path), What::Other, &case("create"));
        refused(storage.publish(path, b""), What::Other, &case("publish"));
        refused(storage.read(path), What::Other, &case("read"));
        refused(storage.read_range(path, 0, 0), What::Other, &case("read_range"));
        refused(storage.remove_file(path), What::Other, &case("remove_file"));
        refused(storage.remove_dir_all(path), What::Other, &case("remove_dir_all"));
        refused(storage.lock(path), What::Other, &case("lock"));
        if !path.is_empty() {
            refused(storage.list(path), What::Other, &case("list"));
        }
    }
    assert_eq!(storage.read("job/file").expect("read"), b"kept");
}

fn a_lock_is_held_by_one(storage: &dyn CheckpointStorage) {
    let first = storage.lock("job").expect("lock a folder that is not there yet");
    let error = refused(storage.lock("job"), What::Locked, "lock twice");
    assert!(error.path().ends_with("job"), "the folder is named: {error}");
    let other = storage.lock("other").expect("lock another folder");
    assert_eq!(storage.list("job").expect("list"), [], "the lock does not show");
    drop(first);
    let again = storage.lock("job").expect("lock what was released");
    drop((other, again));
}

fn files_are_appended_and_cut(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("create a folder");
    let path = dir.join("file");
    let mut file = disk.create_new(&path).expect("create");
    assert!(file.is_empty());
    file.append(b"hello ").expect("append");
    file.append(b"world").expect("append");
    file.sync().expect("sync");
    assert_eq!(file.len(), 11);
    assert_eq!(disk.read(&path).expect("read"), b"hello world");
    assert_eq!(disk.read_range(&path, 6, 5).expect("read a range"), b"world");
    assert_eq!(disk.metadata(&path).expect("look"), Metadata { is_dir: false, len: 11 });

    drop(file);
    let mut file = disk.truncate(&path, 5).expect("truncate");
    assert_eq!(file.len(), 5);
    file.append(b"!").expect("append after the cut");
    assert_eq!((file.len(), disk.read(&path).expect("read")), (6, b"hello!".to_vec()));
    refused(disk.truncate(&path, 7), What::CutOff, "truncate to more than there is");
    assert_eq!(disk.read(&path).expect("read"), b"hello!");
    for (offset, len) in [(0, 7), (6, 1), (7, 0), (u64::MAX, u64::MAX)] {
        refused(disk.read_range(&path, offset, len), What::CutOff, "a range beyond the end");
    }
}

fn names_are_moved_and_removed(disk: &dyn Disk, dir: &Path) {
    let (here, there) = (dir.join("here"), dir.join("there"));
    disk.create_dir_all(&here).expect("create a folder");
    disk.create_dir_all(&there).expect("create a folder");
    disk.create_new(&here.join("a")).and_then(|mut file| file.append(b"a")).expect("write");
    disk.create_new(&there.join("b")).and_then(|mut file| file.append(b"b")).expect("write");

    disk.rename(&here.join("a"), &there.join("b")).expect("a rename replaces");
    assert_eq!(disk.read(&there.join("b")).expect("read"), b"a");
    refused(disk.metadata(&here.join("a")), What::NotFound, "the old name");
    disk.rename(&there.join("b"), &there.join("b")).expect("a rename to itself does nothing");
    assert_eq!(disk.read(&there.join("b")).expect("read"), b"a");
    disk.sync_dir(&here).and_then(|()| disk.sync_dir(&there)).expect("sync both folders");

    disk.create_new(&there.join("c")).and_then(|mut file| file.append(b"c")).expect("write");
    refused(disk.rename_new(&there.join("c"), &there.join("b")), What::AlreadyExists, "rename to a name that is taken");
    assert_eq!(disk.read(&there.join("b")).expect("read"), b"a");
    assert_eq!(disk.read(&there.join("c")).expect("read"), b"c");
    disk.rename_new(&there.join("c"), &there.join("d")).expect("rename to a free name");
    assert_eq!(disk.read(&there.join("d")).expect("read"), b"c");
    refused(disk.metadata(&there.join("c")), What::NotFound, "the old name");
    refused(disk.rename_new(&there.join("c"), &there.join("e")), What::NotFound, "rename what is not there");
    disk.remove_file(&there.join("d")).expect("remove");

    disk.remove_file(&there.join("b")).expect("remove");
    assert_eq!(disk.list(&there).expect("list"), []);
}

fn folders_are_made_and_removed(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(&dir.join("b/deep")).expect("create folders");
    disk.create_dir_all(&dir.join("b/deep")).expect("create them again");
    disk.create_new(&dir.join("a")).and_then(|mut file| file.append(b"abc")).expect("write");
    disk.create_new(&dir.join("b/deep/file")).expect("create");
    let listed: Vec<(String, bool)> = disk.list(dir).expect("list").iter().map(name_and_kind).collect();
    assert_eq!(listed, [("a".to_owned(), false), ("b".to_owned(), true)]);
    assert_eq!(disk.list(dir).expect("list")[0].len, 3);

    assert!(disk.remove_dir(&dir.join("b")).is_err(), "a folder that is not empty");
    assert!(disk.remove_file(&dir.join("b")).is_err(), "a folder is not a file");
    assert!(disk.create_dir_all(&dir.join("a/below")).is_err(), "a folder below a file");
    disk.remove_dir_all(&dir.join("b")).expect("remove all");
    disk.remove_dir_all(&dir.join("b")).expect("remove what is not there");
    refused(disk.metadata(&dir.join("b/deep")), What::NotFound, "what was removed");
}

fn name_and_kind(entry: &DirEntry) -> (String, bool) {
    (entry.name.to_string_lossy().into_owned(), entry.is_dir)
}

fn disk_refusals_are_certain(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("create a folder");
    let (file, gone) = (dir.join("file"), dir.join("gone"));
    disk.create_new(&file).expect("create");
    refused(disk.create_new(&file), What::AlreadyExists, "create a file twice");
    refused(disk.create_dir(&file), What::AlreadyExists, "create a folder over a file");
    refused(disk.create_new(&gone.join("x")), What::NotFound, "create a file in no folder");
    refused(disk.create_dir(&gone.join("x")), What::NotFound, "create a folder in no folder");
    refused(disk.read(&gone), What::NotFound, "read");
    refused(disk.read_range(&gone, 0, 0), What::NotFound, "read a range");
    refused(disk.truncate(&gone, 0), What::NotFound, "truncate");
    refused(disk.rename(&gone, &file), What::NotFound, "rename");
    refused(disk.remove_file(&gone), What::NotFound, "remove a file");
    refused(disk.remove_dir(&gone), What::NotFound, "remove a folder");
    refused(disk.list(&gone), What::NotFound, "list");
    refused(disk.sync_dir(&gone), What::NotFound, "sync");
    refused(disk.create_new(&file.join("x")), What::Other, "create below a file");
}

fn a_disk_lock_is_held_by_one(disk: &dyn Disk, dir: &Path) {
    disk.create_dir_all(dir).expect("create a folder");
    let held = disk.lock(&dir.join(".lock")).expect("lock");
    refused(disk.lock(&dir.join(".lock")), What::Locked, "lock twice");
    drop(held);
    drop(disk.lock(&dir.join(".lock")).expect("lock what was released"));
}
