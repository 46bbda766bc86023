//! Any number of values: a `u32` length, then the elements one after the other; a map's as key, value.
//!
//! Lists and the ordered collections encode in their order, hash maps and hash sets in whatever order they iterate:
//! they are no keys, so nobody compares their bytes. Decoding accepts any order, since the order of a type may change
//! with the program, but no entry twice. A capacity asked for is never more than the bytes left, also where entries
//! take no bytes.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::hash::{BuildHasher, Hash};

use super::{Data, DecodeError, Width, decode_len, encode_len};
use crate::schema::Schema;

impl<T: Data> Data for Vec<T> {
    const WIDTH: Width = Width::fixed(4).then(T::WIDTH.repeated());

    fn schema() -> Schema {
        Schema::List(Box::new(T::schema()))
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        encode_len(self.len(), out);
        encode_items(self, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        // Else a few bytes that promise four billion elements could ask for any amount of memory.
        const { assert!(T::WIDTH.min() > 0 || size_of::<T>() == 0, "an element that takes memory encodes to no bytes") };
        let len = decode_len(input, T::WIDTH.min(), "Vec")?;
        let mut items = Vec::with_capacity(len);
        for _ in 0..len {
            items.push(T::decode(input)?);
        }
        Ok(items)
    }
}

impl<T: Data> Data for VecDeque<T> {
    const WIDTH: Width = Vec::<T>::WIDTH;

    fn schema() -> Schema {
        Vec::<T>::schema()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        let (front, back) = self.as_slices();
        encode_len(self.len(), out);
        encode_items(front, out);
        encode_items(back, out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Vec::decode(input).map(VecDeque::from)
    }
}

/// Appends the elements, without a length: at memory speed where their width is fixed.
#[inline]
pub(super) fn encode_items<T: Data>(items: &[T], out: &mut Vec<u8>) {
    match T::WIDTH.exact() {
        Some(width) => {
            let start = out.len();
            out.resize(start + width * items.len(), 0);
            store_items(items, &mut out[start..]);
        }
        None => {
            out.reserve(T::WIDTH.min() * items.len());
            for item in items {
                item.encode(out);
            }
        }
    }
}

/// Writes elements of fixed width to the start of `slot`, and returns the rest of it.
#[inline]
pub(super) fn store_items<'a, T: Data>(items: &[T], mut slot: &'a mut [u8]) -> &'a mut [u8] {
    for item in items {
        slot = item.store(slot);
    }
    slot
}

macro_rules! map {
    ($map:ident<K: $($key:ident)+ $(, $hasher:ident)?>, $new:expr) => {
        impl<K: Data $(+ $key)+, V: Data $(, $hasher: BuildHasher + Default + Clone + Send + 'static)?> Data
            for $map<K, V $(, $hasher)?>
        {
            const WIDTH: Width = Width::fixed(4).then(K::WIDTH.then(V::WIDTH).repeated());

            fn schema() -> Schema {
                Schema::Map(Box::new(K::schema()), Box::new(V::schema()))
            }

            fn encode(&self, out: &mut Vec<u8>) {
                encode_len(self.len(), out);
                out.reserve(K::WIDTH.then(V::WIDTH).min() * self.len());
                for (key, value) in self {
                    key.encode(out);
                    value.encode(out);
                }
            }

            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let len = decode_len(input, K::WIDTH.then(V::WIDTH).min(), "Map")?;
                let mut map: Self = $new(len.min(input.len()));
                for _ in 0..len {
                    if map.insert(K::decode(input)?, V::decode(input)?).is_some() {
                        return Err(DecodeError::Duplicate { what: "Map" });
                    }
                }
                Ok(map)
            }
        }
    };
}

map!(BTreeMap<K: Ord>, |_| BTreeMap::new());
map!(HashMap<K: Eq Hash, S>, |len| HashMap::with_capacity_and_hasher(len, S::default()));

macro_rules! set {
    ($set:ident<T: $($element:ident)+ $(, $hasher:ident)?>, $new:expr) => {
        impl<T: Data $(+ $element)+ $(, $hasher: BuildHasher + Default + Clone + Send + 'static)?> Data
            for $set<T $(, $hasher)?>
        {
            const WIDTH: Width = Width::fixed(4).then(T::WIDTH.repeated());

            fn schema() -> Schema {
                Schema::Set(Box::new(T::schema()))
            }

            fn encode(&self, out: &mut Vec<u8>) {
                encode_len(self.len(), out);
                out.reserve(T::WIDTH.min() * self.len());
                for item in self {
                    item.encode(out);
                }
            }

            fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
                let len = decode_len(input, T::WIDTH.min(), "Set")?;
                let mut set: Self = $new(len.min(input.len()));
                for _ in 0..len {
                    if !set.insert(T::decode(input)?) {
                        return Err(DecodeError::Duplicate { what: "Set" });
                    }
                }
                Ok(set)
            }
        }
    };
}

set!(BTreeSet<T: Ord>, |_| BTreeSet::new());
set!(HashSet<T: Eq Hash, S>, |len| HashSet::with_capacity_and_hasher(len, S::default()));
