//! Rows in the tier below go when their time-to-live is over, and not while a snapshot of them is being taken.

use std::path::Path;
use std::sync::Arc;

use highwater_core::{KeyGroupRange, MaxParallelism};
use highwater_state::keyed::ttl::{TtlClocks, TtlTimeCharacteristic};
use highwater_state::spill::{LocalSnapshot, MemoryRowStores, RowStoreFactory};
use highwater_state::table::Scope;
use highwater_state::tier::{MemoryBudget, TieredTables};
use highwater_state::{Data, KeyedState, Ttl, ValueState};

#[derive(KeyedState)]
struct Visit {
    #[state(ttl = "100ms", time = "event")]
    last: ValueState<u64, Ttl>,
}

type Tables = TieredTables<u64, Visit>;

/// Gives keys a state at `time_ms`, and has the rows leave memory.
fn visit(tables: &mut Tables, clocks: &TtlClocks, keys: std::ops::Range<u64>, time_ms: i64) {
    clocks.set(TtlTimeCharacteristic::EventTime, time_ms);
    for key in keys {
        tables
            .with(key.key_hash(), &key, |visit| {
                visit.follow(clocks);
                visit.last.set(key);
            })
            .unwrap();
    }
    // The hand comes by twice before a row in use goes.
    for _ in 0..1_000 {
        tables.relieve().unwrap();
    }
    assert!(tables.table().is_empty(), "{} rows are in memory", tables.table().len());
}

fn rows_below(tables: &Tables) -> u64 {
    // A look-up has the store drop what has expired.
    tables.store().unwrap().usage().rows
}

/// Looks up a key that is not there.
fn look_up(tables: &mut Tables) {
    tables.with(9_999_u64.key_hash(), &9_999, |visit| visit.last.clear()).unwrap();
}

fn copy(snapshot: &LocalSnapshot, folder: &Path) {
    for file in &snapshot.files {
        std::fs::copy(snapshot.folder.join(&file.name), folder.join(&file.name)).unwrap();
    }
}

#[test]
fn what_has_expired_goes_but_for_a_snapshot_that_is_being_taken_time_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let (max, budget) = (MaxParallelism::new(8).unwrap(), MemoryBudget::new(1));
    let stores: Arc<dyn RowStoreFactory> = Arc::new(MemoryRowStores::new(folder.path()));
    let all = KeyGroupRange::new(0..8);
    let mut tables = Tables::spilling(max, all, &budget, Arc::clone(&stores), "test");
    let clocks = TtlClocks::of::<Visit>().unwrap();
    visit(&mut tables, &clocks, 0..100, 1_000);
    visit(&mut tables, &clocks, 100..200, 1_050);
    clocks.set(TtlTimeCharacteristic::EventTime, 1_099);
    tables.expire_below(&clocks);
    look_up(&mut tables);
    assert_eq!(rows_below(&tables), 200);

    // The barrier of a snapshot comes, and only then time goes on.
    let snapshot = tables.begin_snapshot(|_| Scope::Full).unwrap().unwrap();
    clocks.set(TtlTimeCharacteristic::EventTime, 1_149);
    tables.expire_below(&clocks);
    look_up(&mut tables);
    assert_eq!(rows_below(&tables), 200, "the snapshot would lack rows that had not expired at its barrier");
    let files = snapshot.take().unwrap();
    tables.abort_snapshot();
    tables.expire_below(&clocks);
    look_up(&mut tables);
    assert_eq!(rows_below(&tables), 100);
    for key in [50_u64, 150] {
        let is_there = tables.with(key.key_hash(), &key, |visit| !visit.is_empty()).unwrap();
        assert_eq!(is_there, key == 150, "key {key}");
    }

    let store = stores.restore("test", &mut |folder| {
        copy(&files, folder);
        Ok(())
    });
    let mut restored = Tables::spilling(max, all, &budget, stores, "restored");
    restored.restore_store(store.unwrap());
    look_up(&mut restored);
    assert_eq!(rows_below(&restored), 200);
}
