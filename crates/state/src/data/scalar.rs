//! Numbers, `bool`, `char` and `()`.

use super::{Data, DecodeError, Width, store_bytes, take};
use crate::schema::Schema;

macro_rules! number {
    ($($number:ident => $schema:ident),* $(,)?) => {$(
        impl Data for $number {
            const WIDTH: Width = Width::fixed(size_of::<$number>());

            fn schema() -> Schema {
                Schema::$schema
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                store_bytes(&self.to_le_bytes(), slot)
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Ok($number::from_le_bytes(take(input, stringify!($number))?))
            }
        }
    )*};
}

number! {
    u8 => U8, u16 => U16, u32 => U32, u64 => U64, u128 => U128,
    i8 => I8, i16 => I16, i32 => I32, i64 => I64, i128 => I128,
    f32 => F32, f64 => F64,
}

/// A type that is stored as another: `$to` and `$from` convert.
macro_rules! stored_as {
    ($($number:ty as $stored:ty, $schema:ident, $to:expr, $from:expr;)*) => {$(
        impl Data for $number {
            const WIDTH: Width = <$stored>::WIDTH;

            fn schema() -> Schema {
                Schema::$schema
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                $to(*self).encode(out);
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                $to(*self).store(slot)
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let stored = <$stored>::decode(input)?;
                let invalid = DecodeError::Invalid { what: stringify!($number), found: stored as u64 };
                $from(stored).ok_or(invalid)
            }
        }
    )*};
}

stored_as! {
    // The width must not depend on the machine.
    usize as u64, U64, |value: usize| value as u64, |stored: u64| usize::try_from(stored).ok();
    isize as i64, I64, |value: isize| value as i64, |stored: i64| isize::try_from(stored).ok();
    char as u32, Char, |value: char| value as u32, char::from_u32;
    bool as u8, Bool, |value: bool| u8::from(value), |stored: u8| match stored {
        0 => Some(false),
        1 => Some(true),
        2.. => None,
    };
}

impl Data for () {
    const WIDTH: Width = Width::fixed(0);

    fn schema() -> Schema {
        Schema::Unit
    }

    #[inline]
    fn encode(&self, _out: &mut Vec<u8>) {}

    #[inline]
    fn decode(_input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(())
    }
}
