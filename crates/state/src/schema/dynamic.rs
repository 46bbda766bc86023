//! Stored values without the types that wrote them: bytes and a schema give JSON, and JSON and a schema give the bytes.
//!
//! | schema | JSON |
//! |---|---|
//! | integers up to 64 bits | a number, all its digits |
//! | `u128`, `i128` | a string of its digits |
//! | `f32`, `f64` | a number; `"NaN"`, `"Infinity"`, `"-Infinity"` |
//! | `bool`, `char`, `string` | `true` or `false`, a string of one character, a string |
//! | `unit` | `null` |
//! | `duration` | `"90.5s"` |
//! | `system_time` | `"2026-11-22T14:39:22.969Z"` |
//! | addresses | a string |
//! | options | `null`, or the value; `{"some": value}` where a value may be `null` itself |
//! | lists, sets, tuples, arrays | an array |
//! | maps | an object if the keys are strings, else an array of pairs |
//! | structs | an object; of fields without names an array, or the value itself if there is one |
//! | enums | the name of a variant without fields, else `{"Variant": fields}` |
//!
//! In a state with a time-to-live each value is `{"value": .., "last_access_ms": ..}`; `null` there is no stamp yet.
//!
//! Invariants:
//! * what is read from bytes gives the same value again, and of a type that can be a key the same bytes;
//! * no bytes make this panic or take more memory than in proportion to them.

mod from_json;
mod shape;
mod to_json;

use serde_json::{Value, json};

use super::{NamedState, Schema, StateKind, StateSchema};
use crate::data::{Data, DecodeError};
use crate::keyed::ttl::NO_STAMP;

pub use from_json::ValueError;
use to_json::Reader;

impl Schema {
    /// Reads one value from the start of `input` as JSON, and moves `input` past it.
    ///
    /// ```
    /// use highwater_state::{Data, Schema};
    /// let mut bytes = Vec::new();
    /// ("flink".to_owned(), Some(7u64)).encode(&mut bytes);
    /// let schema = Schema::from_json(r#"{"tuple": ["string", {"option": "u64"}]}"#)?;
    /// assert_eq!(schema.decode_json(&mut bytes.as_slice()).unwrap().to_string(), r#"["flink",7]"#);
    /// # Ok::<(), highwater_core::Error>(())
    /// ```
    ///
    /// # Errors
    /// If the bytes are not the encoding of a value.
    pub fn decode_json(&self, input: &mut &[u8]) -> Result<Value, DecodeError> {
        Reader::new(input).value(self)
    }

    /// Appends the encoding of the value that `json` stands for. Numbers may also be given as strings. Objects have their
    /// entries in the order of their names, as ordered maps have; what is given as an array is encoded in its order.
    ///
    /// # Errors
    /// If it stands for no value of this schema, with the place.
    pub fn encode_json(&self, json: &Value, out: &mut Vec<u8>) -> Result<(), ValueError> {
        from_json::encode(self, json, out)
    }
}

impl NamedState {
    /// Reads the state from the start of `input` as JSON, and moves `input` past it.
    ///
    /// # Errors
    /// If the bytes are not the encoding of such a state.
    pub fn decode_json(&self, input: &mut &[u8]) -> Result<Value, DecodeError> {
        let mut reader = Reader::new(input);
        let value = |reader: &mut Reader<'_, '_>| match self.ttl {
            false => reader.value(&self.schema),
            true => {
                let value = reader.value(&self.schema)?;
                let stamp = Some(i64::decode(reader.input)?).filter(|stamp| *stamp != NO_STAMP);
                Ok(json!({"value": value, "last_access_ms": stamp}))
            }
        };
        match &self.kind {
            StateKind::Value | StateKind::Reducing | StateKind::Aggregating => {
                reader.option(!self.ttl && shape::is_nullable(&self.schema), value)
            }
            StateKind::List => reader.list(self.schema.min_width(), value),
            StateKind::Map { key } => reader.map(key, self.schema.min_width(), value),
            StateKind::Plain => value(&mut reader),
        }
    }
}

impl StateSchema {
    /// Reads a row from the start of `input`, the states in their order as JSON, and moves `input` past it.
    ///
    /// # Errors
    /// If the bytes are not the encoding of a row.
    pub fn decode_json(&self, input: &mut &[u8]) -> Result<Vec<Value>, DecodeError> {
        self.states.iter().map(|state| state.decode_json(input)).collect()
    }
}
