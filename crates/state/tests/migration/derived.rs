//! Derived types of two versions of a program: values of the old one, rewritten as bytes, are those of the new one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use highwater_state::schema::{Migration, NamedState, Schema, StateKind, StateSchema, ValueMigration};
use highwater_state::{Data, DecodeError, KeyedState, ListState, MapState, Plain, ValueState};
use proptest::prelude::*;

fn encoding<T: Data>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

/// `old` becomes `new`, to the byte.
#[track_caller]
fn assert_migrates<A: Data, B: Data + Debug + PartialEq>(old: &A, new: &B) {
    let migration = ValueMigration::plan(&Schema::from_json(&A::schema().to_json()).unwrap(), &B::schema()).unwrap();
    let followed = [&encoding(old)[..], b"next"].concat();
    let (mut input, mut out) = (&followed[..], b"before".to_vec());
    migration.value(&mut input, &mut out).unwrap();
    assert_eq!(input, b"next");
    assert_eq!(B::decode(&mut &out[6..]).as_ref(), Ok(new));
    assert_eq!(out, [b"before", &encoding(new)[..]].concat());
}

mod v1 {
    use super::*;

    #[derive(Clone, Debug, Data)]
    pub struct Visit {
        pub host: String,
        pub bytes: u32,
        pub referer: String,
        pub at: Option<Point>,
        pub tags: Vec<Tag>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Data)]
    pub struct Point(pub i16, pub i16);

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Data)]
    pub enum Tag {
        None,
        Id(u8),
        Text { text: String },
    }

    #[derive(KeyedState)]
    pub struct Visitor {
        pub requests: ValueState<u32>,
        pub old: ListState<u8>,
        pub pages: MapState<Tag, u8>,
        pub latest: ListState<Point>,
    }
}

mod v2 {
    use super::*;

    fn port() -> u16 {
        443
    }

    #[derive(Clone, Debug, PartialEq, Data)]
    pub struct Visit {
        #[data(default = "port()")]
        pub port: u16,
        pub bytes: i64,
        #[data(alias = "site", alias = "host")]
        pub domain: Option<String>,
        pub at: Option<Point>,
        #[data(default)]
        pub notes: Vec<String>,
        pub tags: Vec<Tag>,
    }

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Default, Data)]
    pub struct Point(pub i32, pub i16, #[data(default = "-1")] pub i8);

    #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Data)]
    pub enum Tag {
        Added(u64),
        #[data(alias = "Text")]
        Words {
            text: String,
            #[data(default)]
            language: Option<String>,
        },
        Id(u16),
        None,
    }

    #[derive(KeyedState)]
    pub struct Visitor {
        pub added: MapState<u8, u8>,
        pub latest: ListState<Point>,
        #[state(alias = "requests")]
        pub hits: ValueState<u64>,
        pub pages: MapState<Tag, Option<u8>>,
        pub first: ValueState<String>,
    }
}

#[test]
fn structs_and_enums_of_two_versions() {
    let visit = |at, tags| v1::Visit { host: "example.org".into(), bytes: u32::MAX, referer: "-".into(), at, tags };
    let expected = |at, tags| v2::Visit {
        port: 443,
        bytes: u32::MAX.into(),
        domain: Some("example.org".into()),
        at,
        notes: Vec::new(),
        tags,
    };
    assert_migrates(&visit(None, Vec::new()), &expected(None, Vec::new()));
    assert_migrates(
        &visit(Some(v1::Point(-1, 2)), vec![v1::Tag::None, v1::Tag::Text { text: "é".into() }, v1::Tag::Id(200)]),
        &expected(
            Some(v2::Point(-1, 2, -1)),
            vec![v2::Tag::None, v2::Tag::Words { text: "é".into(), language: None }, v2::Tag::Id(200)],
        ),
    );
}

#[test]
fn numbers_keep_their_values() {
    assert_migrates(&(u8::MAX, i8::MIN), &(i16::from(u8::MAX), i128::from(i8::MIN)));
    assert_migrates(&[0u16, u16::MAX], &[0u128, u16::MAX.into()]);
    assert_migrates(&vec![i64::MIN, -1, i64::MAX], &vec![i128::from(i64::MIN), -1, i64::MAX.into()]);
    assert_migrates(&[f32::MIN, 0.1, -0.0, f32::INFINITY], &[f64::from(f32::MIN), 0.1f32.into(), -0.0, f64::INFINITY]);
}

#[test]
fn sets_and_maps_come_in_the_new_order() {
    use v1::Tag::{Id, None, Text};
    let text = |text: &str| Text { text: text.into() };
    let words = |text: &str| v2::Tag::Words { text: text.into(), language: Option::None };
    assert_migrates(
        &BTreeSet::from([None, Id(3), Id(7), text("a"), text("b")]),
        &BTreeSet::from([words("a"), words("b"), v2::Tag::Id(3), v2::Tag::Id(7), v2::Tag::None]),
    );
    assert_migrates(
        &BTreeMap::from([((None, 1u8), 10u8), ((text("z"), 0), 20)]),
        &BTreeMap::from([((words("z"), 0u16), Some(20u8)), ((v2::Tag::None, 1), Some(10))]),
    );
    // The same key twice is no map, old or new.
    let migration =
        ValueMigration::plan(&BTreeMap::<v1::Tag, u8>::schema(), &BTreeMap::<v2::Tag, u8>::schema()).unwrap();
    let twice = encoding(&vec![(None, 1u8), (None, 2)]);
    assert_eq!(migration.value(&mut &twice[..], &mut Vec::new()), Err(DecodeError::Duplicate { what: "Map" }));
}

#[test]
fn rows_of_two_versions() {
    let old = StateSchema { key: String::schema(), states: v1::Visitor::states() };
    let new = StateSchema { key: String::schema(), states: v2::Visitor::states() };
    let migration = Migration::plan(&StateSchema::from_json(&old.to_json()).unwrap(), &new).unwrap();
    assert!(!migration.is_identity());
    let mut visitor = v1::Visitor::default();
    visitor.requests.set(5);
    visitor.old.add(1);
    visitor.pages.insert(v1::Tag::None, 1);
    visitor.pages.insert(v1::Tag::Id(1), 2);
    visitor.latest.extend([v1::Point(1, 2), v1::Point(-3, 4)]);
    let mut expected = v2::Visitor::default();
    expected.hits.set(5);
    expected.pages.insert(v2::Tag::None, Some(1));
    expected.pages.insert(v2::Tag::Id(1), Some(2));
    expected.latest.extend([v2::Point(1, 2, -1), v2::Point(-3, 4, -1)]);
    let (mut input, mut output, mut both) = (Vec::new(), Vec::new(), Vec::new());
    for (key, row, new) in [("a", &visitor, &expected), ("", &v1::Visitor::default(), &v2::Visitor::default())] {
        let key = key.to_owned();
        key.encode(&mut input);
        row.encode(&mut input);
        key.encode(&mut output);
        new.encode(&mut output);
    }
    let mut input = &input[..];
    while !input.is_empty() {
        migration.entry(&mut input, &mut both).unwrap();
    }
    assert_eq!(both, output);
}

/// Stamps stand behind values, elements and the values of a map; one that was not stored is the least number.
#[test]
fn a_time_to_live_is_switched_on_and_off() {
    let state = |kind: &StateKind, schema: Schema, ttl| StateSchema {
        key: Schema::Unit,
        states: vec![NamedState::new("s", kind.clone(), schema).with_ttl(ttl)],
    };
    let migrate = |old: &StateSchema, new: &StateSchema, bytes: &[u8]| {
        let (mut input, mut out) = (bytes, Vec::new());
        Migration::plan(old, new).unwrap().entry(&mut input, &mut out).unwrap();
        assert!(input.is_empty());
        out
    };
    let none = i64::MIN;
    let map = StateKind::Map { key: Schema::U8 };
    let cases = [
        (StateKind::Value, encoding(&Some(7u8)), encoding(&Some((7u16, none))), encoding(&Some((7u8, 5i64)))),
        (StateKind::Reducing, encoding(&None::<u8>), encoding(&None::<u16>), encoding(&None::<u8>)),
        (
            StateKind::List,
            encoding(&vec![1u8, 2]),
            encoding(&vec![(1u16, none), (2, none)]),
            encoding(&vec![(1u8, 5i64), (2, 6)]),
        ),
        (map, encoding(&vec![(1u8, 2u8)]), encoding(&vec![(1u8, (2u16, none))]), encoding(&vec![(1u8, (2u8, 5i64))])),
    ];
    for (kind, without, widened, with) in cases {
        let (plain, stamped) = (state(&kind, Schema::U8, false), state(&kind, Schema::U8, true));
        assert_eq!(migrate(&plain, &state(&kind, Schema::U16, true), &without), widened, "{kind:?}");
        assert_eq!(migrate(&stamped, &plain, &with), without, "{kind:?}");
        assert!(Migration::plan(&stamped, &stamped).unwrap().is_identity());
        assert_eq!(migrate(&stamped, &stamped, &with), with, "{kind:?}");
    }
    let (old, new) = (state(&StateKind::Value, Schema::U8, true), state(&StateKind::Value, Schema::U16, true));
    assert_eq!(migrate(&old, &new, &encoding(&Some((7u8, 5i64)))), encoding(&Some((7u16, 5i64))));
}

#[test]
fn a_plain_value_is_migrated_too() {
    let schema = |states| StateSchema { key: u8::schema(), states };
    let (old, new) = (schema(Plain::<v1::Point>::states()), schema(Plain::<v2::Point>::states()));
    let mut out = Vec::new();
    Migration::plan(&old, &new).unwrap().entry(&mut &encoding(&(1u8, v1::Point(2, 3)))[..], &mut out).unwrap();
    assert_eq!(out, encoding(&(1u8, v2::Point(2, 3, -1))));
}

/// A length that was made up asks for no memory, and for no time.
#[test]
fn lengths_are_not_believed() {
    #[derive(Clone, Data)]
    struct Old {
        units: Vec<()>,
        nothings: Vec<[String; 0]>,
        counts: Vec<u32>,
        gone: Vec<Vec<()>>,
    }
    #[derive(Clone, Data)]
    struct New {
        units: Vec<()>,
        nothings: Vec<[String; 0]>,
        counts: Vec<u64>,
    }
    let migration = ValueMigration::plan(&Old::schema(), &New::schema()).unwrap();
    let run = |parts: &[&[u8]]| {
        let mut out = Vec::new();
        (migration.value(&mut &parts.concat()[..], &mut out), out.len())
    };
    let (huge, empty) = (&[0xff; 4][..], &[0; 4][..]);
    assert_eq!(run(&[huge, huge, empty, &[1, 0, 0, 0], huge]), (Ok(()), 12));
    let too_long = DecodeError::TooLong { len: u32::MAX, left: 4 };
    assert_eq!(run(&[huge, huge, huge, empty]).0, Err(too_long));
}

/// Any bytes: those that decode as the old type become ones that decode as the new, nothing panics.
fn check_bytes<A: Data, B: Data>(bytes: &[u8]) {
    let migration = ValueMigration::plan(&A::schema(), &B::schema()).unwrap();
    let (mut input, mut out) = (bytes, Vec::new());
    let migrated = migration.value(&mut input, &mut out);
    let mut rest = bytes;
    if A::decode(&mut rest).is_ok() {
        assert_eq!(migrated, Ok(()));
        assert_eq!(input, rest);
        let mut new = &out[..];
        assert!(B::decode(&mut new).is_ok());
        assert!(new.is_empty());
    }
}

fn visits() -> impl Strategy<Value = v1::Visit> {
    let point = any::<(i16, i16)>().prop_map(|(x, y)| v1::Point(x, y));
    let tag = prop_oneof![
        Just(v1::Tag::None),
        any::<u8>().prop_map(v1::Tag::Id),
        any::<String>().prop_map(|text| v1::Tag::Text { text }),
    ];
    let parts =
        (any::<String>(), any::<u32>(), any::<String>(), prop::option::of(point), prop::collection::vec(tag, 0..4));
    parts.prop_map(|(host, bytes, referer, at, tags)| v1::Visit { host, bytes, referer, at, tags })
}

proptest! {
    #[test]
    fn damage_never_panics(visit in visits(), bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = encoding(&visit);
        check_bytes::<v1::Visit, v2::Visit>(&bytes);
        check_bytes::<v1::Visit, v2::Visit>(&bytes[..cut.index(bytes.len())]);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        check_bytes::<v1::Visit, v2::Visit>(&bytes);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        check_bytes::<v1::Visit, v2::Visit>(&bytes);
        check_bytes::<Vec<v1::Tag>, Vec<v2::Tag>>(&bytes);
        check_bytes::<BTreeSet<v1::Tag>, BTreeSet<v2::Tag>>(&bytes);
        check_bytes::<Vec<(u8, char, bool)>, Vec<(u16, char, Option<bool>)>>(&bytes);
    }
}
