//! What holds other values, a fixed number of them: tuples, arrays, `Option`, `Box`, `Arc`.

use std::sync::Arc;

use highwater_core::KeyHash;

use super::collection::{encode_items, store_items};
use super::{Data, DecodeError, SLOT, Width, encode_parts, take};
use crate::schema::Schema;

macro_rules! tuple {
    ($($part:ident $index:tt),*) => {
        impl<$($part: Data),*> Data for ($($part,)*) {
            const WIDTH: Width = Width::fixed(0)$(.then($part::WIDTH))*;

            fn schema() -> Schema {
                Schema::Tuple(vec![$($part::schema()),*])
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                encode_parts(self, out, |out| {
                    $(self.$index.encode(out);)*
                });
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                $(let slot = self.$index.store(slot);)*
                slot
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                Ok(($($part::decode(input)?,)*))
            }
        }
    };
}

tuple!(A 0);
tuple!(A 0, B 1);
tuple!(A 0, B 1, C 2);
tuple!(A 0, B 1, C 2, D 3);
tuple!(A 0, B 1, C 2, D 3, E 4);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6);
tuple!(A 0, B 1, C 2, D 3, E 4, F 5, G 6, H 7);

impl<T: Data, const N: usize> Data for [T; N] {
    const WIDTH: Width = T::WIDTH.times(N);

    fn schema() -> Schema {
        Schema::Array(Box::new(T::schema()), N as u64)
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_parts(self, out, |out| encode_items(self, out));
    }

    #[inline]
    fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
        store_items(self, slot)
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut failed = None;
        let items: [Option<T>; N] = std::array::from_fn(|_| match failed {
            None => T::decode(input).map_err(|error| failed = Some(error)).ok(),
            Some(_) => None,
        });
        match failed {
            None => Ok(items.map(|item| item.expect("every item was decoded"))),
            Some(error) => Err(error),
        }
    }
}

impl<T: Data> Data for Option<T> {
    const WIDTH: Width = Width::fixed(1).then(Width::fixed(0).or(T::WIDTH));

    fn schema() -> Schema {
        Schema::Option(Box::new(T::schema()))
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        match self {
            None => out.push(0),
            Some(value) => match T::WIDTH.exact() {
                Some(width) if width < SLOT => {
                    let mut slot = [0; SLOT];
                    slot[0] = 1;
                    value.store(&mut slot[1..=width]);
                    out.extend_from_slice(&slot[..=width]);
                }
                _ => {
                    out.reserve(1 + T::WIDTH.min());
                    out.push(1);
                    value.encode(out);
                }
            },
        }
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        match take(input, "Option")? {
            [0] => Ok(None),
            [1] => T::decode(input).map(Some),
            [tag] => Err(DecodeError::Invalid { what: "Option", found: tag.into() }),
        }
    }
}

macro_rules! transparent {
    ($($pointer:ident $bound:ident),*) => {$(
        impl<T: Data + $bound> Data for $pointer<T> {
            const WIDTH: Width = T::WIDTH;

            fn schema() -> Schema {
                T::schema()
            }

            #[inline]
            fn encode(&self, out: &mut Vec<u8>) {
                T::encode(self, out);
            }

            #[inline]
            fn store<'a>(&self, slot: &'a mut [u8]) -> &'a mut [u8] {
                T::store(self, slot)
            }

            #[inline]
            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                T::decode(input).map($pointer::new)
            }

            #[inline]
            fn key_hash(&self) -> KeyHash {
                T::key_hash(self)
            }
        }
    )*};
}

transparent!(Box Send, Arc Sync);
