//! Sessions that go well, and registrations that do not.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use highwater_checkpoint::metadata::{FileDigest, OperatorState, Redistribution, TaskSnapshot};
use highwater_control::convert::{decode_snapshot, encode_snapshot, job_end, required};
use highwater_control::proto::v1;
use highwater_control::proto::v1::order::Order as Do;
use highwater_control::proto::v1::task_event::Event;
use highwater_control::{Notice, Order, Rejection};
use highwater_core::{CheckpointId, Error, ErrorKind, OperatorUid, SubtaskIndex, TaskId};

use crate::peers::{BRISK, CALM, Heard, JobManager, PATIENCE, TaskManager, register};

fn task() -> TaskId {
    TaskId { operator: OperatorUid::parse("count").unwrap(), subtask: SubtaskIndex(3) }
}

fn acknowledged(checkpoint: u64, bytes: usize) -> Notice {
    let snapshot = Bytes::from(vec![u8::try_from(checkpoint % 251).unwrap(); bytes]);
    let event = v1::Acknowledged { checkpoint, task: Some((&task()).into()), snapshot, files: Vec::new(), bytes: 7 };
    Notice::Task { attempt: 1, event: Event::Acknowledged(event) }
}

fn orders() -> Vec<Order> {
    let location = v1::SnapshotLocation { storage: "file:///c".into(), folder: "visitors/chk-7".into(), is_own: true };
    let savepoint = v1::SavepointLocation { storage: "file:///s".into(), folder: "savepoint-1".into() };
    let start = v1::Start {
        process: 1,
        data_addresses: vec!["10.0.0.1:7000".into(), "10.0.0.2:7000".into()],
        workers: 2,
        first_epoch: 8,
        restore: Some(location),
        splits: vec![v1::SourceSplits { operator_uid: "lines".into(), splits: vec![Bytes::from_static(b"\0\xff")] }],
        max_parallelism: 128,
        cluster: "blue".to_owned(),
    };
    let of_attempt = [
        Do::Start(start),
        Do::Attach(v1::Attach { completed: 7, next_checkpoint: 9 }),
        Do::Restored(v1::Restored {}),
        Do::Trigger(v1::Trigger { checkpoint: 8, last: Some(v1::Ending::Drain.into()), savepoint: Some(savepoint) }),
        Do::Trigger(v1::Trigger { checkpoint: 9, last: None, savepoint: None }),
        Do::Resume(v1::Resume {}),
        Do::Complete(v1::Complete { checkpoint: 8 }),
        Do::GiveUp(v1::GiveUp { checkpoint: 9 }),
        Do::Finish(v1::Finish { input_ended: true }),
        Do::Abort(v1::Abort { reason: "a worker failed".into() }),
    ];
    let mut orders: Vec<_> = of_attempt.map(|order| Order::Attempt { attempt: 42, order }).into();
    orders.push(Order::End(Ok(v1::JobEnd::Finished).into()));
    orders.push(Order::End(Err(&Error::settings("wrong")).into()));
    orders
}

fn notices() -> Vec<Notice> {
    let task = || Some((&task()).into());
    let digest = FileDigest { name: "a".into(), shared_by: Some(CheckpointId(3)), len: 10, crc32c: 0xffff_fffe };
    let failure = Some((&Error::new(ErrorKind::UserFunction, "it panicked")).into());
    let acknowledged = v1::Acknowledged {
        checkpoint: 8,
        task: task(),
        snapshot: encode_snapshot(&snapshot()).unwrap(),
        files: vec![(&digest).into()],
        bytes: 10,
    };
    let restored = v1::StateRestored {
        task: task(),
        keys: 1,
        bytes: 2,
        init_nanos: 3,
        prepare_nanos: 4,
        confirm_nanos: 5,
        complete_nanos: 6,
    };
    let events = [
        Event::WorkerRestored(v1::WorkerRestored { worker: 0 }),
        Event::WorkerReady(v1::WorkerReady { worker: 3 }),
        Event::StateRestored(restored),
        Event::Prepared(v1::Prepared { checkpoint: 8, task: task(), pause_nanos: u64::MAX }),
        Event::Acknowledged(acknowledged),
        Event::Declined(v1::Declined { checkpoint: 8, task: task(), reason: "disk full".into() }),
        Event::LongestPause(v1::LongestPause { task: task(), pause_nanos: 5 }),
        Event::SourceEnded(v1::SourceEnded { task: task() }),
        Event::WorkerFailed(v1::WorkerFailed { worker: 1, failure }),
        Event::WorkerDone(v1::WorkerDone { worker: 1 }),
    ];
    let mut notices: Vec<_> = events.map(|event| Notice::Task { attempt: 42, event }).into();
    notices.extend([Notice::Leaving {}, Notice::Released { attempt: 42 }]);
    notices
}

fn snapshot() -> TaskSnapshot {
    let state = OperatorState {
        name: "offsets".into(),
        schema: "\"u64\"".into(),
        redistribution: Redistribution::Split,
        elements: vec![vec![1, 2], vec![]],
    };
    TaskSnapshot { keyed: Vec::new(), operator_state: vec![state] }
}

#[test]
fn orders_and_notices_of_every_kind_survive_the_way() {
    let job_manager = JobManager::leading(3, CALM);
    let mut connected = TaskManager::of(&[&job_manager.address()]).connect();
    assert_eq!(connected.registered.leader_token, 3);
    assert_eq!(connected.leader, job_manager.address());
    let Heard::Registered(heard, session) = job_manager.hear() else { panic!("not a registration") };
    assert_eq!(heard, register());
    assert_eq!((session.task_manager(), session.id()), ("first", connected.registered.session));
    for order in orders() {
        session.send(order.clone());
        assert_eq!(connected.orders.receive().unwrap(), order);
    }
    for notice in notices() {
        connected.notices.send(notice.clone()).unwrap();
        assert_eq!(job_manager.notice(), notice);
    }
    let Order::End(result) = orders().pop().unwrap() else { panic!("the last order is the end") };
    assert_eq!(job_end(result).unwrap_err().kind(), ErrorKind::Settings);
    session.send(orders().remove(0));
    session.close("the job has another leader");
    assert_eq!(connected.orders.receive().unwrap(), orders().remove(0));
    let why = connected.orders.receive().unwrap_err().to_string();
    assert!(why.contains("the job has another leader"), "{why}");
    assert_eq!(job_manager.lost(), "the job has another leader");
}

#[test]
fn what_the_engine_says_survives_the_messages() {
    assert_eq!(decode_snapshot(&encode_snapshot(&snapshot()).unwrap()).unwrap(), snapshot());
    assert!(decode_snapshot(b"\x05").is_err());
    assert_eq!(TaskId::try_from(v1::Task::from(&task())).unwrap(), task());
    let error = TaskId::try_from(v1::Task { operator_uid: "a b".into(), subtask: 0 }).unwrap_err();
    assert!(error.to_string().contains("task.operator_uid"), "{error}");
    assert!(required(None::<u8>, "start.restore").unwrap_err().to_string().contains("start.restore is missing"));
    for kind in [
        ErrorKind::Settings,
        ErrorKind::Input,
        ErrorKind::UserFunction,
        ErrorKind::Storage,
        ErrorKind::Corrupt,
        ErrorKind::Incompatible,
        ErrorKind::Cluster,
        ErrorKind::Checkpoint,
        ErrorKind::Internal,
    ] {
        let back = Error::from(v1::Failure::from(&Error::new(kind, "why")));
        assert_eq!((back.kind(), back.to_string().as_str()), (kind, "why"));
    }
    assert_eq!(job_end(Ok(v1::JobEnd::Canceled).into()).unwrap(), v1::JobEnd::Canceled);
    assert!(job_end(v1::job_result::Result::End(0)).is_err());
}

#[test]
fn who_does_not_fit_is_refused_and_nobody_hears_of_it() {
    let job_manager = JobManager::leading(1, CALM);
    let mut task_manager = TaskManager::of(&[&job_manager.address()]);
    for (register, why) in [
        (v1::Register { protocol_version: 9, ..register() }, "version 9 of the protocol"),
        (v1::Register { job: "views".into(), ..register() }, "it runs job views"),
        (v1::Register { graph: Some(v1::Graph::default()), ..register() }, "it lacks operator lines"),
        (v1::Register { slots: 0, ..register() }, "--slots"),
    ] {
        let refusal = task_manager.refused(&register);
        assert!(refusal.contains(why) && refusal.contains(&job_manager.address()), "{refusal}");
    }
    let choosy = JobManager::start(CALM, Box::new(|| Err(Rejection::Refused { reason: "the job has ended".into() })));
    assert!(TaskManager::of(&[&choosy.address()]).refused(&register()).contains("the job has ended"));
    assert!(job_manager.heard.try_recv().is_err() && choosy.heard.try_recv().is_err());
}

#[test]
fn a_standby_sends_on_to_the_leader_and_an_old_leader_is_not_obeyed() {
    let leader = JobManager::leading(2, CALM);
    let standby = JobManager::standby(Some(leader.address()));
    let old = JobManager::leading(1, CALM);
    let mut task_manager = TaskManager::of(&[&standby.address(), &old.address()]);
    assert_eq!(task_manager.connect().leader, leader.address());
    leader.registered();
    let address = leader.address();
    leader.server.close("another leads");
    let why = task_manager.given_up();
    assert!(why.contains(&format!("{}: has been replaced by another leader", old.address())), "{why}");
    assert!(why.contains(&format!("{}: is a standby of {address}", standby.address())), "{why}");
    let lost = JobManager::standby(None);
    assert!(TaskManager::of(&[&lost.address()]).given_up().contains("is a standby, and knows no leader"));
}

#[test]
fn an_address_that_nobody_or_something_else_answers_at_is_reported() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let why = TaskManager::of(&[&nobody]).given_up();
    assert!(why.contains(&nobody) && why.contains("onnection refused") && why.contains("is one running"), "{why}");
    let web = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = web.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for mut stream in web.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let why = TaskManager::of(&[&address]).given_up();
    assert!(why.contains(&address), "{why}");
}

#[test]
fn thousands_of_notices_some_of_them_large_come_whole_and_in_order() {
    let job_manager = JobManager::leading(1, CALM);
    let connected = TaskManager::of(&[&job_manager.address()]).connect();
    job_manager.registered();
    let size = |n: u64| {
        if n == 1500 {
            48 << 20
        } else if n.is_multiple_of(200) {
            3 << 20
        } else {
            100
        }
    };
    std::thread::scope(|scope| {
        scope.spawn(|| (0..3000).for_each(|n| connected.notices.send(acknowledged(n, size(n))).unwrap()));
        (0..3000).for_each(|n| assert!(job_manager.notice() == acknowledged(n, size(n)), "notice {n}"));
    });
}

#[test]
fn a_job_manager_that_is_behind_holds_its_task_managers_back() {
    const NOTICES: usize = 2000;
    const SIZE: usize = 64 << 10;
    let job_manager = JobManager::leading(1, BRISK);
    let connected = TaskManager::of(&[&job_manager.address()]).connect();
    job_manager.registered();
    let sent = Arc::new(AtomicUsize::new(0));
    let gate = job_manager.gate.lock().unwrap();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..NOTICES {
                connected.notices.send(acknowledged(n as u64, SIZE)).unwrap();
                sent.fetch_add(1, Ordering::SeqCst);
            }
        });
        // It stands once nothing has moved for as long as a session without heartbeats would live.
        let (mut last, mut since) = (0, Instant::now());
        while since.elapsed() < BRISK.timeout + Duration::from_secs(1) {
            let now = sent.load(Ordering::SeqCst);
            assert!(now < NOTICES / 2, "{now} notices are under way");
            if now != last {
                (last, since) = (now, Instant::now());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(last > 64, "only {last} notices are under way");
        drop(gate);
        (0..NOTICES).for_each(|n| assert!(job_manager.notice() == acknowledged(n as u64, SIZE), "notice {n}"));
    });
    assert!(job_manager.heard.recv_timeout(PATIENCE / 100).is_err(), "the session goes on");
}
