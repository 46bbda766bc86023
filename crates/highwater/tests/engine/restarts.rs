//! Restart strategies, and exactly-once across the restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{ErrorKind, JobResult, Result};
use highwater_testing::Random;

use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, environment, returns, run};

/// A job whose function fails whenever it sees number 50, and how many attempts it had.
fn always_failing(strategy: RestartStrategy) -> (highwater::Error, u64) {
    returns(move || {
        let env = environment(1);
        env.enable_checkpointing(Duration::from_millis(1)).set_restart_strategy(strategy);
        counting(&env, Numbers::new(100), &CollectSink::new(), |number| {
            if number == 50 { Err("always".into()) } else { Ok(()) }
        });
        let error = run(&env).expect_err("it fails always");
        (error, env.status().snapshot().attempts)
    })
}

#[test]
fn each_strategy_gives_up_when_its_attempts_are_used_up_and_says_what_failed() {
    let exponential = RestartStrategy::ExponentialDelay {
        initial: Duration::from_millis(1),
        multiplier: 2.0,
        max: Duration::from_millis(4),
        reset_after: Duration::from_secs(3600),
        jitter: 0.5,
        attempts: Some(4),
    };
    let rate = RestartStrategy::FailureRate {
        max_failures: 3,
        interval: Duration::from_secs(3600),
        delay: Duration::from_millis(1),
    };
    for (strategy, expected) in [(RestartStrategy::None, 1), (at_once(2), 3), (exponential, 5), (rate, 4)] {
        let (error, attempts) = always_failing(strategy.clone());
        assert_eq!(attempts, expected, "{strategy:?}");
        assert_eq!(error.kind(), ErrorKind::UserFunction, "{strategy:?}");
        assert!(error.to_string().contains("always"), "{strategy:?}: {error}");
    }
}

/// Fails at chosen calls, counted over all attempts: half of the time by an error, else by a panic.
#[derive(Clone)]
pub struct Trouble {
    calls: Arc<AtomicU64>,
    at: Arc<BTreeSet<u64>>,
}

impl Trouble {
    /// `failures` times within the first `calls` calls.
    pub fn seeded(seed: u64, failures: usize, calls: usize) -> Self {
        let mut random = Random::new(seed);
        let at = (0..failures).map(|_| random.up_to(calls - 1) as u64).collect();
        Trouble { calls: Arc::default(), at: Arc::new(at) }
    }

    pub fn call(&self) -> UserResult {
        let call = self.calls.fetch_add(1, Ordering::SeqCst);
        match (self.at.contains(&call), call % 2) {
            (false, _) => Ok(()),
            (true, 0) => Err(format!("call {call} fails").into()),
            (true, _) => panic!("call {call} panics"),
        }
    }
}

fn with_random_failures(
    seed: u64,
    workers: usize,
    configure: impl Fn(&StreamExecutionEnvironment),
) -> (Result<JobResult>, Vec<(u64, u64)>, u64) {
    const COUNT: u64 = 2000;
    let (env, sink) = (environment(workers), CollectSink::new());
    env.enable_checkpointing(Duration::from_millis(2)).set_restart_strategy(at_once(100));
    configure(&env);
    let trouble = Trouble::seeded(seed, 10, COUNT as usize);
    // Every so often it waits for a checkpoint, so that failures hit attempts that were restored.
    let status = env.status();
    let numbers = Numbers::new(COUNT)
        .when(move |number| if number / 200 <= status.snapshot().completed { Step::Emit } else { Step::Wait });
    counting(&env, numbers, &sink, move |_| trouble.call());
    (run(&env), sink.committed(), COUNT)
}

#[test]
fn output_is_exactly_once_whatever_fails_and_when() {
    for (seed, workers) in [(1, 1), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3)] {
        let (result, committed, count) = returns(move || with_random_failures(seed, workers, |_| {}));
        let result = result.unwrap();
        assert!(result.attempts > 3, "seed {seed}: {} attempts", result.attempts);
        assert_exactly_once(&committed, count);
    }
}

#[test]
fn output_is_exactly_once_with_two_checkpoints_at_a_time() {
    for (seed, workers) in [(7, 1), (8, 2)] {
        let (result, committed, count) = returns(move || {
            with_random_failures(seed, workers, |env| {
                env.configure_checkpoints(|config| config.max_concurrent = 2);
            })
        });
        result.unwrap();
        assert_exactly_once(&committed, count);
    }
}

#[test]
fn at_least_once_loses_nothing() {
    for (seed, workers) in [(9, 1), (10, 2)] {
        let (result, committed, count) = returns(move || {
            with_random_failures(seed, workers, |env| {
                env.configure_checkpoints(|config| config.mode = highwater::CheckpointingMode::AtLeastOnce);
            })
        });
        result.unwrap();
        let numbers: BTreeSet<u64> = committed.iter().map(|(number, _)| *number).collect();
        assert!(numbers.into_iter().eq(0..count), "seed {seed}");
    }
}

#[test]
fn a_source_goes_on_right_after_the_last_record_of_its_checkpoint() {
    returns(|| {
        const MORE: u64 = 50;
        let (env, sink) = (environment(1), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(1)).set_restart_strategy(at_once(1));
        let (status, stop) = (env.status(), env.stop_handle());
        let (end, stopped) = (Arc::new(AtomicU64::new(u64::MAX)), AtomicBool::new(false));
        let ends_at = end.clone();
        // There is always a next record when positions are taken, and the failure comes once a checkpoint has them.
        let numbers = Numbers::new(u64::MAX).when(move |number| {
            if status.snapshot().completed == 0 {
                return Step::Emit;
            }
            match ends_at.load(Ordering::SeqCst) {
                u64::MAX => {
                    ends_at.store(number + MORE, Ordering::SeqCst);
                    Step::Fail
                }
                end if number < end => Step::Emit,
                _ => {
                    if !stopped.swap(true, Ordering::SeqCst) {
                        stop.stop();
                    }
                    Step::Wait
                }
            }
        });
        counting(&env, numbers, &sink, |_| Ok(()));
        assert_eq!(run(&env).unwrap().attempts, 2);
        assert_exactly_once(&sink.committed(), end.load(Ordering::SeqCst));
    });
}
