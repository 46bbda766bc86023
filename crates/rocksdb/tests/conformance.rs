//! The contract of stores, run by RocksDB; and that its memory is held.

use std::sync::Arc;

use highwater_core::KeyGroup;
use highwater_rocksdb::RocksDBRowStores;
use highwater_state::spill::{KeyBatch, RowBatch, RowStoreFactory, conformance};

fn stores(memory_bytes: usize) -> (tempfile::TempDir, RocksDBRowStores) {
    let folder = tempfile::tempdir().expect("a folder");
    let stores = RocksDBRowStores::new(folder.path(), memory_bytes).expect("the folder can be used");
    (folder, stores)
}

#[test]
fn it_conforms() {
    let (folder, stores) = stores(16 << 20);
    conformance::row_store(&stores);
    let process =
        std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).find(|path| path.is_dir());
    let left: Vec<_> = std::fs::read_dir(process.unwrap()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["lock"], "stores and snapshots that were dropped are gone");
    drop(stores);
    assert!(std::fs::read_dir(folder.path()).unwrap().all(|entry| !entry.unwrap().path().is_dir()));
}

#[test]
fn tables_above_it_are_a_map() {
    let (_folder, stores) = stores(8 << 20);
    conformance::tiered_tables(&(Arc::new(stores) as _), 50);
}

/// Two stores with ten times as many bytes of rows as the budget, written and read.
#[test]
fn stores_stay_within_their_memory_together() {
    let budget = 8 << 20;
    let (_folder, factory) = stores(budget);
    let stores = ["one", "other"].map(|name| factory.open(name).unwrap());
    let row = [5; 200];
    let mut most = 0;
    for round in 0..200_u64 {
        for store in &stores {
            let (mut rows, mut keys) = (RowBatch::default(), KeyBatch::default());
            for i in 0..1_000 {
                let key = (round * 1_000 + i).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
                rows.put(KeyGroup(key[7].into()), |out| out.extend_from_slice(&key), |out| out.extend_from_slice(&row));
                let looked_up = (i * 191 % (round * 1_000 + 1)).wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes();
                keys.push(KeyGroup(looked_up[7].into()), |out| out.extend_from_slice(&looked_up));
            }
            store.write(rows.sorted()).unwrap();
            let (mut found, keys) = (0, keys.sorted());
            store
                .get_many(keys, &mut |_, row| {
                    found += row.len() / 200;
                    Ok(())
                })
                .unwrap();
            assert_eq!(found, keys.len());
            most = most.max(factory.memory_bytes());
        }
    }
    let disk: u64 = stores.iter().map(|store| store.usage().disk_bytes).sum();
    assert!(disk > 60 << 20, "{disk} bytes of files");
    assert!(most > budget / 2, "{most} bytes of memory: the budget is not used");
    assert!(most < budget * 5 / 4, "{most} bytes of memory");
}
