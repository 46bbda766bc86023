//! Deduplication and top-n, against what a table of all records so far would show.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use highwater::change::{Change, table};
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::top_n::Ranked;
use highwater_testing::harness::{Interruption, Stage, by_key, check, interrupted, uninterrupted};
use highwater_testing::{HandSetClock, Random};

use crate::support::{environment, run};

/// Key, event time and number.
type Event = (u64, i64, u64);
/// Which operator, and what it emits of which key: whether it is inserted, its rank where there is one, and its number.
type Out = (String, u64, bool, u64, u64);

const DISORDER_MS: i64 = 25;
/// The time between two records on the machine's clock.
const STEP_MS: i64 = 10;

fn events(seed: u64, count: u64) -> Vec<Event> {
    let (mut random, mut latest) = (Random::new(seed), 0);
    let mut event = |number| {
        latest += random.up_to(6) as i64;
        // Many have the same time.
        (random.any() % 3, (latest - random.up_to(DISORDER_MS as usize) as i64) / 4 * 4, number)
    };
    (0..count).map(&mut event).collect()
}

fn source(stage: &Stage, events: &[Event]) -> DataStream<Event> {
    let disorder = Duration::from_millis(DISORDER_MS as u64 + 4);
    let watermarks = WatermarkStrategy::for_bounded_out_of_orderness(disorder, |event: &Event| event.1);
    stage.records(events.to_vec(), watermarks, "events")
}

fn shown(operator: &'static str, change: &Change<Event>, rank: u64) -> Out {
    let (key, _, number) = *change.record();
    (operator.to_string(), key, matches!(change, Change::Insert(_)), rank, number)
}

fn show(operator: &'static str, changes: &DataStream<Change<Event>>) -> DataStream<Out> {
    changes.map(move |change| Ok(shown(operator, &change, 0)))
}

fn inserted(operator: &'static str, events: &DataStream<Event>) -> DataStream<Out> {
    events.map(move |event| Ok(shown(operator, &Change::Insert(event), 0)))
}

fn ranked(operator: &'static str, changes: &DataStream<Change<Ranked<Event>>>) -> DataStream<Out> {
    changes.map(move |change| {
        let rank = change.record().rank;
        Ok(shown(operator, &change.map(|ranked| ranked.record), rank))
    })
}

/// All operators at once.
fn job(stage: &Stage, events: &[Event]) -> DataStream<Out> {
    let events = source(stage, events).key_by(|event: &Event| event.0);
    let one = events.deduplicate();
    let outputs = [
        show("last", &one.keep_last().uid("last")),
        inserted("earliest", &one.keep_first_by_event_time().uid("earliest")),
        show("latest", &one.keep_last_by_event_time().uid("latest")),
        show("top", &events.top_n(3, |event| event.1).uid("top")),
        ranked("ranked", &events.top_n_ranked(4, |event| std::cmp::Reverse(event.1)).uid("ranked")),
    ];
    inserted("first", &one.keep_first().uid("first")).union(&outputs)
}

/// The table of an operator: key, rank and number of each record in it.
fn rows(operator: &str, output: &[Out]) -> Vec<(u64, u64, u64)> {
    let changes = output.iter().filter(|(of, ..)| of == operator).map(|(_, key, is_inserted, rank, number)| {
        let row = (*key, *rank, *number);
        if *is_inserted { Change::Insert(row) } else { Change::Delete(row) }
    });
    table(changes)
}

/// What the table of an operator should be.
fn expected(operator: &str, events: &[Event]) -> Vec<(u64, u64, u64)> {
    let mut rows = Vec::new();
    for (key, mut events) in by_key(events.to_vec(), |event| event.0) {
        let (n, has_rank) = match operator {
            "first" => (1, false),
            "last" => {
                events.reverse();
                (1, false)
            }
            "earliest" => {
                events.sort_by_key(|event| event.1);
                (1, false)
            }
            "latest" => {
                events.reverse();
                events.sort_by_key(|event| -event.1);
                (1, false)
            }
            "top" => {
                events.sort_by_key(|event| -event.1);
                (3, false)
            }
            _ => {
                events.sort_by_key(|event| event.1);
                (4, true)
            }
        };
        rows.extend((1..).zip(&events).take(n).map(|(rank, event)| (key, if has_rank { rank } else { 0 }, event.2)));
    }
    rows.sort_unstable();
    rows
}

const OPERATORS: [&str; 6] = ["first", "last", "earliest", "latest", "top", "ranked"];

#[test]
fn the_tables_are_those_of_all_records_so_far() {
    for seed in 0..6 {
        for count in [1, 2, 5, 12, 80] {
            let events = events(seed, count);
            let output = uninterrupted(|stage| job(stage, &events));
            for operator in OPERATORS {
                assert_eq!(rows(operator, &output), expected(operator, &events), "{operator} of {events:?}");
            }
        }
    }
}

/// What is deleted is what was inserted last, and not yet deleted; nothing is inserted twice.
#[test]
fn changes_come_in_an_order_in_which_they_can_be_applied() {
    let events = events(9, 120);
    let mut present = BTreeMap::new();
    for (operator, key, is_inserted, rank, number) in uninterrupted(|stage| job(stage, &events)) {
        let row = (operator, key, rank, number);
        let change = if is_inserted { 1 } else { -1 };
        let count = present.entry(row.clone()).or_insert(0);
        *count += change;
        assert!((0..=1).contains(count), "{row:?} is there {count} times");
    }
}

#[test]
fn tables_survive_restores_and_rescaling_between_any_two_records() {
    let events = events(5, 25);
    check(|stage| job(stage, &events), |(operator, key, ..)| (operator.clone(), *key));
}

/// What comes out with a time-to-live if each record comes a step after the one before.
fn with_ttl(events: &[Event], ttl_ms: i64) -> BTreeMap<(String, u64), Vec<Out>> {
    let mut output = Vec::new();
    let mut show = |operator, change| output.push(shown(operator, &change, 0));
    for events in by_key(events.to_vec(), |event| event.0).into_values() {
        // When the record that is kept came, and it.
        let [mut first, mut last, mut latest] = [None::<(i64, Event)>; 3];
        for event in events {
            let now = STEP_MS * event.2 as i64;
            let alive = |kept: Option<(i64, Event)>| kept.filter(|(at, _)| now < at + ttl_ms);
            if alive(first).is_none() {
                show("first", Change::Insert(event));
                first = Some((now, event));
            }
            if let Some((_, before)) = alive(last) {
                show("last", Change::Delete(before));
            }
            show("last", Change::Insert(event));
            last = Some((now, event));
            if alive(latest).is_none_or(|(_, before)| before.1 <= event.1) {
                if let Some((_, before)) = alive(latest) {
                    show("latest", Change::Delete(before));
                }
                show("latest", Change::Insert(event));
                latest = Some((now, event));
            }
        }
    }
    by_key(output, |(operator, key, ..)| (operator.clone(), *key))
}

#[test]
fn a_key_is_forgotten_after_its_time_to_live() {
    let events = events(11, 40);
    for ttl_ms in [STEP_MS, 3 * STEP_MS, 9 * STEP_MS] {
        let clock = Arc::new(HandSetClock::default());
        // Each run sees one record, whose time it is then.
        let runs = interrupted(Interruption::Stop, &[1, 2], |stage| {
            stage.env().set_clock(clock.clone());
            let clock = clock.clone();
            let events = source(stage, &events).map(move |event| {
                clock.unix_ms.store(STEP_MS * event.2 as i64, Ordering::SeqCst);
                Ok(event)
            });
            let one = events.key_by(|event: &Event| event.0).deduplicate().ttl(Duration::from_millis(ttl_ms as u64));
            inserted("first", &one.keep_first().uid("first")).union(&[
                show("last", &one.keep_last().uid("last")),
                show("latest", &one.keep_last_by_event_time().uid("latest")),
            ])
        });
        let actual = by_key(runs.output, |(operator, key, ..)| (operator.clone(), *key));
        assert_eq!(actual, with_ttl(&events, ttl_ms), "time-to-live {ttl_ms} ms");
    }
}

#[test]
fn settings_without_a_result_are_refused() {
    let error = |problem: usize| {
        let env = environment(1);
        let events = env.from_collection([(0, 0, 0)]).key_by(|event: &Event| event.0);
        match problem {
            0 => events.top_n(0, |event| event.1).sink_to(CollectSink::new()),
            1 => events.deduplicate().ttl(Duration::ZERO).keep_first().sink_to(CollectSink::new()),
            _ => events.deduplicate().keep_last_by_event_time().sink_to(CollectSink::new()),
        };
        run(&env).unwrap_err().to_string()
    };
    for (problem, expected) in
        [(0, "a top-n of no records"), (1, "below one millisecond"), (2, "a record without event time has come to a")]
    {
        let error = error(problem);
        assert!(error.contains(expected), "{error}");
    }
}
