//! Settings of checkpointing, as a running job keeps them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::sink::{MakeDurable, Prepared, Sink, SinkContext, SinkWriter};
use highwater::{CheckpointKind, CheckpointOutcome, Error, ErrorKind, Result};
use highwater_core::CheckpointId;

use crate::support::{Numbers, Step, assert_exactly_once, counting, environment, fine, returns, run};

#[test]
fn a_minimum_pause_keeps_the_next_periodic_checkpoint_away_but_not_the_last() {
    returns(|| {
        let (env, sink) = (environment(2), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(1));
        env.configure_checkpoints(|config| config.min_pause = Duration::from_secs(3600));
        let (status, polls) = (env.status(), AtomicU64::new(0));
        // After the first checkpoint there is time for many more.
        let numbers = Numbers::new(100).when(move |number| {
            let over = status.snapshot().completed > 0 && polls.fetch_add(1, Ordering::SeqCst) > 50;
            if number < 90 || over { Step::Emit } else { Step::Wait }
        });
        counting(&env, numbers, &sink, fine);
        assert_eq!(run(&env).unwrap().checkpoints_completed, 2);
        let kinds: Vec<_> = env.status().history().iter().map(|report| report.kind).collect();
        assert_eq!(kinds, [CheckpointKind::Periodic, CheckpointKind::Final]);
        assert_exactly_once(&sink.committed(), 100);
    });
}

#[test]
fn the_phases_of_a_checkpoint_add_up_and_its_report_says_who_took_part() {
    returns(|| {
        let (env, sink) = (environment(2), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(1));
        let status = env.status();
        let numbers = Numbers::new(100)
            .when(move |number| if number < 90 || status.snapshot().completed > 3 { Step::Emit } else { Step::Wait });
        counting(&env, numbers, &sink, fine);
        run(&env).unwrap();
        let reports = env.status().history();
        assert!(reports.len() > 4);
        assert!(reports.is_sorted_by(|a, b| a.id < b.id));
        for report in reports {
            let times = &report.times;
            assert_eq!(times.total(), times.init + times.prepare + times.confirm + times.complete);
            if report.outcome == CheckpointOutcome::Completed {
                // Source, function and sink in two workers.
                assert_eq!((report.acknowledged, report.tasks), (6, 6));
            }
        }
    });
}

/// A sink whose output is not durable, ever, as long as `stuck` says so.
#[derive(Clone)]
struct StuckSink<F> {
    inner: CollectSink<u64>,
    stuck: F,
}

impl<F: Fn() -> bool + Clone + Send + Sync + 'static> Sink for StuckSink<F> {
    type Record = u64;
    type Writer = StuckWriter<F>;

    fn open(&self, context: &SinkContext, states: Vec<()>) -> Result<StuckWriter<F>> {
        Ok(StuckWriter { inner: self.inner.open(context, states)?, stuck: self.stuck.clone() })
    }
}

struct StuckWriter<F> {
    inner: <CollectSink<u64> as Sink>::Writer,
    stuck: F,
}

impl<F: Fn() -> bool + Clone + Send + Sync + 'static> SinkWriter for StuckWriter<F> {
    type Record = u64;
    type Committable = <<CollectSink<u64> as Sink>::Writer as SinkWriter>::Committable;
    type State = ();

    fn write(&mut self, record: u64, time: i64) -> Result<()> {
        self.inner.write(record, time)
    }

    fn prepare(&mut self, id: CheckpointId, last: bool) -> Result<Prepared<Self::Committable, ()>> {
        let stuck = self.stuck.clone();
        let durable: MakeDurable = Box::new(move || {
            while stuck() {
                std::thread::yield_now();
            }
            Ok(())
        });
        Ok(Prepared { durable: Some(durable), ..self.inner.prepare(id, last)? })
    }

    fn commit(&mut self, committables: Vec<Self::Committable>) -> Result<()> {
        self.inner.commit(committables)
    }
}

/// A job whose sink makes nothing durable until `expired` checkpoints have expired.
fn with_a_stuck_sink(expired: u64, tolerable: u32) -> (std::result::Result<u64, Error>, Vec<u64>) {
    let (env, inner) = (environment(2), CollectSink::new());
    env.enable_checkpointing(Duration::from_millis(1)).set_restart_strategy(RestartStrategy::None);
    env.configure_checkpoints(|config| {
        config.timeout = Duration::from_millis(50);
        config.tolerable_failures = tolerable;
    });
    let (status, failed) = (env.status(), env.status());
    let numbers = Numbers::new(100)
        .when(move |number| if number < 90 || status.snapshot().completed > 0 { Step::Emit } else { Step::Wait });
    let stuck = Arc::new(move || failed.snapshot().failed < expired);
    env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
        .sink_to(StuckSink { inner: inner.clone(), stuck: move || stuck() })
        .uid("stuck");
    let result = run(&env).map(|result| result.checkpoints_failed);
    (result, inner.committed())
}

#[test]
fn a_checkpoint_that_takes_too_long_expires_and_its_output_comes_with_a_later_one() {
    let (result, mut committed) = returns(|| with_a_stuck_sink(3, 100));
    assert!(result.unwrap() >= 3);
    committed.sort_unstable();
    assert!(committed.into_iter().eq(0..100));
}

#[test]
fn an_expired_checkpoint_that_is_not_tolerated_fails_the_job_and_names_the_task() {
    let (result, committed) = returns(|| with_a_stuck_sink(1, 0));
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert!(error.to_string().contains("expired after 50ms: no acknowledgement from stuck["), "{error}");
    assert!(committed.is_empty());
}
