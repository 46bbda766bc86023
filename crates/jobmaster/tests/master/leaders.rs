//! A new leader takes over.

use highwater_core::ErrorKind;
use highwater_jobmaster::{AttemptToken, Command, Deployment, Event, JobRecord, Phase};

use crate::story::*;

/// The new leader of a job that ran on TaskManagers 1 and 2.
fn taken_over() -> (Story, Deployment) {
    let (_, deployment) = Story::running(wanted(4), &[2, 2]);
    let record = JobRecord { deployment: deployment.clone(), rescaled_to: None };
    (Story::resume(wanted(4), 2, record), deployment)
}

#[test]
fn a_running_attempt_is_attached_when_all_its_members_have_come() {
    let (mut story, attempt) = taken_over();
    assert!(story.register_with(2, 2, Some(attempt.token)).is_empty());
    assert!(story.register(3, 2).is_empty(), "a standby");
    assert_eq!(story.master().phase(), Phase::Attaching);
    let said = story.register_with(1, 2, Some(attempt.token));
    assert!(matches!(said, [Command::Attach(attached)] if *attached == attempt), "{said:?}");
    story.run(&attempt);
    story.pass(ms(5000));
    story.disconnect(1);
    let next = deployed(story.over(&attempt)).unwrap();
    assert_eq!(next.token, AttemptToken::first_of(2), "tokens grow over leaders");
    assert!(next.token > attempt.token);
}

#[test]
fn one_that_has_lost_its_part_ends_the_attempt() {
    for holds in [None, Some(AttemptToken(7))] {
        let (mut story, attempt) = taken_over();
        story.register_with(2, 2, Some(attempt.token));
        story.pass(ms(1000));
        let said = story.register_with(1, 2, holds);
        assert_eq!(aborted(said), Some((attempt.token, vec![2])));
        let told = said.iter().any(|command| matches!(command, Command::Abort { token: AttemptToken(7), .. }));
        assert_eq!(told, holds.is_some());
        if let Some(token) = holds {
            let id = highwater_jobmaster::TaskManagerId(1);
            story.step(Event::Released { id, token });
        }
        let released = Event::Released { id: highwater_jobmaster::TaskManagerId(2), token: attempt.token };
        assert!(deployed(story.step(released)).is_some(), "this leader had no part of it");
    }
}

#[test]
fn members_that_do_not_come_are_not_waited_for_twice() {
    let (mut story, attempt) = taken_over();
    story.register_with(2, 2, Some(attempt.token));
    story.pass(ms(9_999));
    assert_eq!(story.master().phase(), Phase::Attaching);
    assert_eq!(aborted(story.pass(ms(1))), Some((attempt.token, vec![2])));
    let next = deployed(story.over(&attempt)).unwrap();
    assert_eq!((members(&next), story.now()), (vec![2], ms(10_000)));
}

#[test]
fn an_attempt_that_fails_before_all_have_come_is_not_waited_for() {
    let (mut story, attempt) = taken_over();
    story.register_with(2, 2, Some(attempt.token));
    story.register(3, 2);
    assert_eq!(aborted(story.fail(attempt.token, ErrorKind::Cluster)), Some((attempt.token, vec![2])));
    story.over(&attempt);
    assert_eq!(members(&story.wait_for_deployment()), [3, 2]);
}

#[test]
fn a_part_of_an_attempt_that_nobody_knows_is_dropped() {
    let mut story = Story::begin(wanted(2));
    let said = story.register_with(1, 2, Some(AttemptToken(3)));
    assert_eq!(aborted(said), Some((AttemptToken(3), vec![1])));
    assert!(deployed(said).is_none(), "its slots are taken");
    let id = highwater_jobmaster::TaskManagerId(1);
    assert!(deployed(story.step(Event::Released { id, token: AttemptToken(3) })).is_some());
}

#[test]
fn a_rescaled_job_stays_rescaled() {
    let (_, deployment) = Story::running(wanted(4), &[2, 2]);
    let record = JobRecord { deployment: deployment.clone(), rescaled_to: Some(workers(2)) };
    let mut story = Story::resume(wanted(4), 2, record);
    story.register_with(1, 2, Some(deployment.token));
    story.register(2, 2);
    story.over(&deployment);
    assert_eq!(story.wait_for_deployment().parallelism(), 2);
}
