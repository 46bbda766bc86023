//! What the coordinator does in each situation, one story each.

use highwater_checkpoint::{CheckpointConfig, Command, Coordinator, Event, FailureReason, Outcome, RequestKind};
use highwater_core::{CheckpointId, ErrorKind};

use crate::job::{acknowledgement, coordinator, file, ms, plan, request, task, without_shared_files};
use crate::story::{story, story_after};

/// A checkpoint every 100 ms that has 500 ms, and three failures in a row tolerated.
fn every_100_ms() -> CheckpointConfig {
    let (interval, timeout) = (Some(ms(100)), ms(500));
    CheckpointConfig { interval, timeout, tolerable_failures: 3, retained: 1, ..CheckpointConfig::default() }
}

#[test]
fn a_checkpoint_goes_through_its_four_phases_and_they_add_up() {
    story(
        &every_100_ms(),
        "
        0   running
        wake                -> 100
        100 tick            -> locate 1
        103 located 1       -> trigger 1 periodic
        wake                -> 600
        105 prepared 1 0
        106 prepared 1 1
        107 ack 1 0
        110 prepared 1 2
        140 ack 1 2
        150 ack 1 1         -> publish 1
        wake                -> never
        155 published 1     -> notify complete 1; report 1 completed 3+7+40+5
        wake                -> 200
        ",
    );
}

#[test]
fn an_acknowledgement_implies_that_the_task_has_prepared() {
    story(
        &every_100_ms(),
        "
        0   running
        100 tick            -> locate 1
        101 located 1       -> trigger 1 periodic
        110 prepared 1 0
        120 ack 1 1
        130 ack 1 2
        140 ack 1 0         -> publish 1
        140 published 1     -> notify complete 1; report 1 completed 1+29+10+0
        ",
    );
}

#[test]
fn without_an_interval_only_requests_start_checkpoints() {
    story(
        &CheckpointConfig::default(),
        "
        0   running
        wake                -> never
        999 tick
        999 request manual  -> locate 1
        ",
    );
}

#[test]
fn nothing_starts_before_all_tasks_run() {
    story(
        &every_100_ms(),
        "
        0   request manual
        500 tick
        wake                -> never
        600 running         -> locate 1
        ",
    );
}

#[test]
fn a_late_tick_keeps_the_grid_and_a_missed_interval_is_not_made_up_for() {
    story(
        &every_100_ms(),
        "
        0   running
        130 tick            -> locate 1
        130 locate failed 1 -> discard 1; report 1 locate-failed 0+0+0+0
        wake                -> 200
        555 tick            -> locate 2
        560 locate failed 2 -> discard 2; report 2 locate-failed 5+0+0+0
        wake                -> 655
        ",
    );
}

#[test]
fn a_slow_checkpoint_holds_the_next_one_back_until_it_ends() {
    story(
        &every_100_ms(),
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        200 tick
        310 tick
        320 ack 1 all       -> publish 1
        330 published 1     -> notify complete 1; report 1 completed 0+220+0+10; locate 2
        ",
    );
}

#[test]
fn the_minimum_pause_runs_from_the_end_of_the_last_checkpoint() {
    story(
        &CheckpointConfig { min_pause: ms(70), max_concurrent: 5, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        250 tick
        260 declined 1 0    -> notify aborted 1 declined; discard 1; report 1 declined 0+160+0+0
        wake                -> 330
        329 tick
        330 tick            -> locate 2
        ",
    );
}

#[test]
fn a_manual_request_waits_for_room_but_not_for_the_minimum_pause() {
    story(
        &CheckpointConfig { min_pause: ms(70), ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        110 request manual
        111 request manual
        120 ack 1 all       -> publish 1
        120 published 1     -> notify complete 1; report 1 completed 0+20+0+0; locate 2
        121 located 2       -> trigger 2 manual
        ",
    );
}

#[test]
fn a_checkpoint_expires_and_files_that_come_later_are_discarded() {
    story(
        &CheckpointConfig { max_concurrent: 2, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        110 located 1       -> trigger 1 periodic
        120 ack 1 0
        600 tick            -> notify aborted 1 expired; discard 1; report 1 expired 10+490+0+0; locate 2
        601 ack 1 1
        602 ack 1 2 with f  -> discard 1
        603 ack 9 2 with f
        ",
    );
}

#[test]
fn a_location_that_comes_after_the_checkpoint_expired_is_discarded_again() {
    story(
        &CheckpointConfig { interval: None, ..every_100_ms() },
        "
        0   running
        0   request manual  -> locate 1
        500 tick            -> discard 1; report 1 expired 500+0+0+0
        510 located 1       -> discard 1
        ",
    );
}

#[test]
fn what_is_unknown_or_said_twice_or_too_early_changes_nothing() {
    story(
        &every_100_ms(),
        "
        0   running
        100 tick            -> locate 1
        100 ack 1 0
        100 prepared 1 0
        100 published 1
        101 located 1       -> trigger 1 periodic
        101 located 1
        101 locate failed 1
        102 located 2
        102 ack 1 7
        102 declined 1 7
        102 declined 2 0
        103 ack 1 1
        104 ack 1 1
        105 ack 1 2
        106 ack 1 2
        107 publish failed 1
        108 ack 1 0         -> publish 1
        109 declined 1 0
        110 published 1     -> notify complete 1; report 1 completed 1+7+0+2
        111 published 1
        111 publish doubtful 1
        112 declined 1 0
        113 ack 1 0 with f
        ",
    );
}

#[test]
fn a_newer_checkpoint_subsumes_older_ones_that_are_pending() {
    story(
        &CheckpointConfig { max_concurrent: 3, tolerable_failures: 0, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        200 tick            -> locate 2
        200 located 2       -> trigger 2 periodic
        210 ack 2 all       -> publish 2
        220 ack 1 0
        230 published 2     -> notify complete 2; report 2 completed 0+10+0+20; \
                               notify aborted 1 subsumed; discard 1; report 1 subsumed 0+130+0+0
        ",
    );
}

#[test]
fn one_checkpoint_is_located_at_a_time_so_that_triggers_are_in_order() {
    story(
        &CheckpointConfig { max_concurrent: 3, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        200 tick
        210 located 1       -> trigger 1 periodic; locate 2
        ",
    );
}

#[test]
fn one_checkpoint_is_published_at_a_time_the_oldest_first() {
    story(
        &CheckpointConfig { max_concurrent: 2, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        200 tick            -> locate 2
        200 located 2       -> trigger 2 periodic
        210 ack 1 all       -> publish 1
        220 ack 2 all
        800 publish failed 1 -> notify aborted 1 publish-failed; discard 1; report 1 publish-failed 0+110+0+590; \
                               publish 2; locate 3
        810 published 2     -> notify complete 2; report 2 completed 0+20+0+590
        ",
    );
}

#[test]
fn a_publish_that_may_have_happened_is_neither_aborted_nor_discarded() {
    story_after(
        &CheckpointConfig { retained: 1, ..every_100_ms() },
        8,
        &[7],
        "
        0   running
        100 tick            -> locate 8
        100 located 8       -> trigger 8 periodic
        110 ack 8 all       -> publish 8
        120 publish doubtful 8 -> report 8 in doubt 0+10+0+10
        130 ack 8 0 with f
        200 tick            -> locate 9
        200 located 9       -> trigger 9 periodic
        210 ack 9 all       -> publish 9
        220 published 9     -> notify complete 9; report 9 completed 0+10+0+10; discard 7; discard 8
        ",
    );
}

#[test]
fn the_newest_are_retained() {
    story_after(
        &CheckpointConfig { retained: 2, interval: None, ..every_100_ms() },
        20,
        &[11, 15],
        "
        0   running
        0   request manual  -> locate 20
        0   located 20      -> trigger 20 manual
        0   ack 20 all      -> publish 20
        0   published 20    -> notify complete 20; report 20 completed 0+0+0+0; discard 11
        ",
    );
}

#[test]
fn more_failures_in_a_row_than_tolerated_fail_the_job() {
    story(
        &CheckpointConfig { tolerable_failures: 1, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 locate failed 1 -> discard 1; report 1 locate-failed 0+0+0+0
        200 tick            -> locate 2
        200 located 2       -> trigger 2 periodic
        210 ack 2 all       -> publish 2
        220 published 2     -> notify complete 2; report 2 completed 0+10+0+10
        300 tick            -> locate 3
        300 locate failed 3 -> discard 3; report 3 locate-failed 0+0+0+0
        400 tick            -> locate 4
        400 located 4       -> trigger 4 periodic
        401 request manual
        410 declined 4 1    -> notify aborted 4 declined; discard 4; report 4 declined 0+10+0+0; fail job; \
                               refuse: the attempt has ended
        500 tick
        wake                -> never
        ",
    );
}

#[test]
fn the_error_that_fails_the_job_says_what_happened() {
    let config = CheckpointConfig { tolerable_failures: 0, ..every_100_ms() };
    let mut job = coordinator(&config, CheckpointId(1), vec![]);
    let id = CheckpointId(1);
    assert!(job.step(Event::Running, ms(0)).is_empty());
    assert_eq!(job.step(Event::Tick, ms(100)).len(), 1);
    assert_eq!(job.step(Event::Located { id, created_unix_ms: 0 }, ms(100)).len(), 1);
    assert!(job.step(acknowledgement(id, 1, vec![]), ms(110)).is_empty());
    let commands = job.step(Event::Tick, ms(600));
    let error = commands.iter().find_map(|command| match command {
        Command::FailJob { error } => Some(error),
        _ => None,
    });
    let error = error.expect("the job fails");
    assert_eq!(error.kind(), ErrorKind::Checkpoint);
    assert_eq!(
        error.message(),
        "checkpoint 1 failed, 1 in a row now with 0 tolerated: expired after 500ms: no acknowledgement from count[0], \
         count[2]; remove the cause, or raise the number of tolerable failures"
    );
}

#[test]
fn a_failed_job_still_sees_a_publish_under_way_through() {
    story_after(
        &CheckpointConfig { tolerable_failures: 0, max_concurrent: 2, ..every_100_ms() },
        5,
        &[4],
        "
        0   running
        100 tick            -> locate 5
        100 located 5       -> trigger 5 periodic
        110 ack 5 all       -> publish 5
        200 tick            -> locate 6
        210 locate failed 6 -> discard 6; report 6 locate-failed 10+0+0+0; fail job
        220 published 5     -> notify complete 5; report 5 completed 0+10+0+110; discard 4
        ",
    );
}

#[test]
fn the_last_checkpoint_waits_for_its_turn_and_nothing_follows_it() {
    story(
        &CheckpointConfig { min_pause: ms(70), ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        110 request manual
        110 request final
        110 request manual  -> refuse: the last checkpoint is under way
        120 ack 1 all       -> publish 1
        120 published 1     -> notify complete 1; report 1 completed 0+20+0+0; locate 2
        120 located 2       -> trigger 2 final
        130 ack 2 all       -> publish 2
        140 published 2     -> notify complete 2; report 2 completed 0+10+0+10; discard 1
        wake                -> never
        900 tick
        900 request manual  -> refuse: the last checkpoint has completed
        900 request final   -> refuse: the last checkpoint has completed
        ",
    );
}

#[test]
fn a_last_checkpoint_that_failed_is_tried_again_while_failures_are_tolerated() {
    story(
        &CheckpointConfig { tolerable_failures: 1, ..every_100_ms() },
        "
        0    request final
        0    running        -> locate 1
        0    located 1      -> trigger 1 final
        10   declined 1 2   -> notify aborted 1 declined; discard 1; report 1 declined 0+10+0+0
        wake                -> 1010
        1010 tick           -> locate 2
        1010 located 2      -> trigger 2 final
        1020 declined 2 2   -> notify aborted 2 declined; discard 2; report 2 declined 0+10+0+0; fail job
        wake                -> never
        ",
    );
}

#[test]
fn a_shutdown_aborts_what_is_pending_without_failing_the_job() {
    story(
        &CheckpointConfig { max_concurrent: 2, tolerable_failures: 0, ..every_100_ms() },
        "
        0   running
        100 tick            -> locate 1
        100 located 1       -> trigger 1 periodic
        200 tick            -> locate 2
        205 request manual
        210 shutdown        -> refuse: the attempt has ended; \
                               notify aborted 1 shutdown; discard 1; report 1 shutdown 0+110+0+0; \
                               discard 2; report 2 shutdown 10+0+0+0
        210 shutdown
        220 running
        220 request final   -> refuse: the attempt has ended
        wake                -> never
        ",
    );
}

#[test]
fn time_that_goes_back_is_taken_as_standing_still() {
    story(
        &every_100_ms(),
        "
        0   running
        100 tick            -> locate 1
        50  located 1       -> trigger 1 periodic
        60  ack 1 all       -> publish 1
        120 published 1     -> notify complete 1; report 1 completed 0+0+0+20
        ",
    );
}

#[test]
fn what_is_published_is_what_the_tasks_acknowledged() {
    let mut job = coordinator(&every_100_ms(), CheckpointId(4), vec![]);
    let id = CheckpointId(4);
    let mut commands = job.step(Event::Running, ms(0));
    commands.extend(job.step(request(RequestKind::Manual), ms(10)));
    commands.extend(job.step(Event::Located { id, created_unix_ms: 77 }, ms(12)));
    commands.extend(job.step(acknowledgement(id, 2, vec![file("b"), file("shared")]), ms(13)));
    commands.extend(job.step(acknowledgement(id, 0, vec![file("shared")]), ms(14)));
    commands.extend(job.step(acknowledgement(id, 1, vec![file("a")]), ms(15)));
    let Some(Command::Publish { metadata, .. }) = commands.pop() else { panic!("published, but for {commands:?}") };
    assert_eq!((metadata.job.as_str(), metadata.id, metadata.created_unix_ms), ("visitors", id, 77));
    assert_eq!(metadata.files, [file("a"), file("b"), file("shared")]);
    assert_eq!(metadata.operators.len(), 1);
    assert_eq!(metadata.operators[0].name, "count visitors");
    let ranges = metadata.operators[0].subtasks.iter().map(|(_, task)| task.keyed[0].range.start());
    assert_eq!(ranges.collect::<Vec<_>>(), [0, 3, 6]);
    assert_eq!((metadata.times.init, metadata.times.prepare, metadata.times.complete), (ms(2), ms(3), ms(0)));
    let Some(Command::Report(report)) = job.step(Event::Published { id }, ms(20)).pop() else { panic!("no report") };
    assert_eq!((report.bytes, report.acknowledged, report.tasks), (30, 3, 3));
    assert_eq!(job.completed().map(|checkpoint| checkpoint.id).collect::<Vec<_>>(), [id]);
}

#[test]
fn acknowledgements_that_make_no_checkpoint_are_not_published() {
    let elsewhere = |event| match event {
        Event::Acknowledged { id, snapshot, files, bytes, .. } => {
            Event::Acknowledged { id, task: task(2), snapshot, files, bytes }
        }
        other => other,
    };
    let id = CheckpointId(1);
    let overwritten = acknowledgement(id, 2, vec![highwater_checkpoint::FileDigest { crc32c: 2, ..file("a") }]);
    let other_key_groups = elsewhere(acknowledgement(id, 1, vec![]));
    let out_of_the_folder = acknowledgement(id, 2, vec![file("../a")]);
    for last in [overwritten, other_key_groups, out_of_the_folder] {
        let mut job = coordinator(&every_100_ms(), id, vec![]);
        let mut commands = job.step(Event::Running, ms(0));
        commands.extend(job.step(request(RequestKind::Manual), ms(0)));
        commands.extend(job.step(Event::Located { id, created_unix_ms: 0 }, ms(0)));
        commands.extend(job.step(acknowledgement(id, 0, vec![file("a")]), ms(0)));
        commands.extend(job.step(acknowledgement(id, 1, vec![]), ms(0)));
        commands.extend(job.step(last, ms(0)));
        let Some(Command::Report(report)) = commands.pop() else { panic!("no report in {commands:?}") };
        assert!(matches!(report.outcome, Outcome::Failed(FailureReason::Inconsistent { .. })), "{report:?}");
        assert!(!commands.iter().any(|command| matches!(command, Command::Publish { .. })));
    }
}

#[test]
fn ids_that_are_not_in_order_are_refused() {
    for (next_id, restored) in [(0, vec![]), (5, vec![5]), (9, vec![7, 7]), (9, vec![8, 7]), (u64::MAX, vec![])] {
        let restored = restored.into_iter().map(|id| without_shared_files(CheckpointId(id))).collect();
        let error = Coordinator::new(every_100_ms(), plan(), CheckpointId(next_id), restored).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Internal, "{next_id}");
    }
}
