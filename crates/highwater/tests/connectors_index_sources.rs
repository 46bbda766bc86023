//! Sources of numbered records: shares, restore at another parallelism, and the pace of the generator.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::connectors::{CollectionSource, Generator, IndexSplit};
use highwater_core::{Clock, ErrorKind};
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};

#[derive(Default)]
struct ManualClock(Mutex<Duration>);

impl ManualClock {
    fn advance(&self, by: Duration) {
        *self.0.lock().unwrap() += by;
    }
}

impl Clock for ManualClock {
    fn monotonic(&self) -> Duration {
        *self.0.lock().unwrap()
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

fn poll<R: SourceReader>(reader: &mut R) -> (Vec<R::Record>, SourceStatus) {
    let mut output = SourceOutput::default();
    let status = reader.poll(&mut output).unwrap();
    (output.take().into_iter().map(|(record, _)| record).collect(), status)
}

fn drain<R: SourceReader>(reader: &mut R) -> Vec<R::Record> {
    let mut records = Vec::new();
    loop {
        let (more, status) = poll(reader);
        records.extend(more);
        if status != SourceStatus::More {
            return records;
        }
    }
}

/// What all subtasks emit, in order of the index, when `parallelism` of them are restored as `restored` after one poll each.
fn emitted<S: Source<Split = IndexSplit>>(source: &S, parallelism: u32, restored: usize) -> Vec<S::Record>
where
    S::Record: Ord,
{
    let mut records = Vec::new();
    let mut snapshots = Vec::new();
    for split in source.discover(parallelism).unwrap() {
        let mut reader = source.reader(vec![split]).unwrap();
        records.extend(poll(&mut reader).0);
        snapshots.extend(reader.snapshot());
    }
    for subtask in 0..restored {
        let mine = snapshots.iter().skip(subtask).step_by(restored).cloned().collect();
        records.extend(drain(&mut source.reader(mine).unwrap()));
    }
    records.sort();
    records
}

#[test]
fn every_index_is_emitted_once_whatever_the_parallelism_was_and_is() {
    for count in [0u64, 1, 2, 7, 5000] {
        for parallelism in [1, 2, 3, 8] {
            for restored in [1, 2, 3, 8] {
                let generator = Generator::new(|index| index).count(count);
                assert_eq!(emitted(&generator, parallelism, restored), (0..count).collect::<Vec<_>>());
                let collection = CollectionSource::new((0..count).collect());
                assert_eq!(emitted(&collection, parallelism, restored), (0..count).collect::<Vec<_>>());
            }
        }
    }
}

#[test]
fn one_reader_emits_in_order() {
    let source = CollectionSource::new((0..3000).collect());
    assert_eq!(drain(&mut source.reader(source.discover(1).unwrap()).unwrap()), (0..3000).collect::<Vec<_>>());
    // Splits of an earlier parallelism take turns.
    assert_eq!(drain(&mut source.reader(source.discover(4).unwrap()).unwrap()), (0..3000).collect::<Vec<_>>());
}

#[test]
fn a_subtask_without_splits_has_ended() {
    let source = Generator::new(|index| index).rate(10);
    assert_eq!(poll(&mut source.reader(vec![]).unwrap()), (vec![], SourceStatus::End));
}

#[test]
fn the_rate_is_that_of_all_subtasks_and_late_polls_catch_up() {
    let clock = Arc::new(ManualClock::default());
    let source = Generator::new(|index| index).rate(100).clock(clock.clone());
    let mut readers: Vec<_> =
        source.discover(4).unwrap().into_iter().map(|split| source.reader(vec![split]).unwrap()).collect();
    let mut total = 0;
    for tenth in 0..=50 {
        total += readers.iter_mut().map(|reader| poll(reader).0.len()).sum::<usize>();
        // Each of the four begins at once with one record, and 25 a second follow.
        assert_eq!(total, 4 + 4 * (tenth * 25 / 10), "after {tenth} tenths of a second");
        clock.advance(Duration::from_millis(100));
    }
}

#[test]
fn no_burst_is_longer_than_a_second() {
    let clock = Arc::new(ManualClock::default());
    let source = Generator::new(|index| index).rate(50).clock(clock.clone());
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    assert_eq!(poll(&mut reader).0.len(), 1);
    clock.advance(Duration::from_secs(3600));
    assert_eq!(poll(&mut reader).0.len(), 50);
    assert_eq!(poll(&mut reader).0.len(), 0);
    clock.advance(Duration::from_millis(100));
    assert_eq!(poll(&mut reader).0.len(), 5);
}

#[test]
fn it_sleeps_exactly_until_the_next_record_is_due() {
    let clock = Arc::new(ManualClock::default());
    let source = Generator::new(|index| index).rate(3).clock(clock.clone());
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    for _ in 0..20 {
        let (records, status) = poll(&mut reader);
        assert_eq!(records.len(), 1);
        let SourceStatus::Idle(wait) = status else { panic!("{status:?}") };
        clock.advance(wait - Duration::from_nanos(2));
        assert_eq!(poll(&mut reader).0.len(), 0);
        clock.advance(Duration::from_nanos(2));
    }
}

#[test]
fn a_rate_of_nothing_is_refused() {
    let source = Generator::new(|index| index).rate(0);
    let error = source.reader(source.discover(1).unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Settings);
}
