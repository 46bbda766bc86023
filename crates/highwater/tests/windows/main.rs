//! Windows of every kind, with every trigger, against a plain computation of what they come to: over random scripts of records that
//! are out of order and late, in one piece, and with a snapshot and a restore after every step and the parallelism changing.

mod joins;
mod kinds;
mod leftovers;
mod model;
mod refusals;
mod script;

use kinds::{Rows, Tested};
use model::Shape;
use script::{Action, Item, Row, Step};

/// What a job with all of `kinds` emits.
fn actual(kinds: fn() -> Vec<Tested>, steps: &[Step], parallelism: &[usize], in_pieces: bool) -> Vec<Row> {
    let mut rows = script::run(steps, parallelism, in_pieces, &move |items, step| {
        let records = items.key_by((|item: &Item| item.key) as fn(&Item) -> u64);
        let build = |(index, tested): (usize, Tested)| {
            (tested.build)(&records, items, &Rows { kind: index as u64, step: step.clone() })
        };
        kinds().into_iter().enumerate().flat_map(build).collect()
    });
    rows.sort();
    rows
}

fn check(kinds: fn() -> Vec<Tested>, seed: u64, count: u64, parallelism: &[usize], in_pieces: bool) {
    let steps = script::script(seed, count);
    let actual = actual(kinds, &steps, parallelism, in_pieces);
    for (index, Tested { kind, .. }) in kinds().iter().enumerate() {
        let mut expected = kind.rows(index as u64, &steps);
        expected.sort();
        let actual: Vec<_> = actual.iter().filter(|row| row.kind == index as u64).cloned().collect();
        let only = |of: &[Row], other: &[Row]| of.iter().find(|row| !other.contains(row)).cloned();
        assert!(
            actual == expected,
            "seed {seed}, parallelism {parallelism:?}: {kind:?} makes {} rows instead of {}; too much is {:?}, missing is {:?}",
            actual.len(),
            expected.len(),
            only(&actual, &expected),
            only(&expected, &actual),
        );
    }
}

#[test]
fn every_assigner_makes_the_windows_that_it_should() {
    (0..2).for_each(|seed| check(kinds::assigners, seed, 150, &[1 + seed as usize], false));
}

#[test]
fn every_trigger_fires_when_it_should() {
    (2..4).for_each(|seed| check(kinds::triggers, seed, 150, &[seed as usize - 1], false));
}

#[test]
fn every_join_has_the_records_of_both_sides() {
    (4..6).for_each(|seed| check(joins::joins, seed, 150, &[seed as usize - 3], false));
}

#[test]
fn every_assigner_goes_on_after_any_step_with_any_parallelism() {
    check(kinds::assigners, 10, 30, &[1, 3, 2], true);
}

#[test]
fn every_trigger_goes_on_after_any_step_with_any_parallelism() {
    check(kinds::triggers, 11, 30, &[1, 3, 2], true);
}

#[test]
fn every_join_goes_on_after_any_step_with_any_parallelism() {
    check(joins::joins, 12, 30, &[1, 3, 2], true);
}

/// A record comes after a restore and before the watermark is back: late for a window that has fired and is still there.
#[test]
fn a_window_that_has_fired_fires_again_for_a_late_record_also_if_the_watermark_was_forgotten() {
    let step = |action, beats: &[i64]| Step { action, watermark: i64::MIN, beats: beats.to_vec(), clock_ms: 0 };
    let record = |id, at_ms| Action::Record { key: 0, id, at_ms };
    let steps = [
        step(record(0, 150), &[0, 1]),
        step(Action::Watermark, &[450]),
        step(record(1, 160), &[0, 1]),
        step(Action::Watermark, &[451]),
    ];
    let rows = actual(kinds::assigners, &steps, &[1], true);
    let mut tested = 0;
    for (index, Tested { kind, .. }) in kinds::assigners().iter().enumerate() {
        let ids = |step| {
            let of_step = rows.iter().filter(move |row| row.kind == index as u64 && row.step == step);
            of_step.map(|row| row.ids.clone()).collect::<Vec<_>>()
        };
        // With and without panes.
        let fired = match (kind.lateness, kind.shape) {
            (300, Shape::Ids) => 2,
            (200, Shape::Counted) => 1,
            _ => continue,
        };
        let expected = [vec![vec![0]; fired], vec![vec![0, 1]; fired], vec![]];
        assert_eq!([ids(2), ids(3), ids(4)], expected, "{kind:?}");
        tested += 1;
    }
    assert_eq!(tested, 2);
}
