//! A key as a user gives it.

use highwater_core::{Error, Result};
use highwater_state::Schema;
use serde_json::Value;

/// The encoding of the key that `text` stands for: JSON, or the plain text of what JSON would put in quotes.
///
/// # Errors
/// If it is no key of this schema.
pub fn parse(schema: &Schema, text: &str) -> Result<Vec<u8>> {
    let refused = |why: String| Error::settings(format!("{text:?} is no key of type {schema}: {why}"));
    let encode = |json: &Value| {
        let mut bytes = Vec::new();
        schema.encode_json(json, &mut bytes).map(|()| bytes)
    };
    let json = serde_json::from_str::<Value>(text);
    let as_json = match &json {
        Ok(json) => encode(json).map_err(|error| refused(error.to_string())),
        Err(error) => Err(refused(format!("neither a plain word nor JSON ({error})"))),
    };
    // First as JSON: else no string could be given that looks like it.
    as_json.or_else(|error| encode(&Value::from(text)).map_err(|_| error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_words_and_json_are_keys() {
        let key = |schema: &Schema, text: &str| parse(schema, text).map_err(|error| error.to_string());
        assert_eq!(key(&Schema::String, "a"), Ok(vec![1, 0, 0, 0, b'a']));
        assert_eq!(key(&Schema::String, "\"a\""), Ok(vec![1, 0, 0, 0, b'a']));
        assert_eq!(key(&Schema::String, "42"), Ok(vec![2, 0, 0, 0, b'4', b'2']));
        assert_eq!(key(&Schema::U8, "42"), Ok(vec![42]));
        assert_eq!(key(&Schema::U128, "1").map(|bytes| bytes.len()), Ok(16));
        assert_eq!(key(&Schema::Ipv4, "127.0.0.1"), Ok(vec![127, 0, 0, 1]));
        let pair = Schema::Tuple(vec![Schema::String, Schema::U8]);
        assert_eq!(key(&pair, "[\"a\", 7]"), Ok(vec![1, 0, 0, 0, b'a', 7]));
        assert_eq!(key(&Schema::U8, "256"), Err("\"256\" is no key of type u8: 256 is not a number of type u8".into()));
        assert!(key(&Schema::U8, "x").unwrap_err().contains("neither a plain word nor JSON"));
    }
}
