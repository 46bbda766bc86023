//! Other parallelism for a job that runs.

use highwater_checkpoint::RequestId;
use highwater_core::{ErrorKind, Parallelism};
use highwater_jobmaster::{Command, Config, Deployment, Event, JobFacts, JobMaster, Notice};

use crate::story::*;

fn asks_for_checkpoint(said: &[Command]) -> bool {
    said.iter().any(|command| matches!(command, Command::TakeCheckpoint { .. }))
}

fn answer(said: &[Command]) -> Option<Result<Parallelism, String>> {
    said.iter().find_map(|command| match command {
        Command::Answer { request: RequestId(9), result } => Some(result.clone()),
        _ => None,
    })
}

fn rescale(count: u32) -> Event {
    Event::Rescale { request: RequestId(9), parallelism: workers(count) }
}

/// A job that runs with two workers and wants as many as there are.
fn small() -> (Story, Deployment) {
    Story::running(reactive(), &[2])
}

#[test]
fn new_slots_are_used_after_a_checkpoint_that_is_asked_for() {
    let (mut story, first) = small();
    story.pass(ms(29_000));
    story.register(2, 2);
    assert!(story.pass(ms(999)).is_empty(), "others may be on their way");
    assert!(asks_for_checkpoint(story.pass(ms(1))));
    let said = story.step(Event::CheckpointTaken { token: first.token, result: Ok(()) });
    assert_eq!(aborted(said), Some((first.token, vec![1])));
    let second = deployed(story.over(&first)).unwrap();
    assert_eq!((members(&second), second.parallelism()), (vec![1, 2], 4));
    story.run(&second);
    story.register(3, 2);
    let since = story.now();
    assert!(asks_for_checkpoint(story.pass(ms(60_000))));
    assert_eq!(story.now() - since, ms(30_000), "not more often than that");
}

#[test]
fn slots_that_are_gone_again_change_nothing() {
    let (mut story, first) = small();
    story.pass(ms(29_000));
    story.register(2, 2);
    assert!(asks_for_checkpoint(story.pass(ms(1000))));
    assert!(story.disconnect(2).is_empty());
    assert!(story.step(Event::CheckpointTaken { token: first.token, result: Ok(()) }).is_empty());
    assert!(story.pass(ms(60_000)).is_empty());
}

#[test]
fn a_checkpoint_that_fails_is_tried_again_later() {
    let (mut story, first) = small();
    story.pass(ms(29_000));
    story.register(2, 2);
    assert!(asks_for_checkpoint(story.pass(ms(1000))));
    let said = story.step(Event::CheckpointTaken { token: first.token, result: Err("disk full".into()) });
    assert_eq!(notices(said), [Notice::ScaleUpFailed { why: "disk full".into() }]);
    let since = story.now();
    assert!(asks_for_checkpoint(story.pass(ms(60_000))));
    assert_eq!(story.now() - since, ms(30_000));
}

#[test]
fn slots_that_give_no_worker_more_are_no_reason() {
    let (mut story, _) = Story::running(reactive(), &[2, 2]);
    story.register(3, 1);
    assert!(story.pass(ms(100_000)).is_empty(), "three times one is less than twice two");
    let (mut story, _) = Story::running(wanted(4), &[2, 2]);
    story.register(3, 2);
    assert!(story.pass(ms(100_000)).is_empty(), "there are as many as wanted");
}

#[test]
fn a_job_without_checkpoints_is_not_interrupted() {
    let facts = JobFacts { has_checkpoints: false, ..facts() };
    let mut story = Story::of(JobMaster::new(reactive(), facts, 1, ms(0)).unwrap());
    story.register(1, 2);
    let first = story.wait_for_deployment();
    story.run(&first);
    story.register(2, 2);
    assert!(story.pass(ms(100_000)).is_empty());
    assert!(answer(story.step(rescale(1))).unwrap().unwrap_err().contains("no checkpoints"));
}

#[test]
fn a_rescale_is_answered_when_the_job_runs_again() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    assert!(asks_for_checkpoint(story.step(rescale(2))));
    let again = story.step(Event::Rescale { request: RequestId(8), parallelism: workers(1) });
    assert!(matches!(again, [Command::Answer { request: RequestId(8), result: Err(_) }]), "one after the other");
    story.step(Event::CheckpointTaken { token: first.token, result: Ok(()) });
    let second = deployed(story.over(&first)).unwrap();
    assert_eq!(second.parallelism(), 2);
    assert_eq!(answer(&story.said), None);
    story.run(&second);
    assert_eq!(answer(&story.said), Some(Ok(workers(2))));
    assert!(story.pass(ms(100_000)).is_empty(), "it stays at that");
}

#[test]
fn a_rescale_that_cannot_be_is_refused_with_the_reason() {
    let (mut story, first) = Story::running(Config { min_parallelism: workers(2), ..wanted(4) }, &[2, 2]);
    for (count, why) in [(1, "min parallelism 2"), (129, "max parallelism 128"), (5, "4 is")] {
        assert!(answer(story.step(rescale(count))).unwrap().unwrap_err().contains(why), "{count}");
    }
    assert_eq!(answer(story.step(rescale(4))), Some(Ok(workers(4))), "it has that");
    assert!(asks_for_checkpoint(story.step(rescale(2))));
    let said = story.step(Event::CheckpointTaken { token: first.token, result: Err("disk full".into()) });
    assert!(answer(said).unwrap().unwrap_err().contains("disk full"));
    assert!(asks_for_checkpoint(story.step(rescale(2))), "it can be asked for again");
    assert!(answer(story.fail(first.token, ErrorKind::UserFunction)).unwrap().unwrap_err().contains("it broke"));
    assert!(answer(story.step(rescale(2))).unwrap().unwrap_err().contains("does not run"));
}

#[test]
fn a_rescale_that_loses_slots_meanwhile_says_so() {
    let (mut story, first) = Story::running(wanted(2), &[2, 2]);
    story.step(rescale(4));
    story.step(Event::CheckpointTaken { token: first.token, result: Ok(()) });
    story.disconnect(2);
    story.over(&first);
    let second = story.wait_for_deployment();
    story.run(&second);
    assert!(answer(&story.said).unwrap().unwrap_err().contains("goes on with 2 workers"));
}
