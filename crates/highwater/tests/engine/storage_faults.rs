//! A checkpoint storage that fails: output stays exactly once, and the job fails only when more checkpoints in a row did than are
//! tolerated.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{CheckpointOutcome, ErrorKind, JobResult, Result, StateBackend};
use highwater_storage::{CheckpointStorage, MemoryStorage};
use highwater_testing::{Call, Fate, FaultyStorage};

use crate::restarts::Trouble;
use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, environment, fine, returns, run};

/// A backend with a storage of the test.
#[derive(Clone)]
pub struct Backend(pub Arc<dyn CheckpointStorage>);

impl StateBackend for Backend {
    fn checkpoint_storage(&self) -> Result<Arc<dyn CheckpointStorage>> {
        Ok(Arc::clone(&self.0))
    }
}

/// A job with checkpoints in `storage` that is not restarted.
pub fn on(storage: Arc<dyn CheckpointStorage>, workers: usize, tolerable_failures: u32) -> StreamExecutionEnvironment {
    let env = environment(workers);
    env.set_state_backend(Backend(storage)).enable_checkpointing(Duration::from_millis(1));
    env.configure_checkpoints(|config| config.tolerable_failures = tolerable_failures);
    env.set_restart_strategy(RestartStrategy::None);
    env
}

#[test]
fn output_is_exactly_once_on_a_storage_that_fails_at_random() {
    const COUNT: u64 = 1000;
    for (seed, workers) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2)] {
        let (committed, starts) = returns(move || {
            let storage = FaultyStorage::seeded(Arc::new(MemoryStorage::new()), seed, 5);
            let (sink, trouble) = (CollectSink::new(), Trouble::seeded(seed, 5, COUNT as usize));
            // A job that cannot even start says so; whoever operates it starts it again.
            for start in 1..200 {
                let env = on(Arc::new(storage.clone()), workers, 3);
                env.set_restart_strategy(at_once(20));
                let (status, trouble) = (env.status(), trouble.clone());
                let begun = status.snapshot().completed;
                let numbers = Numbers::new(COUNT).when(move |number| {
                    let ahead = number / 100 > status.snapshot().completed - begun + 5;
                    if ahead { Step::Wait } else { Step::Emit }
                });
                counting(&env, numbers, &sink, move |_| trouble.call());
                if run(&env).is_ok() {
                    return (sink.committed(), start);
                }
            }
            panic!("seed {seed}: the job does not get through");
        });
        assert_exactly_once(&committed, COUNT);
        assert!(starts < 100, "seed {seed}: {starts} starts");
    }
}

/// Emits the last number only when enough checkpoints have ended, one way or the other.
fn until_ended(env: &StreamExecutionEnvironment, checkpoints: u64) -> Numbers {
    let status = env.status();
    Numbers::new(100).when(move |number| {
        let numbers = status.snapshot();
        if number < 90 || numbers.completed + numbers.failed >= checkpoints { Step::Emit } else { Step::Wait }
    })
}

/// A job during which `_metadata` cannot be written `failures` times in a row, from the second checkpoint on.
fn with_failing_publishes(fate: Fate, failures: u64, tolerable: u32) -> (Result<JobResult>, Vec<(u64, u64)>) {
    let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()));
    (2..2 + failures).for_each(|n| storage.set(Call::Publish, n, fate));
    let (env, sink) = (on(Arc::new(storage.clone()), 2, tolerable), CollectSink::new());
    counting(&env, until_ended(&env, failures + 2), &sink, fine);
    (run(&env), sink.committed())
}

#[test]
fn a_directory_that_is_full_for_a_while_costs_checkpoints_and_nothing_else() {
    for fate in [Fate::Fails, Fate::FailsInDoubt, Fate::HappensInDoubt] {
        let (result, committed) = returns(move || with_failing_publishes(fate, 4, 4));
        let result = result.unwrap();
        assert_eq!((result.attempts, result.checkpoints_failed), (1, 4), "{fate:?}");
        assert!(result.checkpoints_completed >= 2, "{fate:?}");
        assert_exactly_once(&committed, 100);
    }
}

#[test]
fn more_failures_in_a_row_than_are_tolerated_fail_the_job() {
    for fate in [Fate::Fails, Fate::FailsInDoubt, Fate::HappensInDoubt] {
        let (result, _) = returns(move || with_failing_publishes(fate, 4, 3));
        let error = result.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Checkpoint, "{error}");
        for words in ["4 in a row", "3 tolerated", "injected fault"] {
            assert!(error.to_string().contains(words), "{error}");
        }
    }
}

#[test]
fn a_restart_waits_for_a_storage_that_does_not_answer_and_that_is_no_further_failure() {
    let (attempts, committed) = returns(|| {
        let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()));
        let (env, sink) = (on(Arc::new(storage.clone()), 1, 100), CollectSink::new());
        env.set_restart_strategy(at_once(1));
        let failed = Arc::new(AtomicBool::new(false));
        counting(&env, until_ended(&env, 2), &sink, move |number| {
            if number != 50 || failed.swap(true, Ordering::Relaxed) {
                return Ok(());
            }
            // A checkpoint that is under way may be asking too.
            let next = storage.count(Call::List) + 5;
            (next..next + 4).for_each(|n| storage.set(Call::List, n, Fate::Fails));
            Err("once".into())
        });
        (run(&env).unwrap().attempts, sink.committed())
    });
    assert_eq!(attempts, 2);
    assert_exactly_once(&committed, 100);
}

/// A job with so much state that it goes to files, whose `n`-th `call` fails.
fn with_a_failing_write(call: Call, n: u64) -> (JobResult, Vec<CheckpointOutcome>, usize) {
    let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()));
    storage.set(call, n, Fate::Fails);
    let (env, sink) = (on(Arc::new(storage.clone()), 1, 100), CollectSink::new());
    let status = env.status();
    let numbers = Numbers::new(100)
        .when(move |number| if number < 90 || status.snapshot().failed > 0 { Step::Emit } else { Step::Wait });
    env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
        .key_by(|number: &u64| *number)
        .stateful_map(|text: &mut String, number| {
            *text = "x".repeat(1000);
            Ok(number)
        })
        .sink_to(sink.clone());
    let result = run(&env).unwrap();
    let outcomes = env.status().history().into_iter().map(|report| report.outcome).collect();
    (result, outcomes, sink.committed().len())
}

#[test]
fn a_task_that_cannot_write_its_part_declines() {
    for (call, n) in [(Call::Create, 1), (Call::Append, 1), (Call::Finish, 1)] {
        let (result, outcomes, committed) = returns(move || with_a_failing_write(call, n));
        assert_eq!((result.attempts, result.checkpoints_failed, committed), (1, 1, 100), "{call:?}");
        let declined = outcomes.iter().filter(|outcome| format!("{outcome:?}").contains("Declined")).count();
        assert_eq!(declined, 1, "{call:?}: {outcomes:?}");
        assert_eq!(outcomes.last(), Some(&CheckpointOutcome::Completed), "{call:?}");
    }
}

#[test]
fn a_last_checkpoint_that_fails_is_tried_again_within_what_is_tolerated() {
    for (tolerable, gets_through) in [(1, true), (0, false)] {
        let (result, committed) = returns(move || {
            let storage = FaultyStorage::new(Arc::new(MemoryStorage::new()));
            storage.set(Call::Publish, 1, Fate::Fails);
            let (env, sink) = (on(Arc::new(storage.clone()), 2, tolerable), CollectSink::new());
            // No other checkpoint than the last.
            env.enable_checkpointing(Duration::from_secs(3600));
            counting(&env, Numbers::new(100), &sink, fine);
            (run(&env), sink.committed())
        });
        assert_eq!(result.is_ok(), gets_through, "{result:?}");
        assert_exactly_once(&committed, if gets_through { 100 } else { 0 });
    }
}
