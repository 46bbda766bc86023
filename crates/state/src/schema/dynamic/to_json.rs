//! Bytes to JSON.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use highwater_core::Timestamp;
use serde_json::{Map, Number, Value, json};

use super::shape::{self, Fields};
use crate::data::{Data, DecodeError, decode_len};
use crate::schema::{Field, Schema};

/// So many values without bytes are shown, and as many more as there are bytes.
const EMPTY_VALUES: usize = 1 << 16;

/// Reads values from the start of the input.
pub(super) struct Reader<'r, 'a> {
    pub input: &'r mut &'a [u8],
    /// How many values without bytes may still come: the bytes do not bound their number.
    empty_left: usize,
}

impl<'r, 'a> Reader<'r, 'a> {
    pub fn new(input: &'r mut &'a [u8]) -> Self {
        let empty_left = EMPTY_VALUES.saturating_add(input.len());
        Reader { input, empty_left }
    }

    /// The next value.
    pub fn value(&mut self, schema: &Schema) -> Result<Value, DecodeError> {
        let before = self.input.len();
        let value = match schema {
            Schema::Unit => Value::Null,
            Schema::U8 => self.json(u8::decode)?,
            Schema::U16 => self.json(u16::decode)?,
            Schema::U32 => self.json(u32::decode)?,
            Schema::U64 => self.json(u64::decode)?,
            Schema::I8 => self.json(i8::decode)?,
            Schema::I16 => self.json(i16::decode)?,
            Schema::I32 => self.json(i32::decode)?,
            Schema::I64 => self.json(i64::decode)?,
            Schema::U128 => self.text(u128::decode)?,
            Schema::I128 => self.text(i128::decode)?,
            Schema::F32 => float(f32::decode(self.input)?),
            Schema::F64 => float(f64::decode(self.input)?),
            Schema::Bool => self.json(bool::decode)?,
            Schema::Char => self.text(char::decode)?,
            Schema::String => self.json(String::decode)?,
            Schema::Duration => duration(Duration::decode(self.input)?),
            Schema::SystemTime => self.time()?,
            Schema::Ipv4 => self.text(Ipv4Addr::decode)?,
            Schema::Ipv6 => self.text(Ipv6Addr::decode)?,
            Schema::Ip => self.text(IpAddr::decode)?,
            Schema::Option(value) => self.option(shape::is_nullable(value), |reader| reader.value(value))?,
            Schema::List(element) => self.list(element.min_width(), |reader| reader.value(element))?,
            Schema::Set(element) => self.set(element)?,
            Schema::Map(key, value) => self.map(key, value.min_width(), |reader| reader.value(value))?,
            Schema::Tuple(parts) => Value::Array(parts.iter().map(|part| self.value(part)).collect::<Result<_, _>>()?),
            Schema::Array(element, len) => self.array(element, *len)?,
            Schema::Struct { fields, .. } => self.fields(fields)?,
            Schema::Enum { variants, .. } => {
                let tag = u8::decode(self.input)?;
                let invalid = DecodeError::Invalid { what: "enum", found: tag.into() };
                let variant = variants.get(usize::from(tag)).ok_or(invalid)?;
                match variant.fields.as_slice() {
                    [] => Value::from(variant.name.as_str()),
                    fields => json!({variant.name.as_str(): self.fields(fields)?}),
                }
            }
        };
        if self.input.len() == before {
            self.empty_left = self.empty_left.checked_sub(1).ok_or(DecodeError::TooManyEmpty)?;
        }
        Ok(value)
    }

    /// What `value` reads, or nothing; with something around it if it may look like nothing.
    pub fn option(
        &mut self,
        is_nullable: bool,
        value: impl FnOnce(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        match u8::decode(self.input)? {
            0 => Ok(Value::Null),
            1 if is_nullable => Ok(json!({"some": value(self)?})),
            1 => value(self),
            tag => Err(DecodeError::Invalid { what: "Option", found: tag.into() }),
        }
    }

    /// Elements of at least `width` bytes, each read by `element`.
    pub fn list(
        &mut self,
        width: usize,
        mut element: impl FnMut(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        let len = decode_len(self.input, width, "Vec")?;
        Ok(Value::Array((0..len).map(|_| element(self)).collect::<Result<_, _>>()?))
    }

    /// Keys with what `value` reads, of at least `width` bytes.
    pub fn map(
        &mut self,
        key: &Schema,
        width: usize,
        mut value: impl FnMut(&mut Self) -> Result<Value, DecodeError>,
    ) -> Result<Value, DecodeError> {
        let len = decode_len(self.input, key.min_width().saturating_add(width), "Map")?;
        let (mut seen, mut object, mut pairs) = (HashSet::new(), Map::new(), Vec::new());
        for _ in 0..len {
            match (self.once(key, &mut seen, "Map")?, value(self)?) {
                (Value::String(name), value) if *key == Schema::String => drop(object.insert(name, value)),
                (key, value) => pairs.push(json!([key, value])),
            }
        }
        Ok(if *key == Schema::String { Value::Object(object) } else { Value::Array(pairs) })
    }

    fn set(&mut self, element: &Schema) -> Result<Value, DecodeError> {
        let mut seen = HashSet::new();
        self.list(element.min_width(), |reader| reader.once(element, &mut seen, "Set"))
    }

    /// A value whose encoding is not among those seen.
    fn once(
        &mut self,
        schema: &Schema,
        seen: &mut HashSet<&'a [u8]>,
        what: &'static str,
    ) -> Result<Value, DecodeError> {
        let before: &'a [u8] = self.input;
        let value = self.value(schema)?;
        let encoding = &before[..before.len() - self.input.len()];
        if seen.insert(encoding) { Ok(value) } else { Err(DecodeError::Duplicate { what }) }
    }

    fn array(&mut self, element: &Schema, len: u64) -> Result<Value, DecodeError> {
        // Collected one by one: nothing is known of the length before as many elements were there.
        let mut elements = Vec::new();
        for _ in 0..len {
            elements.push(self.value(element)?);
        }
        Ok(Value::Array(elements))
    }

    fn fields(&mut self, fields: &[Field]) -> Result<Value, DecodeError> {
        let mut values = fields.iter().map(|field| Ok((field.name.clone(), self.value(&field.schema)?)));
        match Fields::of(fields) {
            Fields::Named => Ok(Value::Object(values.collect::<Result<_, _>>()?)),
            Fields::Numbered => {
                Ok(Value::Array(values.map(|field| field.map(|(_, value)| value)).collect::<Result<_, _>>()?))
            }
            Fields::Single => values.next().unwrap_or(Ok((String::new(), Value::Null))).map(|(_, value)| value),
        }
    }

    /// Not through `SystemTime`, which is narrower than what is stored on some machines.
    fn time(&mut self) -> Result<Value, DecodeError> {
        let (seconds, nanos) = <(i64, u32)>::decode(self.input)?;
        let invalid = DecodeError::Invalid { what: "SystemTime", found: nanos.into() };
        Timestamp::new(seconds, nanos).map(|time| time.to_string().into()).ok_or(invalid)
    }

    fn json<T: Into<Value>>(
        &mut self,
        decode: impl FnOnce(&mut &'a [u8]) -> Result<T, DecodeError>,
    ) -> Result<Value, DecodeError> {
        decode(self.input).map(Into::into)
    }

    fn text<T: ToString>(
        &mut self,
        decode: impl FnOnce(&mut &'a [u8]) -> Result<T, DecodeError>,
    ) -> Result<Value, DecodeError> {
        decode(self.input).map(|value| value.to_string().into())
    }
}

/// A float by its shortest digits, so that an `f32` of 0.1 is 0.1; JSON has no number for those that are not finite.
fn float<F: std::fmt::Debug + Into<f64> + Copy>(value: F) -> Value {
    match value.into() {
        nan if nan.is_nan() => "NaN".into(),
        infinite if infinite.is_infinite() => if infinite > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        exact => {
            let shortest = format!("{value:?}").parse().unwrap_or(exact);
            Number::from_f64(shortest).map_or(Value::Null, Value::Number)
        }
    }
}

/// Seconds, with as many decimals as it takes.
fn duration(duration: Duration) -> Value {
    let (seconds, nanos) = (duration.as_secs(), duration.subsec_nanos());
    let decimals = format!("{nanos:09}");
    match decimals.trim_end_matches('0') {
        "" => format!("{seconds}s").into(),
        decimals => format!("{seconds}.{decimals}s").into(),
    }
}
