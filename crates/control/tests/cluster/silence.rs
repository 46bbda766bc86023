//! Peers that are gone, and peers that are silent.

use std::sync::mpsc::RecvTimeoutError;

use highwater_control::proto::v1::{Abort, order};
use highwater_control::{Notice, Order};

use crate::peers::{BRISK, CALM, JobManager, TaskManager};
use crate::proxy::Proxy;

fn large_order() -> Order {
    Order::Attempt { attempt: 1, order: order::Order::Abort(Abort { reason: "x".repeat(256 << 10) }) }
}

#[test]
fn a_connection_that_breaks_is_noticed_at_once_by_both() {
    let job_manager = JobManager::leading(1, CALM);
    let proxy = Proxy::to(job_manager.server.address());
    let mut task_manager = TaskManager::of(&[&proxy.address()]);
    let mut connected = task_manager.connect();
    job_manager.registered();
    proxy.cut();
    let why = connected.orders.receive().unwrap_err().to_string();
    assert!(why.contains("the JobManager is lost: the connection broke"), "{why}");
    assert!(job_manager.lost().contains("the connection broke"));
    let mut connected = task_manager.connect();
    assert_eq!(job_manager.registered().id(), connected.registered.session);
    job_manager.server.close("the JobManager ends");
    let why = connected.orders.receive().unwrap_err().to_string();
    assert!(why.contains("the JobManager ends"), "{why}");
}

#[test]
fn a_task_manager_that_goes_is_lost_at_once() {
    let job_manager = JobManager::leading(1, CALM);
    let connected = TaskManager::of(&[&job_manager.address()]).connect();
    job_manager.registered();
    drop(connected);
    job_manager.lost();
}

#[test]
fn a_silent_peer_is_noticed_by_its_missing_heartbeats() {
    let job_manager = JobManager::leading(1, BRISK);
    let proxy = Proxy::to(job_manager.server.address());
    let mut connected = TaskManager::of(&[&proxy.address()]).connect();
    job_manager.registered();
    // Heartbeats hold the session for longer than their timeout.
    assert_eq!(job_manager.heard.recv_timeout(BRISK.timeout * 2).unwrap_err(), RecvTimeoutError::Timeout);
    proxy.swallow();
    let why = connected.orders.receive().unwrap_err().to_string();
    assert!(why.contains("has answered no heartbeat for"), "{why}");
    let why = job_manager.lost();
    assert!(why.contains("no heartbeat came for"), "{why}");
    assert!(connected.notices.send(Notice::Released { attempt: 1 }).is_err());
}

#[test]
fn who_takes_no_orders_loses_its_session_and_holds_nobody_back() {
    let job_manager = JobManager::leading(1, BRISK);
    let mut connected = TaskManager::of(&[&job_manager.address()]).connect();
    let session = job_manager.registered();
    (0..200).for_each(|_| session.send(large_order()));
    let why = job_manager.lost();
    assert!(why.contains("it has taken no order for 2s"), "{why}");
    let mut taken = 0;
    while connected.orders.receive().is_ok() {
        taken += 1;
    }
    assert!(taken < 200, "all orders came");
    session.send(large_order());
}
