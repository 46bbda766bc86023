//! Attempts fail, and the job restarts or ends.

use highwater_checkpoint::RestartStrategy;
use highwater_core::ErrorKind;
use highwater_jobmaster::{Config, Event, JobEnd, Notice};

use crate::story::*;

#[test]
fn after_an_exception_the_same_processes_go_on_after_the_delay() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2, 2]);
    story.pass(ms(5000));
    assert_eq!(aborted(story.fail(first.token, ErrorKind::UserFunction)), Some((first.token, vec![1, 2])));
    story.over(&first);
    assert!(deployed(story.pass(ms(999))).is_none());
    assert_eq!(deployed(story.pass(ms(1))).map(|second| members(&second)), Some(vec![1, 2]));
}

#[test]
fn processes_that_are_lost_soon_after_each_start_are_replaced_after_the_delay() {
    let (mut story, first) = Story::running(wanted(2), &[2, 2]);
    story.pass(ms(999));
    story.disconnect(1);
    assert!(deployed(story.over(&first)).is_none(), "it ran for less than the delay");
    assert!(deployed(story.pass(ms(1000))).is_some());
}

#[test]
fn what_no_restart_can_mend_ends_the_job_when_all_is_dropped() {
    for kind in [ErrorKind::Settings, ErrorKind::Incompatible] {
        let (mut story, first) = Story::running(wanted(4), &[2, 2]);
        assert_eq!(ended(story.fail(first.token, kind)), None);
        assert_eq!(ended(story.over(&first)), Some(Err(kind)));
    }
}

#[test]
fn what_fails_before_the_job_has_ever_run_ends_it_unless_a_process_was_lost() {
    let start = || {
        let mut story = Story::begin(wanted(4));
        story.register(1, 4);
        let first = story.wait_for_deployment();
        (story, first)
    };
    let (mut story, first) = start();
    story.fail(first.token, ErrorKind::Input);
    assert_eq!(ended(story.over(&first)), Some(Err(ErrorKind::Input)));

    let (mut story, first) = start();
    story.fail(first.token, ErrorKind::Cluster);
    story.over(&first);
    let second = story.wait_for_deployment();
    story.run(&second);
    story.fail(second.token, ErrorKind::Input);
    story.over(&second);
    assert!(deployed(story.pass(ms(1000))).is_some(), "it has run");
}

#[test]
fn the_restart_strategy_gives_up() {
    let (mut story, first) = Story::running(Config { restart: RestartStrategy::None, ..wanted(2) }, &[2, 2]);
    story.disconnect(1);
    assert_eq!(ended(story.over(&first)), Some(Err(ErrorKind::Cluster)));
}

#[test]
fn a_damaged_checkpoint_that_is_passed_over_is_no_failure() {
    let mut story = Story::begin(Config { restart: RestartStrategy::None, ..wanted(2) });
    story.register(1, 2);
    let first = story.wait_for_deployment();
    let token = first.token;
    story.step(Event::PassedOver { token, error: error(ErrorKind::Corrupt) });
    assert!(deployed(story.over(&first)).is_some());
}

#[test]
fn a_stop_lets_no_attempt_follow() {
    let (mut story, first) = Story::running(wanted(2), &[2]);
    story.step(Event::Stop);
    story.fail(first.token, ErrorKind::UserFunction);
    assert_eq!(ended(story.over(&first)), Some(Err(ErrorKind::UserFunction)));

    let (mut story, first) = Story::running(wanted(2), &[2]);
    story.fail(first.token, ErrorKind::UserFunction);
    story.over(&first);
    assert_eq!(ended(story.step(Event::Stop)), Some(Err(ErrorKind::UserFunction)), "while it waits");

    let (mut story, first) = Story::running(wanted(2), &[2]);
    story.step(Event::Stop);
    assert_eq!(ended(story.step(Event::Ended { token: first.token, end: JobEnd::Stopped })), Some(Ok(JobEnd::Stopped)));
}

#[test]
fn a_cancelled_job_ends_when_all_is_dropped() {
    let (mut story, first) = Story::running(wanted(2), &[2]);
    assert_eq!(aborted(story.step(Event::Cancel)), Some((first.token, vec![1])));
    assert_eq!(ended(&story.said), None);
    assert_eq!(ended(story.over(&first)), Some(Ok(JobEnd::Cancelled)));
    assert!(story.step(Event::Cancel).is_empty(), "once");
}

#[test]
fn what_is_said_of_an_attempt_that_is_over_changes_nothing() {
    let (mut story, first) = Story::running(wanted(2), &[2]);
    story.fail(first.token, ErrorKind::UserFunction);
    story.over(&first);
    let second = story.wait_for_deployment();
    story.run(&second);
    let token = first.token;
    assert!(story.fail(token, ErrorKind::UserFunction).is_empty());
    assert!(story.step(Event::Ended { token, end: JobEnd::Finished }).is_empty());
    assert!(story.step(Event::Concluded { token }).is_empty());
    assert!(story.over(&first).is_empty());
}

#[test]
fn two_that_do_not_reach_each_other_are_kept_apart_where_others_do() {
    let mut story = Story::begin(wanted(4));
    story.register(1, 2);
    story.register(2, 2);
    let first = story.wait_for_deployment();
    story.register(3, 2);
    story.unreachable(first.token, 1, 2);
    story.over(&first);
    let second = story.wait_for_deployment();
    assert_eq!(members(&second), [1, 3], "no worker fewer");
    assert!(matches!(&notices(&story.said)[..], [Notice::KeptApart { left_out }] if left_out[0].contains("host-2")));
}

#[test]
fn two_that_do_not_reach_each_other_again_cost_workers_but_not_the_minimum() {
    let tried = |min| {
        let mut story = Story::begin(Config { min_parallelism: workers(min), ..wanted(4) });
        story.register(1, 2);
        story.register(2, 2);
        let first = story.wait_for_deployment();
        story.unreachable(first.token, 1, 2);
        story.over(&first);
        let second = story.wait_for_deployment();
        assert_eq!(members(&second), [1, 2], "they get another chance");
        story.unreachable(second.token, 2, 1);
        story.over(&second);
        members(&story.wait_for_deployment())
    };
    assert_eq!(tried(1), [1]);
    assert_eq!(tried(3), [1, 2], "there is nothing else to try");
}
