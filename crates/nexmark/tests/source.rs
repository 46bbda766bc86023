//! The source: pace, several generators in one reader, and positions.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater_core::Clock;
use highwater_nexmark::{Event, Generator, NexmarkReader, NexmarkSource, Pace};

/// Stands still until it is moved.
#[derive(Default)]
struct HandMovedClock(AtomicU64);

impl HandMovedClock {
    fn advance(&self, by: Duration) {
        self.0.fetch_add(by.as_nanos() as u64, Ordering::SeqCst);
    }
}

impl Clock for HandMovedClock {
    fn monotonic(&self) -> Duration {
        Duration::from_nanos(self.0.load(Ordering::SeqCst))
    }

    fn unix_ms(&self) -> i64 {
        0
    }
}

fn poll(reader: &mut NexmarkReader) -> (Vec<Event>, SourceStatus) {
    let mut output = SourceOutput::default();
    let status = reader.poll(&mut output).unwrap();
    (output.take().into_iter().map(|(event, _)| event).collect(), status)
}

/// All that a reader emits until it ends.
fn read(reader: &mut NexmarkReader) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let (polled, status) = poll(reader);
        events.extend(polled);
        if status == SourceStatus::End {
            return events;
        }
    }
}

#[test]
fn events_come_when_they_are_due() {
    let clock = Arc::new(HandMovedClock::default());
    let pace = Arc::new(Pace::new(20_000, clock.clone()));
    let source = NexmarkSource::new(1_000).paced(Arc::clone(&pace));
    let mut reader = source.reader(source.discover(1).unwrap()).unwrap();
    // The first millisecond of the stream has nine events, every further one ten, and takes half a millisecond.
    for expected in [9, 10, 20] {
        let (events, status) = poll(&mut reader);
        assert_eq!(events.len(), expected);
        assert!(matches!(status, SourceStatus::Idle(_)), "{status:?}");
        assert!(events.iter().all(|event| pace.due(event.date_time()) <= pace.elapsed()));
        assert_eq!(poll(&mut reader).0, [], "nothing more is due");
        clock.advance(Duration::from_micros(if expected == 9 { 500 } else { 1_000 }));
    }
    clock.advance(Duration::from_secs(1));
    assert_eq!(read(&mut reader).len(), 1_000 - 39);
}

#[test]
fn a_reader_of_several_generators_goes_on_where_it_was_and_event_times_never_go_back() {
    let source = NexmarkSource::new(5_000).generators(3);
    let whole = read(&mut source.reader(source.discover(1).unwrap()).unwrap());
    assert_eq!(whole.len(), 5_000);
    assert!(whole.is_sorted_by_key(Event::date_time));

    let mut before = source.reader(source.discover(1).unwrap()).unwrap();
    let mut events = poll(&mut before).0;
    let after: Vec<Generator> = before.snapshot();
    assert!(!events.is_empty() && after.len() == 3);
    events.extend(read(&mut source.reader(after).unwrap()));
    assert_eq!(events, whole);
}

#[test]
fn a_reader_without_generators_is_at_its_end() {
    let mut reader = NexmarkSource::new(5_000).reader(Vec::new()).unwrap();
    assert_eq!(poll(&mut reader), (Vec::new(), SourceStatus::End));
}
