//! What a time-to-live means, one sentence a test.

use std::time::Duration;

use highwater_state::keyed::ttl::{NO_STAMP, StateTtlConfig, TtlClocks, TtlTimeCharacteristic};
use highwater_state::keyed::{Max, Sum};
use highwater_state::{KeyedState, ListState, MapState, ReducingState, State, Ttl, ValueState};

use TtlTimeCharacteristic::{EventTime, ProcessingTime};

#[derive(KeyedState, Debug, PartialEq)]
struct Visitor {
    requests: ValueState<u64>,
    #[state(ttl = "10ms")]
    latest: ValueState<u64, Ttl>,
    #[state(ttl = "10ms", time = "event")]
    pages: MapState<String, u64, Ttl>,
}

/// A row that follows clocks at this processing time and watermark.
fn row<S: KeyedState>(processing_ms: i64, watermark_ms: i64) -> (S, TtlClocks) {
    let clocks = TtlClocks::of::<S>().unwrap();
    clocks.set(ProcessingTime, processing_ms);
    clocks.set(EventTime, watermark_ms);
    let mut row = S::default();
    row.follow(&clocks);
    (row, clocks)
}

fn encoding(state: &impl KeyedState) -> Vec<u8> {
    let mut bytes = Vec::new();
    state.encode(&mut bytes);
    bytes
}

#[test]
fn a_state_expires_when_its_time_has_come_and_not_before() {
    let (mut visitor, clocks) = row::<Visitor>(1_000, 0);
    visitor.requests.set(1);
    visitor.latest.set(2);
    clocks.set(ProcessingTime, 1_009);
    assert_eq!(visitor.latest.get(), Some(&2));
    clocks.set(ProcessingTime, 1_010);
    assert_eq!((visitor.latest.get(), visitor.latest.is_set(), visitor.latest.get_or_default()), (None, false, 0));
    assert_eq!(visitor.latest.update(|latest| *latest + 1), 1, "it starts from the default, not from what has expired");
    assert_eq!(visitor.requests.get(), Some(&1));
    clocks.set(ProcessingTime, 1_020);
    assert_eq!(visitor.latest.take(), None);
    assert!(!visitor.is_empty());
}

#[test]
fn in_event_time_the_watermark_decides_and_records_stamp() {
    let (mut visitor, clocks) = row::<Visitor>(0, 100);
    clocks.set_record(105, 100);
    visitor.pages.insert("/".into(), 1);
    clocks.set_record(103, 100);
    visitor.pages.update("/".into(), |hits| *hits += 1);
    clocks.set(ProcessingTime, 1_000_000);
    clocks.set(EventTime, 114);
    assert_eq!(visitor.pages.get("/"), Some(&2), "the last access is the latest, not the last to come");
    clocks.set(EventTime, 115);
    assert_eq!(visitor.pages.get("/"), None);
    // What a late record writes is there for the rest of its call, and after it.
    clocks.set_record(50, 115);
    visitor.pages.insert("/late".into(), 1);
    assert_eq!(visitor.pages.get("/late"), Some(&1));
    clocks.set(EventTime, 124);
    assert_eq!(visitor.pages.get("/late"), Some(&1));
}

#[test]
fn clean_up_drops_what_has_expired_and_tells_whether_anything_changed() {
    let (mut visitor, clocks) = row::<Visitor>(0, 0);
    visitor.latest.set(1);
    clocks.set_record(5, 0);
    visitor.pages.insert("/".into(), 1);
    assert!(!visitor.expire());
    clocks.set(ProcessingTime, 10);
    assert!(!visitor.is_empty(), "it is there until it is cleaned up");
    assert!(visitor.expire());
    assert!(!visitor.expire(), "nothing more to clean up");
    clocks.set(EventTime, 15);
    assert!(visitor.expire() && visitor.is_empty());
}

#[test]
fn stamps_are_stored_behind_the_values() {
    let (mut visitor, clocks) = row::<Visitor>(0x0102, 0);
    visitor.latest.set(7);
    clocks.set_record(9, 0);
    visitor.pages.insert("/".into(), 3);
    let bytes = [
        &[0][..],
        &[1, 7, 0, 0, 0, 0, 0, 0, 0, 0x02, 0x01, 0, 0, 0, 0, 0, 0],
        &[1, 0, 0, 0, 1, 0, 0, 0, b'/', 3, 0, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0],
    ]
    .concat();
    assert_eq!(encoding(&visitor), bytes);
    let mut restored = Visitor::decode(&mut &bytes[..]).unwrap();
    assert_eq!(restored, visitor);
    restored.follow(&clocks);
    clocks.set(ProcessingTime, 0x0102 + 10);
    assert!(!restored.latest.is_set() && restored.pages.contains_key("/"));
    let names: Vec<_> = Visitor::states().iter().map(ToString::to_string).collect();
    assert_eq!(
        names,
        ["requests: ValueState<u64>", "latest: ValueState<u64, Ttl>", "pages: MapState<String, u64, Ttl>"]
    );
}

/// As the restore of a state that had no time-to-live leaves it.
#[test]
fn what_has_no_stamp_gets_one_when_it_is_first_seen() {
    let mut bytes = vec![0, 1];
    bytes.extend(7u64.to_le_bytes());
    bytes.extend(NO_STAMP.to_le_bytes());
    bytes.extend(1u32.to_le_bytes());
    bytes.extend([1, 0, 0, 0, b'/']);
    bytes.extend(3u64.to_le_bytes());
    bytes.extend(NO_STAMP.to_le_bytes());
    for by_clean_up in [false, true] {
        let (_, clocks) = row::<Visitor>(1_000, NO_STAMP);
        let mut visitor = Visitor::decode(&mut &bytes[..]).unwrap();
        visitor.follow(&clocks);
        let see = |visitor: &mut Visitor| match by_clean_up {
            true => assert!(visitor.expire(), "a new stamp is a change"),
            false => assert!(visitor.latest.get().is_some() && visitor.pages.iter().count() == 1),
        };
        see(&mut visitor);
        clocks.set(ProcessingTime, 1_009);
        assert!(!visitor.expire(), "no watermark yet, so no time to stamp with");
        clocks.set(EventTime, 1);
        see(&mut visitor);
        clocks.set(ProcessingTime, 1_010);
        clocks.set(EventTime, 10);
        assert!(!visitor.latest.is_set() && visitor.pages.contains_key("/"));
        clocks.set(EventTime, 11);
        assert!(visitor.pages.is_empty() && visitor.expire() && visitor.is_empty());
    }
}

#[test]
fn elements_without_a_stamp_get_one_each() {
    #[derive(KeyedState)]
    struct Row {
        #[state(ttl = "10ms")]
        list: ListState<u8, Ttl>,
    }

    let mut bytes = vec![2, 0, 0, 0, 7];
    bytes.extend(NO_STAMP.to_le_bytes());
    bytes.push(8);
    bytes.extend(995i64.to_le_bytes());
    let (_, clocks) = row::<Row>(1_000, 0);
    let mut restored = Row::decode(&mut &bytes[..]).unwrap();
    restored.follow(&clocks);
    assert!(restored.expire(), "a new stamp is a change");
    assert!(!restored.expire());
    clocks.set(ProcessingTime, 1_005);
    assert_eq!(restored.list.iter().collect::<Vec<_>>(), [&7]);
    clocks.set(ProcessingTime, 1_010);
    assert!(restored.list.is_empty());
}

#[test]
fn a_row_without_a_clock_shows_everything_and_stamps_nothing() {
    let mut visitor = Visitor::default();
    visitor.latest.set(1);
    visitor.latest.update(|latest| *latest += 1);
    visitor.pages.insert("/".into(), 1);
    assert_eq!((visitor.latest.get(), visitor.pages.len()), (Some(&2), 1));
    assert!(!visitor.expire());
    assert!(encoding(&visitor).ends_with(&NO_STAMP.to_le_bytes()));
    // A state that a function has replaced gets its clock with the next record.
    let (mut visitor, clocks) = row::<Visitor>(0, 0);
    visitor.latest = ValueState::default();
    visitor.latest.set(1);
    visitor.follow(&clocks);
    assert_eq!(visitor.latest.get(), Some(&1));
    clocks.set(ProcessingTime, 10);
    assert!(!visitor.latest.is_set());
}

#[test]
fn without_a_ttl_nothing_is_larger() {
    assert_eq!(size_of::<ValueState<u64>>(), size_of::<Option<u64>>());
    assert_eq!(size_of::<ValueState<String>>(), size_of::<Option<String>>());
    assert_eq!(size_of::<ListState<u8>>(), size_of::<Vec<u8>>());
    assert_eq!(size_of::<MapState<u8, u8>>(), size_of::<std::collections::BTreeMap<u8, u8>>());
    assert_eq!(size_of::<ReducingState<u64, Sum>>(), size_of::<Option<u64>>());
    // A stamp each, and the clock of the row.
    assert_eq!(size_of::<ValueState<u64, Ttl>>(), size_of::<Option<u64>>() + 8 + 8);
    assert_eq!(size_of::<ListState<u8, Ttl>>(), size_of::<Vec<u8>>() + 8);
    assert_eq!(size_of::<MapState<u8, u8, Ttl>>(), size_of::<std::collections::BTreeMap<u8, u8>>() + 8);
    const { assert!(Visitor::HAS_TTL) }
    const { assert!(!highwater_state::Plain::<u64>::HAS_TTL) }
}

fn any_time() -> Duration {
    Duration::from_millis(1_500)
}

fn no_time() -> Duration {
    Duration::from_micros(999)
}

#[test]
fn a_ttl_may_come_from_a_function_and_is_checked_before_it_is_used() {
    #[derive(KeyedState)]
    struct Row {
        #[state(ttl = any_time)]
        longest: ReducingState<u64, Max, Ttl>,
    }

    #[derive(KeyedState)]
    struct Zero {
        #[state(ttl = self::no_time)]
        longest: ReducingState<u64, Max, Ttl>,
    }

    assert_eq!(Row::ttl_configs(), [("longest", StateTtlConfig::new(Duration::from_millis(1_500)))]);
    assert_eq!(TtlClocks::of::<Row>().unwrap().shortest_ttl_ms(ProcessingTime), Some(1_500));
    assert_eq!(TtlClocks::of::<Row>().unwrap().shortest_ttl_ms(EventTime), None);
    assert!(Row::default().longest.is_cleared() && Zero::default().longest.is_cleared());
    let error = TtlClocks::of::<Zero>().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the ttl of state `longest` is 999µs: give 1 ms or more, or declare the state without ttl"
    );
}

#[test]
fn times_are_sums_of_numbers_with_units() {
    #[derive(KeyedState)]
    struct Times {
        #[state(ttl = "500ms")]
        a: ValueState<u8, Ttl>,
        #[state(ttl = "1m30s")]
        b: ValueState<u8, Ttl>,
        #[state(ttl = "2h")]
        c: ValueState<u8, Ttl>,
        #[state(ttl = "7d", visibility = "return_until_cleaned")]
        d: ValueState<u8, Ttl>,
    }
    let times: Vec<_> = Times::ttl_configs().into_iter().map(|(_, config)| config.ttl.as_millis()).collect();
    assert_eq!(times, [500, 90_000, 7_200_000, 604_800_000]);
    let Times { a, b, c, d } = Times::default();
    assert!([a, b, c, d].iter().all(State::is_cleared));
}
