//! Random batches, evictions, snapshots and restores of tables in two tiers, and the same of a map.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;
use std::sync::Arc;

use highwater_core::{KeyGroup, KeyGroupRange, KeyHash, MaxParallelism, Parallelism, SubtaskIndex};

use super::copy;
use crate::schema::NamedState;
use crate::spill::{LocalSnapshot, RowStoreFactory, StoredRows};
use crate::table::{Chunk, ChunkKind, Scope};
use crate::tier::{Failure, MemoryBudget, Relief, StoreSnapshot, TieredTables};
use crate::{Data, DecodeError, Key, KeyedState, State, ValueState};

/// Checks that tables above these stores are a map, whatever is in memory, and that every snapshot is the content when
/// it began; in `steps` steps, 50 at least.
///
/// # Panics
/// If they are not.
pub fn tiered_tables(stores: &Arc<dyn RowStoreFactory>, steps: u64) {
    for seed in 1..=2 {
        Model::<u64, Number>::new(stores, seed, 40 << 10, |id| id).run(steps);
    }
    Model::<String, Number>::new(stores, 4, 100 << 10, |id| format!("key {id}")).run(steps);
    // Next to nothing fits: all rows leave after every batch.
    Model::<u64, Number>::new(stores, 5, 1, |id| id).run(steps / 2);
}

/// A number per key; 0 is no row.
#[derive(Default)]
pub(crate) struct Number(ValueState<u64>);

impl Number {
    pub fn read(&self) -> u64 {
        self.0.get().copied().unwrap_or(0)
    }

    pub fn write(&mut self, number: u64) {
        if number == 0 { self.0.clear() } else { self.0.set(number) }
    }
}

impl KeyedState for Number {
    fn states() -> Vec<NamedState> {
        vec![ValueState::<u64>::describe("number")]
    }

    fn encode(&self, out: &mut Vec<u8>) {
        State::encode(&self.0, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        State::decode(input).map(Number)
    }

    fn is_empty(&self) -> bool {
        self.0.is_cleared()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

/// SplitMix64: a seed is a case.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    fn one_in(&mut self, bound: u64) -> bool {
        self.below(bound) == 0
    }
}

/// Of each key group, the chunks of the last full snapshot and of those of changes after it.
type History = BTreeMap<KeyGroup, Vec<Chunk>>;

/// A snapshot in progress.
struct Taking {
    rows: BTreeMap<u64, u64>,
    changed: BTreeSet<KeyGroup>,
    chunks: Vec<Chunk>,
    /// Whether it has everything, the rows of the store as chunks too.
    is_savepoint: bool,
    table_is_done: bool,
    store: Store,
}

/// How far the store's part of a snapshot is.
enum Store {
    None,
    Begun(StoreSnapshot),
    Taken(LocalSnapshot),
    Viewed(Box<dyn StoredRows>),
}

struct Model<'a, K: Key, S: KeyedState> {
    stores: &'a Arc<dyn RowStoreFactory>,
    max: MaxParallelism,
    budget_bytes: usize,
    budget: MemoryBudget,
    tables: TieredTables<K, S>,
    rows: BTreeMap<u64, u64>,
    random: Random,
    key: fn(u64) -> K,
    history: History,
    /// Whether a snapshot was lost, so that the next has to be full.
    is_broken: bool,
    taking: Option<Taking>,
    /// Snapshots that were compared, those of them with a store, and rows found below.
    compared: (usize, usize),
}

impl<'a, K: Key> Model<'a, K, Number> {
    fn new(stores: &'a Arc<dyn RowStoreFactory>, seed: u64, budget_bytes: usize, key: fn(u64) -> K) -> Self {
        let max = MaxParallelism::new(8).expect("in bounds");
        let budget = MemoryBudget::new(budget_bytes);
        let tables = TieredTables::spilling(max, max.all(), &budget, Arc::clone(stores), "model");
        Model {
            stores,
            max,
            budget_bytes,
            budget,
            tables,
            rows: BTreeMap::new(),
            random: Random(seed),
            key,
            history: History::new(),
            is_broken: false,
            taking: None,
            compared: (0, 0),
        }
    }

    fn run(mut self, steps: u64) {
        for step in 0..steps {
            let keys = [20, 3_000, 300, 6_000, 6_000][(step / 12 % 5) as usize];
            self.batch(keys);
            self.single(keys);
            self.sweep();
            self.relieve();
            self.snapshot();
        }
        let (compared, with_store) = self.compared;
        assert!(
            compared > 0 && with_store > 0,
            "{compared} snapshots were compared, {with_store} of them with a store"
        );
        assert!(self.tables.store().is_some_and(|store| store.usage().rows > 0), "no row has left memory");
        self.visit_all();
        assert_content(&mut self.tables, &self.rows, self.key, |_| true);
    }

    /// Every row is visited once, and changed.
    fn visit_all(&mut self) {
        // The task waits for the store's snapshot if it has to.
        self.taking = None;
        self.tables.abort_snapshot();
        let key = self.key;
        let ids: BTreeMap<Vec<u8>, u64> = self.rows.keys().map(|id| (encoded(&key(*id)), *id)).collect();
        let mut visited = BTreeMap::new();
        let done: Result<(), Failure<()>> = self.tables.visit_all(|key, state| {
            let id = ids[&encoded(key)];
            assert!(visited.insert(id, state.read()).is_none(), "key {id} is visited twice");
            state.write(if id.is_multiple_of(3) { 0 } else { state.read() + 1 });
            Ok(())
        });
        done.expect("the store works");
        assert!(visited == self.rows, "{} of {} rows are visited", visited.len(), self.rows.len());
        self.rows.retain(|id, _| !id.is_multiple_of(3));
        self.rows.values_mut().for_each(|number| *number += 1);
    }

    /// Every change is "add, or with a chance of one in four clear".
    fn batch(&mut self, keys: u64) {
        let ids: Vec<u64> = (0..self.random.below(500)).map(|_| self.random.below(keys)).collect();
        let batch: Vec<K> = ids.iter().map(|id| (self.key)(*id)).collect();
        let hashes: Vec<KeyHash> = batch.iter().map(Data::key_hash).collect();
        let added: Vec<u64> = ids.iter().map(|_| self.random.below(4)).collect();
        let rows = &mut self.rows;
        let done: Result<(), Failure<()>> = self.tables.for_each(&batch, &hashes, |i, state| {
            let before = rows.get(&ids[i]).copied().unwrap_or(0);
            assert_eq!(state.read(), before, "key {}", ids[i]);
            let after = if added[i] == 0 { 0 } else { before + added[i] };
            state.write(after);
            set(rows, ids[i], after);
            Ok(())
        });
        done.expect("the store works");
    }

    fn single(&mut self, keys: u64) {
        let id = self.random.below(keys);
        let (key, after) = ((self.key)(id), self.random.below(3));
        let before = self.tables.with(key.key_hash(), &key, |state| {
            let before = state.read();
            state.write(after);
            before
        });
        assert_eq!(before.expect("the store works"), self.rows.get(&id).copied().unwrap_or(0));
        set(&mut self.rows, id, after);
    }

    /// Clears some rows without a record, as expiry does.
    fn sweep(&mut self) {
        if self.random.one_in(4) {
            let (key, rows) = (self.key, &mut self.rows);
            let ids: BTreeMap<Vec<u8>, u64> = rows.keys().map(|id| (encoded(&key(*id)), *id)).collect();
            self.tables.sweep_rows(300, |key, state| {
                let is_cleared = state.read() % 5 == 1;
                if is_cleared {
                    state.write(0);
                    rows.remove(&ids[&encoded(key)]);
                }
                is_cleared
            });
        }
    }

    fn relieve(&mut self) {
        if self.random.one_in(3) {
            return;
        }
        let is_held = matches!(&self.taking, Some(Taking { store: Store::Begun(_), .. }));
        while self.tables.relieve().expect("the store works") == Relief::More {
            assert!(!is_held);
        }
        let used = self.budget.used_bytes();
        // Tables without rows take a little too.
        assert!(is_held || used <= self.budget_bytes.max(1 << 10), "{used} bytes");
    }

    fn snapshot(&mut self) {
        let Some(mut taking) = self.taking.take() else {
            if self.random.one_in(3) {
                self.begin_snapshot();
            }
            return;
        };
        if self.random.one_in(12) {
            // Given up at any stage: also when the table's part is done.
            self.tables.abort_snapshot();
            self.is_broken |= !taking.is_savepoint;
            return;
        }
        if !taking.table_is_done {
            let slots = self.random.below(3_000) as usize;
            taking.table_is_done = self.tables.advance_snapshot(slots, &mut |chunk| taking.chunks.push(chunk));
        }
        if let Store::Begun(_) = &taking.store
            && self.random.one_in(3)
            && let Store::Begun(snapshot) = std::mem::replace(&mut taking.store, Store::None)
        {
            taking.store = match taking.is_savepoint {
                true => Store::Viewed(snapshot.view().expect("a view of the store")),
                false => Store::Taken(snapshot.take().expect("a snapshot of the store")),
            };
        }
        if taking.table_is_done && !matches!(taking.store, Store::Begun(_)) {
            match taking.is_savepoint {
                true => self.finish_savepoint(taking),
                false => self.finish(taking),
            }
        } else {
            self.taking = Some(taking);
        }
    }

    fn begin_snapshot(&mut self) {
        let groups = self.max.all().iter();
        let is_savepoint = self.random.one_in(6);
        let is_full = is_savepoint || self.is_broken;
        let changed: BTreeSet<KeyGroup> =
            groups.filter(|group| !is_full && self.history.contains_key(group) && !self.random.one_in(5)).collect();
        // A savepoint leaves to the others what was noted of changes.
        self.is_broken &= is_savepoint;
        let scope = |group| match changed.contains(&group) {
            _ if is_savepoint => Scope::Aside,
            true => Scope::Changed,
            false => Scope::Full,
        };
        let store = match self.tables.begin_snapshot(scope).expect("the store works") {
            Some(snapshot) => Store::Begun(snapshot),
            None => Store::None,
        };
        let rows = self.rows.clone();
        self.taking = Some(Taking { rows, changed, chunks: Vec::new(), is_savepoint, table_is_done: false, store });
    }

    /// A snapshot is complete: what is restored of it is the content when it began.
    fn finish(&mut self, taking: Taking) {
        for group in self.max.all().iter() {
            let chunks = self.history.entry(group).or_default();
            if !taking.changed.contains(&group) {
                chunks.clear();
            }
        }
        taking.chunks.into_iter().for_each(|chunk| self.history.entry(chunk.group).or_default().push(chunk));
        let files = match &taking.store {
            Store::Taken(files) => Some(files),
            Store::None | Store::Begun(_) | Store::Viewed(_) => None,
        };
        self.compared = (self.compared.0 + 1, self.compared.1 + usize::from(files.is_some()));
        let (_, mut restored) = self.restore(files, self.max.all(), false);
        assert_content(&mut restored, &taking.rows, self.key, |_| true);
        if self.random.one_in(3) {
            self.rescale(files, &taking.rows);
        }
        if self.random.one_in(4) {
            // The job fails, and goes on from here.
            (self.budget, self.tables) = self.restore(files, self.max.all(), false);
            self.rows = taking.rows;
            self.is_broken |= files.is_none() && self.tables.store().is_some();
        }
    }

    /// Everything as chunks, those of the store first: what is restored is the content, in memory alone and in two tiers.
    fn finish_savepoint(&mut self, taking: Taking) {
        let mut chunks = Vec::new();
        if let Store::Viewed(view) = &taking.store {
            view.scan(b"", &mut |group, key, row| {
                chunks.push(Chunk { group, kind: ChunkKind::Rows, entries: 1, bytes: [key, row].concat() });
                Ok(ControlFlow::Continue(()))
            })
            .expect("rows are scanned");
        }
        chunks.extend(taking.chunks);
        let budget = MemoryBudget::new(self.budget_bytes);
        let mut both = [
            TieredTables::in_memory(self.max, self.max.all()),
            TieredTables::spilling(self.max, self.max.all(), &budget, Arc::clone(self.stores), "from a savepoint"),
        ];
        for tables in &mut both {
            for chunk in &chunks {
                assert_eq!(tables.load(chunk.group, chunk.kind, &chunk.bytes), Ok(chunk.entries));
                tables.relieve_load().expect("the store works");
            }
            assert_content(tables, &taking.rows, self.key, |_| true);
        }
        if self.random.one_in(2) {
            let [_, spilling] = both;
            (self.budget, self.tables, self.rows) = (budget, spilling, taking.rows);
            // The snapshots before are of another course.
            self.is_broken = true;
        }
    }

    /// Three subtasks take over from one.
    fn rescale(&mut self, files: Option<&LocalSnapshot>, rows: &BTreeMap<u64, u64>) {
        let parallelism = Parallelism::new(3).expect("in bounds");
        for subtask in 0..3 {
            let range = self.max.range_of(SubtaskIndex(subtask), parallelism);
            let (_, mut part) = self.restore(files, range, true);
            let max = self.max;
            assert_content(&mut part, rows, self.key, |hash| range.contains(hash.key_group(max)));
        }
    }

    fn restore(
        &self,
        files: Option<&LocalSnapshot>,
        range: KeyGroupRange,
        is_rescaled: bool,
    ) -> (MemoryBudget, TieredTables<K, Number>) {
        let budget = MemoryBudget::new(self.budget_bytes);
        let mut tables = TieredTables::spilling(self.max, range, &budget, Arc::clone(self.stores), "restored");
        if let Some(files) = files {
            let store = self.stores.restore("restored", &mut |folder| copy(files, folder)).expect("a snapshot opens");
            if is_rescaled {
                let imported = tables.import(&*store, range, &mut |group, key, row, put| put(group, key, row));
                imported.expect("rows are copied");
            } else {
                tables.restore_store(store);
            }
        }
        for chunk in self.history.values().flatten().filter(|chunk| range.contains(chunk.group)) {
            assert_eq!(tables.load(chunk.group, chunk.kind, &chunk.bytes), Ok(chunk.entries));
            tables.relieve_load().expect("the store works");
        }
        (budget, tables)
    }
}

fn encoded<K: Key>(key: &K) -> Vec<u8> {
    let mut bytes = Vec::new();
    key.encode(&mut bytes);
    bytes
}

fn set(rows: &mut BTreeMap<u64, u64>, id: u64, number: u64) {
    if number == 0 {
        rows.remove(&id)
    } else {
        rows.insert(id, number)
    };
}

/// Looks up every key there ever was, of the key groups that are asked for.
fn assert_content<K: Key>(
    tables: &mut TieredTables<K, Number>,
    rows: &BTreeMap<u64, u64>,
    key: fn(u64) -> K,
    is_owned: impl Fn(KeyHash) -> bool,
) {
    let keys: Vec<(u64, K)> = (0..6_000).map(|id| (id, key(id))).filter(|(_, key)| is_owned(key.key_hash())).collect();
    let (ids, keys): (Vec<u64>, Vec<K>) = keys.into_iter().unzip();
    let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
    for (part, hashes) in
        keys.chunks(1_000).zip(hashes.chunks(1_000)).enumerate().map(|(i, (keys, hashes))| ((i, keys), hashes))
    {
        let (number, keys) = part;
        let done: Result<(), Failure<()>> = tables.for_each(keys, hashes, |i, state| {
            let id = ids[number * 1_000 + i];
            assert_eq!(state.read(), rows.get(&id).copied().unwrap_or(0), "key {id}");
            Ok(())
        });
        done.expect("the store works");
        while tables.relieve().expect("the store works") == Relief::More {}
    }
}
