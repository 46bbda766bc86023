//! An etcd that goes away and comes back, and what is refused.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use highwater_core::{CheckpointId, ErrorKind};
use highwater_ha::{HaStore, LeadershipEvent, open_store};
use highwater_storage::Outcome;

use super::support::{PATIENCE, granted, next, open, start, variable};

/// An etcd of this test alone.
struct Etcd {
    process: Child,
}

impl Etcd {
    fn start(dir: &Path, ports: [u16; 2]) -> Self {
        let [client, peer] = ports.map(|port| format!("http://127.0.0.1:{port}"));
        let process = Command::new(variable("HIGHWATER_TEST_ETCD_PROGRAM"))
            .args(["--name", "test", "--data-dir"])
            .arg(dir)
            .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
            .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
            .args(["--initial-cluster", &format!("test={peer}")])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start etcd");
        Etcd { process }
    }
}

impl Drop for Etcd {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_ports() -> [u16; 2] {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.map(|listener| listener.local_addr().unwrap().port())
}

fn wait_until_it_answers(uri: &str) -> Arc<dyn HaStore> {
    let began = Instant::now();
    loop {
        match open_store(uri, Duration::from_secs(2)) {
            Ok(store) => return store,
            Err(error) => assert!(began.elapsed() < PATIENCE, "{error:?}"),
        }
        thread::sleep(Duration::from_millis(50));
    }
}

/// Killed while a leader leads and another waits: the leader steps down, in time; when the etcd is back, with what it had,
/// one of the two leads again, and finds what counted.
#[test]
fn an_etcd_that_goes_away_and_comes_back_costs_a_leadership_and_nothing_else() {
    let (dir, ports) = (tempfile::tempdir().unwrap(), free_ports());
    let etcd = Etcd::start(dir.path(), ports);
    let uri = format!("etcd://127.0.0.1:{}/highwater", ports[0]);
    wait_until_it_answers(&uri);
    // An etcd answers once its disk has, which takes seconds on a machine whose disk is busy.
    let holds_for = Duration::from_secs(6);
    let (leader, leader_events) = start(open(&uri), "leader", holds_for);
    let (leadership, _) = granted(&leader_events);
    leadership.record_completed(CheckpointId(1)).unwrap();
    let (standby, standby_events) = start(open(&uri), "standby", holds_for);
    assert!(matches!(next(&standby_events), LeadershipEvent::LeaderIs { .. }));

    drop(etcd);
    let began = Instant::now();
    let lost = leadership.record_completed(CheckpointId(2)).expect_err("nobody has confirmed it");
    assert!(began.elapsed() < 3 * holds_for, "it took {:?}", began.elapsed());
    assert!(matches!(next(&leader_events), LeadershipEvent::Revoked { .. }));
    let is_told = |event| matches!(event, LeadershipEvent::Store { answers: false });
    assert!(is_told(standby_events.recv_timeout(PATIENCE).unwrap()), "the standby says that it cannot see who leads");

    let etcd = Etcd::start(dir.path(), ports);
    let leads = AtomicBool::new(false);
    let (again, state) = thread::scope(|scope| {
        let wait = |events: std::sync::mpsc::Receiver<LeadershipEvent>| {
            while !leads.load(Ordering::SeqCst) {
                if let Ok(LeadershipEvent::Granted { leadership, state }) =
                    events.recv_timeout(Duration::from_millis(100))
                {
                    leads.store(true, Ordering::SeqCst);
                    return Some((leadership, state));
                }
            }
            None
        };
        let one = scope.spawn(move || wait(leader_events));
        let other = scope.spawn(move || wait(standby_events));
        one.join().unwrap().or(other.join().unwrap()).expect("one leads again")
    });
    let ids: Vec<u64> = state.completed.iter().map(|completed| completed.id.0).collect();
    match lost.outcome() {
        Outcome::DidNotHappen => assert_eq!(ids, [1]),
        Outcome::MayHaveHappened => assert!(ids == [1] || ids == [1, 2], "{ids:?}"),
    }
    assert!(again.token() > leadership.token());
    drop((leader, standby, etcd));
}

#[test]
fn an_etcd_that_nobody_answers_for_is_told_at_once() {
    let [port, _] = free_ports();
    let began = Instant::now();
    let error = open_store(&format!("etcd://127.0.0.1:{port}/ha"), Duration::from_secs(2)).unwrap_err();
    assert!(began.elapsed() < Duration::from_secs(10));
    assert_eq!(error.kind(), ErrorKind::Storage);
    let text = error.to_string();
    assert!(text.starts_with("cannot use the HA directory: cannot reach etcd://127.0.0.1:"), "{text}");
}

/// A member that is away is passed over.
#[test]
fn the_other_members_are_asked_when_one_is_away() {
    let [port, _] = free_ports();
    let store =
        open(&format!("etcd://127.0.0.1:{port},{}/{}", variable("HIGHWATER_TEST_ETCD"), super::support::fresh()));
    store.put_if_absent("job/1", b"one").unwrap();
    assert_eq!(store.get("job/1").unwrap(), Some(b"one".to_vec()));
}

/// A server that speaks HTTP and is no etcd.
#[test]
fn what_is_no_etcd_is_refused() {
    let address = variable("HIGHWATER_TEST_S3").replace("http://", "");
    let error = open_store(&format!("etcd://{address}/ha"), Duration::from_secs(5)).unwrap_err().to_string();
    assert!(error.contains("cannot reach etcd://") && error.contains("answers"), "{error}");
}
