//! Text: a `u32` length in bytes, then the bytes of the UTF-8.

use std::borrow::Cow;
use std::sync::Arc;

use highwater_core::KeyHash;

use super::{Data, DecodeError, SLOT, Width, decode_len, encode_len, hash_in_scratch};
use crate::schema::Schema;

macro_rules! text {
    ($($text:ty: $own:expr),*) => {$(
        impl Data for $text {
            const WIDTH: Width = Width::at_least(4);

            fn schema() -> Schema {
                Schema::String
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                encode(self, out);
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                decode(input).map($own)
            }

            #[inline]
            fn key_hash(&self) -> KeyHash {
                key_hash(self)
            }
        }
    )*};
}

text!(String: String::from, Box<str>: Box::from, Arc<str>: Arc::from, Cow<'static, str>: |text| Cow::Owned(text.to_owned()));

#[inline]
fn encode(text: &str, out: &mut Vec<u8>) {
    out.reserve(4 + text.len());
    encode_len(text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn decode<'a>(input: &mut &'a [u8]) -> Result<&'a str, DecodeError> {
    let len = decode_len(input, 1, "String")?;
    let (text, rest) = input.split_at(len);
    *input = rest;
    std::str::from_utf8(text).map_err(|_| DecodeError::NotUtf8)
}

#[inline]
fn key_hash(text: &str) -> KeyHash {
    let len = 4 + text.len();
    if len > SLOT {
        return hash_in_scratch(|out| encode(text, out));
    }
    let mut slot = [0; SLOT];
    slot[..4].copy_from_slice(&(text.len() as u32).to_le_bytes());
    slot[4..len].copy_from_slice(text.as_bytes());
    KeyHash::of(&slot[..len])
}
