//! What decides about the form of a schema's values, without looking at one.

use crate::schema::{Field, Schema};

/// How fields are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fields {
    /// As an object: they have names, or there are none.
    Named,
    /// As an array: a tuple struct.
    Numbered,
    /// As the value of the only one: a newtype.
    Single,
}

impl Fields {
    pub fn of(fields: &[Field]) -> Self {
        let is_numbered = fields.iter().enumerate().all(|(index, field)| field.name == index.to_string());
        match fields.len() {
            0 => Fields::Named,
            1 if is_numbered => Fields::Single,
            _ if is_numbered => Fields::Numbered,
            _ => Fields::Named,
        }
    }
}

/// Whether a value may be written as `null`, so that an option of it needs something around it.
pub(super) fn is_nullable(schema: &Schema) -> bool {
    match schema {
        Schema::Unit | Schema::Option(_) => true,
        Schema::Struct { fields, .. } if Fields::of(fields) == Fields::Single => is_nullable(&fields[0].schema),
        _ => false,
    }
}
