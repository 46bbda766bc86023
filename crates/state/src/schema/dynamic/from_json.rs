//! JSON to bytes: what people give as a key.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;
use std::time::Duration;

use highwater_core::Timestamp;
use serde_json::Value;

use super::shape::{self, Fields};
use crate::data::Data;
use crate::schema::{Field, Schema};

/// Why JSON stands for no value of a schema.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError {
    /// From the inside out.
    place: Vec<String>,
    what: String,
}

impl ValueError {
    fn new(what: impl Into<String>) -> Self {
        ValueError { place: Vec::new(), what: what.into() }
    }

    fn within(mut self, place: impl Into<String>) -> Self {
        self.place.push(place.into());
        self
    }
}

impl fmt::Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.place.iter().rev().try_for_each(|place| write!(f, "{place}: "))?;
        f.write_str(&self.what)
    }
}

impl std::error::Error for ValueError {}

type Encoded = Result<(), ValueError>;

pub(super) fn encode(schema: &Schema, json: &Value, out: &mut Vec<u8>) -> Encoded {
    match schema {
        Schema::Unit => match json {
            Value::Null => Ok(()),
            other => Err(mismatch(other, "null")),
        },
        Schema::U8 => number::<u8>(json, out),
        Schema::U16 => number::<u16>(json, out),
        Schema::U32 => number::<u32>(json, out),
        Schema::U64 => number::<u64>(json, out),
        Schema::U128 => number::<u128>(json, out),
        Schema::I8 => number::<i8>(json, out),
        Schema::I16 => number::<i16>(json, out),
        Schema::I32 => number::<i32>(json, out),
        Schema::I64 => number::<i64>(json, out),
        Schema::I128 => number::<i128>(json, out),
        Schema::F32 => number::<f32>(json, out),
        Schema::F64 => number::<f64>(json, out),
        Schema::Bool => json.as_bool().ok_or_else(|| mismatch(json, "true or false")).map(|value| value.encode(out)),
        Schema::Char => text(json, "a string of one character", |text| text.parse::<char>().ok(), out),
        Schema::String => text(json, "a string", |text| Some(text.to_owned()), out),
        Schema::Duration => text(json, "a string like \"90.5s\"", parse_duration, out),
        Schema::SystemTime => {
            let time = |text: &str| text.parse::<Timestamp>().ok().map(|time| (time.seconds(), time.nanos()));
            text(json, "a time in UTC like \"2026-11-22T14:39:22Z\"", time, out)
        }
        Schema::Ipv4 => text(json, "an IPv4 address in a string", |text| text.parse::<Ipv4Addr>().ok(), out),
        Schema::Ipv6 => text(json, "an IPv6 address in a string", |text| text.parse::<Ipv6Addr>().ok(), out),
        Schema::Ip => text(json, "an IP address in a string", |text| text.parse::<IpAddr>().ok(), out),
        Schema::Option(value) => option(value, json, out),
        Schema::List(element) | Schema::Set(element) => {
            let elements = array(json)?;
            len(elements.len(), out)?;
            all(elements, |json, out| encode(element, json, out), out)
        }
        Schema::Map(key, value) => map(key, value, json, out),
        Schema::Tuple(parts) => parts_in_order(parts.iter(), json, out),
        Schema::Array(element, len) => {
            let elements = array(json)?;
            if elements.len() as u64 != *len {
                return Err(ValueError::new(format!("{} elements instead of {len}", elements.len())));
            }
            all(elements, |json, out| encode(element, json, out), out)
        }
        Schema::Struct { fields, .. } => self::fields(fields, json, out),
        Schema::Enum { variants, .. } => {
            let names = || variants.iter().map(|variant| variant.name.as_str()).collect::<Vec<_>>().join(", ");
            let unknown = |json: &Value| mismatch(json, &format!("a variant of {}", names()));
            let (name, content) = match json {
                Value::String(name) => (name, None),
                Value::Object(object) if object.len() == 1 => {
                    object.iter().next().map(|(name, content)| (name, Some(content))).ok_or_else(|| unknown(json))?
                }
                other => return Err(unknown(other)),
            };
            let index = variants.iter().position(|variant| variant.name == *name).ok_or_else(|| unknown(json))?;
            u8::try_from(index).map_err(|_| unknown(json))?.encode(out);
            match (variants[index].fields.as_slice(), content) {
                ([], None) => Ok(()),
                (fields, Some(content)) if !fields.is_empty() => {
                    self::fields(fields, content, out).map_err(|error| error.within(format!("variant {name}")))
                }
                ([], Some(_)) => Err(ValueError::new(format!("variant {name} has no fields: give {name:?}"))),
                _ => Err(ValueError::new(format!("variant {name} has fields: give {{{name:?}: ..}}"))),
            }
        }
    }
}

fn mismatch(json: &Value, expected: &str) -> ValueError {
    const SHOWN: usize = 60;
    let mut found = json.to_string();
    if found.chars().count() > SHOWN {
        found = found.chars().take(SHOWN).chain("..".chars()).collect();
    }
    ValueError::new(format!("{found} is not {expected}"))
}

/// A number, also in a string.
fn number<T: Data + FromStr>(json: &Value, out: &mut Vec<u8>) -> Encoded {
    let digits = match json {
        Value::Number(number) => number.to_string(),
        Value::String(digits) => digits.clone(),
        other => return Err(mismatch(other, &format!("a number of type {}", T::schema()))),
    };
    let number = digits.parse::<T>().map_err(|_| mismatch(json, &format!("a number of type {}", T::schema())))?;
    number.encode(out);
    Ok(())
}

fn text<T: Data>(json: &Value, expected: &str, parse: impl Fn(&str) -> Option<T>, out: &mut Vec<u8>) -> Encoded {
    let parsed = json.as_str().and_then(parse).ok_or_else(|| mismatch(json, expected))?;
    parsed.encode(out);
    Ok(())
}

/// Seconds with up to nine decimals.
fn parse_duration(text: &str) -> Option<Duration> {
    let seconds = text.strip_suffix('s')?;
    let (seconds, decimals) = seconds.split_once('.').unwrap_or((seconds, "0"));
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(seconds) || !is_number(decimals) || decimals.len() > 9 {
        return None;
    }
    Some(Duration::new(seconds.parse().ok()?, format!("{decimals:0<9}").parse().ok()?))
}

fn option(value: &Schema, json: &Value, out: &mut Vec<u8>) -> Encoded {
    if json.is_null() {
        out.push(0);
        return Ok(());
    }
    out.push(1);
    if !shape::is_nullable(value) {
        return encode(value, json, out);
    }
    match json.as_object().filter(|object| object.len() == 1).and_then(|object| object.get("some")) {
        Some(some) => encode(value, some, out),
        None => Err(mismatch(json, "null or {\"some\": value}")),
    }
}

fn map(key: &Schema, value: &Schema, json: &Value, out: &mut Vec<u8>) -> Encoded {
    if let (Schema::String, Value::Object(object)) = (key, json) {
        len(object.len(), out)?;
        return object.iter().try_for_each(|(name, json)| {
            name.encode(out);
            encode(value, json, out).map_err(|error| error.within(format!("entry {name:?}")))
        });
    }
    let entries = json.as_array().ok_or_else(|| mismatch(json, "a map: give an array of pairs"))?;
    len(entries.len(), out)?;
    all(entries, |json, out| parts_in_order([key, value].into_iter(), json, out), out)
}

fn fields(fields: &[Field], json: &Value, out: &mut Vec<u8>) -> Encoded {
    match Fields::of(fields) {
        Fields::Single => fields.iter().try_for_each(|field| encode(&field.schema, json, out)),
        Fields::Numbered => parts_in_order(fields.iter().map(|field| &field.schema), json, out),
        Fields::Named => {
            let object = json.as_object().ok_or_else(|| mismatch(json, "an object"))?;
            if let Some(unknown) = object.keys().find(|name| fields.iter().all(|field| field.name != **name)) {
                return Err(ValueError::new(format!("there is no field {unknown:?}")));
            }
            fields.iter().try_for_each(|Field { name, schema, .. }| {
                let json = object.get(name).ok_or_else(|| ValueError::new(format!("field {name:?} is missing")))?;
                encode(schema, json, out).map_err(|error| error.within(format!("field {name:?}")))
            })
        }
    }
}

fn parts_in_order<'s>(parts: impl ExactSizeIterator<Item = &'s Schema>, json: &Value, out: &mut Vec<u8>) -> Encoded {
    let values = array(json)?;
    if values.len() != parts.len() {
        return Err(ValueError::new(format!("{} parts instead of {}", values.len(), parts.len())));
    }
    let mut parts = parts.zip(values).enumerate();
    parts.try_for_each(|(index, (part, json))| {
        encode(part, json, out).map_err(|error| error.within(format!("part {index}")))
    })
}

fn array(json: &Value) -> Result<&Vec<Value>, ValueError> {
    json.as_array().ok_or_else(|| mismatch(json, "an array"))
}

fn all(elements: &[Value], encode: impl Fn(&Value, &mut Vec<u8>) -> Encoded, out: &mut Vec<u8>) -> Encoded {
    let mut elements = elements.iter().enumerate();
    elements.try_for_each(|(index, json)| encode(json, out).map_err(|error| error.within(format!("element {index}"))))
}

fn len(len: usize, out: &mut Vec<u8>) -> Encoded {
    u32::try_from(len).map_err(|_| ValueError::new("too many elements"))?.encode(out);
    Ok(())
}
