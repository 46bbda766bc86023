//! How a job ends: its input does, or it is stopped.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{ErrorKind, JobEnd, StopHandle};

use crate::support::{Numbers, Step, assert_exactly_once, at_once, counting, environment, fine, returns, run};

const COUNT: u64 = 100;

/// Emits [`COUNT`] numbers; before the last one it asks for a stop, `times` times, and from then on waits.
fn stopped_before_the_last(stop: StopHandle, times: usize) -> Numbers {
    let stopped = AtomicBool::new(false);
    Numbers::new(COUNT).when(move |number| {
        if number < COUNT - 1 {
            return Step::Emit;
        }
        if !stopped.swap(true, Ordering::SeqCst) {
            (0..times).for_each(|_| stop.stop());
        }
        Step::Wait
    })
}

#[test]
fn the_end_of_the_input_commits_everything_with_and_without_checkpoints() {
    for workers in [1, 2] {
        for interval in [None, Some(Duration::from_millis(1)), Some(Duration::from_secs(3600))] {
            let committed = returns(move || {
                let (env, sink) = (environment(workers), CollectSink::new());
                env.configure_checkpoints(|config| config.interval = interval);
                counting(&env, Numbers::new(COUNT), &sink, fine);
                assert_eq!(run(&env).unwrap().end, JobEnd::Finished);
                sink.committed()
            });
            assert_exactly_once(&committed, COUNT);
        }
    }
}

#[test]
fn an_empty_input_is_an_input() {
    for workers in [1, 2] {
        let committed = returns(move || {
            let (env, sink) = (environment(workers), CollectSink::new());
            env.enable_checkpointing(Duration::from_millis(1));
            counting(&env, Numbers::new(0), &sink, fine);
            run(&env).unwrap();
            sink.committed()
        });
        assert_exactly_once(&committed, 0);
    }
}

#[test]
fn a_stop_commits_what_was_read_with_and_without_checkpoints() {
    for interval in [None, Some(Duration::from_millis(1)), Some(Duration::from_secs(3600))] {
        let committed = returns(move || {
            let (env, sink) = (environment(1), CollectSink::new());
            env.configure_checkpoints(|config| config.interval = interval);
            counting(&env, stopped_before_the_last(env.stop_handle(), 1), &sink, fine);
            assert_eq!(run(&env).unwrap().end, JobEnd::Stopped);
            sink.committed()
        });
        assert_exactly_once(&committed, COUNT - 1);
    }
}

#[test]
fn a_stop_that_is_asked_for_before_the_start_is_heard() {
    returns(|| {
        let (env, sink) = (environment(1), CollectSink::new());
        env.enable_checkpointing(Duration::from_secs(3600));
        env.stop_handle().stop();
        counting(&env, Numbers::new(u64::MAX), &sink, fine);
        assert_eq!(run(&env).unwrap().end, JobEnd::Stopped);
        assert_exactly_once(&sink.committed(), sink.committed().len() as u64);
    });
}

#[test]
fn a_job_that_is_stopped_twice_ends_at_once_with_an_error_and_can_go_on_later() {
    for workers in [1, 2] {
        returns(move || {
            let (backend, sink) = (MemoryStateBackend::new(), CollectSink::new());
            let env = environment(workers);
            env.set_state_backend(backend.clone()).enable_checkpointing(Duration::from_secs(3600));
            env.set_restart_strategy(at_once(100));
            counting(&env, stopped_before_the_last(env.stop_handle(), 2), &sink, fine);
            let error = run(&env).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Cluster);
            assert!(error.to_string().contains("without a last checkpoint"), "{error}");
            assert_eq!(sink.committed(), []);
            let env = environment(workers);
            env.set_state_backend(backend).enable_checkpointing(Duration::from_secs(3600));
            counting(&env, Numbers::new(COUNT), &sink, fine);
            run(&env).unwrap();
            assert_exactly_once(&sink.committed(), COUNT);
        });
    }
}

#[test]
fn a_stop_while_the_job_waits_for_its_restart_ends_it_with_what_failed() {
    returns(|| {
        let env = environment(1);
        let stop = env.stop_handle();
        env.enable_checkpointing(Duration::from_secs(3600));
        env.set_restart_strategy(RestartStrategy::FixedDelay { attempts: 1, delay: Duration::from_secs(3600) });
        counting(&env, Numbers::new(COUNT), &CollectSink::new(), move |number| {
            if number < COUNT - 1 {
                return Ok(());
            }
            // The thread finds the job waiting, or about to.
            let stop = stop.clone();
            std::thread::Builder::new().spawn(move || stop.stop())?;
            Err("out of luck".into())
        });
        let error = run(&env).unwrap_err();
        assert!(error.to_string().contains("out of luck"), "{error}");
    });
}
