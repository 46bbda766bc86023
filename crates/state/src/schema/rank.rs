//! The natural order of encoded values, by their schema: what derived `Ord` gives a type of that shape.
//!
//! The entries of a set or map are encoded in the order of their keys, which may change with the keys' schema (fields
//! or variants in another order). A type with an `Ord` of its own has its entries put in order when they are decoded.

use super::Schema;
use super::skip::{bool_tag, no_variant};
use crate::data::{Data, DecodeError, decode_len, decode_text};

/// A value to be compared with others of its schema. Two are equal if their encodings are.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    Unsigned(u128),
    Signed(i128),
    Bytes(Vec<u8>),
    Sequence(Vec<Rank>),
}

impl Schema {
    /// Reads the rank of one value.
    pub(super) fn rank(&self, input: &mut &[u8]) -> Result<Rank, DecodeError> {
        let unsigned = |value: u128| Ok(Rank::Unsigned(value));
        let signed = |value: i128| Ok(Rank::Signed(value));
        match self {
            Schema::Unit => unsigned(0),
            Schema::U8 | Schema::Bool => unsigned(u8::decode(input)?.into()),
            Schema::U16 => unsigned(u16::decode(input)?.into()),
            Schema::U32 | Schema::Char => unsigned(u32::decode(input)?.into()),
            Schema::U64 => unsigned(u64::decode(input)?.into()),
            Schema::U128 => unsigned(u128::decode(input)?),
            Schema::I8 => signed(i8::decode(input)?.into()),
            Schema::I16 => signed(i16::decode(input)?.into()),
            Schema::I32 => signed(i32::decode(input)?.into()),
            Schema::I64 => signed(i64::decode(input)?.into()),
            Schema::I128 => signed(i128::decode(input)?),
            // As `total_cmp` does: the bits of a negative number in reverse order, but for its sign.
            Schema::F32 => {
                let bits = i32::decode(input)?;
                signed((bits ^ ((bits >> 31) as u32 >> 1) as i32).into())
            }
            Schema::F64 => {
                let bits = i64::decode(input)?;
                signed((bits ^ ((bits >> 63) as u64 >> 1) as i64).into())
            }
            Schema::String => Ok(Rank::Bytes(decode_text(input)?.as_bytes().to_vec())),
            Schema::Duration => parts(&[Schema::U64, Schema::U32], input),
            Schema::SystemTime => parts(&[Schema::I64, Schema::U32], input),
            Schema::Ipv4 => Ok(Rank::Bytes(<[u8; 4]>::decode(input)?.to_vec())),
            Schema::Ipv6 => Ok(Rank::Bytes(<[u8; 16]>::decode(input)?.to_vec())),
            Schema::Ip => {
                let version = u8::decode(input)?;
                let address = if version == 4 { Schema::Ipv4 } else { Schema::Ipv6 };
                Ok(Rank::Sequence(vec![Rank::Unsigned(version.into()), address.rank(input)?]))
            }
            Schema::Option(value) => {
                let value = bool_tag(input, "Option")?.then(|| value.rank(input)).transpose()?;
                Ok(Rank::Sequence(value.into_iter().collect()))
            }
            Schema::List(element) | Schema::Set(element) => {
                let len = decode_len(input, element.min_width(), "Vec")?;
                repeated(&[element], len as u64, input)
            }
            Schema::Map(key, value) => {
                let len = decode_len(input, key.min_width().saturating_add(value.min_width()), "Map")?;
                repeated(&[key, value], len as u64, input)
            }
            Schema::Array(element, len) => repeated(&[element], *len, input),
            Schema::Tuple(schemas) => parts(schemas, input),
            Schema::Struct { fields, .. } => parts(fields.iter().map(|field| &field.schema), input),
            Schema::Enum { variants, .. } => {
                let tag = u8::decode(input)?;
                let variant = variants.get(usize::from(tag)).ok_or_else(|| no_variant(tag))?;
                let fields = parts(variant.fields.iter().map(|field| &field.schema), input)?;
                Ok(Rank::Sequence(vec![Rank::Unsigned(tag.into()), fields]))
            }
        }
    }
}

fn parts<'a>(schemas: impl IntoIterator<Item = &'a Schema>, input: &mut &[u8]) -> Result<Rank, DecodeError> {
    let ranks: Result<_, _> = schemas.into_iter().map(|schema| schema.rank(input)).collect();
    Ok(Rank::Sequence(ranks?))
}

/// `count` times the `schemas`. Of what takes no bytes only the number counts, and of bytes nothing but they.
fn repeated(schemas: &[&Schema], count: u64, input: &mut &[u8]) -> Result<Rank, DecodeError> {
    if schemas.iter().all(|schema| schema.min_width() == 0) {
        return Ok(Rank::Unsigned(count.into()));
    }
    if let [Schema::U8] = schemas {
        let len = usize::try_from(count).unwrap_or(usize::MAX);
        let (bytes, rest) = input.split_at_checked(len).ok_or(DecodeError::CutOff { what: "Vec" })?;
        *input = rest;
        return Ok(Rank::Bytes(bytes.to_vec()));
    }
    let mut ranks = Vec::new();
    for _ in 0..count {
        for schema in schemas {
            ranks.push(schema.rank(input)?);
        }
    }
    Ok(Rank::Sequence(ranks))
}
