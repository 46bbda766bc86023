//! The service on real threads: with stores that fail, that leave in doubt, and that do not answer.
#![allow(clippy::disallowed_methods, reason = "threads run in real time, and the test looks that none hangs")]

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use highwater_core::{CheckpointId, JobName, SystemClock};
use highwater_ha::{
    Contender, HaService, HaStore, JobState, Leadership, LeadershipEvent, Put, StorageStore, open_store,
};
use highwater_storage::{Error, MemoryStorage, Outcome, Result, What};

/// More than anything here takes.
const PATIENCE: Duration = Duration::from_secs(60);

fn contender(name: &str, holds_for: Duration) -> Contender {
    Contender {
        job: JobName::parse("visitors").unwrap(),
        cluster: "blue".to_owned(),
        program: "graph".to_owned(),
        address: format!("{name}:6123"),
        holds_for,
        retained: 3,
        kept_entries: Contender::KEPT_ENTRIES,
        writer: 0,
    }
}

fn start(store: &Arc<dyn HaStore>, name: &str, holds_for: Duration) -> (HaService, Receiver<LeadershipEvent>) {
    HaService::start(Arc::clone(store), contender(name, holds_for), Arc::new(SystemClock::new())).unwrap()
}

fn granted(events: &Receiver<LeadershipEvent>) -> (Leadership, JobState) {
    loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            LeadershipEvent::Granted { leadership, state } => return (leadership, state),
            LeadershipEvent::Store { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

fn memory() -> Arc<dyn HaStore> {
    Arc::new(StorageStore::new(Arc::new(MemoryStorage::new())))
}

/// Long enough that nobody loses it on a machine that is busy.
const LONG: Duration = Duration::from_secs(30);

#[test]
fn what_a_leader_records_is_found_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let open = || open_store(dir.path().to_str().unwrap(), LONG).unwrap();
    let (first, first_events) = start(&open(), "first", LONG);
    let (leadership, state) = granted(&first_events);
    assert!(state.completed.is_empty() && state.attempt.is_none());
    let (second, second_events) = start(&open(), "second", LONG);
    let LeadershipEvent::LeaderIs { token, address } = second_events.recv_timeout(PATIENCE).unwrap() else {
        panic!("not told who leads");
    };
    assert_eq!((token, &address[..]), (leadership.token(), "first:6123"));
    leadership.record_attempt(b"deployed".to_vec()).unwrap();
    leadership.record_completed(CheckpointId(4)).unwrap();
    drop(first);

    let (next, state) = granted(&second_events);
    assert!(next.token() > leadership.token());
    assert_eq!(
        (state.newest_completed(), state.attempt.unwrap().content),
        (Some(CheckpointId(4)), b"deployed".to_vec())
    );
    let fenced = leadership.record_completed(CheckpointId(5)).unwrap_err();
    assert_eq!(fenced.outcome(), Outcome::DidNotHappen);
    next.record_end(b"done".to_vec()).unwrap();
    drop(second);

    let (_third, events) = start(&open(), "third", LONG);
    let LeadershipEvent::Ended { result } = events.recv_timeout(PATIENCE).unwrap() else { panic!("it is run again") };
    assert_eq!(result, b"done");
}

/// Only a few entries are kept, and what nobody needs is not.
#[test]
fn old_entries_are_removed() {
    let store = memory();
    let (_service, events) = start(&store, "leader", LONG);
    let (leadership, _) = granted(&events);
    for id in 1..=50 {
        leadership.record_completed(CheckpointId(id)).unwrap();
    }
    // The removal of an append is done before anything is asked for the next one.
    let names = store.list("visitors").unwrap();
    assert!((9..=10).contains(&names.len()), "{names:?}");
}

/// Every put happens, and nobody is told.
#[derive(Debug)]
struct InDoubt(Arc<dyn HaStore>);

impl HaStore for InDoubt {
    fn uri(&self) -> String {
        self.0.uri()
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        match self.0.put_if_absent(name, bytes)? {
            Put::Created => Err(Error::new(What::Other, Outcome::MayHaveHappened, "put", name)),
            Put::Exists => Ok(Put::Exists),
        }
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.0.get(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.0.list(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.0.remove(name)
    }
}

#[test]
fn doubt_is_settled_by_reading() {
    let store: Arc<dyn HaStore> = Arc::new(InDoubt(memory()));
    let (_service, events) = start(&store, "leader", LONG);
    let (leadership, _) = granted(&events);
    leadership.record_completed(CheckpointId(1)).unwrap();
    leadership.record_completed(CheckpointId(2)).unwrap();
}

/// Does not answer while it is held up.
#[derive(Debug)]
struct HeldUp {
    inner: Arc<dyn HaStore>,
    held: Mutex<bool>,
    released: Condvar,
    reached: AtomicBool,
}

impl HeldUp {
    fn set(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.released.notify_all();
    }

    fn pass(&self) -> &dyn HaStore {
        let mut held = self.held.lock().unwrap();
        while *held {
            self.reached.store(true, Ordering::SeqCst);
            held = self.released.wait(held).unwrap();
        }
        &*self.inner
    }
}

impl HaStore for HeldUp {
    fn uri(&self) -> String {
        self.inner.uri()
    }

    fn put_if_absent(&self, name: &str, bytes: &[u8]) -> Result<Put> {
        self.pass().put_if_absent(name, bytes)
    }

    fn get(&self, name: &str) -> Result<Option<Vec<u8>>> {
        self.pass().get(name)
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.pass().list(folder)
    }

    fn remove(&self, name: &str) -> Result<()> {
        self.pass().remove(name)
    }
}

#[test]
fn a_store_that_does_not_answer_ends_the_leadership_in_time_and_not_for_ever() {
    let (held, released) = (Mutex::new(false), Condvar::new());
    let store = Arc::new(HeldUp { inner: memory(), held, released, reached: AtomicBool::new(false) });
    let shared: Arc<dyn HaStore> = store.clone();
    let (service, events) = start(&shared, "leader", Duration::from_millis(300));
    // On a machine that is busy it may lose the leadership and get it back, any number of times.
    let (mut leadership, _) = granted(&events);
    store.set(true);
    let refused = leadership.record_completed(CheckpointId(1)).expect_err("the store has not answered");
    assert!(store.reached.load(Ordering::SeqCst) || refused.outcome() == Outcome::DidNotHappen);
    store.set(false);
    loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            LeadershipEvent::Granted { leadership: again, .. } => leadership = again,
            LeadershipEvent::Revoked { .. } | LeadershipEvent::Store { .. } => continue,
            other => panic!("{other:?}"),
        }
        if leadership.record_completed(CheckpointId(2)).is_ok() {
            break;
        }
    }
    // Nor does the end wait for a store that does not answer.
    store.set(true);
    drop(service);
    store.set(false);
}

#[test]
fn every_append_is_answered_also_after_the_end() {
    let (service, events) = start(&memory(), "leader", LONG);
    let (leadership, _) = granted(&events);
    drop(service);
    let (answer, answered) = std::sync::mpsc::channel();
    let append = highwater_ha::Append::Completed(CheckpointId(1));
    leadership.append(append, move |result| answer.send(result).unwrap());
    assert_eq!(answered.recv_timeout(PATIENCE).unwrap().unwrap_err().outcome(), Outcome::DidNotHappen);
}
