//! Jobs of this process: every kind of state and its savepoints on both servers, and servers that fail.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{JobResult, Result};
use highwater_core::{CheckpointId, JobName};
use highwater_snapshot::{Snapshot, Verifier};
use highwater_storage::layout::Layout;
use highwater_storage::open_uri;
use highwater_testing::Proxy;
use highwater_testing::every_state::{Cut, survives};

use crate::support::{Numbers, Step, assert_exactly_once, counting, environment, fine, run};
use crate::{Place, hdfs, s3};

const PARALLELISM: [usize; 4] = [1, 4, 3, 2];

/// Checkpoints and savepoints of a job that is rescaled at each of them.
fn every_kind_of_state_survives(place: &Place) {
    for cut in [Cut::Crash, Cut::Savepoint] {
        let checkpoints = place.dir(&format!("/{cut:?}"));
        survives(cut, &PARALLELISM, &place.dir("/savepoints"), || FsStateBackend::new(&checkpoints));
    }
}

#[test]
fn every_kind_of_state_survives_in_hdfs_and_in_savepoints_there() {
    every_kind_of_state_survives(&hdfs("every-state"));
}

#[test]
fn every_kind_of_state_survives_in_s3_and_in_savepoints_there() {
    every_kind_of_state_survives(&s3("every-state"));
}

/// A job whose server goes away in the middle, until a checkpoint has failed, and comes back.
fn goes_on_while_its_storage_is_away(place: &Place) {
    const COUNT: u64 = 100;
    let proxy = Proxy::new(place.server);
    let (env, sink) = (environment(2), CollectSink::new());
    // The lease outlives the time without a server.
    env.set_state_backend(FsStateBackend::new(place.dir_at(&proxy.address(), "", "timeout=3s&lease=60s")));
    env.enable_checkpointing(Duration::from_millis(50)).set_restart_strategy(RestartStrategy::None);
    env.configure_checkpoints(|config| config.tolerable_failures = 1000);
    let (status, is_away) = (env.status(), AtomicBool::new(false));
    let numbers = Numbers::new(COUNT).when(move |number| {
        let seen = status.snapshot();
        if number < COUNT / 2 {
            return Step::Emit;
        }
        if seen.completed > 0 && !is_away.swap(true, Ordering::SeqCst) {
            proxy.go_down();
        }
        if seen.failed == 0 {
            return Step::Wait;
        }
        proxy.heal();
        Step::Emit
    });
    counting(&env, numbers, &sink, fine);
    let result = run(&env).unwrap();
    assert_eq!(result.attempts, 1, "the job goes on");
    assert!(result.checkpoints_failed > 0, "{result:?}");
    assert_exactly_once(&sink.committed(), COUNT);
}

#[test]
fn a_job_goes_on_while_hdfs_is_away() {
    goes_on_while_its_storage_is_away(&hdfs("away"));
}

#[test]
fn a_job_goes_on_while_s3_is_away() {
    goes_on_while_its_storage_is_away(&s3("away"));
}

#[derive(KeyedState)]
struct Text {
    text: ValueState<String>,
}

/// Keeps so much that it goes to files.
#[derive(Clone)]
struct KeepMuch;

impl KeyedProcessFunction<u64, u64> for KeepMuch {
    type State = Text;
    type Out = u64;

    fn process(&mut self, number: u64, state: &mut Text, out: &mut Context<'_, u64, u64>) -> UserResult {
        state.text.set(number.to_string().repeat(1000));
        out.collect(number);
        Ok(())
    }
}

fn keep_much(dir: &str, count: u64) -> Result<(JobResult, Vec<u64>, Option<String>)> {
    let (env, sink) = (environment(1), CollectSink::new());
    env.set_state_backend(FsStateBackend::new(dir)).set_restart_strategy(RestartStrategy::None);
    let numbers = env.from_source(Numbers::new(count), WatermarkStrategy::no_watermarks(), "numbers");
    numbers.key_by(|number: &u64| number % 20).process(KeepMuch).sink_to(sink.clone());
    let result = run(&env)?;
    Ok((result, sink.committed(), env.status().snapshot().restored.map(|(_, path)| path)))
}

/// A job of which files disappear that its checkpoints have.
fn falls_back_when_a_file_is_lost(place: &Place) {
    let dir = place.dir("");
    keep_much(&dir, 40).unwrap();
    keep_much(&dir, 80).unwrap();
    let (storage, layout) = (open_uri(&dir).unwrap(), Layout::new(JobName::parse("engine-test").unwrap()));
    let shared: Vec<_> = storage.list("engine-test/shared").unwrap().into_iter().map(|entry| entry.name).collect();
    let lose = |of: &str| {
        for name in shared.iter().filter(|name| name.starts_with(of)) {
            storage.remove_file(&format!("engine-test/shared/{name}")).unwrap();
        }
    };
    lose("2-");
    let newest = Snapshot::open(&storage, &layout.checkpoint(CheckpointId(2))).unwrap();
    assert_ne!(Verifier::default().damages(&newest).unwrap(), [], "a file is missing");

    let (_, committed, restored) = keep_much(&dir, 100).unwrap();
    assert!(restored.as_ref().is_some_and(|path| path.contains("chk-1")), "{restored:?}");
    assert!(committed.ends_with(&(40..100).collect::<Vec<_>>()), "{committed:?}");
}

#[test]
fn a_job_falls_back_when_a_file_in_hdfs_is_lost() {
    falls_back_when_a_file_is_lost(&hdfs("lost"));
}

#[test]
fn a_job_falls_back_when_a_file_in_s3_is_lost() {
    falls_back_when_a_file_is_lost(&s3("lost"));
}
