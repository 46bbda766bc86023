//! Queries of Nexmark whose state outgrows the memory: crashed and rescaled over and over, their rows are those of one run in memory.

mod in_stores;
mod newest;

use std::collections::BTreeMap;
use std::time::Duration;

use highwater::prelude::*;
use highwater_nexmark::{BASE_TIME_MS, Event, NexmarkSource, Output, Query, Row};
use highwater_rocksdb::RocksDBStateBackend;
use highwater_testing::harness::{Interruption, Stage, interrupted, uninterrupted};
use in_stores::has_rows_in_stores;
use newest::newest;

const QUERIES: [Query; 7] = [Query::Q3, Query::Q4, Query::Q5, Query::Q9, Query::Q16, Query::Q18, Query::Q20];
/// Their state is several times the memory.
const EVENTS: u64 = 12_000;
/// How much slower than in the stream time goes, so that windows end on the way.
const STRETCH: i64 = 32;
/// The least that the backend takes.
const MEMORY: usize = 1 << 20;

/// A row of a query, by its place in [`QUERIES`], with its key.
type Line = (u8, Option<String>, String);

/// The rows of all queries in one stream.
#[derive(Default)]
struct Lines {
    query: u8,
    streams: Vec<DataStream<Line>>,
}

impl Output for Lines {
    fn take<R: Row>(&mut self, rows: DataStream<R>) {
        let query = self.query;
        self.streams.push(rows.map(move |row| Ok((query, row.key(), row.to_string()))));
    }
}

fn stretched(time: i64) -> i64 {
    BASE_TIME_MS + (time - BASE_TIME_MS) * STRETCH
}

fn stretch(mut event: Event) -> Event {
    match &mut event {
        Event::Person(person) => person.date_time = stretched(person.date_time),
        Event::Auction(auction) => {
            auction.date_time = stretched(auction.date_time);
            auction.expires = stretched(auction.expires);
        }
        Event::Bid(bid) => bid.date_time = stretched(bid.date_time),
    }
    event
}

fn build(stage: &Stage) -> DataStream<Line> {
    let watermarks = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(4), |event: &Event| {
        stretched(event.date_time())
    });
    let events = stage.source(NexmarkSource::new(EVENTS), watermarks, "nexmark").uid("nexmark");
    let events = events.map(|event| Ok(stretch(event)));
    let mut lines = Lines::default();
    for (place, query) in (0..).zip(QUERIES) {
        lines.query = place;
        query.build(&events, &mut lines);
    }
    lines.streams[0].union(&lines.streams[1..])
}

/// What is left of the rows, by queries, in order.
fn left(lines: Vec<Line>) -> BTreeMap<&'static str, Vec<String>> {
    let (mut rows, mut keyed) = (BTreeMap::<&str, Vec<String>>::new(), BTreeMap::new());
    for (place, key, row) in lines {
        let query = QUERIES[usize::from(place)].name();
        match key {
            None => rows.entry(query).or_default().push(row),
            Some(key) => drop(keyed.insert((query, key), row)),
        }
    }
    keyed.into_iter().for_each(|((query, _), row)| rows.entry(query).or_default().push(row));
    rows.values_mut().for_each(|rows| rows.sort_unstable());
    rows
}

#[test]
fn queries_have_the_rows_that_they_have_in_memory() {
    let expected = left(uninterrupted(build));
    assert_eq!(expected.len(), QUERIES.len(), "a query has no rows");
    let dir = tempfile::tempdir().expect("a folder");
    let [checkpoints, local_dir] = ["checkpoints", "local"].map(|name| dir.path().join(name));
    let runs = interrupted(Interruption::Crash, &[1, 3, 3, 2], |stage| {
        let backend = RocksDBStateBackend::new(checkpoints.to_str().expect("it is Unicode"));
        stage.env().set_state_backend(backend.with_memory_budget(MEMORY).with_local_dir(&local_dir));
        build(stage)
    });
    assert!(runs.count > 8, "{} runs are too few to show anything", runs.count);
    assert!(has_rows_in_stores(&newest(&checkpoints.join("harness"))), "no row has left the memory");
    let actual = left(runs.output);
    for (query, rows) in &expected {
        let first = rows.iter().zip(&actual[query]).find(|(expected, actual)| expected != actual);
        assert!(*rows == actual[query], "{query}: {} rows, not {}: {first:?}", actual[query].len(), rows.len());
    }
}
