//! What becomes of what, and what people are told about it.

#![allow(clippy::cloned_ref_to_slice_refs, reason = "lists of one field read like those of several")]

use highwater_state::schema::{Field, Migration, NamedState, Schema, StateKind, StateSchema, Variant, Verdict};
use highwater_state::schema::{KeyedVerdict, StateVerdict, ValueMigration};
use highwater_state::{KeyedState, Plain};

use Schema::{
    Array, Bool, Char, F32, F64, I8, I16, I32, I64, I128, List, Map, Set, String as Text, Tuple, U8, U16, U32, U64,
    U128, Unit,
};

fn boxed(schema: &Schema) -> Box<Schema> {
    Box::new(schema.clone())
}

fn option(schema: &Schema) -> Schema {
    Schema::Option(boxed(schema))
}

fn field(name: &str, schema: Schema) -> Field {
    Field::new(name, schema)
}

fn record(fields: &[Field]) -> Schema {
    Schema::Struct { name: "Visit".into(), fields: fields.to_vec() }
}

fn choice(variants: &[Variant]) -> Schema {
    Schema::Enum { name: "Event".into(), variants: variants.to_vec() }
}

fn variant(name: &str, fields: &[Field]) -> Variant {
    Variant::new(name, fields.to_vec())
}

fn assert_becomes(old: &Schema, new: &Schema, changes: &[&str]) {
    let expected = if changes.is_empty() {
        Verdict::AsIs
    } else {
        Verdict::Migrated { changes: changes.iter().map(ToString::to_string).collect() }
    };
    assert_eq!(Verdict::of(old, new), expected, "{old} to {new}");
}

fn assert_refused(old: &Schema, new: &Schema, reason: &str) {
    assert_eq!(Verdict::of(old, new), Verdict::Incompatible { reason: reason.into() }, "{old} to {new}");
    assert_eq!(ValueMigration::plan(old, new).unwrap_err().to_string(), reason);
}

#[test]
fn numbers_widen_to_what_holds_all_of_them() {
    let numbers = [U8, U16, U32, U64, U128, I8, I16, I32, I64, I128, F32, F64, Bool, Char];
    let wider: &[(&Schema, &[Schema])] = &[
        (&U8, &[U16, U32, U64, U128, I16, I32, I64, I128]),
        (&U16, &[U32, U64, U128, I32, I64, I128]),
        (&U32, &[U64, U128, I64, I128]),
        (&U64, &[U128, I128]),
        (&I8, &[I16, I32, I64, I128]),
        (&I16, &[I32, I64, I128]),
        (&I32, &[I64, I128]),
        (&I64, &[I128]),
        (&F32, &[F64]),
    ];
    for old in &numbers {
        let allowed = wider.iter().find(|(from, _)| *from == old).map_or(&[][..], |(_, to)| to);
        for new in &numbers {
            if old == new {
                assert_becomes(old, new, &[]);
            } else if allowed.contains(new) {
                assert_becomes(old, new, &[&format!("widened from {old} to {new}")]);
            } else {
                assert!(Verdict::of(old, new).is_incompatible(), "{old} to {new}");
            }
        }
    }
    assert_refused(&U64, &U32, "was u64, is u32, which cannot hold every u64");
    assert_refused(&U32, &I32, "was u32, is i32, which cannot hold every u32");
    assert_refused(&I8, &U128, "was i8, is u128, which cannot hold every i8");
    assert_refused(&F64, &F32, "was f64, is f32, which cannot hold every f64");
    assert_refused(&U32, &F64, "was u32, is f64");
    assert_refused(&Bool, &U8, "was bool, is u8");
    assert_refused(&U32, &Text, "was u32, is String");
}

#[test]
fn values_change_within_what_holds_them() {
    let pair = |left: &Schema, right: &Schema| Tuple(vec![left.clone(), right.clone()]);
    assert_becomes(&U32, &option(&U32), &["u32, now optional"]);
    assert_becomes(&U32, &option(&U64), &["u32, now optional", "widened from u32 to u64"]);
    assert_becomes(&option(&U8), &option(&U16), &["value: widened from u8 to u16"]);
    assert_becomes(&option(&U8), &option(&option(&U8)), &["value: u8, now optional"]);
    assert_becomes(&List(boxed(&U8)), &List(boxed(&U16)), &["element: widened from u8 to u16"]);
    assert_becomes(&Set(boxed(&U8)), &Set(boxed(&U16)), &["element: widened from u8 to u16"]);
    assert_becomes(
        &Map(boxed(&U8), boxed(&F32)),
        &Map(boxed(&I16), boxed(&option(&F32))),
        &["key: widened from u8 to i16", "value: f32, now optional"],
    );
    assert_becomes(&Array(boxed(&U8), 4), &Array(boxed(&U16), 4), &["element: widened from u8 to u16"]);
    assert_becomes(&pair(&U8, &U8), &pair(&U8, &U32), &["part 1: widened from u8 to u32"]);
    assert_refused(&option(&U8), &U8, "was Option<u8>, is u8");
    assert_refused(&U64, &option(&U32), "was u64, is Option<u32>");
    assert_refused(&option(&U64), &option(&U32), "value: was u64, is u32, which cannot hold every u64");
    assert_refused(&List(boxed(&U8)), &Set(boxed(&U8)), "was List<u8>, is Set<u8>");
    assert_refused(&Array(boxed(&U8), 4), &Array(boxed(&U8), 6), "was [u8; 4], is [u8; 6]");
    assert_refused(&Tuple(vec![U8]), &pair(&U8, &U8), "was (u8,), is (u8, u8)");
    assert_refused(
        &List(boxed(&Unit)),
        &List(boxed(&option(&Unit))),
        "its entries took no bytes, and may be too many to give them any",
    );
}

#[test]
fn fields_are_added_removed_renamed_and_moved() {
    let (host, bytes) = (field("host", Text), field("bytes", U32));
    let old = record(&[host.clone(), bytes.clone()]);
    let renamed = Schema::Struct { name: "Guest".into(), fields: vec![host.clone(), bytes.clone()] };
    assert_becomes(&old, &renamed, &[]);
    assert_becomes(
        &old,
        &record(&[host.clone(), bytes.clone(), field("ms", U64).with_default(&7u64)]),
        &["field `ms` of struct Visit: added as u64, with its default"],
    );
    assert_becomes(&old, &record(&[bytes.clone()]), &["field `host` of struct Visit: removed"]);
    assert_becomes(
        &old,
        &record(&[host.clone(), field("len", U64).with_alias("size").with_alias("bytes")]),
        &["field `len` of struct Visit: renamed from `bytes`", "field `len` of struct Visit: widened from u32 to u64"],
    );
    assert_becomes(&old, &record(&[bytes.clone(), host.clone()]), &["struct Visit: fields in another order"]);
    assert_becomes(
        &record(&[field("at", old.clone())]),
        &record(&[field("at", record(&[host.clone(), field("bytes", U64)]))]),
        &["field `at` of struct Visit: field `bytes` of struct Visit: widened from u32 to u64"],
    );
    // A name goes before an alias, and nothing becomes two.
    assert_becomes(
        &old,
        &record(&[host.clone(), field("size", U32).with_alias("bytes").with_default(&0u32), bytes.clone()]),
        &["field `size` of struct Visit: added as u32, with its default"],
    );
    assert_refused(
        &record(&[host.clone()]),
        &old,
        "field `bytes` of struct Visit: was added without a default: give it #[data(default)]",
    );
    assert_refused(
        &record(&[host.clone()]),
        &record(&[host.clone(), bytes.clone().with_default(&1u8)]),
        "field `bytes` of struct Visit: was added, and its default is not a value of type u32",
    );
    assert_refused(
        &record(&[field("at", old.clone())]),
        &record(&[field("at", record(&[field("host", U8), bytes]))]),
        "field `at` of struct Visit: field `host` of struct Visit: was String, is u8",
    );
}

#[test]
fn variants_are_added_renamed_and_moved() {
    let (quit, key) = (variant("Quit", &[]), variant("Key", &[field("code", U8)]));
    let old = choice(&[quit.clone(), key.clone()]);
    let scroll = variant("Scroll", &[field("lines", I16)]);
    assert_becomes(
        &old,
        &choice(&[quit.clone(), key.clone(), scroll.clone()]),
        &["variant `Scroll` of enum Event: added"],
    );
    assert_becomes(&old, &choice(&[key.clone(), quit.clone()]), &["enum Event: variants in another order"]);
    assert_becomes(
        &old,
        &choice(&[variant("Exit", &[]).with_alias("Quit"), variant("Key", &[field("code", U32)])]),
        &[
            "variant `Exit` of enum Event: renamed from `Quit`",
            "variant `Key` of enum Event: field `code`: widened from u8 to u32",
        ],
    );
    let removed = "variant `Quit` of enum Event: was removed, and a stored value may be one: keep it, or name it as an \
                   alias of another";
    assert_refused(&old, &choice(&[key.clone()]), removed);
    // Two variants never become one.
    assert_refused(&old, &choice(&[key.clone().with_alias("Quit")]), removed);
    assert_refused(
        &old,
        &choice(&[quit, variant("Key", &[field("code", Text)])]),
        "variant `Key` of enum Event: field `code`: was u8, is String",
    );
}

#[test]
fn what_must_be_distinct_stays_distinct() {
    let (old, new) = (record(&[field("a", U8), field("b", U8)]), record(&[field("a", U8)]));
    let reason = |place: &str, two: &str| {
        format!("{place}: field `b` of struct Visit: was removed, and so two {two} could become the same: keep it")
    };
    assert_refused(&Set(boxed(&old)), &Set(boxed(&new)), &reason("element", "elements of a set"));
    let map = |key: &Schema| Map(boxed(key), boxed(&old));
    assert_refused(&map(&old), &map(&new), &reason("key", "keys of a map"));
    assert_refused(
        &map(&Tuple(vec![List(boxed(&old))])),
        &map(&Tuple(vec![List(boxed(&new))])),
        &reason("key: part 0: element", "keys of a map"),
    );
    assert_becomes(
        &Map(boxed(&U8), boxed(&old)),
        &Map(boxed(&U8), boxed(&new)),
        &["value: field `b` of struct Visit: removed"],
    );
}

fn value(name: &str, schema: Schema) -> NamedState {
    NamedState::new(name, StateKind::Value, schema)
}

fn states(states: &[NamedState]) -> StateSchema {
    StateSchema { key: Text, states: states.to_vec() }
}

fn verdicts(old: &[NamedState], new: &[NamedState]) -> Vec<(String, String)> {
    let verdict = KeyedVerdict::of(&states(old), &states(new));
    assert_eq!(verdict.key, Verdict::AsIs);
    verdict.states.into_iter().map(|StateVerdict { state, verdict }| (state, verdict.to_string())).collect()
}

#[test]
fn states_are_added_dropped_renamed_and_moved() {
    let (hits, bytes) = (value("hits", U32), value("bytes", U64));
    let told = |told: &[(&str, &str)]| told.iter().map(|(a, b)| (a.to_string(), b.to_string())).collect::<Vec<_>>();
    let as_is = told(&[("hits", "as it is"), ("bytes", "as it is")]);
    assert_eq!(verdicts(&[hits.clone(), bytes.clone()], &[hits.clone(), bytes.clone()]), as_is);
    assert_eq!(verdicts(&[bytes.clone(), hits.clone()], &[hits.clone(), bytes.clone()]), as_is);
    assert_eq!(
        verdicts(&[hits.clone()], &[bytes.clone()]),
        told(&[("bytes", "new: starts cleared"), ("hits", "dropped")])
    );
    assert_eq!(
        verdicts(&[hits.clone(), bytes.clone()], &[value("requests", U64).with_alias("hits"), bytes.clone()]),
        told(&[("requests", "migrated: renamed from `hits`; widened from u32 to u64"), ("bytes", "as it is")])
    );
    assert_eq!(
        verdicts(&[hits.clone()], &[hits.clone().with_ttl(true)]),
        told(&[("hits", "migrated: time-to-live switched on: what is stored counts from when it is seen first")])
    );
    assert_eq!(
        verdicts(&[hits.clone().with_ttl(true)], &[hits.clone()]),
        told(&[("hits", "migrated: time-to-live switched off")])
    );
    assert_eq!(
        verdicts(&[hits.clone(), bytes], &[value("hits", U8), value("bytes", Text)]),
        told(&[
            ("hits", "incompatible: was u32, is u8, which cannot hold every u32"),
            ("bytes", "incompatible: was u64, is String"),
        ])
    );
}

#[test]
fn a_kind_of_state_stays_what_it_is() {
    let kinds = [
        (StateKind::Value, "a value"),
        (StateKind::List, "a list"),
        (StateKind::Map { key: Text }, "a map"),
        (StateKind::Reducing, "a reducing"),
        (StateKind::Aggregating, "an aggregating"),
    ];
    for (old, was) in &kinds {
        for (new, is) in &kinds {
            let state = |kind: &StateKind| states(&[NamedState::new("s", kind.clone(), U32)]);
            let refused = Migration::plan(&state(old), &state(new)).map(|_| ()).map_err(|error| error.to_string());
            let expected = if old == new { Ok(()) } else { Err(format!("state `s`: was {was} state, is {is} state")) };
            assert_eq!(refused, expected);
        }
    }
}

#[test]
fn what_is_refused_is_named() {
    let map = |key, schema| states(&[NamedState::new("pages", StateKind::Map { key }, schema)]);
    let list = |schema| states(&[NamedState::new("l", StateKind::List, schema)]);
    let mean = |schema| states(&[NamedState::new("mean", StateKind::Aggregating, schema)]);
    let plain = |states| StateSchema { key: Text, states };
    let keyed = |key| StateSchema { key, states: Vec::new() };
    let suffix = "; the key of a stream has to stay as it is, since its bytes decide its key group";
    let cases = [
        (keyed(Text), keyed(U64), format!("key: was String, is u64{suffix}")),
        (keyed(U32), keyed(U64), format!("key: widened from u32 to u64{suffix}")),
        (
            keyed(record(&[field("a", U8), field("b", U8)])),
            keyed(record(&[field("b", U8)])),
            format!("key: field `a` of struct Visit: removed{suffix}"),
        ),
        (list(I8), list(U8), "state `l`: element: was i8, is u8, which cannot hold every i8".into()),
        (map(Text, U32), map(U8, U32), "state `pages`: key: was String, is u8".into()),
        (
            map(Text, record(&[field("n", U32)])),
            map(Text, record(&[field("n", U8)])),
            "state `pages`: value: field `n` of struct Visit: was u32, is u8, which cannot hold every u32".into(),
        ),
        (mean(U32), mean(Text), "state `mean`: accumulator: was u32, is String".into()),
        (
            plain(Plain::<u64>::states()),
            plain(Plain::<u32>::states()),
            "state: was u64, is u32, which cannot hold every u64".into(),
        ),
        (
            plain(Plain::<u64>::states()),
            states(&[value("hits", U64)]),
            "state: was removed, and a plain value is all there is of a key: keep it".into(),
        ),
        (
            states(&[value("hits", U64)]),
            plain(Plain::<u64>::states()),
            "state: was not stored, and a plain value cannot be cleared: keep the states there were".into(),
        ),
    ];
    for (old, new, expected) in cases {
        assert_eq!(Migration::plan(&old, &new).map(|_| ()).unwrap_err().to_string(), expected);
        assert_eq!(KeyedVerdict::of(&old, &new).incompatible(), Some(expected));
        assert_eq!(KeyedVerdict::of(&old, &old).incompatible(), None);
        assert!(Migration::plan(&old, &old).unwrap().is_identity());
    }
}

#[test]
fn what_keeps_its_bytes_is_not_migrated() {
    let named = |name: &str, kind: &str| {
        let fields = [field("n", choice(&[variant(kind, &[]), variant("Key", &[])]))];
        StateSchema { key: record(&fields), states: vec![value(name, record(&fields))] }
    };
    let old = named("hits", "Quit");
    let mut new = named("requests", "Exit");
    new.states[0].aliases.push("hits".into());
    let rename = |schema: &mut Schema| {
        let Schema::Struct { fields, .. } = schema else { panic!("a struct") };
        let Schema::Enum { variants, .. } = &mut fields[0].schema else { panic!("an enum") };
        variants[0].aliases.push("Quit".into());
        variants.push(variant("Added", &[]));
    };
    rename(&mut new.key);
    rename(&mut new.states[0].schema);
    let migration = Migration::plan(&old, &new).unwrap();
    assert!(migration.is_identity());
    let Verdict::Migrated { changes } = &migration.verdict().states[0].verdict else { panic!("names changed") };
    assert_eq!(changes.len(), 3, "{changes:?}");
    // In another place, the same variant has other bytes.
    let Schema::Struct { fields, .. } = &mut new.states[0].schema else { panic!("a struct") };
    let Schema::Enum { variants, .. } = &mut fields[0].schema else { panic!("an enum") };
    variants.rotate_right(1);
    assert!(!Migration::plan(&old, &new).unwrap().is_identity());
}

#[test]
fn verdicts_are_told_to_tools() {
    let (old, new) = (states(&[value("hits", U32), value("old", U8)]), states(&[value("hits", U64), value("new", U8)]));
    let verdict = KeyedVerdict::of(&old, &new);
    let json = r#"{"key":{"verdict":"as_is"},"states":[{"state":"hits","verdict":"migrated","changes":["widened from u32 to u64"]},{"state":"new","verdict":"new"},{"state":"old","verdict":"dropped"}]}"#;
    assert_eq!(serde_json::to_string(&verdict).unwrap(), json);
    assert_eq!(serde_json::from_str::<KeyedVerdict>(json).unwrap(), verdict);
}
