//! A job in two processes, here two threads that know nothing of each other but their addresses.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater::client::SavepointTarget;
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::status::JobPhase;
use highwater::{JobEnd, JobResult, Result, Settings, StartFrom, StopHandle};
use highwater_core::ProcessIndex;

use crate::broadcast::{assert_matched, matching_numbers};
use crate::event_time::{Part, Seen, idle_job};
use crate::restarts::Trouble;
use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, fine, returns, run};

/// Two addresses that nobody listens on.
fn addresses() -> Vec<String> {
    let listeners = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    listeners.iter().map(|listener| listener.local_addr().unwrap().to_string()).collect()
}

fn environment(process: u32, hosts: &[String], dir: &Path) -> StreamExecutionEnvironment {
    let settings = Settings { process: ProcessIndex(process), hosts: hosts.to_vec(), ..Settings::default() };
    let env = StreamExecutionEnvironment::with_settings(settings);
    env.stop_on_signals(false).set_parallelism(2);
    env.set_state_backend(FsStateBackend::new(dir.to_str().unwrap())).enable_checkpointing(Duration::from_millis(5));
    env.set_restart_strategy(at_once(100)).set_cancellation_timeout(Duration::from_secs(5));
    env
}

/// Runs one of the processes on a thread.
fn start(
    build: impl FnOnce() -> StreamExecutionEnvironment + Send + 'static,
) -> (JoinHandle<Result<JobResult>>, StopHandle) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let process = move || {
        let env = build();
        sender.send(env.stop_handle()).unwrap();
        run(&env)
    };
    let thread = std::thread::Builder::new().spawn(process).unwrap();
    (thread, receiver.recv().unwrap())
}

#[test]
fn output_of_two_processes_is_exactly_once_whatever_fails_in_them() {
    const COUNT: u64 = 600;
    let (ends, committed) = returns(|| {
        let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
        let trouble = Trouble::seeded(3, 3, COUNT as usize);
        let processes = [0, 1].map(|process| {
            let (dir, hosts, sink) = (dir.path().to_path_buf(), hosts.clone(), sink.clone());
            let trouble = trouble.clone();
            start(move || {
                let env = environment(process, &hosts, &dir);
                counting(&env, Numbers::new(COUNT), &sink, move |_| trouble.call());
                env
            })
        });
        (processes.map(|(thread, _)| thread.join().unwrap().unwrap().end), sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 2]);
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn rules_are_broadcast_to_the_subtasks_of_every_process() {
    const COUNT: u64 = 600;
    let (ends, committed) = returns(|| {
        let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
        let trouble = Trouble::seeded(5, 3, COUNT as usize);
        let processes = [0, 1].map(|process| {
            let (dir, hosts, sink) = (dir.path().to_path_buf(), hosts.clone(), sink.clone());
            let trouble = trouble.clone();
            start(move || {
                let env = environment(process, &hosts, &dir);
                matching_numbers(&env, COUNT, (|_| Step::Emit, |_| Step::Emit), move || trouble.call())
                    .sink_to(sink.clone());
                env
            })
        });
        (processes.map(|(thread, _)| thread.join().unwrap().unwrap().end), sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 2]);
    assert_matched(committed, COUNT);
}

#[test]
fn a_source_that_is_quiet_in_all_processes_holds_nothing_back() {
    let seen = Seen::default();
    let ends = returns({
        let seen = seen.clone();
        move || {
            let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
            let processes = [0, 1].map(|process| {
                let (dir, hosts, sink, seen) = (dir.path().to_path_buf(), hosts.clone(), sink.clone(), seen.clone());
                start(move || {
                    let env = environment(process, &hosts, &dir);
                    idle_job(&env, &[Part::Mixed, Part::Quiet], &seen).sink_to(sink.clone());
                    env
                })
            });
            processes.map(|(thread, _)| thread.join().unwrap().unwrap().end)
        }
    });
    assert_eq!(ends, [JobEnd::Finished; 2]);
    assert!(seen.saw_a_late_record());
}

#[test]
fn a_process_that_is_slow_to_end_an_attempt_does_not_miss_the_start_of_the_next() {
    const COUNT: u64 = 100;
    let (ends, committed) = returns(|| {
        let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
        let (failed, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let processes = [0, 1].map(|process| {
            let (dir, hosts, sink) = (dir.path().to_path_buf(), hosts.clone(), sink.clone());
            let (failed, busy) = (failed.clone(), busy.clone());
            start(move || {
                let env = environment(process, &hosts, &dir);
                counting(&env, Numbers::new(COUNT), &sink, move |_| {
                    if failed.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    if process == 1 {
                        // Still at it when the leader has failed and begins again.
                        busy.store(true, Ordering::SeqCst);
                        while !failed.load(Ordering::SeqCst) {
                            std::thread::yield_now();
                        }
                        std::thread::sleep(Duration::from_millis(300));
                        return Ok(());
                    }
                    while !busy.load(Ordering::SeqCst) {
                        std::thread::yield_now();
                    }
                    if failed.swap(true, Ordering::SeqCst) { Ok(()) } else { Err("only this time".into()) }
                });
                env
            })
        });
        (processes.map(|(thread, _)| thread.join().unwrap().unwrap().end), sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 2]);
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn a_process_that_is_lost_ends_the_attempt_and_the_other_one_goes_on_waiting_for_it() {
    returns(|| {
        let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
        let reached = Arc::new(AtomicBool::new(false));
        let processes = [0, 1].map(|process| {
            let (dir, hosts, sink, reached) = (dir.path().to_path_buf(), hosts.clone(), sink.clone(), reached.clone());
            start(move || {
                let env = environment(process, &hosts, &dir);
                let numbers = Numbers::new(u64::MAX).when(move |number| {
                    if number < 200 {
                        return Step::Emit;
                    }
                    reached.store(true, Ordering::SeqCst);
                    Step::Wait
                });
                counting(&env, numbers, &sink, fine);
                env
            })
        });
        while !reached.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let [(leader, stop_leader), (follower, stop_follower)] = processes;
        // Twice: at once.
        stop_follower.stop();
        stop_follower.stop();
        assert!(follower.join().unwrap().is_err());
        stop_leader.stop();
        stop_leader.stop();
        assert!(leader.join().unwrap().is_err());
    });
}

#[test]
fn a_savepoint_of_two_processes_is_restored_in_one_and_one_that_cannot_be_taken_leaves_them_running() {
    const COUNT: u64 = 400;
    returns(|| {
        let (dir, hosts, sink) = (tempfile::tempdir().unwrap(), addresses(), CollectSink::new());
        let (target, nowhere) = (dir.path().join("savepoints"), dir.path().join("file/savepoints"));
        std::fs::write(dir.path().join("file"), "in the way").unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let processes = [0, 1].map(|process| {
            let (checkpoints, hosts, sink) = (dir.path().join("checkpoints"), hosts.clone(), sink.clone());
            let sender = sender.clone();
            start(move || {
                let env = environment(process, &hosts, &checkpoints);
                let numbers =
                    Numbers::new(COUNT).when(|number| if number < COUNT / 2 { Step::Emit } else { Step::Wait });
                counting(&env, numbers, &sink, fine);
                sender.send((process, env.client())).unwrap();
                env
            })
        });
        let clients: std::collections::BTreeMap<_, _> = receiver.iter().take(2).collect();
        let (leader, follower) = (&clients[&0], &clients[&1]);
        let at = |path: &Path| SavepointTarget::Dir(path.to_str().unwrap().to_owned());
        while leader.status().phase() != JobPhase::Running {
            std::thread::yield_now();
        }
        follower.savepoint(at(&target)).unwrap_err();
        let error = leader.stop_with_savepoint(at(&nowhere), false).unwrap_err();
        assert!(error.to_string().contains("cannot take a savepoint"), "{error}");
        leader.savepoint(at(&target)).unwrap();
        let path = leader.stop_with_savepoint(at(&target), false).unwrap();
        let ends = processes.map(|(thread, _)| thread.join().unwrap().unwrap().end);
        assert_eq!(ends, [JobEnd::Stopped; 2]);

        let env = crate::support::environment(3);
        env.enable_checkpointing(Duration::from_millis(5)).start_from(StartFrom::Path(path));
        counting(&env, Numbers::new(COUNT), &sink, fine);
        assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
        assert_exactly_once(&sink.committed(), COUNT);
    });
}
