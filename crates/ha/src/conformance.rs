//! The contract of a [`HaStore`], as a program. Every implementation runs it, also those outside this crate.
//!
//! ```
//! use std::sync::Arc;
//! use highwater_ha::{StorageStore, conformance};
//! use highwater_storage::MemoryStorage;
//! conformance::ha_store(|| {
//!     let store = Arc::new(StorageStore::new(Arc::new(MemoryStorage::new())));
//!     vec![store.clone(), store]
//! });
//! ```

use std::sync::{Arc, Barrier};
use std::thread;

use crate::store::{HaStore, Put};

/// Enough for a race that is lost seldom to be lost in one of them.
const ROUNDS: usize = 64;

/// Checks a [`HaStore`]; `make` returns handles to one new, empty store each time: at least two, as different processes
/// have them.
///
/// # Panics
/// If the contract is broken.
pub fn ha_store<S: HaStore + ?Sized>(make: impl Fn() -> Vec<Arc<S>>) {
    what_is_put_is_seen_by_all(&make());
    nothing_is_overwritten(&make());
    one_of_many_creates(&make());
    removing_takes_exactly_what_is_named(&make());
}

fn what_is_put_is_seen_by_all<S: HaStore + ?Sized>(stores: &[Arc<S>]) {
    let (here, there) = (&stores[0], &stores[1]);
    assert!(!here.uri().is_empty() && !here.uri().ends_with('/'), "{:?}", here.uri());
    assert_eq!(here.list("job").expect("list what is not there"), [""; 0]);
    assert_eq!(there.get("job/1").expect("get what is not there"), None);
    let every_byte: Vec<u8> = (0..=255).cycle().take(5000).collect();
    assert_eq!(here.put_if_absent("job/1", &every_byte).expect("put"), Put::Created);
    assert!(there.get("job/1").expect("get").is_some_and(|bytes| bytes == every_byte));
    assert_eq!(there.list("job").expect("list"), ["1"]);
    assert_eq!(there.put_if_absent("job/2", b"").expect("put nothing"), Put::Created);
    assert_eq!(here.get("job/2").expect("get"), Some(Vec::new()));
    // A folder whose name begins alike is another one.
    assert_eq!(there.put_if_absent("job-2/1", b"other").expect("put"), Put::Created);
    let mut names = here.list("job").expect("list");
    names.sort();
    assert_eq!(names, ["1", "2"]);
}

fn nothing_is_overwritten<S: HaStore + ?Sized>(stores: &[Arc<S>]) {
    assert_eq!(stores[0].put_if_absent("job/1", b"first").expect("put"), Put::Created);
    for store in stores {
        assert_eq!(store.put_if_absent("job/1", b"second").expect("put again"), Put::Exists);
        assert_eq!(store.get("job/1").expect("get"), Some(b"first".to_vec()));
    }
}

fn one_of_many_creates<S: HaStore + ?Sized>(stores: &[Arc<S>]) {
    for round in 0..ROUNDS {
        let (name, start) = (format!("job/{round}"), Barrier::new(2 * stores.len()));
        let put = |index: usize| {
            start.wait();
            stores[index % stores.len()].put_if_absent(&name, &[index as u8; 1000])
        };
        let created: Vec<usize> = thread::scope(|scope| {
            let put = &put;
            let threads: Vec<_> = (0..2 * stores.len()).map(|index| scope.spawn(move || put(index))).collect();
            let results = threads.into_iter().map(|thread| thread.join().expect("no panic").expect("put"));
            results.enumerate().filter(|(_, put)| *put == Put::Created).map(|(index, _)| index).collect()
        });
        assert_eq!(created.len(), 1, "in round {round} these were told that they created it: {created:?}");
        let found = stores[0].get(&name).expect("get");
        assert_eq!(found, Some(vec![created[0] as u8; 1000]), "round {round}: the bytes of who created it");
    }
}

fn removing_takes_exactly_what_is_named<S: HaStore + ?Sized>(stores: &[Arc<S>]) {
    for name in ["job/1", "job/10", "job/2"] {
        assert_eq!(stores[0].put_if_absent(name, name.as_bytes()).expect("put"), Put::Created);
    }
    stores[1].remove("job/1").expect("remove");
    stores[1].remove("job/1").expect("remove what is gone");
    let mut names = stores[0].list("job").expect("list");
    names.sort();
    assert_eq!(names, ["10", "2"]);
    assert_eq!(stores[0].get("job/1").expect("get"), None);
    assert_eq!(stores[0].put_if_absent("job/1", b"again").expect("put what was removed"), Put::Created);
    assert_eq!(stores[1].get("job/1").expect("get"), Some(b"again".to_vec()));
}
