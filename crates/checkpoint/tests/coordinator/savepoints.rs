//! What the coordinator does about savepoints, one story each.

use highwater_checkpoint::{CheckpointConfig, Command, Event, Request, RequestId, RequestKind};
use highwater_core::CheckpointId;

use crate::job::{acknowledgement, coordinator, ms};
use crate::story::{story, story_after};

/// A checkpoint every 100 ms that has 500 ms, and no failure tolerated.
fn every_100_ms() -> CheckpointConfig {
    CheckpointConfig { interval: Some(ms(100)), timeout: ms(500), retained: 1, ..CheckpointConfig::default() }
}

#[test]
fn a_savepoint_goes_in_between_and_is_notified_to_nobody_and_kept_for_ever() {
    story_after(
        &every_100_ms(),
        8,
        &[7],
        "
        0   running
        50  request savepoint    -> locate 8 savepoint
        51  located 8            -> trigger 8 savepoint
        60  ack 8 all            -> publish 8
        65  published 8          -> report 8 completed 1+9+0+5
        66  ack 8 0 with data-0
        100 tick                 -> locate 9
        100 located 9            -> trigger 9 periodic
        110 ack 9 all            -> publish 9
        110 published 9          -> notify complete 9; report 9 completed 0+10+0+0; discard 7
        ",
    );
}

#[test]
fn savepoints_come_one_after_the_other_in_the_order_of_requests() {
    story(
        &CheckpointConfig { min_pause: ms(1000), ..every_100_ms() },
        "
        0   running
        1   request savepoint    -> locate 1 savepoint
        2   request savepoint
        3   request manual
        4   request savepoint
        5   located 1            -> trigger 1 savepoint
        6   ack 1 all            -> publish 1
        7   published 1          -> report 1 completed 4+1+0+1; locate 2 savepoint
        8   locate failed 2      -> discard 2; report 2 locate-failed 1+0+0+0; locate 3
        9   located 3            -> trigger 3 manual
        9   ack 3 all            -> publish 3
        9   published 3          -> notify complete 3; report 3 completed 1+0+0+0; locate 4 savepoint
        ",
    );
}

#[test]
fn a_savepoint_is_not_subsumed_and_other_requests_wait_for_it() {
    story(
        &CheckpointConfig { max_concurrent: 3, ..every_100_ms() },
        "
        0   running
        50  request savepoint    -> locate 1 savepoint
        50  located 1            -> trigger 1 savepoint
        60  request manual
        100 tick                 -> locate 2
        100 located 2            -> trigger 2 periodic
        110 ack 2 all            -> publish 2
        110 published 2          -> notify complete 2; report 2 completed 0+10+0+0
        120 ack 1 all            -> publish 1
        120 published 1          -> report 1 completed 0+70+0+0; locate 3
        ",
    );
}

#[test]
fn a_savepoint_that_fails_does_not_count_and_its_folder_is_removed() {
    story(
        &every_100_ms(),
        "
        0   running
        10  request savepoint    -> locate 1 savepoint
        10  located 1            -> trigger 1 savepoint
        20  declined 1 2         -> notify aborted 1 declined; discard 1; report 1 declined 0+10+0+0
        30  request savepoint    -> locate 2 savepoint
        30  located 2            -> trigger 2 savepoint
        40  ack 2 all            -> publish 2
        40  publish failed 2     -> notify aborted 2 publish-failed; discard 2; report 2 publish-failed 0+10+0+0
        50  request savepoint    -> locate 3 savepoint
        50  located 3            -> trigger 3 savepoint
        60  ack 3 all            -> publish 3
        60  publish doubtful 3   -> report 3 in doubt 0+10+0+0
        100 tick                 -> locate 4
        ",
    );
}

#[test]
fn the_last_savepoint_is_notified_and_leaves_the_checkpoints_alone() {
    story_after(
        &every_100_ms(),
        8,
        &[7],
        "
        0   running
        50  request final savepoint  -> locate 8 savepoint
        50  request savepoint        -> refuse: the last checkpoint is under way
        50  located 8                -> trigger 8 final savepoint
        60  ack 8 all                -> publish 8
        60  published 8              -> notify complete 8; report 8 completed 0+10+0+0
        900 tick
        900 request manual           -> refuse: the last checkpoint has completed
        ",
    );
}

#[test]
fn a_last_savepoint_that_fails_leaves_the_job_as_it_was() {
    story(
        &every_100_ms(),
        "
        0   running
        50  request final savepoint  -> locate 1 savepoint
        50  located 1                -> trigger 1 final savepoint
        110 declined 1 0             -> notify aborted 1 declined; discard 1; report 1 declined 0+60+0+0
        wake                         -> 210
        120 request final savepoint  -> locate 2 savepoint
        ",
    );
}

#[test]
fn a_stop_while_the_last_savepoint_is_under_way_happens_either_way() {
    let begin = "
        0   running
        50  request final savepoint  -> locate 1 savepoint
        50  located 1                -> trigger 1 final savepoint
        55  request final
        60  ack 1 all                -> publish 1
        ";
    let fails = "
        60  publish failed 1         -> notify aborted 1 publish-failed; discard 1; report 1 publish-failed 0+10+0+0; locate 2
        60  located 2                -> trigger 2 final
        ";
    story(&every_100_ms(), &(begin.to_owned() + fails));
    let completes = "
        60  published 1              -> notify complete 1; report 1 completed 0+10+0+0
        ";
    story(&every_100_ms(), &(begin.to_owned() + completes));
}

/// The requests that each report and refusal answers.
fn answered(commands: Vec<Command>) -> Vec<u64> {
    let requests = commands.into_iter().flat_map(|command| match command {
        Command::Report(report) => report.requests,
        Command::Refuse { request, .. } => vec![request.id],
        _ => vec![],
    });
    requests.map(|request| request.0).collect()
}

#[test]
fn every_request_is_answered_once_and_a_retry_is_no_answer() {
    let config = CheckpointConfig { tolerable_failures: 1, ..every_100_ms() };
    let mut job = coordinator(&config, CheckpointId(1), vec![]);
    let mut tell = |event, at| answered(job.step(event, ms(at)));
    let request = |id, kind| Event::Request(Request { id: RequestId(id), kind });
    tell(Event::Running, 0);
    assert_eq!(tell(request(1, RequestKind::Savepoint), 1), []);
    assert_eq!(tell(request(2, RequestKind::Manual), 2), []);
    assert_eq!(tell(request(3, RequestKind::Final), 3), []);
    assert_eq!(tell(request(4, RequestKind::Savepoint), 4), [4]);
    let fails = |id| Event::LocateFailed { id: CheckpointId(id), error: "denied".to_owned() };
    assert_eq!(tell(fails(1), 5), [1]);
    assert_eq!(tell(fails(2), 6), [], "it is tried again");
    assert_eq!(tell(request(5, RequestKind::Final), 7), []);
    assert_eq!(tell(Event::Tick, 2000), []);
    assert_eq!(tell(request(6, RequestKind::Final), 2001), []);
    assert_eq!(tell(Event::Located { id: CheckpointId(3), created_unix_ms: 0 }, 2002), []);
    (0..3).for_each(|task| assert_eq!(tell(acknowledgement(CheckpointId(3), task, vec![]), 2003), []));
    assert_eq!(tell(Event::Published { id: CheckpointId(3) }, 2004), [3, 2, 5, 6]);
    assert_eq!(tell(request(7, RequestKind::FinalSavepoint), 2005), [7]);
}
