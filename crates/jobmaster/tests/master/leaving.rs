//! TaskManagers that want to leave.

use highwater_core::ErrorKind;
use highwater_jobmaster::{
    AttemptToken, Command, Config, Event, JobFacts, JobMaster, JobRecord, Notice, Phase, TaskManagerId,
};

use crate::story::*;

fn leaves(id: u128) -> Event {
    Event::Leaving { id: TaskManagerId(id) }
}

fn taken(token: AttemptToken) -> Event {
    Event::CheckpointTaken { token, result: Ok(()) }
}

fn asks_for_checkpoint(said: &[Command]) -> bool {
    said.iter().any(|command| matches!(command, Command::TakeCheckpoint { .. }))
}

#[test]
fn the_job_goes_on_without_one_that_leaves_after_a_checkpoint_that_is_taken_for_that() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    let said = story.step(leaves(2));
    assert!(asks_for_checkpoint(said) && aborted(said).is_none(), "{said:?}");
    assert!(story.step(leaves(2)).is_empty(), "it is under way");
    assert_eq!(aborted(story.step(taken(first.token))), Some((first.token, vec![1, 2])));
    let next = deployed(story.over(&first)).expect("it is not waited for");
    assert_eq!((members(&next), story.now()), (vec![1], ms(0)));
    assert!(story.disconnect(2).is_empty(), "it has no part of this attempt");
    assert_eq!(notices(&story.said), []);
}

#[test]
fn a_standby_takes_its_place() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    story.register(3, 2);
    story.step(leaves(1));
    story.step(taken(first.token));
    assert_eq!(members(&deployed(story.over(&first)).unwrap()), [3, 2]);
}

#[test]
fn all_that_leave_by_then_are_let_go_with_one_checkpoint() {
    let (mut story, first) = Story::running(reactive(), &[2, 2, 2]);
    assert!(asks_for_checkpoint(story.step(leaves(1))));
    assert!(story.step(leaves(3)).is_empty());
    story.step(taken(first.token));
    assert_eq!(members(&deployed(story.over(&first)).unwrap()), [2]);
}

#[test]
fn too_few_that_are_left_wait_for_others() {
    let config = Config { min_parallelism: workers(4), ..wanted(4) };
    let (mut story, first) = Story::running(config, &[2, 2]);
    story.step(leaves(2));
    story.step(taken(first.token));
    story.over(&first);
    story.disconnect(2);
    assert_eq!(story.master().phase(), Phase::Waiting);
    assert_eq!(members(&deployed(story.register(3, 2)).unwrap()), [1, 3]);
}

#[test]
fn a_checkpoint_that_fails_is_tried_again_until_it_is_gone() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    story.step(leaves(2));
    let result = Err("disk full".to_owned());
    let said = story.step(Event::CheckpointTaken { token: first.token, result });
    assert_eq!(notices(said), [Notice::LeaveFailed { why: "disk full".into() }]);
    assert!(aborted(said).is_none());
    let since = story.now();
    assert!(asks_for_checkpoint(story.pass(ms(5000))));
    assert_eq!(story.now() - since, ms(3000));
    assert_eq!(aborted(story.disconnect(2)), Some((first.token, vec![1])), "it is lost, as any other");
}

#[test]
fn one_that_is_gone_before_its_checkpoint_is_taken_changes_nothing_later() {
    let (mut story, first) = Story::running(wanted(2), &[2]);
    story.register(2, 2);
    // The one that leaves has no part of the attempt.
    assert!(story.step(leaves(2)).is_empty());
    assert!(story.pass(ms(100_000)).is_empty());
    story.step(leaves(1));
    story.disconnect(1);
    assert!(story.step(taken(first.token)).is_empty());
    story.over(&first);
    story.register(3, 2);
    assert_eq!(members(&story.wait_for_deployment()), [3], "the other leaves still");
}

#[test]
fn an_attempt_that_does_not_run_yet_is_deployed_anew() {
    let mut story = Story::begin(wanted(4));
    story.register(1, 2);
    let first = deployed(story.register(2, 2)).unwrap();
    assert_eq!(aborted(story.step(leaves(1))), Some((first.token, vec![1, 2])));
    assert_eq!(members(&deployed(story.over(&first)).unwrap()), [2]);
}

#[test]
fn an_attempt_that_is_being_taken_over_is_taken_over_first() {
    let (_, attempt) = Story::running(wanted(4), &[2, 2]);
    let record = JobRecord { deployment: attempt.clone(), rescaled_to: None };
    let mut story = Story::resume(wanted(4), 2, record);
    story.register_with(1, 2, Some(attempt.token));
    assert!(story.step(leaves(1)).is_empty());
    let said = story.register_with(2, 2, Some(attempt.token));
    assert!(matches!(said, [Command::Attach(_)]), "{said:?}");
    story.run(&attempt);
    assert!(asks_for_checkpoint(&story.said));
}

#[test]
fn without_checkpoints_it_is_let_go_at_once() {
    let facts = JobFacts { has_checkpoints: false, ..facts() };
    let mut story = Story::of(JobMaster::new(wanted(4), facts, 1, ms(0)).unwrap());
    story.register(1, 2);
    let first = deployed(story.register(2, 2)).unwrap();
    story.run(&first);
    let said = story.step(leaves(2));
    assert!(said.iter().any(|command| matches!(command, Command::Drop { id: TaskManagerId(2), .. })), "{said:?}");
    assert_eq!(aborted(said), Some((first.token, vec![1])));
}

#[test]
fn a_failure_in_the_meantime_restarts_the_job_without_it() {
    let (mut story, first) = Story::running(reactive(), &[2, 2]);
    story.step(leaves(2));
    story.fail(first.token, ErrorKind::UserFunction);
    story.over(&first);
    assert_eq!(members(&story.wait_for_deployment()), [1]);
}
