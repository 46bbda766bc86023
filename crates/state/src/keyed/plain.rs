//! One plain value per key, without a struct of states around it.

use super::KeyedState;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// A row that is one value: what `stateful_map` and its kin keep, so that a closure gets `&mut S`.
///
/// It is never empty: no value of `S` means "nothing", so the row stays until the operator drops it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plain<S>(pub S);

impl<S: Data + Default> KeyedState for Plain<S> {
    fn states() -> Vec<NamedState> {
        vec![NamedState::new("", StateKind::Plain, S::schema())]
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        S::decode(input).map(Plain)
    }

    #[inline]
    fn is_empty(&self) -> bool {
        false
    }

    fn clear(&mut self) {
        self.0 = S::default();
    }
}
