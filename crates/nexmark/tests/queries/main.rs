//! Every query against a plain computation of its SQL over the whole stream, in one job with all of them: with different parallelism,
//! and stopped, crashed and rescaled over and over. Event time is stretched, so that few events fill windows, hours and days.

mod minute_files;
mod oracle;
mod processing_time;
mod time;

use std::collections::BTreeMap;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater_nexmark::{BASE_TIME_MS, Event, Generator, NexmarkSource, Output, Query, Row};
use highwater_testing::harness::{Interruption, run_to_the_end};

/// The stream with its time stretched so often and its prices cut off, and with bidders who are persons of the stream even at its
/// beginning.
#[derive(Clone, Copy)]
struct Tempo {
    times: i64,
    /// The highest price; many bids have it if it is low.
    most: u64,
}

impl Tempo {
    fn of(times: i64) -> Self {
        Tempo { times, most: u64::MAX }
    }

    fn with_equal_prices(self) -> Self {
        Tempo { most: 10_000_000, ..self }
    }

    fn time(self, date_time: i64) -> i64 {
        BASE_TIME_MS + (date_time - BASE_TIME_MS) * self.times
    }

    fn stretch(self, mut event: Event) -> Event {
        match &mut event {
            Event::Person(person) => person.date_time = self.time(person.date_time),
            Event::Auction(auction) => {
                auction.date_time = self.time(auction.date_time);
                auction.expires = self.time(auction.expires);
            }
            Event::Bid(bid) => {
                bid.date_time = self.time(bid.date_time);
                bid.price = bid.price.min(self.most);
                bid.bidder -= 1000;
            }
        }
        event
    }

    fn watermarks(self) -> WatermarkStrategy<Event> {
        let bound = std::time::Duration::from_secs(4);
        WatermarkStrategy::for_bounded_out_of_orderness(bound, move |event: &Event| self.time(event.date_time()))
    }
}

/// A row of which query, with its key.
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

/// Those whose rows follow from the stream alone.
fn queries() -> impl Iterator<Item = (u8, Query)> {
    let all = Query::ALL.iter().enumerate().map(|(index, query)| (index as u8, *query));
    all.filter(|(_, query)| oracle::rows(*query, &[]).is_some())
}

fn build(tempo: Tempo, source: DataStream<Event>) -> DataStream<Line> {
    let events = source.uid("nexmark").map(move |event| Ok(tempo.stretch(event)));
    let mut lines = Lines::default();
    for (index, query) in queries() {
        lines.query = index;
        query.build(&events, &mut lines);
    }
    lines.streams[0].union(&lines.streams[1..])
}

/// Compares what is left of the rows with what they should be.
fn check(tempo: Tempo, events: u64, lines: Vec<Line>, what: &str) {
    let events: Vec<Event> = Generator::new(events).map(|event| tempo.stretch(event)).collect();
    let (mut rows, mut keyed) = (BTreeMap::<u8, Vec<String>>::new(), BTreeMap::<u8, BTreeMap<String, String>>::new());
    for (query, key, row) in lines {
        match key {
            None => rows.entry(query).or_default().push(row),
            Some(key) => drop(keyed.entry(query).or_default().insert(key, row)),
        }
    }
    let mut wrong = Vec::new();
    for (index, query) in queries() {
        let mut actual = rows.remove(&index).unwrap_or_default();
        actual.extend(keyed.remove(&index).unwrap_or_default().into_values());
        actual.sort_unstable();
        let mut expected = oracle::rows(query, &events).expect("queries without an oracle are not run");
        expected.sort_unstable();
        // Nobody registers and sells in one window of a stream that has no two milliseconds in one.
        let is_empty = query == Query::Q8 && tempo.times > 10_000;
        assert_eq!(expected.is_empty(), is_empty, "{query}: nothing to compare");
        if actual != expected {
            let first = actual.iter().zip(&expected).find(|(actual, expected)| actual != expected);
            wrong.push(format!(
                "{query} has {} rows, not {}; the first that differs: {first:?}",
                actual.len(),
                expected.len()
            ));
        }
    }
    assert!(wrong.is_empty(), "{what}:\n{}", wrong.join("\n"));
}

fn with_workers(tempo: Tempo, workers: usize) {
    const EVENTS: u64 = 10_000;
    let (env, output) = (StreamExecutionEnvironment::new(), CollectSink::new());
    env.stop_on_signals(false).set_parallelism(workers);
    build(tempo, env.from_source(NexmarkSource::new(EVENTS), tempo.watermarks(), "nexmark")).sink_to(output.clone());
    env.execute("nexmark").unwrap();
    check(tempo, EVENTS, output.committed(), &format!("{workers} workers"));
}

fn interrupted(tempo: Tempo, interruption: Interruption) {
    const EVENTS: u64 = 4_000;
    let output = CollectSink::new();
    let runs = run_to_the_end(interruption, &[1, 3, 2], |stage| {
        let source = stage.source(NexmarkSource::new(EVENTS), tempo.watermarks(), "nexmark");
        build(tempo, source).sink_to(output.clone()).uid("output");
    });
    assert!(runs > 3, "{runs} runs are too few to show anything");
    check(tempo, EVENTS, output.committed(), &format!("{interruption:?} and rescaled {} times", runs - 1));
}

/// A second, within one window.
#[test]
fn all_queries_over_the_stream_as_it_is() {
    with_workers(Tempo::of(1), 1);
}

/// Thirty-two seconds, with events exactly at the ends of windows.
#[test]
fn all_queries_over_several_windows() {
    with_workers(Tempo::of(32).with_equal_prices(), 2);
}

/// Nearly three days, with no two milliseconds of the stream in one window.
#[test]
fn all_queries_over_several_days() {
    with_workers(Tempo::of(240_000), 4);
}

#[test]
fn all_queries_crashed_and_rescaled() {
    interrupted(Tempo::of(80).with_equal_prices(), Interruption::Crash);
}

#[test]
fn all_queries_stopped_and_rescaled() {
    interrupted(Tempo::of(300_000), Interruption::Stop);
}
