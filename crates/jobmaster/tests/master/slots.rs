//! TaskManagers come, are waited for, and are lost.

use highwater_core::ErrorKind;
use highwater_jobmaster::{Command, Event, JobEnd, Notice, Phase, TaskManagerId};

use crate::story::*;

#[test]
fn a_job_is_deployed_as_soon_as_the_wanted_slots_are_there() {
    let mut story = Story::begin(wanted(4));
    assert!(matches!(notices(story.pass(ms(1)))[..], [Notice::WaitingForSlots { possible: 0, .. }]));
    assert!(story.register(1, 2).is_empty());
    let deployment = deployed(story.register(2, 2)).unwrap();
    assert_eq!((members(&deployment), deployment.workers, deployment.parallelism()), (vec![1, 2], 2, 4));
    assert_eq!(story.master().phase(), Phase::Deploying);
    story.run(&deployment);
    assert_eq!(story.master().phase(), Phase::Running);
    let said = story.step(Event::Ended { token: deployment.token, end: JobEnd::Finished });
    assert_eq!(ended(said), Some(Ok(JobEnd::Finished)));
    assert!(matches!(story.register(3, 2), [Command::Refuse { .. }]), "it is over");
}

#[test]
fn fewer_slots_than_wanted_do_after_a_while_and_fewer_than_the_minimum_never() {
    let mut story = Story::begin(highwater_jobmaster::Config { min_parallelism: workers(2), ..wanted(4) });
    story.register(1, 1);
    for _ in 0..3 {
        let said = story.pass(ms(31_000));
        assert_eq!(notices(said), [Notice::WaitingForSlots { possible: 1, wanted: Some(4), min: 2 }], "said again");
    }
    let mut story = Story::begin(highwater_jobmaster::Config { min_parallelism: workers(2), ..wanted(4) });
    story.register(1, 2);
    assert!(deployed(story.pass(ms(9_999))).is_none());
    let said = story.pass(ms(1));
    assert!(notices(said).contains(&Notice::FewerWorkers { parallelism: 2, wanted: 4 }));
    assert_eq!(deployed(said).unwrap().parallelism(), 2);
}

#[test]
fn without_a_wanted_parallelism_all_slots_are_used_once_no_more_come() {
    let mut story = Story::begin(reactive());
    story.register(1, 2);
    assert!(deployed(story.pass(ms(500))).is_none());
    story.register(2, 2);
    assert!(deployed(story.pass(ms(999))).is_none());
    assert_eq!(deployed(story.pass(ms(1))).unwrap().parallelism(), 4);
}

#[test]
fn a_lost_process_is_replaced_by_a_standby_at_once() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2, 2]);
    assert_eq!(members(&first), [1, 2]);
    story.pass(ms(5000));
    assert_eq!(aborted(story.disconnect(1)), Some((first.token, vec![2])), "who is gone is not told");
    assert_eq!(deployed(story.over(&first)).map(|second| members(&second)), Some(vec![3, 2]), "2 keeps its place");
}

#[test]
fn nothing_is_deployed_before_the_attempt_before_is_over_everywhere() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2, 2]);
    story.pass(ms(5000));
    story.disconnect(1);
    let token = first.token;
    assert!(deployed(story.step(Event::Concluded { token })).is_none());
    assert!(deployed(story.step(Event::Released { id: TaskManagerId(3), token })).is_none());
    assert!(deployed(story.step(Event::Released { id: TaskManagerId(2), token })).is_some());

    let (mut story, first) = Story::running(wanted(4), &[2, 2, 2]);
    story.pass(ms(5000));
    story.disconnect(1);
    let token = first.token;
    assert!(deployed(story.step(Event::Released { id: TaskManagerId(2), token })).is_none());
    assert!(deployed(story.step(Event::Concluded { token })).is_some());
}

#[test]
fn who_does_not_drop_its_part_is_given_up() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2, 2, 2]);
    story.pass(ms(5000));
    story.disconnect(1);
    story.step(Event::Concluded { token: first.token });
    assert!(story.pass(ms(59_000)).is_empty());
    let said = story.pass(ms(2_000));
    assert!(matches!(said, [Command::Drop { id: TaskManagerId(2), .. }, ..]), "{said:?}");
    assert_eq!(deployed(said).map(|second| members(&second)), Some(vec![3, 4]));
}

#[test]
fn lost_slots_that_come_back_in_time_keep_the_parallelism() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    story.pass(ms(5000));
    story.disconnect(1);
    assert!(deployed(story.over(&first)).is_none());
    assert!(story.pass(ms(9_900)).is_empty());
    assert_eq!(deployed(story.register(7, 2)).map(|second| members(&second)), Some(vec![7, 2]));
}

#[test]
fn the_job_goes_on_with_fewer_when_lost_slots_do_not_come_back() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    story.pass(ms(5000));
    story.disconnect(1);
    story.over(&first);
    let lost_at = story.now();
    let second = deployed(story.pass(ms(20_000))).unwrap();
    assert_eq!((second.parallelism(), story.now() - lost_at), (2, ms(10_000)));
    assert!(second.token > first.token);
}

#[test]
fn a_silent_process_is_given_up() {
    let (mut story, first) = Story::running(wanted(2), &[2, 2]);
    let mut silent = ms(0);
    while aborted(&story.said).is_none() {
        story.step(Event::Heartbeat { id: TaskManagerId(2) });
        story.pass_in_silence(ms(250));
        silent += ms(250);
    }
    assert!(matches!(story.said[..], [Command::Drop { id: TaskManagerId(1), .. }, ..]), "{:?}", story.said);
    assert_eq!(silent, ms(5000));
    let token = first.token;
    assert_eq!(deployed(story.step(Event::Concluded { token })).map(|second| members(&second)), Some(vec![2]));
}

#[test]
fn a_jump_of_the_clock_gives_nobody_up() {
    let (mut story, _) = Story::running(wanted(4), &[2, 2]);
    assert!(story.pass_in_silence(ms(3_600_000)).is_empty(), "their heartbeats may wait to be read");
    assert!(story.pass(ms(60_000)).is_empty());
}

#[test]
fn one_that_connects_again_has_lost_what_was_under_way() {
    let (mut story, first) = Story::running(wanted(4), &[2, 2]);
    story.pass(ms(5000));
    story.register_with(1, 2, Some(first.token));
    let told: Vec<_> = story.said.iter().filter_map(|command| aborted(std::slice::from_ref(command))).collect();
    assert_eq!(told, [(first.token, vec![2]), (first.token, vec![1])]);
    assert_eq!(deployed(story.over(&first)).map(|second| members(&second)), Some(vec![1, 2]));
}

#[test]
fn slots_that_cannot_be_used_are_told_of_once() {
    let mut story = Story::begin(reactive());
    story.register(1, 3);
    story.register(2, 2);
    let first = story.wait_for_deployment();
    assert_eq!(notices(&story.said), [Notice::UnusedSlots { unused: 1, workers: 2 }]);
    story.run(&first);
    story.fail(first.token, ErrorKind::UserFunction);
    story.over(&first);
    assert!(deployed(story.pass(ms(1000))).is_some());
    assert_eq!(notices(&story.said), []);
}

#[test]
fn one_without_slots_is_refused() {
    let mut story = Story::begin(reactive());
    assert!(matches!(story.register(1, 0), [Command::Refuse { .. }, ..]));
    assert_eq!(story.master().task_managers().count(), 0);
}
