//! Every run of a small job up to a depth: whatever happens in whatever order, the invariants hold after each step.

use std::time::Duration;

use highwater_checkpoint::{CheckpointConfig, CheckpointKind, RequestKind};
use highwater_core::CheckpointId;

use crate::choices::{Choices, explore};
use crate::job::ms;
use crate::world::{Action, MayHaveHappened, World};

/// After `before` goes every way of `steps` actions out of those that `narrow` leaves. Returns how many ways there were.
fn explore_world(
    config: &CheckpointConfig,
    before: &[Action],
    steps: usize,
    narrow: impl Fn(&mut Vec<Action>),
) -> usize {
    explore(|choices: &mut Choices| {
        let mut world = World::new(config);
        before.iter().for_each(|action| world.act(*action));
        for _ in 0..steps {
            let mut actions = world.actions();
            narrow(&mut actions);
            if actions.is_empty() {
                break;
            }
            world.act(actions[choices.choose(actions.len())]);
        }
        world.settle();
    })
}

/// Tasks acknowledge a checkpoint in their order. The other orders are in [`every_order_in_which_three_tasks_answer`]; to
/// leave them out elsewhere makes room for more steps.
fn in_order_of_tasks(actions: &mut Vec<Action>) {
    let mut last = None;
    actions.retain(|action| match action {
        Action::Acknowledge(id, _) => last.replace(*id) != Some(*id),
        Action::Decline(_, index) => *index == 2,
        Action::Prepare(..) => false,
        _ => true,
    });
}

const ID: CheckpointId = CheckpointId(1);
const NEXT_ID: CheckpointId = CheckpointId(2);

/// The coordinator has asked for the location of checkpoint 1.
const STARTED: [Action; 1] = [Action::Wake];

/// Two checkpoints are triggered, and each lacks one acknowledgement.
const CONCURRENT: [Action; 8] = [
    Action::Wake,
    Action::Locate(ID),
    Action::Wake,
    Action::Locate(NEXT_ID),
    Action::Acknowledge(ID, 0),
    Action::Acknowledge(ID, 1),
    Action::Acknowledge(NEXT_ID, 0),
    Action::Acknowledge(NEXT_ID, 1),
];

/// The coordinator has asked to publish checkpoint 1.
const PUBLISHING: [Action; 5] = [
    Action::Wake,
    Action::Locate(ID),
    Action::Acknowledge(ID, 0),
    Action::Acknowledge(ID, 1),
    Action::Acknowledge(ID, 2),
];

fn config() -> CheckpointConfig {
    CheckpointConfig {
        interval: Some(ms(10)),
        timeout: ms(40),
        max_concurrent: 2,
        tolerable_failures: 1,
        ..CheckpointConfig::default()
    }
}

#[test]
fn every_order_in_which_three_tasks_answer() {
    let alone = CheckpointConfig { interval: Some(Duration::from_secs(1)), timeout: ms(2000), ..config() };
    let runs = explore_world(&alone, &STARTED, 9, |actions| {
        actions.retain(|action| match action {
            Action::Locate(_) | Action::Prepare(..) | Action::Acknowledge(..) | Action::Decline(..) => true,
            Action::Publish(_) | Action::FailPublish(..) => true,
            Action::Wake | Action::Request(_) | Action::FailLocate(_) => false,
            Action::Shutdown | Action::Restart { .. } => false,
        });
    });
    assert!(runs > 2_000, "only {runs} runs");
}

#[test]
fn every_course_of_concurrent_checkpoints() {
    let runs = explore_world(&config(), &CONCURRENT, 6, |actions| {
        in_order_of_tasks(actions);
        actions.retain(|action| match action {
            Action::Wake | Action::Locate(_) | Action::Acknowledge(..) | Action::Decline(..) => true,
            Action::Publish(_) | Action::Request(RequestKind::Manual) => true,
            Action::Restart { in_doubt_exist } => *in_doubt_exist,
            Action::FailLocate(_) | Action::FailPublish(..) => false,
            Action::Prepare(..) | Action::Request(_) | Action::Shutdown => false,
        });
    });
    assert!(runs > 40_000, "only {runs} runs");
}

#[test]
fn every_course_of_publishing_and_ending() {
    let runs = explore_world(&CheckpointConfig { retained: 2, ..config() }, &PUBLISHING, 6, |actions| {
        in_order_of_tasks(actions);
        actions.retain(|action| match action {
            Action::Acknowledge(..) | Action::Locate(_) | Action::Publish(_) => true,
            Action::FailPublish(_, may) => *may == MayHaveHappened::Yes,
            Action::Request(request) => *request == RequestKind::Final,
            Action::Wake | Action::Restart { .. } => true,
            Action::FailLocate(_) | Action::Prepare(..) | Action::Decline(..) | Action::Shutdown => false,
        });
    });
    assert!(runs > 20_000, "only {runs} runs");
}

#[test]
fn every_course_of_savepoints() {
    let before = [Action::Request(RequestKind::Savepoint), Action::Locate(ID), Action::Acknowledge(ID, 0)];
    let runs = explore_world(&CheckpointConfig { tolerable_failures: 0, ..config() }, &before, 6, |actions| {
        in_order_of_tasks(actions);
        actions.retain(|action| match action {
            Action::Wake | Action::Locate(_) | Action::Acknowledge(..) | Action::Decline(..) => true,
            Action::Publish(_) | Action::FailPublish(..) => true,
            Action::Request(request) => CheckpointKind::from(*request).is_savepoint(),
            Action::Restart { in_doubt_exist } => *in_doubt_exist,
            Action::FailLocate(_) | Action::Prepare(..) | Action::Shutdown => false,
        });
    });
    assert!(runs > 10_000, "only {runs} runs");
}

#[test]
fn every_course_of_everything() {
    let runs = explore_world(&config(), &STARTED, 5, |actions| {
        in_order_of_tasks(actions);
        // Those have a test of their own.
        actions
            .retain(|action| !matches!(action, Action::Request(RequestKind::Savepoint | RequestKind::FinalSavepoint)));
    });
    assert!(runs > 30_000, "only {runs} runs");
}
