//! The stored form of a schema: its shape, without what only the program knows.

use super::{Field, NamedState, Schema, StateKind, StateSchema, Variant};

impl Schema {
    /// The same shape without aliases and defaults.
    pub(super) fn stored(&self) -> Schema {
        let boxed = |schema: &Schema| Box::new(schema.stored());
        match self {
            Schema::Option(value) => Schema::Option(boxed(value)),
            Schema::List(element) => Schema::List(boxed(element)),
            Schema::Set(element) => Schema::Set(boxed(element)),
            Schema::Map(key, value) => Schema::Map(boxed(key), boxed(value)),
            Schema::Array(element, len) => Schema::Array(boxed(element), *len),
            Schema::Tuple(parts) => Schema::Tuple(parts.iter().map(Schema::stored).collect()),
            Schema::Struct { name, fields } => Schema::Struct { name: name.clone(), fields: stored_fields(fields) },
            Schema::Enum { name, variants } => {
                let stored = |variant: &Variant| Variant::new(&variant.name, stored_fields(&variant.fields));
                Schema::Enum { name: name.clone(), variants: variants.iter().map(stored).collect() }
            }
            leaf => leaf.clone(),
        }
    }
}

impl StateSchema {
    /// The same shape without aliases and defaults.
    pub(super) fn stored(&self) -> StateSchema {
        let stored = |state: &NamedState| {
            let kind = match &state.kind {
                StateKind::Map { key } => StateKind::Map { key: key.stored() },
                other => other.clone(),
            };
            NamedState::new(&state.name, kind, state.schema.stored()).with_ttl(state.ttl)
        };
        StateSchema { key: self.key.stored(), states: self.states.iter().map(stored).collect() }
    }
}

fn stored_fields(fields: &[Field]) -> Vec<Field> {
    fields.iter().map(|field| Field::new(&field.name, field.schema.stored())).collect()
}
