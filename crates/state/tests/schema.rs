//! Schemas: how they are stored, and how they read.

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

/// What only the program knows does not get into snapshots, and gets to tools.
#[test]
fn aliases_and_defaults_are_not_stored() {
    let point = |x: Field, left: Variant| {
        let kind = Schema::Enum { name: "Side".into(), variants: vec![left] };
        let fields = vec![x, Field::new("side", Schema::Option(Box::new(kind)))];
        let point = Schema::Struct { name: "Point".into(), fields };
        StateSchema {
            key: point.clone(),
            states: vec![NamedState::new("at", StateKind::Map { key: point.clone() }, point)],
        }
    };
    let x = Field::new("x", Schema::U16);
    let left = Variant::new("Left", vec![x.clone()]);
    let stored = point(x.clone(), left.clone());
    let hinted = |x: Field| x.with_alias("a").with_default(&1u16);
    let mut program = point(hinted(x.clone()), Variant::new("Left", vec![hinted(x)]).with_alias("L"));
    program.states[0].aliases.push("was_at".into());
    assert_eq!(program.to_json(), stored.to_json());
    assert_eq!(StateSchema::from_json(&program.to_json()).unwrap(), stored);
    let told = serde_json::to_string(&program).unwrap();
    assert_eq!(serde_json::from_str::<StateSchema>(&told).unwrap(), program);
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
    fn arbitrary_text_is_refused_or_read(text in any::<String>()) {
        let _ = Schema::from_json(&text);
    }
}
