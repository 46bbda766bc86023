//! What two tiers promise beside the contents, which `spill::conformance` compares with a map.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_core::{Error, ErrorKind};

use super::*;
use crate::spill::conformance::Number;
use crate::spill::{MemoryRowStores, SortedKeys, SortedRows};
use crate::{Data, Plain};

/// Stores that can be told to fail, and count.
#[derive(Debug)]
struct Watched {
    stores: MemoryRowStores,
    opened: AtomicUsize,
}

impl RowStoreFactory for Watched {
    fn kind(&self) -> &'static str {
        self.stores.kind()
    }

    fn open(&self, name: &str) -> Result<Arc<dyn RowStore>> {
        if self.opened.fetch_add(1, Ordering::Relaxed) > 0 {
            return Err(Error::new(ErrorKind::Storage, format!("no second store for {name}")));
        }
        self.stores.open(name)
    }

    fn restore(&self, name: &str, fill: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Arc<dyn RowStore>> {
        self.stores.restore(name, fill)
    }
}

type Tables = TieredTables<u64, Plain<u64>>;

fn tables<S: KeyedState>(budget: &MemoryBudget) -> (tempfile::TempDir, Arc<Watched>, TieredTables<u64, S>) {
    let folder = tempfile::tempdir().unwrap();
    let stores = Arc::new(Watched { stores: MemoryRowStores::new(folder.path()), opened: AtomicUsize::new(0) });
    let max = MaxParallelism::new(16).unwrap();
    let tables = TieredTables::spilling(max, max.all(), budget, Arc::clone(&stores) as _, "the test");
    (folder, stores, tables)
}

fn count(tables: &mut Tables, keys: std::ops::Range<u64>) -> Result<(), Failure<()>> {
    let keys: Vec<u64> = keys.collect();
    let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
    tables.for_each(&keys, &hashes, |_, state| {
        state.0 += 1;
        Ok(())
    })
}

#[test]
fn rows_within_the_budget_open_no_store() {
    let budget = MemoryBudget::new(256 << 10);
    let (_folder, stores, mut tables) = tables(&budget);
    for _ in 0..10 {
        count(&mut tables, 0..3_000).unwrap();
        assert_eq!(tables.relieve().unwrap(), Relief::Enough);
        assert!(tables.begin_snapshot(|_| Scope::Changed).unwrap().is_none());
        assert!(tables.advance_snapshot(usize::MAX, &mut |_| ()));
    }
    assert_eq!((stores.opened.load(Ordering::Relaxed), tables.table().len()), (0, 3_000));
    assert!(budget.used_bytes() > 3_000 * 16);
}

#[test]
fn memory_is_held_while_ten_times_as_much_comes() {
    let budget = MemoryBudget::new(256 << 10);
    let (_folder, _stores, mut tables) = tables(&budget);
    let mut least = usize::MAX;
    for round in 0..120 {
        count(&mut tables, round * 1_000..(round + 1) * 1_000).unwrap();
        while tables.relieve().unwrap() == Relief::More {}
        assert!(tables.table().used_bytes() <= 256 << 10, "{} bytes", tables.table().used_bytes());
        // A region of the arena is resident in huge pages.
        let allocated = tables.table().allocated_bytes();
        assert!(allocated <= (2 << 20) + (256 << 10), "{allocated} bytes");
        if round > 60 {
            least = least.min(tables.table().len());
        }
    }
    assert!(least * 16 > 80 << 10, "only {least} rows are left in memory");
    count(&mut tables, 0..1_000).unwrap();
    tables.with(5_u64.key_hash(), &5, |state| assert_eq!(state.0, 2)).unwrap();
}

/// Tables that grow and shrink all the time leave memory between them.
#[test]
fn memory_between_tables_counts() {
    const BUDGET: usize = 16 << 20;
    let folder = tempfile::tempdir().unwrap();
    let stores = Arc::new(MemoryRowStores::new(folder.path()));
    let max = MaxParallelism::new(128).unwrap();
    let budget = MemoryBudget::new(BUDGET);
    let mut tables = TieredTables::<u64, Plain<[u64; 32]>>::spilling(max, max.all(), &budget, stores, "the test");
    for round in 0..300 {
        let keys: Vec<u64> = (0..1_000).map(|i| (round * 1_000 + i) % 120_000).collect();
        let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
        let done: Result<(), Failure<()>> = tables.for_each(&keys, &hashes, |_, state| {
            state.0[0] += 1;
            Ok(())
        });
        done.unwrap();
        while tables.relieve().unwrap() == Relief::More {}
        // The last huge page of a region counts as a whole.
        let allocated = tables.table().allocated_bytes();
        assert!(allocated <= BUDGET / 8 * 9 + (2 << 20), "{allocated} bytes in round {round}");
    }
    let held = tables.table().len() * size_of::<(u64, [u64; 32])>();
    assert!(held > BUDGET / 3, "{held} bytes of rows: the budget is not used");
}

/// A tenth of the keys is in use all the time, and the others come once in a while.
#[test]
fn rows_in_use_stay() {
    let budget = MemoryBudget::new(256 << 10);
    let (_folder, _stores, mut tables) = tables(&budget);
    for round in 1..100 {
        count(&mut tables, 0..1_000).unwrap();
        count(&mut tables, round * 500..(round + 1) * 500).unwrap();
        while tables.relieve().unwrap() == Relief::More {}
    }
    let stayed = (0..1_000_u64).filter(|key| tables.table().get(key.key_hash(), key).is_some()).count();
    assert!(stayed > 900, "{stayed} of 1000 rows in use are in memory");
}

/// Keys that come every twentieth time, while many more come once than there is room for.
#[test]
fn rows_that_come_again_outlast_those_that_come_once() {
    let budget = MemoryBudget::new(256 << 10);
    let (_folder, _stores, mut tables) = tables(&budget);
    for round in 0..200 {
        let again = round % 20 * 50;
        count(&mut tables, again..again + 50).unwrap();
        count(&mut tables, (round + 2) * 500..(round + 3) * 500).unwrap();
        while tables.relieve().unwrap() == Relief::More {}
    }
    let stayed = (0..1_000_u64).filter(|key| tables.table().get(key.key_hash(), key).is_some()).count();
    assert!(stayed > 900, "{stayed} of 1000 rows that come again are in memory");
}

#[test]
fn until_the_snapshot_of_the_store_is_taken_nothing_leaves() {
    let budget = MemoryBudget::new(64 << 10);
    let (_folder, _stores, mut tables) = tables(&budget);
    count(&mut tables, 0..20_000).unwrap();
    while tables.relieve().unwrap() == Relief::More {}
    let snapshot = tables.begin_snapshot(|_| Scope::Full).unwrap().expect("there is a store");
    let rows = tables.store().unwrap().usage().rows;
    let above = tables.table().len();
    count(&mut tables, 100_000..105_000).unwrap();
    assert_eq!(tables.relieve().unwrap(), Relief::Held);
    assert_eq!((tables.store().unwrap().usage().rows, tables.table().len()), (rows, above + 5_000));
    drop(snapshot);
    while tables.relieve().unwrap() == Relief::More {}
    assert!(tables.store().unwrap().usage().rows >= rows + 4_000);
}

#[test]
fn a_store_that_fails_says_for_which_key() {
    #[derive(Debug)]
    struct Broken;
    impl RowStore for Broken {
        fn get_many(&self, keys: SortedKeys<'_>, found: &mut dyn FnMut(usize, &[u8]) -> Result<()>) -> Result<()> {
            keys.iter().try_for_each(|(position, _)| found(position, b"???"))
        }
        fn write(&self, _: SortedRows<'_>) -> Result<()> {
            Err(Error::new(ErrorKind::Storage, "the disk is full"))
        }
        fn load(&self, _: &mut dyn FnMut(&mut crate::spill::EachRow<'_>) -> Result<()>) -> Result<()> {
            Ok(())
        }
        fn delete(&self, _: KeyGroupRange) -> Result<()> {
            Ok(())
        }
        fn scan(&self, _: KeyGroupRange, _: &mut crate::spill::EachRow<'_>) -> Result<()> {
            Ok(())
        }
        fn snapshot(&self) -> Result<crate::spill::LocalSnapshot> {
            Err(Error::new(ErrorKind::Storage, "the disk is full"))
        }
        fn view(&self) -> Result<Box<dyn crate::spill::StoredRows>> {
            Err(Error::new(ErrorKind::Storage, "the disk is full"))
        }
        fn drop_expired(&self, _: Arc<dyn crate::spill::RowExpiry>) {}
        fn usage(&self) -> crate::spill::StoreUsage {
            crate::spill::StoreUsage::default()
        }
    }
    let (_folder, _stores, mut tables) = tables(&MemoryBudget::new(1));
    tables.restore_store(Arc::new(Broken));
    let Err(Failure::Store(error)) = count(&mut tables, 7..8) else { panic!("a row that does not decode") };
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().starts_with("key 7: a row that comes back from the store does not decode"), "{error}");
    let snapshot = tables.begin_snapshot(|_| Scope::Full).unwrap().expect("there is a store");
    assert!(snapshot.take().is_err());
    assert!(tables.advance_snapshot(usize::MAX, &mut |_| ()));
}

#[test]
fn a_store_without_a_place_for_it_is_refused() {
    let (_folder, stores, _tables) = tables::<Number>(&MemoryBudget::new(1));
    let max = MaxParallelism::new(16).unwrap();
    let mut in_memory = Tables::in_memory(max, max.all());
    let store = stores.open("other").unwrap();
    let error = in_memory.import(&*store, max.all(), &mut |_, _, _, _| Ok(())).unwrap_err();
    assert!(error.to_string().contains("the state backend that wrote it"), "{error}");
}

/// What a later chunk says of a row that has left memory already counts as well.
#[test]
fn rows_leave_memory_while_chunks_are_loaded() {
    let max = MaxParallelism::new(16).unwrap();
    let group_of = |key: u64| key.key_hash().key_group(max);
    let chunks = |keys: std::ops::Range<u64>, number: Option<u64>| {
        let mut chunks = std::collections::BTreeMap::<KeyGroup, Vec<u8>>::new();
        for key in keys {
            let bytes = chunks.entry(group_of(key)).or_default();
            key.encode(bytes);
            if let Some(number) = number {
                let mut state = Number::default();
                state.write(number);
                state.encode(bytes);
            }
        }
        chunks
    };
    let budget = MemoryBudget::new(64 << 10);
    let (_folder, _stores, mut tables) = tables::<Number>(&budget);
    let mut load = |keys, number: Option<u64>| {
        let kind = if number.is_some() { ChunkKind::Rows } else { ChunkKind::Removed };
        for (group, bytes) in chunks(keys, number) {
            tables.load(group, kind, &bytes).unwrap();
            tables.relieve_load().unwrap();
            assert!(tables.table().used_bytes() <= 64 << 10, "{} bytes", tables.table().used_bytes());
        }
    };
    load(0..20_000, Some(1));
    load(5_000..15_000, Some(2));
    load(10_000..12_000, None);
    load(11_000..11_500, Some(3));
    // A state that is empty, as a migration may leave it, is no row.
    load(0..100, Some(0));
    let number = |key| match key {
        0..100 | 10_000..11_000 | 11_500..12_000 => 0,
        11_000..11_500 => 3,
        5_000..15_000 => 2,
        _ => 1,
    };
    for key in 0..20_000 {
        tables.with(key.key_hash(), &key, |state| assert_eq!(state.read(), number(key), "key {key}")).unwrap();
        while tables.relieve().unwrap() == Relief::More {}
    }
    // What is gone needs no mention: the next snapshot has everything.
    tables.begin_snapshot(|_| Scope::Changed).unwrap().expect("there is a store").take().unwrap();
    let (mut entries, in_memory) = (0, tables.table().len() as u64);
    let mut count = |chunk: Chunk| {
        assert_eq!(chunk.kind, ChunkKind::Rows);
        entries += chunk.entries;
    };
    while !tables.advance_snapshot(usize::MAX, &mut count) {}
    assert_eq!(entries, in_memory);
}
