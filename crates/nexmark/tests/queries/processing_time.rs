//! The published q12, whose windows are those of a clock: it is set by hand, and the input goes on when all bids have been counted.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{Error, ErrorKind};
use highwater_nexmark::queries::q12::q12_processing_time;
use highwater_nexmark::{Event, Generator, watermarks};
use highwater_testing::HandSetClock;

const EVENTS: u64 = 3_000;
/// How many events come in at a time.
const BATCH: usize = 500;
const SIZE_MS: i64 = 10_000;
/// Shortly before the end of a window, as it always is then: a worker that waits for the end does so by the machine's clock.
const START_MS: i64 = 1_700_000_009_990;
/// How often a source that waits looks again.
const LOOK: Duration = Duration::from_millis(1);
/// How many windows the bids of a batch may take: so many only pass if some are never counted.
const MOST_WINDOWS: u32 = 1_000;

/// The bids of the input, and those in the windows that have fired.
#[derive(Default)]
struct Bids {
    emitted: AtomicU64,
    counted: AtomicU64,
}

/// The stream, batch by batch.
struct Batches {
    clock: Arc<HandSetClock>,
    bids: Arc<Bids>,
    /// Whether windows fire while there is input.
    time_goes: bool,
}

impl Source for Batches {
    type Record = Event;
    type Split = Generator;
    type Reader = Batch;

    fn discover(&self, _: u32) -> highwater::Result<Vec<Generator>> {
        Ok(Generator::split(EVENTS, 1))
    }

    fn reader(&self, generators: Vec<Generator>) -> highwater::Result<Batch> {
        let time = self.time_goes.then(|| Arc::clone(&self.clock));
        Ok(Batch { generators, time, waited: 0, bids: Arc::clone(&self.bids) })
    }
}

struct Batch {
    generators: Vec<Generator>,
    /// If time goes.
    time: Option<Arc<HandSetClock>>,
    /// For so many windows.
    waited: u32,
    bids: Arc<Bids>,
}

impl SourceReader for Batch {
    type Record = Event;
    type Split = Generator;

    fn poll(&mut self, output: &mut SourceOutput<Event>) -> highwater::Result<SourceStatus> {
        let Some(generator) = self.generators.first_mut() else { return Ok(SourceStatus::End) };
        if let Some(time) = &self.time
            && self.bids.counted.load(Ordering::SeqCst) < self.bids.emitted.load(Ordering::SeqCst)
        {
            self.waited += 1;
            if self.waited > MOST_WINDOWS {
                return Err(Error::new(ErrorKind::Input, "some bids are in no window"));
            }
            time.unix_ms.fetch_add(SIZE_MS, Ordering::SeqCst);
            return Ok(SourceStatus::Idle(LOOK));
        }
        if generator.left() == 0 {
            return Ok(SourceStatus::End);
        }
        self.waited = 0;
        for event in generator.take(output.room().min(BATCH)) {
            self.bids.emitted.fetch_add(u64::from(matches!(event, Event::Bid(_))), Ordering::SeqCst);
            output.emit(event);
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<Generator> {
        self.generators.clone()
    }
}

/// A bidder with the number of bids in the window from one time to another.
type Line = (u64, u64, i64, i64);

/// What comes out, and the time at the end.
fn counted(time_goes: bool) -> (Vec<Line>, i64) {
    let clock = Arc::new(HandSetClock::default());
    clock.unix_ms.store(START_MS, Ordering::SeqCst);
    let (env, output, bids) = (StreamExecutionEnvironment::new(), CollectSink::new(), Arc::new(Bids::default()));
    env.stop_on_signals(false).set_parallelism(2).set_clock(Arc::clone(&clock) as _);
    env.set_restart_strategy(RestartStrategy::None);
    let source = Batches { clock: Arc::clone(&clock), bids: Arc::clone(&bids), time_goes };
    let rows = q12_processing_time(&env.from_source(source, watermarks(), "nexmark"));
    rows.map(move |row| {
        bids.counted.fetch_add(row.bid_count, Ordering::SeqCst);
        Ok((row.bidder, row.bid_count, row.window.start_ms, row.window.end_ms))
    })
    .sink_to(output.clone());
    env.execute("nexmark").unwrap();
    (output.committed(), clock.unix_ms.load(Ordering::SeqCst))
}

#[test]
fn every_bid_is_in_one_window_of_the_clock() {
    let (lines, end_ms) = counted(true);
    let (mut counts, mut windows) = (BTreeMap::new(), BTreeMap::<_, u64>::new());
    for (bidder, bid_count, from_ms, to_ms) in lines {
        assert!(from_ms % SIZE_MS == 0 && to_ms - from_ms == SIZE_MS, "{from_ms} to {to_ms} is no window");
        assert!(START_MS < to_ms && to_ms <= end_ms, "{from_ms} to {to_ms} has not been, it is {end_ms}");
        *counts.entry(bidder).or_default() += bid_count;
        *windows.entry((bidder, from_ms)).or_default() += 1;
    }
    let mut expected = BTreeMap::<u64, u64>::new();
    for event in Generator::new(EVENTS) {
        if let Event::Bid(bid) = event {
            *expected.entry(bid.bidder).or_default() += 1;
        }
    }
    assert_eq!(counts, expected);
    assert!(windows.values().all(|rows| *rows == 1), "a bidder has two rows of one window");
    let batches = EVENTS as usize / BATCH;
    let begins: BTreeSet<_> = windows.keys().map(|(_, from_ms)| from_ms).collect();
    assert!(begins.len() >= batches, "{} windows for {batches} batches", begins.len());
}

#[test]
fn a_window_that_is_open_at_the_end_has_no_rows() {
    assert_eq!(counted(false).0, []);
}
