//! Schemas: how they are stored, how they read, and where two of them differ.

use highwater_core::ErrorKind;
use highwater_state::schema::{Field, NamedState, Schema, StateKind, StateSchema, Variant};
use highwater_state::{Data, KeyedState, ListState, MapState, Plain, ValueState};
use proptest::prelude::*;

#[derive(Clone, Data)]
struct Point(i32, i32);

#[derive(Clone, Data)]
enum Event {
    Quit,
    Click { at: Point, r#type: Option<String> },
}

#[derive(KeyedState)]
struct Visitor {
    requests: ValueState<u64>,
    events: ListState<Event>,
    pages: MapState<(String, [u8; 4]), u32>,
}

fn visitor() -> StateSchema {
    StateSchema { key: String::schema(), states: Visitor::states() }
}

#[test]
fn the_stored_form_is_pinned() {
    let json = concat!(
        r#"{"key":"string","states":["#,
        r#"{"name":"requests","kind":"value","schema":"u64"},"#,
        r#"{"name":"events","kind":"list","schema":{"enum":{"name":"Event","variants":["#,
        r#"{"name":"Quit","fields":[]},"#,
        r#"{"name":"Click","fields":[{"name":"at","schema":{"struct":{"name":"Point","fields":["#,
        r#"{"name":"0","schema":"i32"},{"name":"1","schema":"i32"}]}}},"#,
        r#"{"name":"type","schema":{"option":"string"}}]}]}}},"#,
        r#"{"name":"pages","kind":{"map":{"key":{"tuple":["string",{"array":["u8",4]}]}}},"schema":"u32"}]}"#,
    );
    assert_eq!(visitor().to_json(), json);
    assert_eq!(StateSchema::from_json(json).unwrap(), visitor());
}

#[test]
fn schemas_read_like_types() {
    assert_eq!(
        visitor().to_string(),
        "String => { requests: ValueState<u64>, \
         events: ListState<enum Event { Quit, Click { at: Point { 0: i32, 1: i32 }, type: Option<String> } }>, \
         pages: MapState<(String, [u8; 4]), u32> }"
    );
    let plain = StateSchema { key: <(u8,)>::schema(), states: Plain::<Vec<()>>::states() };
    assert_eq!(plain.to_string(), "(u8,) => { List<()> }");
}

#[test]
fn a_schema_of_a_newer_version_is_refused() {
    let error = Schema::from_json(r#"{"option":"u256"}"#).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Incompatible);
    assert!(error.to_string().contains("u256"), "{error}");
    assert_eq!(StateSchema::from_json("").unwrap_err().kind(), ErrorKind::Incompatible);
}

fn record(name: &str, fields: &[(&str, Schema)]) -> Schema {
    let fields = fields.iter().map(|(name, schema)| Field::new(*name, schema.clone())).collect();
    Schema::Struct { name: name.into(), fields }
}

fn choice(variants: &[(&str, &[(&str, Schema)])]) -> Schema {
    let fields = |fields: &[(&str, Schema)]| fields.iter().map(|(name, s)| Field::new(*name, s.clone())).collect();
    let variants = variants.iter().map(|(name, of)| Variant::new(*name, fields(of))).collect();
    Schema::Enum { name: "Event".into(), variants }
}

#[test]
fn the_first_difference_of_two_values_is_named() {
    use Schema::{Array, List, Map, String, Tuple, U8, U32, U64};
    let boxed = |schema: &Schema| Box::new(schema.clone());
    let old = record("Visitor", &[("bytes", U32), ("host", String)]);
    let wide = record("Visitor", &[("bytes", U64), ("host", String)]);
    let cases = [
        (U32, U64, "was u32, is u64"),
        (U32, old.clone(), "was u32, is struct Visitor"),
        (old.clone(), wide.clone(), "field `bytes` of struct Visitor: was u32, is u64"),
        (old.clone(), record("Visitor", &[("host", String)]), "field `bytes` of struct Visitor: was removed"),
        (record("V", &[("host", String)]), old.clone(), "field `bytes` of struct Visitor: was added"),
        (
            old.clone(),
            record("Visitor", &[("host", String), ("bytes", U32)]),
            "field `bytes` of struct Visitor: now comes after `host`",
        ),
        (
            record("Page", &[("by", old.clone())]),
            record("Page", &[("by", wide.clone())]),
            "field `by` of struct Page: field `bytes` of struct Visitor: was u32, is u64",
        ),
        (
            Schema::Option(boxed(&old)),
            Schema::Option(boxed(&wide)),
            "value: field `bytes` of struct Visitor: was u32, is u64",
        ),
        (List(boxed(&U32)), List(boxed(&U64)), "element: was u32, is u64"),
        (List(boxed(&U32)), Schema::Set(boxed(&U32)), "was List<u32>, is Set<u32>"),
        (Map(boxed(&U8), boxed(&U32)), Map(boxed(&U64), boxed(&U32)), "key: was u8, is u64"),
        (Map(boxed(&U8), boxed(&U32)), Map(boxed(&U8), boxed(&U64)), "value: was u32, is u64"),
        (Array(boxed(&U8), 4), Array(boxed(&U8), 6), "was [u8; 4], is [u8; 6]"),
        (Tuple(vec![U8, U32]), Tuple(vec![U8, U64]), "part 1: was u32, is u64"),
        (Tuple(vec![U8]), Tuple(vec![U8, U64]), "was (u8,), is (u8, u64)"),
        (choice(&[("Quit", &[])]), choice(&[("Quit", &[]), ("Key", &[])]), "variant `Key` of enum Event: was added"),
        (choice(&[("Quit", &[])]), choice(&[("Exit", &[])]), "variant `Quit` of enum Event: was removed"),
        (
            choice(&[("Key", &[("code", U8)])]),
            choice(&[("Key", &[("code", U32)])]),
            "variant `Key` of enum Event: field `code`: was u8, is u32",
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(Schema::difference(&old, &new).as_deref(), Some(expected));
        assert_eq!(Schema::difference(&old, &old), None);
    }
}

#[test]
fn a_type_may_be_renamed() {
    let old = record("Visitor", &[("bytes", Schema::U32)]);
    assert_eq!(Schema::difference(&old, &record("Guest", &[("bytes", Schema::U32)])), None);
}

#[test]
fn the_first_difference_of_two_states_is_named() {
    let value = |name: &str, schema| NamedState::new(name, StateKind::Value, schema);
    let list = |name: &str, schema| NamedState::new(name, StateKind::List, schema);
    let map = |name: &str, key, schema| NamedState::new(name, StateKind::Map { key }, schema);
    let sum = |schema| NamedState::new("sum", StateKind::Reducing, schema);
    let mean =
        |name: &str| NamedState::new(name, StateKind::Aggregating, Schema::Tuple(vec![Schema::F64, Schema::U64]));
    let of = |states: &[&NamedState]| StateSchema {
        key: Schema::String,
        states: states.iter().map(|&state| state.clone()).collect(),
    };
    let plain = |states| StateSchema { key: Schema::String, states };
    let (hits, pages) = (value("hits", Schema::U32), map("pages", Schema::String, Schema::U32));
    let cases = [
        (of(&[&hits]), of(&[&value("hits", Schema::U64)]), "state `hits`: was u32, is u64"),
        (of(&[&hits]), of(&[&list("hits", Schema::U32)]), "state `hits`: was a value state, is a list state"),
        (of(&[&hits]), of(&[&hits, &pages]), "state `pages`: was added"),
        (of(&[&hits, &pages]), of(&[&pages]), "state `hits`: was removed"),
        (of(&[&hits, &pages]), of(&[&pages, &hits]), "state `hits`: now comes after `pages`"),
        (of(&[&list("l", Schema::U8)]), of(&[&list("l", Schema::I8)]), "state `l`: element: was u8, is i8"),
        (of(&[&pages]), of(&[&map("pages", Schema::U8, Schema::U32)]), "state `pages`: key: was String, is u8"),
        (of(&[&pages]), of(&[&map("pages", Schema::String, Schema::U8)]), "state `pages`: value: was u32, is u8"),
        (of(&[&hits]), of(&[&hits.clone().with_ttl(true)]), "state `hits`: had no ttl, has one"),
        (of(&[&pages.clone().with_ttl(true)]), of(&[&pages]), "state `pages`: had a ttl, has none"),
        (of(&[&sum(Schema::U32)]), of(&[&sum(Schema::U64)]), "state `sum`: was u32, is u64"),
        (of(&[&sum(Schema::U32)]), of(&[&mean("sum")]), "state `sum`: was a reducing state, is an aggregating state"),
        (of(&[]), StateSchema { key: Schema::U64, states: vec![] }, "key: was String, is u64"),
        (plain(Plain::<u32>::states()), plain(Plain::<u64>::states()), "state: was u32, is u64"),
        (plain(Plain::<u32>::states()), of(&[&hits]), "state: was removed"),
    ];
    for (old, new, expected) in cases {
        assert_eq!(StateSchema::difference(&old, &new).as_deref(), Some(expected));
        assert_eq!(StateSchema::difference(&old, &old), None);
    }
}

/// What versions without time-to-live have written stays readable, and is written as before.
#[test]
fn a_ttl_is_stored_only_where_there_is_one() {
    let without = r#"{"key":"string","states":[{"name":"hits","kind":"value","schema":"u32"}]}"#;
    let with = r#"{"key":"string","states":[{"name":"hits","kind":"reducing","schema":"u32","ttl":true}]}"#;
    let hits = |kind, ttl| StateSchema {
        key: Schema::String,
        states: vec![NamedState::new("hits", kind, Schema::U32).with_ttl(ttl)],
    };
    for (json, schema) in [(without, hits(StateKind::Value, false)), (with, hits(StateKind::Reducing, true))] {
        assert_eq!(schema.to_json(), json);
        assert_eq!(StateSchema::from_json(json).unwrap(), schema);
    }
}

fn leaves() -> impl Strategy<Value = Schema> {
    prop::sample::select(vec![
        Schema::U8,
        Schema::U16,
        Schema::U32,
        Schema::U64,
        Schema::U128,
        Schema::I8,
        Schema::I16,
        Schema::I32,
        Schema::I64,
        Schema::I128,
        Schema::F32,
        Schema::F64,
        Schema::Bool,
        Schema::Char,
        Schema::Unit,
        Schema::String,
        Schema::Duration,
        Schema::SystemTime,
        Schema::Ipv4,
        Schema::Ipv6,
        Schema::Ip,
    ])
}

fn fields(schemas: Vec<Schema>) -> Vec<Field> {
    schemas.into_iter().enumerate().map(|(index, schema)| Field::new(index.to_string(), schema)).collect()
}

fn schemas() -> impl Strategy<Value = Schema> {
    leaves().prop_recursive(4, 24, 3, |inner| {
        let boxed = inner.clone().prop_map(Box::new).boxed();
        let several = prop::collection::vec(inner, 0..3);
        prop_oneof![
            boxed.clone().prop_map(Schema::Option),
            boxed.clone().prop_map(Schema::List),
            boxed.clone().prop_map(Schema::Set),
            (boxed.clone(), boxed.clone()).prop_map(|(key, value)| Schema::Map(key, value)),
            (boxed, 0..3u64).prop_map(|(element, len)| Schema::Array(element, len)),
            several.clone().prop_map(Schema::Tuple),
            several.clone().prop_map(|schemas| Schema::Struct { name: "S".into(), fields: fields(schemas) }),
            (several.clone(), several).prop_map(|(a, b)| {
                let variants = vec![Variant::new("A", fields(a)), Variant::new("B", fields(b))];
                Schema::Enum { name: "E".into(), variants }
            }),
        ]
    })
}

proptest! {
    #[test]
    fn every_schema_survives_json(schema in schemas()) {
        prop_assert_eq!(Schema::from_json(&schema.to_json()).unwrap(), schema);
    }

    #[test]
    fn schemas_differ_where_they_are_not_equal(old in schemas(), new in schemas()) {
        prop_assert_eq!(Schema::difference(&old, &new).is_none(), old == new);
        prop_assert_eq!(Schema::difference(&old, &old.clone()), None);
    }

    #[test]
    fn arbitrary_text_is_refused_or_read(text in any::<String>()) {
        let _ = Schema::from_json(&text);
    }
}
