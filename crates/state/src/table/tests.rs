//! What the tables promise, one promise a test; `model` compares them with a map of the standard library.

mod changes;
mod model;

use std::cell::Cell;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use highwater_core::{KeyGroup, KeyHash, MaxParallelism, Parallelism, SubtaskIndex};

use super::*;
use crate::schema::NamedState;
use crate::{Data, DecodeError, MapState, Plain, ValueState};

#[derive(KeyedState)]
struct Count {
    value: ValueState<u64>,
}

fn all(count: u32) -> (MaxParallelism, KeyGroupRange) {
    let max = MaxParallelism::new(count).unwrap();
    (max, max.all())
}

fn encoded<K: Key, S: KeyedState>(key: &K, state: &S) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    state.encode(&mut bytes);
    bytes
}

/// The rows of a table, encoded one by one, which is how they are compared.
fn content<K: Key, S: KeyedState>(tables: &KeyGroupTables<K, S>) -> BTreeSet<Vec<u8>> {
    tables.iter().map(|(_, key, state)| encoded(key, state)).collect()
}

/// What a snapshot has emitted.
#[derive(Default)]
struct Emitted(Vec<Chunk>);

impl Emitted {
    fn add(&mut self, chunk: Chunk) {
        assert!(chunk.entries > 0 && !chunk.bytes.is_empty(), "an empty chunk");
        let rows_are_out = self.0.iter().any(|other| other.group == chunk.group && other.kind == ChunkKind::Rows);
        assert!(chunk.kind == ChunkKind::Rows || !rows_are_out, "removed keys come first");
        self.0.push(chunk);
    }

    fn advance<K: Key, S: KeyedState>(&mut self, tables: &mut KeyGroupTables<K, S>, budget: usize) -> bool {
        tables.advance_snapshot(budget, &mut |chunk| self.add(chunk))
    }

    /// All that is left of the snapshot in progress.
    fn rest<K: Key, S: KeyedState>(tables: &mut KeyGroupTables<K, S>) -> Self {
        let mut emitted = Emitted::default();
        assert!(emitted.advance(tables, usize::MAX));
        emitted
    }

    fn of_kind(&self, kind: ChunkKind) -> impl Iterator<Item = &Chunk> {
        self.0.iter().filter(move |chunk| chunk.kind == kind)
    }

    fn entries(&self, kind: ChunkKind) -> u64 {
        self.of_kind(kind).map(|chunk| chunk.entries).sum()
    }

    /// The rows, without those of other snapshots.
    fn content<K: Key, S: KeyedState>(&self) -> BTreeSet<Vec<u8>> {
        let mut content = BTreeSet::new();
        for Chunk { entries, bytes, .. } in self.of_kind(ChunkKind::Rows) {
            let mut rest = &bytes[..];
            for _ in 0..*entries {
                let (key, state) = (K::decode(&mut rest).unwrap(), S::decode(&mut rest).unwrap());
                assert!(content.insert(encoded(&key, &state)), "{key:?} came out twice");
            }
            assert!(rest.is_empty());
        }
        content
    }

    fn load_into<K: Key, S: KeyedState>(&self, tables: &mut KeyGroupTables<K, S>) {
        for Chunk { group, kind, entries, bytes } in &self.0 {
            assert_eq!(tables.load(*group, *kind, bytes), Ok(*entries));
        }
    }
}

fn value(state: &Count) -> u64 {
    state.value.get().copied().unwrap_or(0)
}

fn set_value(state: &mut Count, value: u64) {
    if value == 0 { state.clear() } else { state.value.set(value) }
}

/// A state that shares ownership of a number, so that a test sees how many rows are alive.
#[derive(KeyedState)]
struct Shared {
    value: ValueState<Arc<u64>>,
}

fn fill(tables: &mut KeyGroupTables<Arc<u64>, Shared>, keys: &[Arc<u64>], state: &Arc<u64>) {
    let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
    let done = tables.for_each(keys, &hashes, |_, place| {
        place.value.set(state.clone());
        Ok::<(), ()>(())
    });
    assert_eq!(done, Ok(()));
}

#[derive(KeyedState)]
struct Note {
    text: ValueState<String>,
}

#[test]
fn rows_with_many_bytes_use_a_budget_up_sooner() {
    let steps = |len: usize| {
        let (max, range) = all(1);
        let mut tables = KeyGroupTables::<u64, Note>::new(max, range);
        for key in 0..4_000_u64 {
            tables.with(key.key_hash(), &key, |state| state.text.set("x".repeat(len)));
        }
        tables.begin_snapshot(|_| Scope::Full);
        let (mut emitted, mut steps) = (Emitted::default(), 1);
        while !emitted.advance(&mut tables, 1024) {
            steps += 1;
        }
        assert_eq!(emitted.entries(ChunkKind::Rows), 4_000);
        steps
    };
    assert!(steps(8) < 10, "by slots");
    // 4 MB, in steps of 32 KiB and the rest of a page.
    assert!((40..200).contains(&steps(1_000)), "by bytes");
}

#[test]
fn every_row_is_dropped_once() {
    let (max, range) = all(8);
    let keys: Vec<Arc<u64>> = (0..5_000).map(Arc::new).collect();
    let state = Arc::new(0);
    let mut tables = KeyGroupTables::new(max, range);
    fill(&mut tables, &keys, &state);
    fill(&mut tables, &keys, &state);
    assert_eq!((Arc::strong_count(&state), Arc::strong_count(&keys[0])), (5_001, 2));
    for key in &keys[..3_000] {
        tables.with(key.key_hash(), key, Shared::clear);
    }
    assert_eq!((Arc::strong_count(&state), Arc::strong_count(&keys[0])), (2_001, 1));
    tables.begin_snapshot(|_| Scope::Full);
    tables.advance_snapshot(500, &mut |_| ());
    drop(tables);
    assert_eq!(Arc::strong_count(&state), 1);
    assert!(keys.iter().all(|key| Arc::strong_count(key) == 1));
}

#[test]
fn a_panic_leaves_the_tables_usable() {
    let (max, range) = all(4);
    let keys: Vec<Arc<u64>> = (0..1_000).map(Arc::new).collect();
    let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
    let state = Arc::new(0);
    let mut tables = KeyGroupTables::<Arc<u64>, Shared>::new(max, range);
    tables.begin_snapshot(|_| Scope::Full);
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        tables.for_each(&keys, &hashes, |i, place| {
            place.value.set(state.clone());
            assert!(i < 600, "this panic is part of the test");
            Ok::<(), ()>(())
        })
    }));
    assert!(panicked.is_err());
    fill(&mut tables, &keys, &state);
    assert_eq!((tables.len(), Arc::strong_count(&state)), (1_000, 1_001));
    drop(tables);
    assert_eq!(Arc::strong_count(&state), 1);
    assert!(keys.iter().all(|key| Arc::strong_count(key) == 1));
}

#[test]
fn a_default_that_panics_inserts_no_row() {
    thread_local!(static PANICS: Cell<bool> = const { Cell::new(false) });
    struct Touchy(Count);
    impl Default for Touchy {
        fn default() -> Self {
            assert!(!PANICS.get(), "this panic is part of the test");
            Touchy(Count::default())
        }
    }
    impl KeyedState for Touchy {
        fn states() -> Vec<NamedState> {
            Count::states()
        }
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }
        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            Count::decode(input).map(Touchy)
        }
        fn is_empty(&self) -> bool {
            self.0.is_empty()
        }
        fn clear(&mut self) {
            self.0.clear();
        }
    }
    let (max, range) = all(1);
    let mut tables = KeyGroupTables::<String, Touchy>::new(max, range);
    let key = "key".to_owned();
    PANICS.set(true);
    let panicked = catch_unwind(AssertUnwindSafe(|| tables.with(key.key_hash(), &key, |_| ())));
    assert!(panicked.is_err() && tables.is_empty());
    PANICS.set(false);
    tables.with(key.key_hash(), &key, |state| set_value(&mut state.0, 1));
    assert_eq!(tables.len(), 1);
}

#[test]
fn the_first_error_ends_the_batch() {
    let (max, range) = all(4);
    let keys: Vec<u64> = (0..100).collect();
    let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
    let mut tables = KeyGroupTables::<u64, Plain<u64>>::new(max, range);
    let result = tables.for_each(&keys, &hashes, |i, state| {
        state.0 += 1;
        if i == 40 { Err("no") } else { Ok(()) }
    });
    assert_eq!(result, Err((40, "no")));
    assert_eq!(tables.len(), 41);
}

#[test]
fn a_row_left_empty_is_no_row() {
    let (max, range) = all(4);
    let mut tables = KeyGroupTables::<u64, Count>::new(max, range);
    let hash = 7.key_hash();
    assert!(tables.get(hash, &7).is_none());
    tables.with(hash, &7, |state| assert_eq!(value(state), 0));
    assert!(tables.is_empty());
    let error = tables.for_each(&[7], &[hash], |_, _| Err("and none after an error"));
    assert_eq!(error, Err((0, "and none after an error")));
    assert!(tables.is_empty() && tables.get(hash, &7).is_none());
}

fn filled(groups: u32, keys: std::ops::Range<u64>) -> KeyGroupTables<u64, Plain<u64>> {
    let (max, range) = all(groups);
    let mut tables = KeyGroupTables::new(max, range);
    keys.for_each(|key| tables.with(key.key_hash(), &key, |state: &mut Plain<u64>| state.0 = key + 1));
    tables
}

#[test]
fn a_snapshot_has_nothing_of_later() {
    let mut tables = filled(4, 0..2_000);
    let before = content(&tables);
    tables.begin_snapshot(|_| Scope::Full);
    let mut emitted = Emitted::default();
    assert!(!emitted.advance(&mut tables, 300));
    // Changes of rows that are swept and that are not, insertions, and growth of every table.
    for key in 0..20_000u64 {
        tables.with(key.key_hash(), &key, |state| state.0 = 0);
    }
    assert!(emitted.advance(&mut tables, usize::MAX));
    assert!(emitted.content::<u64, Plain<u64>>() == before);
    tables.begin_snapshot(|_| Scope::Full);
    let emitted = Emitted::rest(&mut tables);
    assert!(emitted.content::<u64, Plain<u64>>() == content(&tables));
}

#[test]
fn a_snapshot_comes_in_steps_and_chunks() {
    let mut tables = filled(1, 0..60_000);
    tables.begin_snapshot(|_| Scope::Full);
    let (mut steps, mut sizes) = (1, Vec::new());
    while !tables.advance_snapshot(1_000, &mut |chunk| sizes.push(chunk.bytes.len())) {
        steps += 1;
    }
    assert!((60..150).contains(&steps), "{steps} steps");
    assert_eq!(sizes.iter().sum::<usize>(), 60_000 * 16);
    assert!(sizes.len() == 4 && sizes.iter().all(|size| *size < 270_000), "{sizes:?}");
}

#[test]
#[should_panic(expected = "finished or aborted first")]
fn snapshots_do_not_overlap() {
    let mut tables = filled(1, 0..1);
    tables.begin_snapshot(|_| Scope::Full);
    tables.begin_snapshot(|_| Scope::Full);
}

#[test]
fn rows_move_with_their_key_groups() {
    let mut tables = filled(128, 0..10_000);
    tables.begin_snapshot(|_| Scope::Full);
    let emitted = Emitted::rest(&mut tables);
    for parallelism in [1, 3, 128] {
        let parallelism = Parallelism::new(parallelism).unwrap();
        let mut restored = BTreeSet::new();
        for subtask in 0..parallelism.count() {
            let range = tables.max.range_of(SubtaskIndex(subtask), parallelism);
            let mut part = KeyGroupTables::<u64, Plain<u64>>::new(tables.max, range);
            for Chunk { group, kind, entries, bytes } in emitted.0.iter().filter(|chunk| range.contains(chunk.group)) {
                assert_eq!(part.load(*group, *kind, bytes), Ok(*entries));
            }
            restored.append(&mut content(&part));
        }
        assert!(restored == content(&tables));
    }
}

#[test]
fn what_does_not_belong_is_not_loaded() {
    use ChunkKind::{Removed, Rows};
    let (max, range) = all(16);
    let entry = encoded(&5u64, &Plain(6u64));
    let group = 5u64.key_hash().key_group(max);
    let other = KeyGroup((group.0 + 1) % 16);
    let mut tables = KeyGroupTables::<u64, Plain<u64>>::new(max, range);
    assert!(
        matches!(tables.load(other, Rows, &entry), Err(DecodeError::Invalid { found, .. }) if found == u64::from(group.0))
    );
    for len in 1..entry.len() {
        assert!(matches!(tables.load(group, Rows, &entry[..len]), Err(DecodeError::CutOff { .. })), "{len}");
    }
    assert!(tables.is_empty());
    let twice = [&entry[..], &entry].concat();
    assert!(matches!(tables.load(group, Rows, &twice), Err(DecodeError::Duplicate { .. })));
    let key = &entry[..8];
    assert!(
        matches!(tables.load(other, Removed, key), Err(DecodeError::Invalid { found, .. }) if found == u64::from(group.0))
    );
    for len in 1..key.len() {
        assert!(matches!(tables.load(group, Removed, &key[..len]), Err(DecodeError::CutOff { .. })), "{len}");
    }
    // Entries without bytes never use up the input.
    let mut tables = KeyGroupTables::<(), Plain<()>>::new(max, range);
    for kind in [Rows, Removed] {
        assert!(matches!(tables.load(().key_hash().key_group(max), kind, &[1]), Err(DecodeError::Invalid { .. })));
    }
}

#[test]
#[should_panic(expected = "is not in key groups 0..8")]
fn a_key_of_another_subtask_is_refused() {
    let max = MaxParallelism::new(16).unwrap();
    let mut tables = KeyGroupTables::<u64, Plain<u64>>::new(max, KeyGroupRange::new(0..8));
    tables.with(KeyHash(u64::MAX), &1, |_| ());
}

#[derive(KeyedState)]
struct Wide {
    value: ValueState<[u64; 100]>,
}

#[derive(KeyedState)]
struct Pages {
    pages: MapState<String, u64>,
}

#[test]
fn groups_without_rows_cost_next_to_nothing() {
    let (max, range) = all(MaxParallelism::UPPER_BOUND);
    let mut tables = KeyGroupTables::<u64, Pages>::new(max, range);
    assert!(tables.allocated_bytes() <= 32 * max.count() as usize);
    for key in 0..10u64 {
        tables.with(key.key_hash(), &key, |state| state.pages.update("key".into(), |hits| *hits = key));
    }
    assert!(tables.allocated_bytes() < 33 * max.count() as usize);
    tables.begin_snapshot(|_| Scope::Full);
    let mut chunks = 0;
    assert!(tables.advance_snapshot(10_000, &mut |_| chunks += 1));
    assert_eq!(chunks, 10);
}

#[test]
fn keys_that_come_and_go_need_no_more_memory() {
    let mut tables = KeyGroupTables::<u64, Count>::new(all(4).0, all(4).1);
    let mut change = |key: u64, change: fn(&mut Count)| {
        tables.with(key.key_hash(), &key, change);
        tables.allocated_bytes()
    };
    let full = (0..4_000).map(|key| change(key, |state| state.value.set(1))).max();
    let most = (0..200_000).map(|key| {
        change(key, Count::clear);
        change(key + 4_000, |state| state.value.set(1))
    });
    assert!(most.max() <= full.map(|bytes| bytes * 2));
}

#[test]
fn memory_goes_back_with_the_rows() {
    let mut tables = KeyGroupTables::<u64, Wide>::new(all(16).0, all(16).1);
    for key in 0..60_000u64 {
        tables.with(key.key_hash(), &key, |state| state.value.set([key; 100]));
    }
    let full = tables.allocated_bytes();
    for key in 0..60_000u64 {
        tables.with(key.key_hash(), &key, Wide::clear);
    }
    assert!(tables.is_empty());
    assert!(tables.allocated_bytes() < full / 2, "{} of {full} bytes", tables.allocated_bytes());
}
