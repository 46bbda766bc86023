//! Where an encoded value ends, by its schema.
//!
//! Everything that [`decode`](crate::Data::decode) would refuse is refused here, except an entry that is in a set or a
//! map twice: for that the entries would have to be compared.

use super::{Field, Schema};
use crate::data::{Data, DecodeError, decode_len, decode_text};

impl Schema {
    /// Moves `input` past one value.
    ///
    /// # Errors
    /// If the bytes are not the encoding of a value.
    pub fn skip(&self, input: &mut &[u8]) -> Result<(), DecodeError> {
        if let Some(width) = self.plain_width() {
            return advance(input, width, "number");
        }
        match self {
            Schema::Bool => bool::decode(input).map(drop),
            Schema::Char => char::decode(input).map(drop),
            Schema::String => decode_text(input).map(drop),
            Schema::Duration => std::time::Duration::decode(input).map(drop),
            Schema::SystemTime => std::time::SystemTime::decode(input).map(drop),
            Schema::Ip => std::net::IpAddr::decode(input).map(drop),
            Schema::Option(value) => {
                if bool_tag(input, "Option")? {
                    value.skip(input)?;
                }
                Ok(())
            }
            Schema::List(element) | Schema::Set(element) => {
                let len = decode_len(input, element.min_width(), "Vec")?;
                skip_all(&[element], len as u64, input)
            }
            Schema::Map(key, value) => {
                let len = decode_len(input, key.min_width().saturating_add(value.min_width()), "Map")?;
                skip_all(&[key, value], len as u64, input)
            }
            Schema::Tuple(parts) => parts.iter().try_for_each(|part| part.skip(input)),
            Schema::Array(element, len) => skip_all(&[element], *len, input),
            Schema::Struct { fields, .. } => fields.iter().try_for_each(|field| field.schema.skip(input)),
            Schema::Enum { variants, .. } => {
                let tag = u8::decode(input)?;
                let variant = variants.get(usize::from(tag)).ok_or_else(|| no_variant(tag))?;
                variant.fields.iter().try_for_each(|field| field.schema.skip(input))
            }
            // What is left has a plain width.
            _ => Ok(()),
        }
    }

    /// The number of bytes, if any bytes of that number are a value.
    pub(super) fn plain_width(&self) -> Option<usize> {
        match self {
            Schema::Unit => Some(0),
            Schema::U8 | Schema::I8 => Some(1),
            Schema::U16 | Schema::I16 => Some(2),
            Schema::U32 | Schema::I32 | Schema::F32 | Schema::Ipv4 => Some(4),
            Schema::U64 | Schema::I64 | Schema::F64 => Some(8),
            Schema::U128 | Schema::I128 | Schema::Ipv6 => Some(16),
            Schema::Tuple(parts) => plain_width(parts),
            Schema::Struct { fields, .. } => plain_width(schemas(fields)),
            Schema::Array(_, 0) => Some(0),
            Schema::Array(element, len) => element.plain_width()?.checked_mul(usize::try_from(*len).ok()?),
            _ => None,
        }
    }

    /// The least number of bytes of a value. Only a type whose values all take no bytes has none.
    pub(super) fn min_width(&self) -> usize {
        match self {
            Schema::Bool | Schema::Option(_) => 1,
            Schema::Char | Schema::String | Schema::List(_) | Schema::Set(_) | Schema::Map(..) => 4,
            Schema::Ip => 5,
            Schema::Duration | Schema::SystemTime => 12,
            Schema::Tuple(parts) => min_width(parts),
            Schema::Struct { fields, .. } => min_width(schemas(fields)),
            Schema::Array(element, len) => {
                element.min_width().saturating_mul(usize::try_from(*len).unwrap_or(usize::MAX))
            }
            Schema::Enum { variants, .. } => {
                let fields = variants.iter().map(|variant| min_width(schemas(&variant.fields)));
                fields.min().unwrap_or(0).saturating_add(1)
            }
            plain => plain.plain_width().unwrap_or(0),
        }
    }
}

fn plain_width<'a>(parts: impl IntoIterator<Item = &'a Schema>) -> Option<usize> {
    parts.into_iter().try_fold(0usize, |sum, part| sum.checked_add(part.plain_width()?))
}

fn min_width<'a>(parts: impl IntoIterator<Item = &'a Schema>) -> usize {
    parts.into_iter().fold(0usize, |sum, part| sum.saturating_add(part.min_width()))
}

fn schemas(fields: &[Field]) -> impl Iterator<Item = &Schema> {
    fields.iter().map(|field| &field.schema)
}

/// Reads a byte that is 0 or 1.
pub(super) fn bool_tag(input: &mut &[u8], what: &'static str) -> Result<bool, DecodeError> {
    match u8::decode(input)? {
        0 => Ok(false),
        1 => Ok(true),
        tag => Err(DecodeError::Invalid { what, found: tag.into() }),
    }
}

pub(super) fn no_variant(tag: u8) -> DecodeError {
    DecodeError::Invalid { what: "enum", found: tag.into() }
}

/// Moves `input` past `count` times the `parts`: at once where any bytes will do, so that no number of entries without
/// bytes takes long.
fn skip_all(parts: &[&Schema], count: u64, input: &mut &[u8]) -> Result<(), DecodeError> {
    if let Some(width) = plain_width(parts.iter().copied()) {
        let all = usize::try_from(count).ok().and_then(|count| width.checked_mul(count));
        return advance(input, all.unwrap_or(usize::MAX), "Vec");
    }
    for _ in 0..count {
        parts.iter().try_for_each(|part| part.skip(input))?;
    }
    Ok(())
}

fn advance(input: &mut &[u8], bytes: usize, what: &'static str) -> Result<(), DecodeError> {
    *input = input.get(bytes..).ok_or(DecodeError::CutOff { what })?;
    Ok(())
}
