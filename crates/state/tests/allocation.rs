//! Decoding allocates only what the input can hold, whatever lengths the input claims.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};

use highwater_state::Data;
use proptest::prelude::*;

thread_local! {
    static ALLOCATED: Cell<usize> = const { Cell::new(0) };
}

/// Adds up the bytes that each thread asks for.
struct Counting;

// SAFETY: every call goes on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATED.with(|allocated| allocated.set(allocated.get() + layout.size()));
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// The bytes asked for while decoding a `T`, successfully or not.
fn allocated<T: Data>(mut input: &[u8]) -> usize {
    let before = ALLOCATED.get();
    let value = T::decode(&mut input);
    let after = ALLOCATED.get();
    drop(value);
    after - before
}

proptest! {
    #[test]
    fn lengths_are_not_believed(bytes in prop::collection::vec(prop_oneof![Just(0), 0..9u8, any::<u8>()], 0..400)) {
        // A string of no letters is 4 bytes stored and 24 in memory; hash maps and B-trees have some space to spare.
        let most = 64 * bytes.len() + 1024;
        for (what, allocated) in [
            ("string", allocated::<String>(&bytes)),
            ("numbers", allocated::<Vec<u64>>(&bytes)),
            ("strings", allocated::<Vec<String>>(&bytes)),
            ("lists", allocated::<VecDeque<Vec<Vec<u8>>>>(&bytes)),
            ("map", allocated::<BTreeMap<u16, String>>(&bytes)),
            ("hash map", allocated::<HashMap<u16, Vec<u16>>>(&bytes)),
            ("hash set", allocated::<HashSet<[u8; 2]>>(&bytes)),
            ("set of units", allocated::<HashSet<()>>(&bytes)),
        ] {
            prop_assert!(allocated <= most, "{what}: {allocated} bytes for {} bytes of input", bytes.len());
        }
    }
}
