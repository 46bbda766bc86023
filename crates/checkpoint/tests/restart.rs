//! Restart strategies, each as the series of its decisions.

use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, Decision, Failure, RestartStrategy, Restarts};
use highwater_core::ErrorKind;

const SECOND: Duration = Duration::from_secs(1);

fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// The delays after failures at these seconds, up to giving up.
fn delays(strategy: &RestartStrategy, failures: &[u64], jitter_unit: f64) -> Vec<Duration> {
    let mut restarts = Restarts::new(strategy.clone()).unwrap();
    let decide = |at: &u64| {
        let failure = Failure { kind: ErrorKind::UserFunction, at: secs(*at), running_since: Some(secs(*at)) };
        match restarts.on_failure(failure, jitter_unit) {
            Decision::RestartAfter(delay) => Some(delay),
            Decision::GiveUp { .. } => None,
        }
    };
    failures.iter().map_while(decide).collect()
}

fn without_jitter(attempts: Option<u32>) -> RestartStrategy {
    RestartStrategy::ExponentialDelay {
        initial: SECOND,
        multiplier: 2.0,
        max: secs(10),
        reset_after: secs(3600),
        jitter: 0.0,
        attempts,
    }
}

#[test]
fn none_gives_up_at_once() {
    assert!(delays(&RestartStrategy::None, &[1], 0.5).is_empty());
}

#[test]
fn a_fixed_delay_ends_after_its_attempts() {
    let strategy = RestartStrategy::FixedDelay { attempts: 2, delay: secs(3) };
    assert_eq!(delays(&strategy, &[1, 2, 3, 4], 0.5), [secs(3), secs(3)]);
}

#[test]
fn an_exponential_delay_grows_up_to_the_longest() {
    let grown = [1, 2, 4, 8, 10, 10].map(secs);
    assert_eq!(delays(&without_jitter(None), &[1, 2, 3, 4, 5, 6], 0.5), grown);
    assert_eq!(delays(&without_jitter(Some(3)), &[1, 2, 3, 4, 5], 0.5), grown[..3]);
}

#[test]
fn an_exponential_delay_starts_over_after_a_good_run() {
    let mut restarts = Restarts::new(without_jitter(Some(2))).unwrap();
    let mut fail = |at, running_since: Option<u64>| {
        let running_since = running_since.map(secs);
        restarts.on_failure(Failure { kind: ErrorKind::Storage, at: secs(at), running_since }, 0.5)
    };
    assert_eq!(fail(10, Some(5)), Decision::RestartAfter(SECOND));
    assert_eq!(fail(20, Some(11)), Decision::RestartAfter(secs(2)));
    assert_eq!(fail(3621, Some(21)), Decision::RestartAfter(SECOND), "after 3600 seconds");
    assert_eq!(fail(9999, None), Decision::RestartAfter(secs(2)), "time in which it did not run does not count");
    assert_eq!(fail(9999, None), Decision::GiveUp { why: "restarted 2 times, 2 allowed".to_owned() });
}

#[test]
fn jitter_spreads_the_delay_within_its_bounds() {
    let strategy = RestartStrategy::ExponentialDelay {
        initial: secs(10),
        multiplier: 2.0,
        max: secs(100),
        reset_after: SECOND,
        jitter: 0.1,
        attempts: None,
    };
    assert_eq!(delays(&strategy, &[1, 1], 0.5), [secs(10), secs(20)]);
    assert_eq!(delays(&strategy, &[1, 1], 0.0), [secs(10), secs(18)], "never below the initial delay");
    assert_eq!(delays(&strategy, &[1, 1], 1.0), [secs(11), secs(22)]);
    assert_eq!(delays(&strategy, &[1; 5], 1.0)[4], secs(100), "never above the longest");
    assert_eq!(delays(&strategy, &[1], f64::NAN), [secs(100)], "and no panic on what is no number");
}

#[test]
fn a_failure_rate_counts_within_its_interval() {
    let strategy = RestartStrategy::FailureRate { max_failures: 2, interval: secs(60), delay: SECOND };
    assert_eq!(delays(&strategy, &[0, 30, 60, 90, 120], 0.5).len(), 5);
    assert_eq!(delays(&strategy, &[0, 30, 59, 90], 0.5).len(), 2);
}

#[test]
fn what_a_restart_cannot_mend_ends_the_job() {
    let mut restarts = Restarts::new(RestartStrategy::default()).unwrap();
    let failure = Failure { kind: ErrorKind::Settings, at: SECOND, running_since: None };
    let why = "an error of kind 'settings' would come again after a restart".to_owned();
    assert_eq!(restarts.on_failure(failure, 0.5), Decision::GiveUp { why });
}

#[test]
fn the_default_is_flinks() {
    let with_checkpoints = CheckpointConfig { interval: Some(SECOND), ..CheckpointConfig::default() };
    assert_eq!(RestartStrategy::default_for(&with_checkpoints), RestartStrategy::default());
    assert_eq!(RestartStrategy::default_for(&CheckpointConfig::default()), RestartStrategy::None);
    assert_eq!(delays(&RestartStrategy::default(), &[1, 1], 0.5), [SECOND, Duration::from_millis(1500)]);
    assert_eq!(delays(&RestartStrategy::default(), &[1; 50], 0.5)[49], secs(60));
}

#[test]
fn settings_that_cannot_work_are_refused_by_name() {
    let exponential = |initial, multiplier, jitter| RestartStrategy::ExponentialDelay {
        initial,
        multiplier,
        max: secs(10),
        reset_after: SECOND,
        jitter,
        attempts: None,
    };
    for (strategy, name) in [
        (exponential(Duration::ZERO, 2.0, 0.1), "initial"),
        (exponential(secs(11), 2.0, 0.1), "initial"),
        (exponential(SECOND, 0.9, 0.1), "multiplier"),
        (exponential(SECOND, f64::NAN, 0.1), "multiplier"),
        (exponential(SECOND, 2.0, 1.1), "jitter"),
        (RestartStrategy::FailureRate { max_failures: 1, interval: Duration::ZERO, delay: SECOND }, "interval"),
    ] {
        let error = Restarts::new(strategy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Settings);
        assert!(error.message().contains(name), "{error}");
    }
}
