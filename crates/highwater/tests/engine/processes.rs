//! A job in several processes: a JobManager and two TaskManagers, here threads that know nothing of each other but an address.

use std::net::TcpListener;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use highwater::client::SavepointTarget;
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::settings::{ClusterSettings, Role};
use highwater::status::JobPhase;
use highwater::{JobEnd, JobResult, Result, Settings, StartFrom, StopHandle};
use highwater_control::{Addresses, Answer, ClusterClient, Request};
use highwater_core::Parallelism;
use highwater_storage::{LocalStorage, RealDisk};
use highwater_testing::HookedStorage;

use crate::broadcast::{assert_matched, matching_numbers};
use crate::event_time::{Part, Seen, idle_job};
use crate::incremental::padded;
use crate::restarts::Trouble;
use crate::storage_faults::Backend;
use crate::support::{Numbers, PATIENCE, Step, assert_exactly_once, at_once, counting, fine, returns, run};

/// What the processes of a job share: a folder, and where the JobManager is.
#[derive(Clone)]
struct Cluster {
    dir: PathBuf,
    job_manager: String,
}

impl Cluster {
    /// With checkpoints in a folder of `dir`.
    fn new(dir: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Cluster { dir: dir.to_owned(), job_manager: listener.local_addr().unwrap().to_string() }
    }

    /// Of a JobManager, or of a TaskManager with half of the slots that the job needs.
    fn environment(&self, role: Role) -> StreamExecutionEnvironment {
        let listen = if role == Role::JobManager { self.job_manager.clone() } else { "127.0.0.1:0".to_owned() };
        let cluster = ClusterSettings {
            parallelism: Parallelism::new(4),
            resource_wait: PATIENCE,
            job_managers: Some(self.job_manager.clone()),
            slots: NonZeroUsize::new(2).unwrap(),
            listen: Some(listen),
            ha_dir: Some(self.dir.join("ha").display().to_string()),
            ..ClusterSettings::default()
        };
        let env = StreamExecutionEnvironment::with_settings(Settings { role, cluster, ..Settings::default() });
        env.stop_on_signals(false).set_cancellation_timeout(Duration::from_secs(5)).set_restart_strategy(at_once(100));
        env.set_state_backend(FsStateBackend::new(self.dir.join("checkpoints").to_str().unwrap()));
        env.enable_checkpointing(Duration::from_millis(5));
        env
    }

    /// Runs a process whose job `build` builds.
    fn start(&self, role: Role, build: impl FnOnce(&StreamExecutionEnvironment) + Send + 'static) -> Process {
        let (cluster, (sender, receiver)) = (self.clone(), std::sync::mpsc::channel());
        let process = move || {
            let env = cluster.environment(role);
            build(&env);
            sender.send((env.stop_handle(), env.client())).unwrap();
            run(&env)
        };
        let thread = std::thread::Builder::new().spawn(process).unwrap();
        let (stop, client) = receiver.recv().unwrap();
        Process { thread, stop, client }
    }

    /// Runs a JobManager and two TaskManagers to the end of the job, and returns how it ended for each; `build` is told which
    /// TaskManager it builds the job for.
    fn run(&self, build: impl Fn(&StreamExecutionEnvironment, usize) + Clone + Send + 'static) -> [JobEnd; 3] {
        let roles = [(Role::JobManager, 0), (Role::TaskManager, 0), (Role::TaskManager, 1)];
        let processes = roles.map(|(role, index)| {
            let build = build.clone();
            self.start(role, move |env| build(env, index))
        });
        processes.map(Process::end)
    }
}

struct Process {
    thread: JoinHandle<Result<JobResult>>,
    stop: StopHandle,
    client: highwater::client::JobClient,
}

impl Process {
    fn end(self) -> JobEnd {
        self.thread.join().unwrap().unwrap().end
    }
}

#[test]
fn output_of_two_processes_is_exactly_once_whatever_fails_in_them() {
    const COUNT: u64 = 600;
    let (ends, committed) = returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let trouble = Trouble::seeded(3, 3, COUNT as usize);
        let ends = Cluster::new(dir.path()).run({
            let sink = sink.clone();
            move |env, _| {
                let trouble = trouble.clone();
                counting(env, Numbers::new(COUNT), &sink, move |_| trouble.call());
            }
        });
        (ends, sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 3]);
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn rules_are_broadcast_to_the_subtasks_of_every_process() {
    const COUNT: u64 = 600;
    let (ends, committed) = returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let trouble = Trouble::seeded(5, 3, COUNT as usize);
        let ends = Cluster::new(dir.path()).run({
            let sink = sink.clone();
            move |env, _| {
                let trouble = trouble.clone();
                matching_numbers(env, COUNT, (|_| Step::Emit, |_| Step::Emit), move || trouble.call())
                    .sink_to(sink.clone());
            }
        });
        (ends, sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 3]);
    assert_matched(committed, COUNT);
}

#[test]
fn a_source_that_is_quiet_in_all_processes_holds_nothing_back() {
    let seen = Seen::default();
    let ends = returns({
        let seen = seen.clone();
        move || {
            let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
            Cluster::new(dir.path()).run(move |env, _| {
                idle_job(env, &[Part::Mixed, Part::Quiet], &seen).sink_to(sink.clone());
            })
        }
    });
    assert_eq!(ends, [JobEnd::Finished; 3]);
    assert!(seen.saw_a_late_record());
}

#[test]
fn a_process_that_is_slow_to_end_an_attempt_does_not_miss_the_start_of_the_next() {
    const COUNT: u64 = 100;
    let (ends, committed) = returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let (failed, busy) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let ends = Cluster::new(dir.path()).run({
            let sink = sink.clone();
            move |env, process| {
                let (failed, busy) = (failed.clone(), busy.clone());
                counting(env, Numbers::new(COUNT), &sink, move |_| {
                    if failed.load(Ordering::SeqCst) {
                        return Ok(());
                    }
                    if process == 1 {
                        // Still at it when the other has failed and begins again.
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
            }
        });
        (ends, sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished; 3]);
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn a_process_that_leaves_ends_the_attempt_and_the_next_one_takes_its_place() {
    const COUNT: u64 = 400;
    let (ends, committed) = returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let cluster = Cluster::new(dir.path());
        let (reached, left) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let start = |role| {
            let (sink, reached, left) = (sink.clone(), reached.clone(), left.clone());
            cluster.start(role, move |env| {
                let numbers = Numbers::new(COUNT).when(move |number| {
                    if number < COUNT / 2 || left.load(Ordering::SeqCst) {
                        return Step::Emit;
                    }
                    reached.store(true, Ordering::SeqCst);
                    Step::Wait
                });
                counting(env, numbers, &sink, fine);
            })
        };
        let [leader, stays, leaves] = [Role::JobManager, Role::TaskManager, Role::TaskManager].map(start);
        while !reached.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        leaves.stop.stop();
        let leaves = leaves.end();
        left.store(true, Ordering::SeqCst);
        let comes = start(Role::TaskManager);
        ([leader.end(), stays.end(), comes.end(), leaves], sink.committed())
    });
    assert_eq!(ends, [JobEnd::Finished, JobEnd::Finished, JobEnd::Finished, JobEnd::Left]);
    assert_exactly_once(&committed, COUNT);
}

#[test]
fn a_savepoint_of_two_processes_is_restored_in_one_and_one_that_cannot_be_taken_leaves_them_running() {
    const COUNT: u64 = 400;
    returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let (target, nowhere) = (dir.path().join("savepoints"), dir.path().join("file/savepoints"));
        std::fs::write(dir.path().join("file"), "in the way").unwrap();
        let cluster = Cluster::new(dir.path());
        let processes = [Role::JobManager, Role::TaskManager, Role::TaskManager].map(|role| {
            let sink = sink.clone();
            cluster.start(role, move |env| {
                let numbers =
                    Numbers::new(COUNT).when(|number| if number < COUNT / 2 { Step::Emit } else { Step::Wait });
                counting(env, numbers, &sink, fine);
            })
        });
        let [leader, task_manager, _] = processes.each_ref().map(|process| process.client.clone());
        let at = |path: &Path| SavepointTarget::Dir(path.to_str().unwrap().to_owned());
        while leader.status().phase() != JobPhase::Running {
            std::thread::yield_now();
        }
        task_manager.savepoint(at(&target)).unwrap_err();
        let error = leader.stop_with_savepoint(at(&nowhere), false).unwrap_err();
        assert!(error.to_string().contains("cannot take a savepoint"), "{error}");
        leader.savepoint(at(&target)).unwrap();
        let path = leader.stop_with_savepoint(at(&target), false).unwrap();
        assert_eq!(processes.map(Process::end), [JobEnd::Stopped; 3]);

        let env = crate::support::environment(3);
        env.enable_checkpointing(Duration::from_millis(5)).start_from(StartFrom::Path(path));
        counting(&env, Numbers::new(COUNT), &sink, fine);
        assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
        assert_exactly_once(&sink.committed(), COUNT);
    });
}

/// A backend with checkpoints in a folder, and how much was read of the files with state.
fn read_counted(dir: &Path) -> (Backend, Arc<AtomicU64>) {
    let counted = Arc::<AtomicU64>::default();
    let counts = Arc::clone(&counted);
    let folder = LocalStorage::open(dir, Arc::new(RealDisk)).unwrap();
    let storage = HookedStorage::new(Arc::new(folder)).on_read(move |path, bytes| {
        if path.contains("/shared/") {
            counts.fetch_add(bytes.len() as u64, Ordering::SeqCst);
        }
    });
    (Backend(Arc::new(storage)), counted)
}

/// The names and lengths of the files with state in a folder, as a checkpoint storage or copies have it.
fn state_files(dir: &Path) -> std::collections::BTreeMap<String, u64> {
    let files = std::fs::read_dir(dir.join("engine-test/shared")).unwrap().map(|file| file.unwrap());
    files.map(|file| (file.file_name().into_string().unwrap(), file.metadata().unwrap().len())).collect()
}

/// Of two processes that go on with the same part of the state, the one with copies reads nothing from the storage, and the other its part.
#[test]
fn a_rescale_reads_from_the_storage_only_what_a_process_does_not_have() {
    const KEYS: u64 = 4_000;
    returns(|| {
        let (dir, sink) = (tempfile::tempdir().unwrap(), CollectSink::new());
        let cluster = Cluster::new(dir.path());
        let (emitted, ends) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
        let start = |role, index: usize| {
            let (backend, read) = read_counted(&dir.path().join("checkpoints"));
            let copies = (role == Role::TaskManager && index == 0).then(|| dir.path().join("copies"));
            let (sink, emitted, ends) = (sink.clone(), emitted.clone(), ends.clone());
            let process = cluster.start(role, move |env| {
                env.set_state_backend(backend);
                if let Some(copies) = copies {
                    env.set_local_recovery_dir(copies.to_str().unwrap());
                }
                let numbers = Numbers::new(KEYS + 1).when(move |number| {
                    if number < KEYS || ends.load(Ordering::SeqCst) {
                        return Step::Emit;
                    }
                    emitted.store(true, Ordering::SeqCst);
                    Step::Wait
                });
                padded(env, numbers, KEYS, Trouble::seeded(0, 0, 1), &sink);
            });
            (process, read)
        };
        let processes = [(Role::JobManager, 0), (Role::TaskManager, 0), (Role::TaskManager, 1)];
        let processes = processes.map(|(role, index)| start(role, index));
        while !emitted.load(Ordering::SeqCst) {
            std::thread::yield_now();
        }
        let mut client = ClusterClient::new(Addresses::parse(&cluster.job_manager).unwrap(), PATIENCE).unwrap();
        let mut ask = |request| {
            let last = client.ask("engine-test", &request).unwrap().map(|answer| answer.unwrap()).last().unwrap();
            assert!(matches!(last, Answer::Completed { .. }), "{last:?}");
        };
        for parallelism in [2, 4, 2] {
            ask(Request::Rescale { parallelism });
            let read = processes.each_ref().map(|(_, read)| read.swap(0, Ordering::SeqCst));
            let all: u64 = state_files(&dir.path().join("checkpoints")).values().sum();
            let [leader, has_copies, has_none] = read;
            assert_eq!((leader, has_copies), (0, 0), "parallelism {parallelism}, of {all} bytes: {read:?}");
            assert!(
                KEYS * 100 < has_none && has_none < all * 3 / 4,
                "parallelism {parallelism}, of {all} bytes: {read:?}"
            );
        }
        ends.store(true, Ordering::SeqCst);
        assert_eq!(processes.map(|(process, _)| process.end()), [JobEnd::Finished; 3]);
        let [stored, copies] = ["checkpoints", "copies"].map(|name| state_files(&dir.path().join(name)));
        assert!(
            !copies.is_empty() && copies.iter().all(|copy| stored.get(copy.0) == Some(copy.1)),
            "{copies:?}, {stored:?}"
        );
    });
}
