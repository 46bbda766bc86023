//! The windows or panes of a key: mostly one, which then lies in the key's row itself, without memory of its own to allocate and to
//! wait for.

use std::ops::{Deref, DerefMut};

use highwater_state::data::Width;
use highwater_state::{Data, DecodeError, Schema};
use smallvec::SmallVec;

/// A list for mostly one element; stored as a `Vec` is.
#[derive(Clone)]
pub(super) struct Short<E>(SmallVec<[E; 1]>);

impl<E> Default for Short<E> {
    fn default() -> Self {
        Short(SmallVec::new())
    }
}

impl<E> Deref for Short<E> {
    type Target = SmallVec<[E; 1]>;

    #[inline]
    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<E> DerefMut for Short<E> {
    #[inline]
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

impl<E: Data> Data for Short<E> {
    const WIDTH: Width = Vec::<E>::WIDTH;

    fn schema() -> Schema {
        Vec::<E>::schema()
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        (self.len() as u32).encode(out);
        self.iter().for_each(|element| element.encode(out));
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        let mut elements = SmallVec::from_vec(Vec::decode(input)?);
        elements.shrink_to_fit();
        Ok(Short(elements))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_stored_as_a_vec_is_and_one_element_lies_inside() {
        for len in 0..4 {
            let elements: Vec<(u64, String)> = (0..len).map(|i| (i, i.to_string())).collect();
            let (mut bytes, mut expected) = (Vec::new(), Vec::new());
            Short(SmallVec::from_vec(elements.clone())).encode(&mut bytes);
            elements.encode(&mut expected);
            assert_eq!(bytes, expected);
            let back = Short::<(u64, String)>::decode(&mut &bytes[..]).unwrap();
            assert_eq!(back.to_vec(), elements);
            assert_eq!(back.spilled(), len > 1);
        }
    }
}
