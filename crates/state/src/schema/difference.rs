//! Where two schemas differ, in words.

use super::{Field, NamedState, Schema, StateKind, StateSchema, Variant};

impl Schema {
    /// The first place where `new` differs from `old`, or `None` if the bytes of one can be read as the other.
    ///
    /// ```
    /// use highwater_state::schema::{Field, Schema};
    /// let visitor = |bytes| Schema::Struct { name: "Visitor".into(), fields: vec![Field::new("bytes", bytes)] };
    /// let difference = Schema::difference(&visitor(Schema::U32), &visitor(Schema::U64));
    /// assert_eq!(difference.unwrap(), "field `bytes` of struct Visitor: was u32, is u64");
    /// ```
    pub fn difference(old: &Schema, new: &Schema) -> Option<String> {
        match (old, new) {
            (Schema::Option(old), Schema::Option(new)) => inside("value", old, new),
            (Schema::List(old), Schema::List(new)) | (Schema::Set(old), Schema::Set(new)) => {
                inside("element", old, new)
            }
            (Schema::Map(old_key, old), Schema::Map(new_key, new)) => {
                inside("key", old_key, new_key).or_else(|| inside("value", old, new))
            }
            (Schema::Array(old, old_len), Schema::Array(new, new_len)) if old_len == new_len => {
                inside("element", old, new)
            }
            (Schema::Tuple(old_parts), Schema::Tuple(new_parts)) if old_parts.len() == new_parts.len() => {
                let mut parts = old_parts.iter().zip(new_parts).enumerate();
                parts.find_map(|(index, (old, new))| inside(&format!("part {index}"), old, new))
            }
            (Schema::Struct { fields: old, .. }, Schema::Struct { name, fields: new }) => {
                members(&format!("struct {name}"), old, new)
            }
            (Schema::Enum { variants: old, .. }, Schema::Enum { name, variants: new }) => {
                members(&format!("enum {name}"), old, new)
            }
            (old, new) => (old != new).then(|| format!("was {}, is {}", brief(old), brief(new))),
        }
    }
}

impl StateSchema {
    /// The first place where `new` differs from `old`, or `None` if a snapshot of one restores as the other.
    pub fn difference(old: &StateSchema, new: &StateSchema) -> Option<String> {
        inside("key", &old.key, &new.key).or_else(|| members("", &old.states, &new.states))
    }
}

/// The difference of two schemas, with the place they are in before it.
fn inside(place: &str, old: &Schema, new: &Schema) -> Option<String> {
    Schema::difference(old, new).map(|difference| format!("{place}: {difference}"))
}

/// A schema in a few words: of a struct or an enum its name.
fn brief(schema: &Schema) -> String {
    match schema {
        Schema::Struct { name, .. } => format!("struct {name}"),
        Schema::Enum { name, .. } => format!("enum {name}"),
        other => other.to_string(),
    }
}

/// What is told apart by name within something larger.
trait Member {
    const WHAT: &'static str;
    fn name(&self) -> &str;
    fn difference(old: &Self, new: &Self) -> Option<String>;
}

impl Member for Field {
    const WHAT: &'static str = "field";

    fn name(&self) -> &str {
        &self.name
    }

    fn difference(old: &Self, new: &Self) -> Option<String> {
        Schema::difference(&old.schema, &new.schema)
    }
}

impl Member for Variant {
    const WHAT: &'static str = "variant";

    fn name(&self) -> &str {
        &self.name
    }

    fn difference(old: &Self, new: &Self) -> Option<String> {
        members("", &old.fields, &new.fields)
    }
}

impl Member for NamedState {
    const WHAT: &'static str = "state";

    fn name(&self) -> &str {
        &self.name
    }

    fn difference(old: &Self, new: &Self) -> Option<String> {
        match (old.ttl, new.ttl) {
            (false, true) => return Some("had no ttl, has one".to_owned()),
            (true, false) => return Some("had a ttl, has none".to_owned()),
            (true, true) | (false, false) => {}
        }
        match (&old.kind, &new.kind) {
            (StateKind::Map { key: old_key }, StateKind::Map { key: new_key }) => {
                inside("key", old_key, new_key).or_else(|| inside("value", &old.schema, &new.schema))
            }
            (StateKind::List, StateKind::List) => inside("element", &old.schema, &new.schema),
            (StateKind::Value, StateKind::Value)
            | (StateKind::Reducing, StateKind::Reducing)
            | (StateKind::Plain, StateKind::Plain) => Schema::difference(&old.schema, &new.schema),
            (StateKind::Aggregating, StateKind::Aggregating) => inside("accumulator", &old.schema, &new.schema),
            (old_kind, new_kind) => Some(format!("was {} state, is {} state", kind(old_kind), kind(new_kind))),
        }
    }
}

fn kind(kind: &StateKind) -> &'static str {
    match kind {
        StateKind::Value => "a value",
        StateKind::List => "a list",
        StateKind::Map { .. } => "a map",
        StateKind::Reducing => "a reducing",
        StateKind::Aggregating => "an aggregating",
        StateKind::Plain => "a plain",
    }
}

/// The first difference between the members of something: one that is gone, new, or changed, or another order.
fn members<M: Member>(of: &str, old: &[M], new: &[M]) -> Option<String> {
    let place = |name: &str| match (name, of) {
        ("", _) => M::WHAT.to_owned(),
        (name, "") => format!("{} `{name}`", M::WHAT),
        (name, of) => format!("{} `{name}` of {of}", M::WHAT),
    };
    let find = |members: &[M], name: &str| members.iter().position(|member| member.name() == name);
    for member in old {
        let name = member.name();
        match find(new, name).map(|index| M::difference(member, &new[index])) {
            None => return Some(format!("{}: was removed", place(name))),
            Some(Some(difference)) => return Some(format!("{}: {difference}", place(name))),
            Some(None) => {}
        }
    }
    if let Some(added) = new.iter().find(|member| find(old, member.name()).is_none()) {
        return Some(format!("{}: was added", place(added.name())));
    }
    // The same names on both sides, so only their order is left to differ.
    let moved = old.iter().zip(new).find(|(old, new)| old.name() != new.name());
    moved.map(|(old, new)| format!("{}: now comes after `{}`", place(old.name()), new.name()))
}
