//! The servers, folders that no other test uses, and JobManagers.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::Duration;

use highwater_core::{CheckpointId, JobName, SystemClock};
use highwater_ha::{Contender, HaService, HaStore, JobState, Leadership, LeadershipEvent, open_store};

/// How the URI of a folder of this name is made.
pub type Server = fn(&str) -> String;

pub const HDFS: Server = |folder| format!("{}/{folder}?user=highwater", variable("HIGHWATER_TEST_HDFS"));
pub const S3: Server =
    |folder| format!("s3://highwater/{folder}?endpoint={}&allow_http=true", variable("HIGHWATER_TEST_S3"));
pub const ETCD: Server = |folder| format!("etcd://{}/{folder}", variable("HIGHWATER_TEST_ETCD"));

/// More than anything here takes.
pub const PATIENCE: Duration = Duration::from_secs(60);
/// Long enough that nobody loses the leadership on a machine that is busy.
pub const HOLDS_FOR: Duration = Duration::from_secs(10);

pub fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: run `cargo xtask services up` and export it"))
}

/// A name that comes once.
pub fn fresh() -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    format!("ha-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::SeqCst))
}

pub fn open(uri: &str) -> Arc<dyn HaStore> {
    open_store(uri, HOLDS_FOR).unwrap_or_else(|error| panic!("{uri}: {error:?}"))
}

/// Handles to one new store that have nothing in common.
pub fn handles(server: Server) -> Vec<Arc<dyn HaStore>> {
    let uri = server(&fresh());
    vec![open(&uri), open(&uri)]
}

pub fn start(store: Arc<dyn HaStore>, name: &str, holds_for: Duration) -> (HaService, Receiver<LeadershipEvent>) {
    let contender = Contender {
        job: JobName::parse("visitors").unwrap(),
        cluster: "blue".to_owned(),
        program: "graph".to_owned(),
        address: format!("{name}:6123"),
        holds_for,
        retained: 3,
        kept_entries: Contender::KEPT_ENTRIES,
        writer: 0,
    };
    HaService::start(store, contender, Arc::new(SystemClock::new())).unwrap()
}

/// The next event, but for what becomes of the store, which may be slow at any time.
pub fn next(events: &Receiver<LeadershipEvent>) -> LeadershipEvent {
    loop {
        match events.recv_timeout(PATIENCE).expect("an event") {
            LeadershipEvent::Store { .. } => {}
            event => return event,
        }
    }
}

/// Waits until it leads.
pub fn granted(events: &Receiver<LeadershipEvent>) -> (Leadership, JobState) {
    loop {
        match next(events) {
            LeadershipEvent::Granted { leadership, state } => return (leadership, state),
            LeadershipEvent::Revoked { .. } | LeadershipEvent::LeaderIs { .. } => {}
            other => panic!("{other:?}"),
        }
    }
}

/// Two contend from two threads at once; one leads, records, and resigns; the other finds it all.
pub fn one_leads_and_the_other_goes_on(server: Server) {
    let uri = server(&fresh());
    let contend = |name: &'static str| {
        let uri = uri.clone();
        thread::spawn(move || start(open(&uri), name, HOLDS_FOR))
    };
    let (one, other) = (contend("one"), contend("other"));
    let contenders = [one.join().unwrap(), other.join().unwrap()];
    let leads = |events: &Receiver<LeadershipEvent>| match next(events) {
        LeadershipEvent::Granted { leadership, .. } => Some(leadership),
        LeadershipEvent::LeaderIs { .. } => None,
        unexpected => panic!("{unexpected:?}"),
    };
    let [(one, one_events), (other, other_events)] = contenders;
    let (leadership, leader, standby, next_events) = match (leads(&one_events), leads(&other_events)) {
        (Some(leadership), None) => (leadership, one, other, other_events),
        (None, Some(leadership)) => (leadership, other, one, one_events),
        (one, other) => panic!("they lead: {one:?}, {other:?}"),
    };
    leadership.record_attempt(b"deployed".to_vec()).unwrap();
    for id in 1..=20 {
        leadership.record_completed(CheckpointId(id)).unwrap();
    }
    drop(leader);
    let (again, state) = granted(&next_events);
    assert!(again.token() > leadership.token());
    assert_eq!(state.newest_completed(), Some(CheckpointId(20)));
    assert_eq!(state.attempt.map(|attempt| attempt.content), Some(b"deployed".to_vec()));
    assert!(leadership.record_completed(CheckpointId(21)).is_err());
    again.record_end(b"done".to_vec()).unwrap();
    drop(standby);
    let (_late, events) = start(open(&uri), "late", HOLDS_FOR);
    assert!(matches!(next(&events), LeadershipEvent::Ended { result } if result == b"done"));
}
