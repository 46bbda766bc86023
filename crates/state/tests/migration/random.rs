//! Random edits of random types: what migrated bytes mean under the new schema is what the edit makes of the meaning of
//! the old bytes, by an interpretation that shares nothing with the migration.

use std::time::Duration;

use highwater_state::Data;
use highwater_state::schema::{Field, Schema, ValueMigration, Variant};
use proptest::prelude::*;
use serde_json::{Value, json};

/// A type and its next version.
#[derive(Clone, Debug)]
enum Edit {
    Keep(Schema),
    Widen(Schema, Schema),
    Optional(Box<Edit>),
    Option(Box<Edit>),
    List(Box<Edit>),
    Set(Box<Edit>),
    Map(Box<Edit>, Box<Edit>),
    Array(Box<Edit>, u64),
    Tuple(Vec<Edit>),
    Struct(Fields),
    Enum { variants: Vec<(Fields, bool)>, added: bool, rotate: usize },
}

#[derive(Clone, Debug)]
struct Fields {
    members: Vec<Member>,
    rotate: usize,
}

#[derive(Clone, Debug)]
enum Member {
    Keep { edit: Edit, rename: bool },
    Add(u32),
    Remove(Edit),
}

impl Edit {
    fn before(&self) -> Schema {
        let boxed = |edit: &Edit| Box::new(edit.before());
        match self {
            Edit::Keep(schema) | Edit::Widen(schema, _) => schema.clone(),
            Edit::Optional(value) => value.before(),
            Edit::Option(value) => Schema::Option(boxed(value)),
            Edit::List(element) => Schema::List(boxed(element)),
            Edit::Set(element) => Schema::Set(boxed(element)),
            Edit::Map(key, value) => Schema::Map(boxed(key), boxed(value)),
            Edit::Array(element, len) => Schema::Array(boxed(element), *len),
            Edit::Tuple(parts) => Schema::Tuple(parts.iter().map(Edit::before).collect()),
            Edit::Struct(fields) => Schema::Struct { name: "Old".into(), fields: fields.before() },
            Edit::Enum { variants, .. } => {
                let variant =
                    |(i, (fields, _)): (usize, &(Fields, bool))| Variant::new(format!("V{i}"), fields.before());
                Schema::Enum { name: "Old".into(), variants: variants.iter().enumerate().map(variant).collect() }
            }
        }
    }

    fn after(&self) -> Schema {
        let boxed = |edit: &Edit| Box::new(edit.after());
        match self {
            Edit::Keep(schema) | Edit::Widen(_, schema) => schema.clone(),
            Edit::Optional(value) | Edit::Option(value) => Schema::Option(boxed(value)),
            Edit::List(element) => Schema::List(boxed(element)),
            Edit::Set(element) => Schema::Set(boxed(element)),
            Edit::Map(key, value) => Schema::Map(boxed(key), boxed(value)),
            Edit::Array(element, len) => Schema::Array(boxed(element), *len),
            Edit::Tuple(parts) => Schema::Tuple(parts.iter().map(Edit::after).collect()),
            Edit::Struct(fields) => Schema::Struct { name: "New".into(), fields: fields.after() },
            Edit::Enum { variants, added, rotate } => {
                let variant = |(i, (fields, rename)): (usize, &(Fields, bool))| {
                    let named = |prefix| Variant::new(format!("{prefix}{i}"), fields.after());
                    if *rename { named("R").with_alias(format!("V{i}")) } else { named("V") }
                };
                let mut variants: Vec<_> = variants.iter().enumerate().map(variant).collect();
                if *added {
                    variants.push(Variant::new("Added", vec![Field::new("x", Schema::U8)]));
                }
                let middle = rotate % variants.len();
                variants.rotate_left(middle);
                Schema::Enum { name: "New".into(), variants }
            }
        }
    }

    /// What the old meaning becomes.
    fn apply(&self, value: &Value) -> Value {
        let all = |edit: &Edit, values: &Value| -> Vec<Value> {
            values.as_array().unwrap().iter().map(|value| edit.apply(value)).collect()
        };
        match self {
            Edit::Keep(_) | Edit::Widen(..) => value.clone(),
            Edit::Optional(inner) => json!({ "some": inner.apply(value) }),
            Edit::Option(inner) => value.get("some").map_or(Value::Null, |value| json!({ "some": inner.apply(value) })),
            Edit::List(element) | Edit::Array(element, _) => all(element, value).into(),
            Edit::Set(element) => sorted(all(element, value)),
            Edit::Map(key, of) => {
                let entries = value.as_array().unwrap().iter();
                sorted(entries.map(|entry| json!([key.apply(&entry[0]), of.apply(&entry[1])])).collect())
            }
            Edit::Tuple(parts) => parts.iter().enumerate().map(|(i, part)| part.apply(&value[i])).collect(),
            Edit::Struct(fields) => fields.apply(value),
            Edit::Enum { variants, .. } => {
                let (name, fields) = value.as_object().unwrap().iter().next().unwrap();
                let index: usize = name[1..].parse().unwrap();
                let (edit, rename) = &variants[index];
                let name = if *rename { format!("R{index}") } else { name.clone() };
                json!({ name: edit.apply(fields) })
            }
        }
    }

    /// The same edit where nothing may become equal: nothing is removed.
    fn distinct(self) -> Edit {
        let boxed = |edit: Box<Edit>| Box::new(edit.distinct());
        match self {
            Edit::Keep(_) | Edit::Widen(..) => self,
            Edit::Optional(value) => Edit::Optional(boxed(value)),
            Edit::Option(value) => Edit::Option(boxed(value)),
            Edit::List(element) => Edit::List(boxed(element)),
            Edit::Set(element) => Edit::Set(boxed(element)),
            Edit::Map(key, value) => Edit::Map(boxed(key), boxed(value)),
            Edit::Array(element, len) => Edit::Array(boxed(element), len),
            Edit::Tuple(parts) => Edit::Tuple(parts.into_iter().map(Edit::distinct).collect()),
            Edit::Struct(fields) => Edit::Struct(fields.distinct()),
            Edit::Enum { variants, added, rotate } => {
                let variants = variants.into_iter().map(|(fields, rename)| (fields.distinct(), rename)).collect();
                Edit::Enum { variants, added, rotate }
            }
        }
    }

    /// As the entry of a list, set or map: it takes a byte at least, which the type may not have had.
    fn entry(self) -> Edit {
        Edit::Tuple(vec![Edit::Keep(Schema::Bool), self])
    }
}

impl Fields {
    fn before(&self) -> Vec<Field> {
        let old = |(i, member): (usize, &Member)| match member {
            Member::Keep { edit, .. } | Member::Remove(edit) => Some(Field::new(format!("f{i}"), edit.before())),
            Member::Add(_) => None,
        };
        self.members.iter().enumerate().filter_map(old).collect()
    }

    fn after(&self) -> Vec<Field> {
        let new = |(i, member): (usize, &Member)| match member {
            Member::Keep { edit, rename: true } => {
                Some(Field::new(format!("r{i}"), edit.after()).with_alias("never").with_alias(format!("f{i}")))
            }
            Member::Keep { edit, rename: false } => Some(Field::new(format!("f{i}"), edit.after())),
            Member::Add(default) => Some(Field::new(format!("a{i}"), Schema::U32).with_default(default)),
            Member::Remove(_) => None,
        };
        let mut fields: Vec<_> = self.members.iter().enumerate().filter_map(new).collect();
        if !fields.is_empty() {
            let middle = self.rotate % fields.len();
            fields.rotate_left(middle);
        }
        fields
    }

    fn apply(&self, value: &Value) -> Value {
        let mut fields = serde_json::Map::new();
        for (i, member) in self.members.iter().enumerate() {
            let old = &value[format!("f{i}")];
            match member {
                Member::Keep { edit, rename } => {
                    fields.insert(format!("{}{i}", if *rename { "r" } else { "f" }), edit.apply(old));
                }
                Member::Add(default) => drop(fields.insert(format!("a{i}"), json!(default.to_string()))),
                Member::Remove(_) => {}
            }
        }
        fields.into()
    }

    fn distinct(self) -> Fields {
        let member = |member| match member {
            Member::Remove(edit) => Member::Keep { edit: edit.distinct(), rename: false },
            Member::Keep { edit, rename } => Member::Keep { edit: edit.distinct(), rename },
            Member::Add(default) => Member::Add(default),
        };
        Fields { members: self.members.into_iter().map(member).collect(), ..self }
    }
}

/// The order of a set or map is another matter.
fn sorted(mut values: Vec<Value>) -> Value {
    values.sort_by_key(Value::to_string);
    values.into()
}

/// What the bytes of a value mean, by its schema.
fn meaning(schema: &Schema, input: &mut &[u8]) -> Value {
    fn number<T: Data + ToString>(input: &mut &[u8]) -> Value {
        json!(T::decode(input).unwrap().to_string())
    }
    let fields = |fields: &[Field], input: &mut &[u8]| -> Value {
        fields.iter().map(|field| (field.name.clone(), meaning(&field.schema, input))).collect()
    };
    match schema {
        Schema::U8 => number::<u8>(input),
        Schema::U16 => number::<u16>(input),
        Schema::U32 => number::<u32>(input),
        Schema::U64 => number::<u64>(input),
        Schema::U128 => number::<u128>(input),
        Schema::I8 => number::<i8>(input),
        Schema::I16 => number::<i16>(input),
        Schema::I32 => number::<i32>(input),
        Schema::I64 => number::<i64>(input),
        Schema::I128 => number::<i128>(input),
        Schema::F32 => json!(f64::from(f32::decode(input).unwrap()).to_string()),
        Schema::F64 => number::<f64>(input),
        Schema::Bool => number::<bool>(input),
        Schema::String => number::<String>(input),
        Schema::Unit => json!("()"),
        Schema::Duration => json!(format!("{:?}", Duration::decode(input).unwrap())),
        Schema::Option(value) => {
            if bool::decode(input).unwrap() {
                json!({ "some": meaning(value, input) })
            } else {
                Value::Null
            }
        }
        Schema::List(element) => {
            let len = u32::decode(input).unwrap();
            (0..len).map(|_| meaning(element, input)).collect()
        }
        Schema::Set(element) => {
            let len = u32::decode(input).unwrap();
            sorted((0..len).map(|_| meaning(element, input)).collect())
        }
        Schema::Map(key, value) => {
            let len = u32::decode(input).unwrap();
            sorted((0..len).map(|_| json!([meaning(key, input), meaning(value, input)])).collect())
        }
        Schema::Array(element, len) => (0..*len).map(|_| meaning(element, input)).collect(),
        Schema::Tuple(parts) => parts.iter().map(|part| meaning(part, input)).collect(),
        Schema::Struct { fields: of, .. } => fields(of, input),
        Schema::Enum { variants, .. } => {
            let variant = &variants[usize::from(u8::decode(input).unwrap())];
            json!({ variant.name.clone(): fields(&variant.fields, input) })
        }
        other => panic!("no value of {other} was made"),
    }
}

/// Random numbers from a seed (splitmix64).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }
}

/// Appends a random value of `schema`.
fn value(schema: &Schema, random: &mut Random, out: &mut Vec<u8>) {
    let integer = |bytes: usize, random: &mut Random, out: &mut Vec<u8>| {
        // The ends of the range as often as what lies between.
        let number = match random.below(4) {
            0 => 0,
            1 => u128::MAX,
            _ => u128::from(random.next()) << 64 | u128::from(random.next()),
        };
        out.extend_from_slice(&number.to_le_bytes()[..bytes]);
    };
    let distinct = |parts: &[&Schema], random: &mut Random, out: &mut Vec<u8>| {
        let mut entries: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
        for _ in 0..random.below(4) {
            let (mut key, mut rest) = (Vec::new(), Vec::new());
            value(parts[0], random, &mut key);
            parts[1..].iter().for_each(|part| value(part, random, &mut rest));
            if entries.iter().all(|(other, _)| *other != key) {
                entries.push((key, rest));
            }
        }
        (entries.len() as u32).encode(out);
        entries.into_iter().for_each(|(key, rest)| out.extend([key, rest].concat()));
    };
    match schema {
        Schema::U8 | Schema::I8 => integer(1, random, out),
        Schema::U16 | Schema::I16 => integer(2, random, out),
        Schema::U32 | Schema::I32 => integer(4, random, out),
        Schema::U64 | Schema::I64 => integer(8, random, out),
        Schema::U128 | Schema::I128 => integer(16, random, out),
        Schema::F32 => (random.next() as i32 as f32 / 3.0).encode(out),
        Schema::F64 => (random.next() as i64 as f64 / 3.0).encode(out),
        Schema::Bool => (random.below(2) == 1).encode(out),
        Schema::String => ["", "a", "é", "long enough"][random.below(4) as usize].to_owned().encode(out),
        Schema::Unit => {}
        Schema::Duration => Duration::from_nanos(random.next()).encode(out),
        Schema::Option(inner) => {
            let is_some = random.below(2) == 1;
            is_some.encode(out);
            if is_some {
                value(inner, random, out);
            }
        }
        Schema::List(element) => {
            let len = random.below(4) as u32;
            len.encode(out);
            (0..len).for_each(|_| value(element, random, out));
        }
        Schema::Set(element) => distinct(&[element], random, out),
        Schema::Map(key, of) => distinct(&[key, of], random, out),
        Schema::Array(element, len) => (0..*len).for_each(|_| value(element, random, out)),
        Schema::Tuple(parts) => parts.iter().for_each(|part| value(part, random, out)),
        Schema::Struct { fields, .. } => fields.iter().for_each(|field| value(&field.schema, random, out)),
        Schema::Enum { variants, .. } => {
            let tag = random.below(variants.len() as u64);
            (tag as u8).encode(out);
            variants[tag as usize].fields.iter().for_each(|field| value(&field.schema, random, out));
        }
        other => panic!("no value of {other} is made"),
    }
}

fn leaves() -> impl Strategy<Value = Edit> {
    use Schema::{Bool, Duration, F32, F64, I8, I16, I32, I64, I128, String, U8, U16, U32, U64, U128, Unit};
    let same = [U8, U64, U128, I8, I64, I128, F32, F64, Bool, String, Unit, Duration].map(Edit::Keep).to_vec();
    let wider = [
        (U8, U16),
        (U8, I16),
        (U16, U128),
        (U32, I64),
        (U64, U128),
        (U64, I128),
        (I8, I128),
        (I16, I32),
        (I32, I64),
        (F32, F64),
    ];
    let wider: Vec<_> = wider.into_iter().map(|(from, to)| Edit::Widen(from, to)).collect();
    prop_oneof![prop::sample::select(same), prop::sample::select(wider)]
}

fn edits() -> impl Strategy<Value = Edit> {
    leaves().prop_recursive(4, 32, 4, |inner| {
        let one = inner.clone();
        let boxed = move || one.clone().prop_map(Box::new);
        let one = inner.clone();
        let entry = move || one.clone().prop_map(|edit| Box::new(edit.entry()));
        let one = inner.clone();
        let key = move || one.clone().prop_map(|edit| Box::new(edit.entry().distinct()));
        let one = inner.clone();
        let member = prop_oneof![
            3 => (one.clone(), any::<bool>()).prop_map(|(edit, rename)| Member::Keep { edit, rename }),
            1 => any::<u32>().prop_map(Member::Add),
            1 => one.prop_map(Member::Remove),
        ];
        let members = (prop::collection::vec(member, 0..4), 0..4usize);
        let fields = members.prop_map(|(members, rotate)| Fields { members, rotate });
        let variants = prop::collection::vec((fields.clone(), any::<bool>()), 1..4);
        prop_oneof![
            // What is optional already would be taken for the same option, with a change inside.
            boxed().prop_map(|edit| match *edit {
                Edit::Option(_) => Edit::Option(edit),
                _ if matches!(edit.before(), Schema::Option(_)) => Edit::List(Box::new(edit.entry())),
                _ => Edit::Optional(edit),
            }),
            boxed().prop_map(Edit::Option),
            entry().prop_map(Edit::List),
            key().prop_map(Edit::Set),
            (key(), boxed()).prop_map(|(key, value)| Edit::Map(key, value)),
            (boxed(), 0..3u64).prop_map(|(element, len)| Edit::Array(element, len)),
            prop::collection::vec(inner.clone(), 0..3).prop_map(Edit::Tuple),
            fields.prop_map(Edit::Struct),
            (variants, any::<bool>(), 0..4usize).prop_map(|(variants, added, rotate)| Edit::Enum {
                variants,
                added,
                rotate
            }),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn migrated_bytes_mean_what_the_edit_makes_of_them(edit in edits(), seed: u64) {
        let (old, new) = (edit.before(), edit.after());
        let mut bytes = Vec::new();
        value(&old, &mut Random(seed), &mut bytes);
        let before = meaning(&old, &mut &bytes[..]);

        let stored = Schema::from_json(&old.to_json()).unwrap();
        let migration = ValueMigration::plan(&stored, &new).map_err(|error| TestCaseError::fail(error.to_string()))?;
        let (mut input, mut out) = (&bytes[..], Vec::new());
        prop_assert_eq!(migration.value(&mut input, &mut out), Ok(()));
        prop_assert!(input.is_empty());
        if migration.is_identity() {
            prop_assert_eq!(&out, &bytes);
        }
        let mut output = &out[..];
        prop_assert_eq!(meaning(&new, &mut output), edit.apply(&before));
        prop_assert!(output.is_empty());

        // What has been migrated is as the new version writes it.
        let again = ValueMigration::plan(&new, &new).unwrap();
        prop_assert!(again.is_identity() && again.changes().is_empty());
        let mut same = Vec::new();
        prop_assert_eq!(again.value(&mut &out[..], &mut same), Ok(()));
        prop_assert_eq!(same, out);
    }

    #[test]
    fn damage_to_any_type_never_panics(edit in edits(), seed: u64, bit in any::<prop::sample::Index>()) {
        let (old, new) = (edit.before(), edit.after());
        let mut bytes = Vec::new();
        value(&old, &mut Random(seed), &mut bytes);
        let migration = ValueMigration::plan(&old, &new).map_err(|error| TestCaseError::fail(error.to_string()))?;
        if !bytes.is_empty() {
            let cut = bit.index(bytes.len());
            let mut input = &bytes[..cut];
            prop_assert!(migration.value(&mut input, &mut Vec::new()).is_err(), "cut to {} of {}", cut, bytes.len());
            let bit = bit.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
            let _ = migration.value(&mut &bytes[..], &mut Vec::new());
        }
    }
}
