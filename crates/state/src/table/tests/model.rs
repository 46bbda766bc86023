//! Random changes of the tables, and the same of a map from the standard library.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::KeyHash;

use super::super::KeyGroupTables;
use super::{Emitted, all, content, encoded, set_value, value};
use crate::{Data, Key, KeyedState, ListState, ValueState};

/// SplitMix64: the tests draw from it, so that a seed is a case.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }
}

/// Random batches, single changes, look-ups and snapshots on tables, and the same on a map.
struct Model<K: Key, S: KeyedState> {
    tables: KeyGroupTables<K, S>,
    rows: BTreeMap<u64, u64>,
    random: Random,
    key: fn(u64) -> K,
    hash: fn(u64, &K) -> KeyHash,
    get: fn(&S) -> u64,
    set: fn(&mut S, u64),
    /// The content when the snapshot in progress began, and what it has emitted.
    snapshot: Option<(BTreeSet<Vec<u8>>, Emitted)>,
    snapshots: usize,
}

impl<K: Key, S: KeyedState> Model<K, S> {
    fn new(seed: u64, groups: u32, key: fn(u64) -> K, get: fn(&S) -> u64, set: fn(&mut S, u64)) -> Self {
        let (max, range) = all(groups);
        Model {
            tables: KeyGroupTables::new(max, range),
            rows: BTreeMap::new(),
            random: Random(seed),
            key,
            hash: |_, key| key.key_hash(),
            get,
            set,
            snapshot: None,
            snapshots: 0,
        }
    }

    /// Every change is "add, or with a chance of one in five clear"; 0 stands for no row.
    fn batch(&mut self, keys: u64, len: u64) {
        let ids: Vec<u64> = (0..self.random.below(len)).map(|_| self.random.below(keys)).collect();
        let batch: Vec<K> = ids.iter().map(|id| (self.key)(*id)).collect();
        let hashes: Vec<KeyHash> = ids.iter().zip(&batch).map(|(id, key)| (self.hash)(*id, key)).collect();
        let added: Vec<u64> = ids.iter().map(|_| self.random.below(5)).collect();
        let (get, set, rows) = (self.get, self.set, &mut self.rows);
        let mut next = 0;
        let done = self.tables.for_each(&batch, &hashes, |i, state| {
            assert_eq!(i, next, "the batch is worked on in order");
            next += 1;
            let before = rows.get(&ids[i]).copied().unwrap_or(0);
            assert_eq!(get(state), before, "key {}", ids[i]);
            let after = if added[i] == 0 { 0 } else { before + added[i] };
            set(state, after);
            if after == 0 {
                rows.remove(&ids[i])
            } else {
                rows.insert(ids[i], after)
            };
            Ok::<(), ()>(())
        });
        assert_eq!((done, next), (Ok(()), ids.len()));
    }

    fn single(&mut self, keys: u64) {
        let id = self.random.below(keys);
        let key = (self.key)(id);
        let hash = (self.hash)(id, &key);
        let before = self.rows.get(&id).copied().unwrap_or(0);
        assert_eq!(self.tables.get(hash, &key).map_or(0, self.get), before);
        let after = self.random.below(3);
        self.tables.with(hash, &key, |state| (self.set)(state, after));
        if after == 0 {
            self.rows.remove(&id)
        } else {
            self.rows.insert(id, after)
        };
        assert_eq!(self.tables.get(hash, &key).map_or(0, self.get), after);
    }

    fn snapshot(&mut self) {
        let Some((expected, emitted)) = &mut self.snapshot else {
            if self.random.below(3) == 0 {
                self.tables.begin_snapshot();
                self.snapshot = Some((self.expected(), Emitted::new()));
            }
            return;
        };
        assert!(self.tables.snapshot_in_progress());
        if self.random.below(20) == 0 {
            self.tables.abort_snapshot();
            self.snapshot = None;
        } else if emitted.advance(&mut self.tables, self.random.0 as usize % 500) {
            assert!(emitted.content::<K, S>() == *expected, "the snapshot is not the content when it began");
            self.snapshot = None;
            self.snapshots += 1;
        }
        assert_eq!(self.tables.snapshot_in_progress(), self.snapshot.is_some());
    }

    fn expected(&self) -> BTreeSet<Vec<u8>> {
        let row = |(id, value): (&u64, &u64)| {
            let mut state = S::default();
            (self.set)(&mut state, *value);
            encoded(&(self.key)(*id), &state)
        };
        self.rows.iter().map(row).collect()
    }

    /// The number of keys in use swells and shrinks, so that tables grow, fill with tombstones, and shrink.
    fn run(mut self, steps: u64) {
        for step in 0..steps {
            let keys = [10, 3_000, 40, 800, 9_000, 3][(step / 20 % 6) as usize];
            self.batch(keys, 700);
            self.single(keys);
            self.snapshot();
            assert_eq!(self.tables.len(), self.rows.len());
            if step % 20 == 0 {
                self.tables.groups.iter().for_each(|group| group.assert_invariants(Data::key_hash));
            }
        }
        assert!(content(&self.tables) == self.expected());
        assert!(self.snapshots > 0, "no snapshot was finished");
    }
}

#[test]
fn tables_are_a_map() {
    for (seed, groups) in [(1, 1), (2, 3), (3, 16), (4, 128)] {
        Model::new(seed, groups, |id| id, value, set_value).run(240);
    }
}

#[test]
fn tables_are_a_map_of_rows_that_own_memory() {
    #[derive(KeyedState)]
    struct Texts {
        list: ListState<String>,
    }
    let get = |state: &Texts| state.list.iter().map(|text| text.len() as u64).sum();
    let set = |state: &mut Texts, value| {
        state.clear();
        if value > 0 {
            state.list.add("x".repeat(value as usize));
        }
    };
    Model::new(5, 4, |id| format!("key {id}"), get, set).run(240);
}

#[test]
fn tables_are_a_map_of_rows_wider_than_a_cache_line() {
    #[derive(KeyedState)]
    struct Wide {
        value: ValueState<([u64; 20], u64)>,
    }
    let get = |state: &Wide| state.value.get().map_or(0, |wide| wide.1);
    let set = |state: &mut Wide, value| {
        if value == 0 { state.clear() } else { state.value.set(([value; 20], value)) }
    };
    Model::new(6, 2, |id| id, get, set).run(120);
}

#[test]
fn keys_with_the_same_lower_half_of_the_hash_are_told_apart() {
    let mut model = Model::new(7, 2, |id| id, value, set_value);
    // Also the hashes that are reserved for slots without rows.
    model.hash = |id, _| KeyHash(id % 4);
    for _ in 0..200 {
        model.batch(300, 200);
        model.single(300);
        model.snapshot();
    }
    assert!(content(&model.tables) == model.expected());
}
