//! What tables above RocksDB take of the heap, counted: allocations of this program, which RocksDB's are not among.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use highwater_core::{KeyHash, MaxParallelism};
use highwater_rocksdb::RocksDBRowStores;
use highwater_state::tier::{Failure, MemoryBudget, Relief, TieredTables};
use highwater_state::{Data, Plain};

struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);

// SAFETY: everything is passed on to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, start: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: by the caller's contract.
        unsafe { System.dealloc(start, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Rows that are mostly heap, ten times as many as the budget holds.
#[test]
fn rows_with_memory_of_their_own_stay_within_the_budget() {
    const BUDGET: usize = 4 << 20;
    let folder = tempfile::tempdir().expect("a folder");
    let stores = Arc::new(RocksDBRowStores::new(folder.path(), 8 << 20).expect("the folder can be used"));
    let max = MaxParallelism::new(32).expect("in bounds");
    let budget = MemoryBudget::new(BUDGET);
    let mut tables = TieredTables::<String, Plain<String>>::spilling(max, max.all(), &budget, stores, "the test");
    let (before, mut most) = (ALLOCATED.load(Ordering::Relaxed), 0);
    for round in 0..200 {
        let keys: Vec<String> = (0..1_000).map(|i| format!("a key with some length {}", round * 1_000 + i)).collect();
        let hashes: Vec<KeyHash> = keys.iter().map(Data::key_hash).collect();
        let done: Result<(), Failure<()>> = tables.for_each(&keys, &hashes, |i, state| {
            state.0 = keys[i].repeat(5);
            Ok(())
        });
        done.expect("the store works");
        while tables.relieve().expect("the store works") == Relief::More {}
        drop((keys, hashes));
        let heap = ALLOCATED.load(Ordering::Relaxed) - before;
        most = most.max(heap);
        assert!(heap < BUDGET * 5 / 4, "{heap} bytes in round {round}");
    }
    assert!(most > BUDGET / 2, "{most} bytes at most: the budget is not used");
    let disk = tables.store().expect("a store").usage().disk_bytes;
    assert!(disk > 5 * BUDGET as u64, "{disk} bytes of files");
}
