//! What a snapshot of changes holds, and what it leaves out.

use super::*;
use crate::ListState;

type Tables = KeyGroupTables<u64, Count>;

fn set(tables: &mut Tables, key: u64, value: u64) {
    tables.with(key.key_hash(), &key, |state| set_value(state, value));
}

/// Tables with a row for each key, all of them in a snapshot.
fn stored(groups: u32, keys: u64) -> Tables {
    let mut tables = KeyGroupTables::new(all(groups).0, all(groups).1);
    (0..keys).for_each(|key| set(&mut tables, key, 1));
    assert_eq!(snapshot(&mut tables, Scope::Full), (keys, 0));
    tables
}

/// The numbers of rows and of removed keys in a snapshot taken now.
fn snapshot<K: Key, S: KeyedState>(tables: &mut KeyGroupTables<K, S>, scope: Scope) -> (u64, u64) {
    tables.begin_snapshot(|_| scope);
    let emitted = Emitted::rest(tables);
    (emitted.entries(ChunkKind::Rows), emitted.entries(ChunkKind::Removed))
}

#[test]
fn it_holds_as_many_entries_as_there_were_changes() {
    let mut tables = stored(4, 20_000);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 0));
    (0..100).for_each(|key| set(&mut tables, key * 150, 2));
    (0..100).for_each(|key| set(&mut tables, key * 150, 3));
    (1..41).for_each(|key| set(&mut tables, key, 0));
    (30_000..30_007).for_each(|key| set(&mut tables, key, 1));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (107, 40));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 0));
    assert_eq!(snapshot(&mut tables, Scope::Full), (20_000 - 40 + 7, 0));
}

#[test]
fn it_has_nothing_of_a_row_that_came_and_went() {
    let mut tables = stored(4, 1_000);
    (5_000..6_000).for_each(|key| set(&mut tables, key, 1));
    (5_000..6_000).for_each(|key| set(&mut tables, key, 0));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 0));
    // One that is stored, goes, comes and goes again, is told of once.
    for value in [0, 5, 0] {
        set(&mut tables, 7, value);
    }
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 1));
}

#[test]
fn it_tells_of_a_key_that_was_replaced_before_its_row() {
    let mut tables = stored(1, 1_000);
    set(&mut tables, 7, 0);
    set(&mut tables, 7, 9);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (1, 1));
    set(&mut tables, 7, 0);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 1));
}

#[test]
fn growth_keeps_what_is_changed_apart_from_the_rest() {
    let mut tables = stored(1, 3_000);
    (0..50).for_each(|key| set(&mut tables, key, 2));
    (3_000..30_000).for_each(|key| set(&mut tables, key, 1));
    (3_000..30_000).for_each(|key| set(&mut tables, key, 0));
    assert_eq!(tables.len(), 3_000);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (50, 0));
}

#[test]
fn changes_during_a_snapshot_are_for_the_next_one() {
    let mut tables = stored(4, 10_000);
    (0..1_000).for_each(|key| set(&mut tables, key, 2));
    tables.begin_snapshot(|_| Scope::Changed);
    let mut emitted = Emitted::default();
    assert!(!emitted.advance(&mut tables, 1_000));
    // Both rows that are in the snapshot and ones that are not.
    (900..1_200).for_each(|key| set(&mut tables, key, 3));
    (0..20).for_each(|key| set(&mut tables, key, 0));
    assert!(emitted.advance(&mut tables, usize::MAX));
    assert_eq!((emitted.entries(ChunkKind::Rows), emitted.entries(ChunkKind::Removed)), (1_000, 0));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (300, 20));
}

#[test]
fn what_was_loaded_is_unchanged() {
    let mut tables = stored(4, 5_000);
    tables.begin_snapshot(|_| Scope::Full);
    let emitted = Emitted::rest(&mut tables);
    let mut restored = Tables::new(all(4).0, all(4).1);
    emitted.load_into(&mut restored);
    set(&mut restored, 5, 7);
    set(&mut restored, 6, 0);
    assert_eq!(snapshot(&mut restored, Scope::Changed), (1, 1));
    // Also where rows were changed before.
    (0..500).for_each(|key| set(&mut restored, key, 8));
    emitted.load_into(&mut restored);
    assert_eq!(snapshot(&mut restored, Scope::Changed), (0, 0));
    assert!(content(&restored) == content(&tables));
}

#[test]
fn a_snapshot_aside_from_the_others_leaves_what_has_changed_to_the_next() {
    let mut tables = stored(4, 10_000);
    (0..1_000).for_each(|key| set(&mut tables, key, 2));
    (1_000..1_040).for_each(|key| set(&mut tables, key, 0));
    tables.begin_snapshot(|_| Scope::Aside);
    let mut emitted = Emitted::default();
    assert!(!emitted.advance(&mut tables, 1_000));
    (900..1_200).for_each(|key| set(&mut tables, key, 3));
    (0..20).for_each(|key| set(&mut tables, key, 0));
    assert!(emitted.advance(&mut tables, usize::MAX));
    assert_eq!((emitted.entries(ChunkKind::Rows), emitted.entries(ChunkKind::Removed)), (10_000 - 40, 0));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (1_200 - 20, 40 + 20));
    // One that is given up has taken nothing either.
    set(&mut tables, 5_000, 2);
    tables.begin_snapshot(|_| Scope::Aside);
    tables.abort_snapshot();
    assert_eq!(snapshot(&mut tables, Scope::Changed), (1, 0));
    // And one after another that was given up does not take the place of what has to be full.
    tables.begin_snapshot(|_| Scope::Changed);
    tables.abort_snapshot();
    assert_eq!(snapshot(&mut tables, Scope::Aside), (10_000 - 20, 0));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (10_000 - 20, 0));
}

#[test]
fn after_one_that_was_given_up_the_next_is_full() {
    let mut tables = stored(4, 5_000);
    set(&mut tables, 1, 2);
    tables.begin_snapshot(|_| Scope::Changed);
    tables.abort_snapshot();
    set(&mut tables, 2, 0);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (4_999, 0));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 0));
}

#[test]
fn many_removed_keys_come_in_chunks() {
    let mut tables = stored(1, 100_000);
    (0..100_000).for_each(|key| set(&mut tables, key, 0));
    tables.begin_snapshot(|_| Scope::Changed);
    let emitted = Emitted::rest(&mut tables);
    assert_eq!(emitted.entries(ChunkKind::Removed), 100_000);
    assert!(emitted.0.len() == 4 && emitted.0.iter().all(|chunk| chunk.bytes.len() < 270_000));
    // And into a full one none of them comes.
    (0..100_000).for_each(|key| set(&mut tables, key, 1));
    assert_eq!(snapshot(&mut tables, Scope::Changed), (100_000, 0));
    (0..90_000).for_each(|key| set(&mut tables, key, 0));
    assert_eq!(snapshot(&mut tables, Scope::Full), (10_000, 0));
}

#[test]
fn a_removed_key_whose_encoding_is_empty_is_told_of() {
    let mut tables = KeyGroupTables::<(), Count>::new(all(4).0, all(4).1);
    tables.with(().key_hash(), &(), |state| set_value(state, 1));
    tables.begin_snapshot(|_| Scope::Full);
    let emitted = Emitted::rest(&mut tables);
    let mut restored = KeyGroupTables::<(), Count>::new(all(4).0, all(4).1);
    emitted.load_into(&mut restored);
    assert_eq!(restored.len(), 1);
    tables.with(().key_hash(), &(), Count::clear);
    tables.begin_snapshot(|_| Scope::Changed);
    let emitted = Emitted::rest(&mut tables);
    assert_eq!(emitted.entries(ChunkKind::Removed), 1);
    emitted.load_into(&mut restored);
    assert!(restored.is_empty());
}

#[test]
fn a_sweep_visits_every_row_once_a_round() {
    let mut tables = stored(16, 5_000);
    let mut visits = vec![0; 5_000];
    let mut calls = 0;
    while visits.contains(&0) {
        let mut visited = 0;
        tables.sweep_rows(1_000, |key, _| {
            visits[*key as usize] += 1;
            visited += 1;
            false
        });
        assert!(visited <= 1_064);
        calls += 1;
    }
    assert!((5..20).contains(&calls), "{calls}");
    // The call that ended the round has begun the next one.
    assert!(visits.iter().filter(|visits| **visits > 1).count() <= 1_064);
    assert!(visits.iter().all(|visits| *visits <= 2));
}

#[test]
fn a_sweep_makes_changes_only_where_it_says_so() {
    let mut tables = stored(4, 5_000);
    tables.sweep_rows(usize::MAX, |key, state| {
        match key % 100 {
            0 => state.clear(),
            1 => set_value(state, 9),
            _ => {}
        }
        key % 100 < 2
    });
    assert_eq!(tables.len(), 4_950);
    assert_eq!(snapshot(&mut tables, Scope::Changed), (50, 50));
}

#[test]
fn a_sweep_over_no_rows_ends() {
    let mut tables = Tables::new(all(1_000).0, all(1_000).1);
    tables.sweep_rows(usize::MAX, |_, _| unreachable!("there is no row"));
}

#[test]
fn a_sweep_shrinks_what_it_empties() {
    let mut tables = stored(4, 100_000);
    let full = tables.allocated_bytes();
    for _ in 0..200 {
        tables.sweep_rows(2_000, |_, state| {
            state.clear();
            true
        });
    }
    assert!(tables.is_empty());
    assert!(tables.groups.iter().all(|group| group.pages() < 100), "{full}");
    assert_eq!(snapshot(&mut tables, Scope::Changed), (0, 100_000));
}

#[test]
fn a_panic_in_a_sweep_leaves_the_tables_usable() {
    #[derive(KeyedState)]
    struct Owners {
        list: ListState<Arc<u64>>,
    }
    let owner = Arc::new(0);
    let mut tables = KeyGroupTables::<String, Owners>::new(all(4).0, all(4).1);
    for key in (0..1_000).map(|key| format!("key {key}")) {
        tables.with(key.key_hash(), &key, |state| state.list.add(owner.clone()));
    }
    tables.begin_snapshot(|_| Scope::Changed);
    let mut visited = 0;
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        tables.sweep_rows(usize::MAX, |_, state| {
            visited += 1;
            assert!(visited < 500, "this panic is part of the test");
            if visited % 2 == 0 {
                state.clear()
            } else {
                state.list.add(owner.clone())
            }
            true
        });
    }));
    assert!(panicked.is_err());
    tables.abort_snapshot();
    let rows = tables.len() as u64;
    assert_eq!(snapshot(&mut tables, Scope::Changed), (rows, 0));
    drop(tables);
    assert_eq!(Arc::strong_count(&owner), 1);
}
