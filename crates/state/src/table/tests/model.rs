//! Random changes of the tables, and the same of a map from the standard library.

use std::collections::{BTreeMap, BTreeSet};

use highwater_core::{KeyGroup, KeyHash};

use super::super::group::Group;
use super::super::{Chunk, KeyGroupTables, Scope};
use super::{Emitted, all, content, encoded, set_value, value};
use crate::data::Width;
use crate::{Data, DecodeError, Key, KeyedState, ListState, Schema, ValueState};

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

/// A snapshot in progress.
struct Copying {
    /// The content when it began.
    rows: BTreeMap<u64, u64>,
    /// The key groups of which it holds only what changed.
    changed: BTreeSet<KeyGroup>,
    /// Whether it is aside from the others.
    is_aside: bool,
    emitted: Emitted,
}

/// The snapshots that were finished: of each key group the last full one and those of changes after it.
#[derive(Default)]
struct History(BTreeMap<KeyGroup, Vec<Chunk>>);

impl History {
    fn add(&mut self, snapshot: Copying) {
        self.0.retain(|group, _| snapshot.changed.contains(group));
        for chunk in snapshot.emitted.0 {
            self.0.entry(chunk.group).or_default().push(chunk);
        }
    }

    fn replay<K: Key, S: KeyedState>(&self, tables: &mut KeyGroupTables<K, S>) {
        for Chunk { group, kind, entries, bytes } in self.0.values().flatten() {
            assert_eq!(tables.load(*group, *kind, bytes), Ok(*entries));
        }
    }
}

/// Random batches, single changes, sweeps, look-ups and snapshots on tables, and the same on a map.
struct Model<K: Key, S: KeyedState> {
    tables: KeyGroupTables<K, S>,
    rows: BTreeMap<u64, u64>,
    random: Random,
    key: fn(u64) -> K,
    id: fn(&K) -> u64,
    get: fn(&S) -> u64,
    set: fn(&mut S, u64),
    snapshot: Option<Copying>,
    history: History,
    /// Whether the snapshot before was aborted, so that the next one is full.
    is_aborted: bool,
    snapshots: usize,
    restores: usize,
}

impl<K: Key, S: KeyedState> Model<K, S> {
    fn new(
        seed: u64,
        groups: u32,
        key: fn(u64) -> K,
        id: fn(&K) -> u64,
        get: fn(&S) -> u64,
        set: fn(&mut S, u64),
    ) -> Self {
        let (max, range) = all(groups);
        Model {
            tables: KeyGroupTables::new(max, range),
            rows: BTreeMap::new(),
            random: Random(seed),
            key,
            id,
            get,
            set,
            snapshot: None,
            history: History::default(),
            is_aborted: false,
            snapshots: 0,
            restores: 0,
        }
    }

    /// Every change is "add, or with a chance of one in five clear"; 0 stands for no row.
    fn batch(&mut self, keys: u64, len: u64) {
        let ids: Vec<u64> = (0..self.random.below(len)).map(|_| self.random.below(keys)).collect();
        let batch: Vec<K> = ids.iter().map(|id| (self.key)(*id)).collect();
        let hashes: Vec<KeyHash> = batch.iter().map(Data::key_hash).collect();
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
        let hash = key.key_hash();
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

    /// Of the rows that are visited, some are cleared and some changed.
    fn sweep(&mut self) {
        let (get, set, id, rows) = (self.get, self.set, self.id, &mut self.rows);
        let (budget, luck) = (self.random.below(2_000) as usize, self.random.below(9) + 2);
        self.tables.sweep_rows(budget, |key, state| {
            let (id, before) = (id(key), get(state));
            assert_eq!(rows.get(&id), Some(&before), "key {id}");
            let after = match (id + before) % luck {
                0 => 0,
                1 => before + 1,
                _ => return false,
            };
            set(state, after);
            if after == 0 {
                rows.remove(&id)
            } else {
                rows.insert(id, after)
            };
            true
        });
    }

    fn snapshot(&mut self) {
        let Some(mut snapshot) = self.snapshot.take() else {
            if self.random.below(3) == 0 {
                self.begin_snapshot();
            }
            return;
        };
        assert!(self.tables.snapshot_in_progress());
        if self.random.below(12) == 0 {
            self.tables.abort_snapshot();
            self.is_aborted |= !snapshot.is_aside;
        } else if snapshot.emitted.advance(&mut self.tables, self.random.0 as usize % 500) {
            self.end_snapshot(snapshot);
        } else {
            self.snapshot = Some(snapshot);
        }
        assert_eq!(self.tables.snapshot_in_progress(), self.snapshot.is_some());
    }

    /// Sometimes all of one scope, sometimes a mix.
    fn begin_snapshot(&mut self) {
        if self.random.below(6) == 0 {
            self.tables.begin_snapshot(|_| Scope::Aside);
            let (rows, changed) = (self.rows.clone(), BTreeSet::new());
            self.snapshot = Some(Copying { rows, changed, is_aside: true, emitted: Emitted::default() });
            return;
        }
        let full = [0, 1, 2, 10][self.random.below(4) as usize];
        let mut changed = BTreeSet::new();
        self.tables.begin_snapshot(|group| {
            if self.random.below(10) < full {
                return Scope::Full;
            }
            changed.insert(group);
            Scope::Changed
        });
        if std::mem::take(&mut self.is_aborted) {
            changed.clear();
        }
        self.snapshot =
            Some(Copying { rows: self.rows.clone(), changed, is_aside: false, emitted: Emitted::default() });
    }

    /// What the history replays is the content when the snapshot began; sometimes the run goes on from there.
    fn end_snapshot(&mut self, snapshot: Copying) {
        let rows = snapshot.rows.clone();
        let mut replayed = KeyGroupTables::new(self.tables.max, self.tables.range);
        if snapshot.is_aside {
            let mut alone = History::default();
            alone.add(snapshot);
            alone.replay(&mut replayed);
            assert!(content(&replayed) == self.expected(&rows), "the snapshot is not the content when it began");
            self.snapshots += 1;
            return;
        }
        self.history.add(snapshot);
        self.history.replay(&mut replayed);
        assert!(content(&replayed) == self.expected(&rows), "the snapshots are not the content when the last began");
        self.snapshots += 1;
        if self.random.below(4) == 0 {
            (self.tables, self.rows) = (replayed, rows);
            self.restores += 1;
        }
    }

    fn expected(&self, rows: &BTreeMap<u64, u64>) -> BTreeSet<Vec<u8>> {
        let row = |(id, value): (&u64, &u64)| {
            let mut state = S::default();
            (self.set)(&mut state, *value);
            encoded(&(self.key)(*id), &state)
        };
        rows.iter().map(row).collect()
    }

    /// The number of keys in use swells and shrinks, so that tables grow, fill with tombstones, and shrink.
    fn run(mut self, steps: u64) {
        for step in 0..steps {
            let keys = [10, 3_000, 40, 800, 9_000, 3][(step / 20 % 6) as usize];
            self.batch(keys, 700);
            self.single(keys);
            if self.random.below(4) == 0 {
                self.sweep();
            }
            self.snapshot();
            assert_eq!(self.tables.len(), self.rows.len());
            if step % 20 == 0 {
                self.tables.groups.iter().for_each(|group| group.assert_invariants(Data::key_hash));
            }
            if self.snapshot.is_none() && !self.is_aborted {
                self.tables.groups.iter_mut().for_each(Group::assert_changes_are_noted);
            }
        }
        assert!(content(&self.tables) == self.expected(&self.rows));
        assert!(self.snapshots > 5 && self.restores > 0, "{} {}", self.snapshots, self.restores);
    }
}

#[test]
fn tables_are_a_map() {
    for (seed, groups) in [(1, 1), (2, 3), (3, 16), (4, 128)] {
        Model::new(seed, groups, |id| id, |id| *id, value, set_value).run(240);
    }
}

#[test]
fn tables_are_a_map_of_rows_that_own_memory() {
    #[derive(KeyedState)]
    struct Texts {
        list: ListState<String>,
    }
    let id = |key: &String| key[4..].parse().unwrap();
    let get = |state: &Texts| state.list.iter().map(|text| text.len() as u64).sum();
    let set = |state: &mut Texts, value| {
        state.clear();
        if value > 0 {
            state.list.add("x".repeat(value as usize));
        }
    };
    Model::new(5, 4, |id| format!("key {id}"), id, get, set).run(240);
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
    Model::new(6, 2, |id| id, |id| *id, get, set).run(240);
}

#[test]
fn keys_with_the_same_lower_half_of_the_hash_are_told_apart() {
    #[derive(Clone, Debug, PartialEq, Eq, Hash)]
    struct Colliding(u64);
    impl Data for Colliding {
        const WIDTH: Width = u64::WIDTH;
        fn schema() -> Schema {
            u64::schema()
        }
        fn encode(&self, out: &mut Vec<u8>) {
            self.0.encode(out);
        }
        fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
            u64::decode(input).map(Colliding)
        }
        // Also the hashes that are reserved for slots without rows.
        fn key_hash(&self) -> KeyHash {
            KeyHash(self.0 % 8)
        }
    }
    let mut model = Model::new(7, 2, Colliding, |key| key.0, value, set_value);
    for _ in 0..200 {
        model.batch(300, 200);
        model.single(300);
        model.sweep();
        model.snapshot();
    }
    assert!(content(&model.tables) == model.expected(&model.rows));
    assert!(model.snapshots > 5, "{}", model.snapshots);
}
