//! The contract of [`RowStore`], as a program that every implementation runs, alone and below a table.

mod tiers;

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use highwater_core::{Error, KeyGroup, KeyGroupRange, Result};

#[cfg(test)]
pub(crate) use self::tiers::Number;
pub use self::tiers::tiered_tables;
use super::{KeyBatch, LocalSnapshot, RowBatch, RowStore, RowStoreFactory, SnapshotFile, StoredRows};

/// Checks the stores of a factory.
///
/// # Panics
/// If the contract is broken.
pub fn row_store(stores: &dyn RowStoreFactory) {
    a_new_store_is_empty(&*open(stores));
    rows_are_found_at_their_positions(&*open(stores));
    keys_and_rows_may_be_of_any_length(&*open(stores));
    scans_are_in_order_and_within_their_groups(&*open(stores));
    what_is_left_is_found_beside_what_is_loaded(stores);
    an_error_of_the_caller_ends_the_call(&*open(stores));
    stores_do_not_see_each_other(stores);
    a_snapshot_is_the_content_of_its_moment(stores);
    a_view_is_the_content_of_its_moment_from_any_row_on(&*open(stores));
    a_snapshot_that_cannot_be_fetched_is_not_opened(stores);
    files_that_are_shared_do_not_change(stores);
    files_that_were_restored_do_not_change(stores);
    snapshots_are_taken_while_others_read(&open(stores));
    a_store_is_a_map(stores);
}

/// Key group and key.
type Key = (u16, Vec<u8>);
type Model = BTreeMap<Key, Vec<u8>>;
/// A row to put, or a key to delete.
type Change<'a> = (u16, &'a [u8], Option<&'a [u8]>);

fn open(stores: &dyn RowStoreFactory) -> Arc<dyn RowStore> {
    stores.open("conformance").expect("an empty store opens")
}

fn all() -> KeyGroupRange {
    KeyGroupRange::new(0..1 << 15)
}

fn write(store: &dyn RowStore, changes: &[Change<'_>]) {
    let mut batch = RowBatch::default();
    for (group, key, row) in changes {
        let key = |out: &mut Vec<u8>| out.extend_from_slice(key);
        match row {
            Some(row) => batch.put(KeyGroup(*group), key, |out| out.extend_from_slice(row)),
            None => batch.delete(KeyGroup(*group), key),
        }
    }
    store.write(batch.sorted()).expect("a batch is written");
}

fn get_many(store: &dyn RowStore, keys: &[(u16, &[u8])]) -> BTreeMap<usize, Vec<u8>> {
    let mut batch = KeyBatch::default();
    keys.iter().for_each(|(group, key)| batch.push(KeyGroup(*group), |out| out.extend_from_slice(key)));
    let mut found = BTreeMap::new();
    let looked_up = store.get_many(batch.sorted(), &mut |position, row| {
        assert!(found.insert(position, row.to_vec()).is_none(), "position {position} came twice");
        Ok(())
    });
    looked_up.expect("rows are looked up");
    found
}

fn content(store: &dyn RowStore, groups: KeyGroupRange) -> Vec<(Key, Vec<u8>)> {
    let mut rows = Vec::new();
    let scanned = store.scan(groups, &mut |group, key, row| {
        rows.push(((group.0, key.to_vec()), row.to_vec()));
        Ok(())
    });
    scanned.expect("rows are scanned");
    rows
}

fn a_view_is_the_content_of_its_moment_from_any_row_on(store: &dyn RowStore) {
    let empty = store.view().expect("a view of nothing");
    write(store, &[(1, b"", Some(b"1")), (1, b"a", Some(b"2")), (255, b"b", Some(b"3")), (256, b"", Some(b"4"))]);
    let (view, before) = (store.view().expect("a view"), content(store, all()));
    write(store, &[(1, b"a", Some(b"second")), (2, b"new", Some(b"second")), (256, b"", None)]);
    assert_eq!(visited(&*empty, b"", 9), []);
    assert_eq!(visited(&*view, b"", 9), before);
    assert_eq!(visited(&*view, b"", 2), before[..2]);
    for (index, ((group, key), _)) in before.iter().enumerate() {
        let mut stored = [&group.to_be_bytes()[..], key].concat();
        assert_eq!(visited(&*view, &stored, 9), before[index..]);
        stored.push(0);
        assert_eq!(visited(&*view, &stored, 1), before[index + 1..].iter().take(1).cloned().collect::<Vec<_>>());
    }
    let refused = view.scan(b"", &mut |_, _, _| Err(Error::internal("this error is part of the suite")));
    assert!(refused.is_err());
}

/// The rows of a view from a key on, `count` at most.
fn visited(view: &dyn StoredRows, from: &[u8], count: usize) -> Vec<(Key, Vec<u8>)> {
    let mut rows = Vec::new();
    let scanned = view.scan(from, &mut |group, key, row| {
        rows.push(((group.0, key.to_vec()), row.to_vec()));
        Ok(if rows.len() < count { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    });
    scanned.expect("a view is scanned");
    rows
}

fn restore(stores: &dyn RowStoreFactory, snapshot: &LocalSnapshot) -> Result<Arc<dyn RowStore>> {
    stores.restore("conformance", &mut |folder| copy(snapshot, folder))
}

fn copy(snapshot: &LocalSnapshot, folder: &Path) -> Result<()> {
    for file in &snapshot.files {
        let copied = std::fs::copy(snapshot.folder.join(&file.name), folder.join(&file.name));
        assert_eq!(copied.expect("a file of a snapshot is copied"), file.len, "{}", file.name);
    }
    Ok(())
}

fn a_new_store_is_empty(store: &dyn RowStore) {
    assert!(content(store, all()).is_empty());
    assert!(get_many(store, &[(0, b"key"), (7, b"")]).is_empty());
    assert!(get_many(store, &[]).is_empty());
    write(store, &[]);
    write(store, &[(3, b"not there", None)]);
    assert!(content(store, all()).is_empty());
}

fn rows_are_found_at_their_positions(store: &dyn RowStore) {
    write(store, &[(2, b"b", Some(b"2b")), (1, b"b", Some(b"1b")), (1, b"a", Some(b"1a"))]);
    let found = get_many(store, &[(2, b"b"), (1, b"c"), (1, b"a"), (0, b"b"), (1, b"b")]);
    let expected = [(0, b"2b".to_vec()), (2, b"1a".to_vec()), (4, b"1b".to_vec())];
    assert_eq!(found, expected.into());
    assert_eq!(get_many(store, &[(1, b"a"), (2, b"b"), (1, b"a")]).len(), 2, "a key that comes twice is found once");
    write(store, &[(1, b"a", None), (1, b"b", Some(b"")), (2, b"b", Some(b"other"))]);
    let found = get_many(store, &[(1, b"a"), (1, b"b"), (2, b"b")]);
    assert_eq!(found, [(1, Vec::new()), (2, b"other".to_vec())].into());
}

fn keys_and_rows_may_be_of_any_length(store: &dyn RowStore) {
    let (long_key, long_row) = (vec![7; 100_000], vec![9; 5_000_000]);
    let rows: [Change<'_>; 4] = [
        (0, b"", Some(b"no key")),
        (32_767, &long_key, Some(&long_row)),
        (32_767, b"\xff\xff\xff\xff\xff\xff\xff\xff\xff", Some(b"")),
        (255, b"\0", Some(b"\0\0")),
    ];
    write(store, &rows);
    let found = get_many(store, &rows.map(|(group, key, _)| (group, key)));
    assert!(rows.iter().enumerate().all(|(position, row)| found.get(&position).map(Vec::as_slice) == row.2));
    assert_eq!(content(store, all()).len(), 4);
}

fn scans_are_in_order_and_within_their_groups(store: &dyn RowStore) {
    let keys: Vec<Key> = [0, 1, 254, 255, 256, 257, 32_767]
        .iter()
        .flat_map(|group| [(*group, vec![]), (*group, vec![255; 9])])
        .collect();
    let rows: Vec<_> = keys.iter().rev().map(|(group, key)| (*group, &key[..], Some(&b"row"[..]))).collect();
    write(store, &rows);
    let scanned = |range| content(store, KeyGroupRange::new(range)).into_iter().map(|row| row.0).collect::<Vec<_>>();
    assert_eq!(scanned(0..1 << 15), keys);
    assert_eq!(scanned(255..257), keys[6..10]);
    assert_eq!(scanned(2..254), []);
    assert_eq!(scanned(32_767..32_768), keys[12..]);
    assert_eq!(scanned(5..5), []);
}

fn what_is_left_is_found_beside_what_is_loaded(stores: &dyn RowStoreFactory) {
    let (from, store) = (open(stores), open(stores));
    // Keys at the ends of their groups, in the files of a store and in its memory.
    let of = |group: u16, row: &'static [u8]| [(group, &b""[..], Some(row)), (group, &[0xFF; 40][..], Some(row))];
    let groups = [0, 5, 6, 7, 8, 9, 10, 300, (1 << 15) - 1];
    write(&*store, &groups.map(|group| of(group, b"old")).concat());
    drop(store.snapshot().expect("a snapshot"));
    write(&*store, &groups.map(|group| of(group, b"left")).concat());
    write(&*from, &groups.map(|group| of(group, b"loaded")).concat());
    for deleted in [0..6, 9..1 << 15, 7..7] {
        store.delete(KeyGroupRange::new(deleted)).expect("rows are deleted");
    }
    let of_groups = |range: KeyGroupRange, row: &'static [u8]| {
        let of = groups.into_iter().filter(|group| range.contains(KeyGroup(*group))).flat_map(|group| of(group, row));
        of.map(|(group, key, row)| ((group, key.to_vec()), row.unwrap_or_default().to_vec())).collect::<Vec<_>>()
    };
    let left = of_groups(KeyGroupRange::new(6..9), b"left");
    assert_eq!(content(&*store, all()), left);
    let mut loaded = 0;
    let refused = store.load(&mut |put| {
        from.scan(KeyGroupRange::new(9..10), put)?;
        loaded += 1;
        Err(Error::internal("this error is part of the suite"))
    });
    assert!(refused.is_err() && loaded == 1);
    assert_eq!(content(&*store, all()), left, "what could not be loaded whole is not there");
    let more = KeyGroupRange::new(9..301);
    store.load(&mut |put| from.scan(more, put)).expect("rows are loaded");
    store.load(&mut |_| Ok(())).expect("no rows are loaded");
    let rows = [left, of_groups(more, b"loaded")].concat();
    assert_eq!(content(&*store, all()), rows);
    assert_eq!(visited(&*store.view().expect("a view"), b"", 99), rows);
    let found = get_many(&*store, &[(8, b""), (9, &[0xFF; 40]), (5, b""), (301, b"")]);
    assert_eq!(found, BTreeMap::from([(0, b"left".to_vec()), (1, b"loaded".to_vec())]));
    let back = restore(stores, &store.snapshot().expect("a snapshot")).expect("a snapshot opens");
    assert_eq!(content(&*back, all()), rows);
    write(&*back, &[(9, b"", None), (6, b"", Some(b"new"))]);
    assert_eq!(content(&*back, all()).len(), rows.len() - 1);
}

fn an_error_of_the_caller_ends_the_call(store: &dyn RowStore) {
    write(store, &[(1, b"a", Some(b"")), (1, b"b", Some(b""))]);
    let mut calls = 0;
    let mut refuse = || {
        calls += 1;
        Err(Error::internal("this error is part of the suite"))
    };
    let scanned = store.scan(all(), &mut |_, _, _| refuse());
    let mut batch = KeyBatch::default();
    b"ab".iter().for_each(|key| batch.push(KeyGroup(1), |out| out.push(*key)));
    let found = store.get_many(batch.sorted(), &mut |_, _| refuse());
    assert!(scanned.is_err_and(|error| error.to_string().contains("part of the suite")));
    assert!(found.is_err_and(|error| error.to_string().contains("part of the suite")));
    assert_eq!(calls, 2);
}

fn stores_do_not_see_each_other(stores: &dyn RowStoreFactory) {
    let (one, other) = (open(stores), open(stores));
    write(&*one, &[(1, b"a", Some(b"one"))]);
    assert!(content(&*other, all()).is_empty());
    drop(one);
    assert!(content(&*open(stores), all()).is_empty(), "a store that opens has nothing of one before it");
}

fn a_snapshot_is_the_content_of_its_moment(stores: &dyn RowStoreFactory) {
    let store = open(stores);
    let empty = store.snapshot().expect("a snapshot of nothing");
    write(&*store, &[(1, b"a", Some(b"first")), (1, b"b", Some(b"first")), (9, b"c", Some(b"first"))]);
    let snapshot = store.snapshot().expect("a snapshot");
    let before = content(&*store, all());
    write(&*store, &[(1, b"a", Some(b"second")), (9, b"c", None), (2, b"d", Some(b"second"))]);
    assert!(snapshot.files.is_sorted());
    let restored = restore(stores, &snapshot).expect("a snapshot opens");
    assert_eq!(content(&*restored, all()), before);
    assert!(content(&*restore(stores, &empty).expect("a snapshot of nothing opens"), all()).is_empty());
    let later = store.snapshot().expect("another snapshot");
    drop(store);
    assert!(snapshot.folder != later.folder);
    let folder = later.folder.clone();
    let restored_later = restore(stores, &later).expect("a snapshot opens when its store is gone");
    drop(later);
    assert!(!folder.exists(), "the files of a snapshot go with it");
    assert_eq!(content(&*restored, all()), before, "restored stores do not see each other");
    write(&*restored_later, &[(1, b"b", None)]);
    let again = restored_later.snapshot().expect("a restored store makes snapshots");
    let expected = [((1, b"a".to_vec()), b"second".to_vec()), ((2, b"d".to_vec()), b"second".to_vec())];
    assert_eq!(content(&*restore(stores, &again).expect("and they open"), all()), expected);
}

fn a_snapshot_that_cannot_be_fetched_is_not_opened(stores: &dyn RowStoreFactory) {
    let refused = stores.restore("conformance", &mut |_| Err(Error::internal("this error is part of the suite")));
    assert!(refused.is_err_and(|error| error.to_string().contains("part of the suite")));
    assert!(stores.restore("conformance", &mut |_| Ok(())).is_err(), "no files are no snapshot");
}

/// What has the name of a shared file in two snapshots has the same bytes.
fn files_that_are_shared_do_not_change(stores: &dyn RowStoreFactory) {
    let store = open(stores);
    let mut seen = BTreeMap::new();
    for round in 0..4_u8 {
        let keys: Vec<[u8; 2]> = (0..500_u16).map(|key| key.to_be_bytes()).collect();
        let rows: Vec<_> =
            keys.iter().skip(usize::from(round)).map(|key| (1, &key[..], Some(std::slice::from_ref(&round)))).collect();
        write(&*store, &rows);
        let snapshot = store.snapshot().expect("a snapshot");
        for file in snapshot.files.iter().filter(|file| file.is_shared) {
            let bytes = std::fs::read(snapshot.folder.join(&file.name)).expect("a file of a snapshot");
            assert!(*seen.entry(file.name.clone()).or_insert_with(|| bytes.clone()) == bytes, "{}", file.name);
        }
    }
}

fn files_that_were_restored_do_not_change(stores: &dyn RowStoreFactory) {
    let store = open(stores);
    for round in 0..3_u8 {
        write(&*store, &[(1, b"key", Some(&[round])), (2, &[round], Some(b"row"))]);
        drop(store.snapshot().expect("a snapshot"));
    }
    let snapshot = store.snapshot().expect("a snapshot");
    let bytes = || {
        let read = |file: &SnapshotFile| std::fs::read(snapshot.folder.join(&file.name)).expect("a file");
        snapshot.files.iter().map(read).collect::<Vec<_>>()
    };
    let before = bytes();
    let linked = stores.restore("conformance", &mut |folder| {
        for file in &snapshot.files {
            std::fs::hard_link(snapshot.folder.join(&file.name), folder.join(&file.name)).expect("a second name");
        }
        Ok(())
    });
    let linked = linked.expect("a snapshot opens");
    for round in 0..3_u8 {
        write(&*linked, &[(1, b"key", Some(&[round])), (2, &[round], None)]);
        linked.delete(KeyGroupRange::new(2..3)).expect("rows are deleted");
        drop(linked.snapshot().expect("a snapshot"));
    }
    assert!(bytes() == before, "a file was written into");
    drop(linked);
    assert!(bytes() == before, "a file was written into at the end");
}

fn snapshots_are_taken_while_others_read(store: &Arc<dyn RowStore>) {
    write(&**store, &[(1, b"a", Some(b"row"))]);
    let same = Arc::clone(store);
    let thread = std::thread::Builder::new().name("snapshot".into()).spawn(move || same.snapshot().map(|_| ()));
    for _ in 0..100 {
        assert_eq!(get_many(&**store, &[(1, b"a")]).len(), 1);
    }
    thread.expect("a thread").join().expect("no panic").expect("a snapshot");
}

/// Random batches, look-ups and restores, and the same of a map.
fn a_store_is_a_map(stores: &dyn RowStoreFactory) {
    let mut random = 1_u64;
    let mut below = |bound: u64| {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (random >> 33) % bound
    };
    let (mut store, mut model) = (open(stores), Model::new());
    for round in 0..60_u64 {
        let mut key = || (below(5) as u16, below(2_000).to_be_bytes()[6..].to_vec());
        let changed: BTreeMap<_, _> = (0..300).map(|_| key()).map(|key| (key, round % 3 > 0)).collect();
        let looked_up: Vec<_> = (0..200).map(|_| key()).collect();
        let row = round.to_be_bytes().repeat(1 + round as usize % 40);
        let changes: Vec<_> =
            changed.iter().map(|((group, key), put)| (*group, &key[..], put.then_some(&row[..]))).collect();
        write(&*store, &changes);
        for (key, put) in &changed {
            if *put {
                model.insert(key.clone(), row.clone())
            } else {
                model.remove(key)
            };
        }
        let keys: Vec<_> = looked_up.iter().map(|(group, key)| (*group, &key[..])).collect();
        let found = get_many(&*store, &keys);
        for (position, key) in looked_up.iter().enumerate() {
            let first = looked_up.iter().position(|other| other == key) == Some(position);
            assert_eq!(found.get(&position), model.get(key).filter(|_| first), "round {round}, key {key:?}");
        }
        if round % 10 == 9 {
            let snapshot = store.snapshot().expect("a snapshot");
            store = restore(stores, &snapshot).expect("a snapshot opens");
            assert!(content(&*store, all()).into_iter().eq(model.clone()), "round {round}");
        }
    }
}
