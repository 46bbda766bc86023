//! Encoded keys, rows and timers as JSON.

use highwater_core::{Error, ErrorKind, Result};
use highwater_state::{DecodeError, StateSchema};
use serde_json::{Map, Value};

/// A key.
///
/// # Errors
/// If the bytes are not one.
pub fn key(schema: &StateSchema, mut bytes: &[u8]) -> Result<Value> {
    schema.key.decode_json(&mut bytes).map_err(undecodable)
}

/// The states of a row, in their order.
///
/// # Errors
/// If the bytes are not such a row.
pub fn values(schema: &StateSchema, mut bytes: &[u8]) -> Result<Vec<Value>> {
    schema.decode_json(&mut bytes).map_err(undecodable)
}

/// A row as one document: an object of its states, or of a row that is one plain value, that. With `only`, of this state.
pub fn document(schema: &StateSchema, values: Vec<Value>, only: Option<usize>) -> Value {
    let named = schema.states.iter().zip(values).enumerate();
    let mut chosen = named.filter(|(index, _)| only.is_none_or(|only| only == *index)).map(|(_, named)| named);
    match &schema.states[..] {
        [state] if state.name.is_empty() => chosen.next().map_or(Value::Null, |(_, value)| value),
        _ => Value::Object(chosen.map(|(state, value)| (state.name.clone(), value)).collect::<Map<_, _>>()),
    }
}

/// What verified and does not decode was written by something else.
pub fn undecodable(error: DecodeError) -> Error {
    Error::new(ErrorKind::Corrupt, "a stored entry does not decode").with_source(error)
}
