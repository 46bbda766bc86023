//! Values without their types: bytes and a schema to JSON, and back.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use highwater_state::schema::{NamedState, StateKind, ValueError};
use highwater_state::{Data, DecodeError, KeyedState, ListState, MapState, Schema, StateSchema, ValueState};
use proptest::prelude::*;
use serde_json::{Value, json};

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Unit;

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct UserId(u64);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Maybe(Option<u8>);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
struct Pair(i8, String);

#[derive(Clone, Debug, PartialEq, Data)]
enum Event {
    Quit,
    Seen(UserId),
    Moved(i32, i32),
    Typed { code: char, at: Duration },
}

#[derive(Clone, Debug, PartialEq, Data)]
struct Everything {
    unsigned: (u8, u16, u32, u64, u128),
    signed: (i8, i16, i32, i64, i128),
    floats: (f32, f64),
    unit: Unit,
    flag: bool,
    text: String,
    events: Vec<Event>,
    nested: Option<Option<Option<u8>>>,
    maybe: Option<Maybe>,
    set: BTreeSet<Pair>,
    by_name: BTreeMap<String, Vec<u8>>,
    by_number: HashMap<u16, [bool; 3]>,
    empty: [u64; 0],
    at: SystemTime,
    addresses: (Ipv4Addr, Ipv6Addr, IpAddr),
}

fn encoded<T: Data>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// All of the bytes as one value.
fn decoded(schema: &Schema, bytes: &[u8]) -> Result<Value, DecodeError> {
    let mut rest = bytes;
    let json = schema.decode_json(&mut rest)?;
    assert!(rest.is_empty(), "{} bytes were left of {json}", rest.len());
    Ok(json)
}

fn json_of<T: Data>(value: &T) -> Value {
    decoded(&T::schema(), &encoded(value)).unwrap()
}

fn bytes_of<T: Data>(json: &Value) -> Result<Vec<u8>, ValueError> {
    let mut bytes = Vec::new();
    T::schema().encode_json(json, &mut bytes).map(|()| bytes)
}

#[track_caller]
fn same<T: Data>(value: &T, json: &Value) {
    assert_eq!(json_of(value), *json);
    assert_eq!(bytes_of::<T>(json).unwrap(), encoded(value), "{json}");
}

#[test]
fn scalars() {
    same(&7u8, &json!(7));
    same(&u64::MAX, &json!(18_446_744_073_709_551_615_u64));
    same(&i64::MIN, &json!(-9_223_372_036_854_775_808_i64));
    same(&u128::MAX, &json!("340282366920938463463374607431768211455"));
    same(&i128::MIN, &json!("-170141183460469231731687303715884105728"));
    same(&0.1f32, &json!(0.1));
    same(&-0.0f64, &json!(-0.0));
    same(&f64::INFINITY, &json!("Infinity"));
    same(&f32::NEG_INFINITY, &json!("-Infinity"));
    assert_eq!(json_of(&f64::NAN), json!("NaN"));
    assert_eq!(json_of(&-f32::NAN), json!("NaN"));
    same(&'é', &json!("é"));
    same(&(), &json!(null));
    same(&Unit, &json!({}));
}

#[test]
fn times_and_addresses() {
    same(&Duration::from_millis(90_500), &json!("90.5s"));
    same(&Duration::MAX, &json!("18446744073709551615.999999999s"));
    same(&(UNIX_EPOCH - Duration::from_nanos(1)), &json!("1969-12-31T23:59:59.999999999Z"));
    same(&IpAddr::V4(Ipv4Addr::LOCALHOST), &json!("127.0.0.1"));
    same(&Ipv6Addr::LOCALHOST, &json!("::1"));
}

#[test]
fn compounds() {
    same(&UserId(7), &json!(7));
    same(&Pair(-1, "x".into()), &json!([-1, "x"]));
    same(&Event::Quit, &json!("Quit"));
    same(&Event::Seen(UserId(7)), &json!({"Seen": 7}));
    same(&Event::Moved(1, 2), &json!({"Moved": [1, 2]}));
    same(&Event::Typed { code: 'x', at: Duration::ZERO }, &json!({"Typed": {"code": "x", "at": "0s"}}));
    same(&None::<u8>, &json!(null));
    same(&Some(7u8), &json!(7));
    same(&Some(None::<u8>), &json!({"some": null}));
    same(&Some(Maybe(None)), &json!({"some": null}));
    same(&Some(()), &json!({"some": null}));
    same(&BTreeMap::from([("a".to_owned(), 1u8)]), &json!({"a": 1}));
    same(&BTreeMap::from([(1u8, "a".to_owned())]), &json!([[1, "a"]]));
    same(&vec![(), ()], &json!([null, null]));
}

#[test]
fn what_is_no_value_is_refused_with_its_place() {
    #[track_caller]
    fn refused<T: Data>(json: Value, text: &str) {
        assert_eq!(bytes_of::<T>(&json).unwrap_err().to_string(), text);
    }
    refused::<u8>(json!(256), "256 is not a number of type u8");
    refused::<u8>(json!(1.0), "1.0 is not a number of type u8");
    refused::<String>(json!(1), "1 is not a string");
    refused::<Vec<Event>>(
        json!(["Quit", {"Typed": {"code": "xy", "at": "1s"}}]),
        "element 1: variant Typed: field \"code\": \"xy\" is not a string of one character",
    );
    refused::<Event>(json!("Seen"), "variant Seen has fields: give {\"Seen\": ..}");
    refused::<Event>(json!({"Quit": null}), "variant Quit has no fields: give \"Quit\"");
    refused::<Event>(json!("Left"), "\"Left\" is not a variant of Quit, Seen, Moved, Typed");
    refused::<Event>(json!({"Typed": {"code": "x"}}), "variant Typed: field \"at\" is missing");
    refused::<(u8, u8)>(json!([1]), "1 parts instead of 2");
    refused::<[u8; 2]>(json!([1, 2, 3]), "3 elements instead of 2");
    refused::<Option<Option<u8>>>(json!(1), "1 is not null or {\"some\": value}");
    refused::<BTreeMap<u8, u8>>(json!([[1, 2], [3]]), "element 1: 1 parts instead of 2");
    for duration in ["1", "s", ".5s", "1.s", "-1s", "1.0000000000s", "18446744073709551616s"] {
        assert!(bytes_of::<Duration>(&json!(duration)).is_err(), "{duration}");
    }
}

#[test]
fn numbers_of_entries_are_not_believed() {
    // Four billion values without bytes, in lists and in arrays of the schema.
    let many = [0xff; 4];
    assert_eq!(decoded(&Vec::<()>::schema(), &many), Err(DecodeError::TooManyEmpty));
    let array = Schema::Array(Box::new(Schema::Array(Box::new(Schema::U64), 0)), u64::MAX);
    assert_eq!(decoded(&array, &[]), Err(DecodeError::TooManyEmpty));
    assert!(matches!(decoded(&Vec::<u64>::schema(), &many), Err(DecodeError::TooLong { .. })));
    let array = Schema::Array(Box::new(Schema::U64), u64::MAX);
    assert!(matches!(decoded(&array, &many), Err(DecodeError::CutOff { .. })));
}

#[test]
fn entries_that_are_there_twice_are_refused() {
    assert!(matches!(decoded(&BTreeSet::<u8>::schema(), &[2, 0, 0, 0, 5, 5]), Err(DecodeError::Duplicate { .. })));
    let map = BTreeMap::<u8, u8>::schema();
    assert!(matches!(decoded(&map, &[2, 0, 0, 0, 5, 1, 5, 2]), Err(DecodeError::Duplicate { .. })));
}

#[derive(KeyedState)]
struct Visitor {
    requests: ValueState<u64>,
    latest: ListState<u16>,
    pages: MapState<String, u32>,
}

#[test]
fn a_row_is_its_states() {
    let mut row = Visitor::default();
    row.latest.extend([1, 2]);
    row.pages.insert("/".into(), 3);
    let mut bytes = Vec::new();
    row.encode(&mut bytes);
    let schema = StateSchema { key: Schema::String, states: Visitor::states() };
    let mut rest = bytes.as_slice();
    assert_eq!(schema.decode_json(&mut rest).unwrap(), [json!(null), json!([1, 2]), json!({"/": 3})]);
    assert!(rest.is_empty());
    assert!(schema.decode_json(&mut &bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn reducing_and_aggregating_states_are_at_most_one_value() {
    for kind in [StateKind::Reducing, StateKind::Aggregating] {
        let state = NamedState::new("sum", kind, Schema::U64);
        assert_eq!(state.decode_json(&mut encoded(&Some(7u64)).as_slice()).unwrap(), json!(7));
        assert_eq!(state.decode_json(&mut &[0u8][..]).unwrap(), json!(null));
    }
    let plain = NamedState::new("", StateKind::Plain, Schema::U64);
    assert_eq!(plain.decode_json(&mut encoded(&7u64).as_slice()).unwrap(), json!(7));
}

#[test]
fn a_state_with_a_time_to_live_shows_its_stamps() {
    let ttl = |kind, schema| NamedState::new("x", kind, schema).with_ttl(true);
    let shown = |state: NamedState, bytes: Vec<u8>| state.decode_json(&mut bytes.as_slice()).unwrap();
    let seen = json!({"value": 7, "last_access_ms": 5});
    let unseen = json!({"value": 8, "last_access_ms": null});
    let (stamped, unstamped) = ((7u8, 5i64), (8u8, i64::MIN));
    assert_eq!(shown(ttl(StateKind::Value, Schema::U8), encoded(&Some(stamped))), seen);
    assert_eq!(shown(ttl(StateKind::Value, Schema::U8), encoded(&None::<u8>)), json!(null));
    assert_eq!(shown(ttl(StateKind::List, Schema::U8), encoded(&vec![stamped, unstamped])), json!([seen, unseen]));
    let by_name = BTreeMap::from([("a".to_owned(), stamped)]);
    let map = ttl(StateKind::Map { key: Schema::String }, Schema::U8);
    assert_eq!(shown(map, encoded(&by_name)), json!({"a": seen}));
}

fn events() -> impl Strategy<Value = Event> {
    prop_oneof![
        Just(Event::Quit),
        any::<u64>().prop_map(|id| Event::Seen(UserId(id))),
        any::<(i32, i32)>().prop_map(|(x, y)| Event::Moved(x, y)),
        any::<(char, Duration)>().prop_map(|(code, at)| Event::Typed { code, at }),
    ]
}

fn everything() -> impl Strategy<Value = Everything> {
    let finite = (any::<f32>(), any::<f64>());
    let pairs = prop::collection::btree_set(any::<(i8, String)>().prop_map(|(x, y)| Pair(x, y)), 0..4);
    let by_name = prop::collection::btree_map(any::<String>(), prop::collection::vec(any::<u8>(), 0..3), 0..4);
    let by_number = prop::collection::hash_map(any::<u16>(), any::<[bool; 3]>(), 0..4);
    let numbers = (any::<(u8, u16, u32, u64, u128)>(), any::<(i8, i16, i32, i64, i128)>(), finite);
    let options = (any::<Option<Option<Option<u8>>>>(), any::<Option<Option<u8>>>());
    let addresses = any::<(Ipv4Addr, Ipv6Addr, IpAddr)>();
    let texts = (any::<bool>(), any::<String>(), prop::collection::vec(events(), 0..4));
    (numbers, texts, options, pairs, by_name, by_number, any::<SystemTime>(), addresses).prop_map(
        |(numbers, texts, options, set, by_name, by_number, at, addresses)| Everything {
            unsigned: numbers.0,
            signed: numbers.1,
            floats: numbers.2,
            unit: Unit,
            flag: texts.0,
            text: texts.1,
            events: texts.2,
            nested: options.0,
            maybe: options.1.map(Maybe),
            set,
            by_name,
            by_number,
            empty: [],
            at,
            addresses,
        },
    )
}

proptest! {
    #[test]
    fn every_value_goes_to_json_and_back(value in everything()) {
        let (schema, bytes) = (Everything::schema(), encoded(&value));
        let json = decoded(&schema, &bytes).unwrap();
        let mut back = Vec::new();
        schema.encode_json(&json, &mut back).unwrap();
        let back = Everything::decode(&mut back.as_slice()).unwrap();
        prop_assert_eq!(back, value);
        for len in 0..bytes.len() {
            prop_assert!(schema.decode_json(&mut &bytes[..len]).is_err(), "cut at {}", len);
        }
    }

    #[test]
    fn bytes_that_are_no_value_do_no_harm(mut bytes in prop::collection::vec(any::<u8>(), 0..400), value in everything(), at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let schema = Everything::schema();
        let _ = schema.decode_json(&mut bytes.as_slice());
        bytes = encoded(&value);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        let (mut rest, mut typed) = (bytes.as_slice(), bytes.as_slice());
        let (json, value) = (schema.decode_json(&mut rest), Everything::decode(&mut typed));
        // The one takes what the other takes, but for times beyond this machine's clock.
        if value.is_ok() {
            prop_assert!(json.is_ok() && rest.len() == typed.len(), "{:?}", json);
        } else if let Ok(json) = json {
            prop_assert!(json["at"].as_str().is_some_and(|at| at.starts_with(['+', '-'])), "{:?} {:?}", value, json);
        }
    }
}
