//! The shape of stored values, written next to them.
//!
//! With its schema a snapshot can be read without the code of the job that wrote it, and a job can refuse, before the
//! first record, state that it would misread. A schema is stored as JSON; its form is part of the stored format.
//!
//! A program may declare another schema than the one that was stored. A [`Migration`] then rewrites the stored bytes,
//! without the types that wrote them, or says why it cannot; a [`Verdict`] says the same to people. Fields, variants
//! and states are told apart by name, while the name of a struct or enum type is for people only, so a type can be
//! renamed.
//!
//! What a migration needs besides the shape, the names that something had before and the value of a field that was not
//! stored, is the program's alone: it is in the schema of a type, and left out of the stored form.

mod display;
mod dynamic;
mod migration;
mod plan;
mod rank;
mod skip;
mod states;
mod step;
mod stored;
mod verdict;

use highwater_core::{Error, ErrorKind, Result};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use dynamic::ValueError;
pub use migration::{Incompatible, Migration, ValueMigration};
pub use verdict::{KeyedVerdict, StateVerdict, Verdict};

use crate::data::Data;

/// The shape of a value: what [`Data::encode`] writes, with names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Schema {
    /// One byte, unsigned.
    U8,
    /// Two bytes, unsigned.
    U16,
    /// Four bytes, unsigned.
    U32,
    /// Eight bytes, unsigned; also `usize`.
    U64,
    /// Sixteen bytes, unsigned.
    U128,
    /// One byte, signed.
    I8,
    /// Two bytes, signed.
    I16,
    /// Four bytes, signed.
    I32,
    /// Eight bytes, signed; also `isize`.
    I64,
    /// Sixteen bytes, signed.
    I128,
    /// IEEE 754, four bytes.
    F32,
    /// IEEE 754, eight bytes.
    F64,
    /// One byte, 0 or 1.
    Bool,
    /// A Unicode scalar value in four bytes.
    Char,
    /// No bytes.
    Unit,
    /// A length in bytes, then UTF-8.
    String,
    /// Seconds (`u64`) and nanoseconds (`u32`).
    Duration,
    /// Seconds since the Unix epoch (`i64`) and nanoseconds (`u32`).
    SystemTime,
    /// Four bytes in network order.
    Ipv4,
    /// Sixteen bytes in network order.
    Ipv6,
    /// The byte 4 or 6, then the address.
    Ip,
    /// The byte 0, or 1 and the value.
    Option(Box<Schema>),
    /// A length, then the elements.
    List(Box<Schema>),
    /// A length, then the elements, none twice.
    Set(Box<Schema>),
    /// A length, then keys and values by turns, no key twice.
    Map(Box<Schema>, Box<Schema>),
    /// The parts one after the other.
    Tuple(Vec<Schema>),
    /// That many elements one after the other.
    Array(Box<Schema>, u64),
    /// The fields one after the other.
    Struct {
        /// The type's name, for people.
        name: String,
        /// In the order they are declared and encoded.
        fields: Vec<Field>,
    },
    /// One byte, the index of the variant, then the variant's fields.
    Enum {
        /// The type's name, for people.
        name: String,
        /// In the order they are declared.
        variants: Vec<Variant>,
    },
}

/// A field of a struct or of a variant. Fields without a name are called "0", "1" and so on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// Its shape.
    pub schema: Schema,
    /// The names it had before; of the program, never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
    /// The encoding of its value where none was stored; of the program, never stored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub default: Option<Vec<u8>>,
}

impl Field {
    /// A field that has always had this name, and has to be there.
    pub fn new(name: impl Into<String>, schema: Schema) -> Self {
        Field { name: name.into(), schema, aliases: Vec::new(), default: None }
    }

    /// The same field, with a name it had before.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }

    /// The same field, with the value it has where none was stored.
    #[must_use]
    pub fn with_default<T: Data>(mut self, value: &T) -> Self {
        let mut encoding = Vec::new();
        value.encode(&mut encoding);
        self.default = Some(encoding);
        self
    }
}

/// A variant of an enum.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Variant {
    /// Its name.
    pub name: String,
    /// Its fields, in the order they are declared and encoded.
    pub fields: Vec<Field>,
    /// The names it had before; of the program, never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl Variant {
    /// A variant that has always had this name.
    pub fn new(name: impl Into<String>, fields: Vec<Field>) -> Self {
        Variant { name: name.into(), fields, aliases: Vec::new() }
    }

    /// The same variant, with a name it had before.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }
}

impl Schema {
    /// The stored form: the shape, without aliases and defaults.
    pub fn to_json(&self) -> String {
        to_json(&self.stored())
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] if it is not a schema that this version knows.
    pub fn from_json(json: &str) -> Result<Self> {
        from_json(json)
    }
}

/// Everything a keyed operator stores for one key: the key, then each of its states.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateSchema {
    /// What the stream is keyed by.
    pub key: Schema,
    /// In the order they are declared and encoded.
    pub states: Vec<NamedState>,
}

impl StateSchema {
    /// The shape of a row's encoding: that of its states, one after the other.
    pub fn row(&self) -> Schema {
        Schema::Tuple(self.states.iter().map(states::encoding).collect())
    }

    /// The stored form: the shape, without aliases and defaults.
    pub fn to_json(&self) -> String {
        to_json(&self.stored())
    }

    /// Reads the stored form.
    ///
    /// # Errors
    /// [`ErrorKind::Incompatible`] if it is not a schema that this version knows.
    pub fn from_json(json: &str) -> Result<Self> {
        from_json(json)
    }
}

/// One declared state.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NamedState {
    /// The field's name; empty for the one state of kind [`StateKind::Plain`].
    pub name: String,
    /// How it is kept.
    pub kind: StateKind,
    /// The shape of its value, of its elements, or of a map's values; of an aggregating state that of its accumulator.
    pub schema: Schema,
    /// Whether it has a time-to-live: then a stamp follows each value, element, or value of a map, see
    /// `docs/format.md`. Not stored if it has none.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub ttl: bool,
    /// The names it had before; of the program, never stored.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub aliases: Vec<String>,
}

impl NamedState {
    /// A state without a time-to-live.
    pub fn new(name: impl Into<String>, kind: StateKind, schema: Schema) -> Self {
        NamedState { name: name.into(), kind, schema, ttl: false, aliases: Vec::new() }
    }

    /// The same state, with a time-to-live or without.
    #[must_use]
    pub fn with_ttl(self, ttl: bool) -> Self {
        NamedState { ttl, ..self }
    }

    /// The same state, with a name it had before.
    #[must_use]
    pub fn with_alias(mut self, alias: impl Into<String>) -> Self {
        self.aliases.push(alias.into());
        self
    }
}

/// How a state keeps its values.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StateKind {
    /// At most one value: encoded as an `Option`.
    Value,
    /// Any number of elements: encoded as a list.
    List,
    /// Values by key: encoded as a map.
    Map {
        /// The shape of the keys.
        key: Schema,
    },
    /// At most one value, into which others are folded: encoded as an `Option`.
    Reducing,
    /// At most one accumulator: encoded as an `Option`.
    Aggregating,
    /// One value that is always there, encoded as it is.
    Plain,
}

fn to_json(schema: &impl Serialize) -> String {
    serde_json::to_string(schema).expect("a schema has no map with keys that JSON cannot express")
}

fn from_json<T: DeserializeOwned>(json: &str) -> Result<T> {
    serde_json::from_str(json).map_err(|error| {
        Error::new(ErrorKind::Incompatible, "the stored schema is not one this version of Highwater can read")
            .with_source(error)
    })
}
