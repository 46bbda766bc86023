//! At most one value per key.

use super::State;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// At most one value per key: Flink's `ValueState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueState<T>(Option<T>);

impl<T: Data> ValueState<T> {
    /// The value, if one is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.0.as_ref()
    }

    /// A copy of the value, or the default if none is set; sets nothing.
    #[inline]
    pub fn get_or_default(&self) -> T
    where
        T: Default,
    {
        self.0.clone().unwrap_or_default()
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: T) {
        self.0 = Some(value);
    }

    /// Changes the value in place, starting from the default if none is set; returns what `change` returns.
    #[inline]
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default,
    {
        change(self.0.get_or_insert_default())
    }

    /// Clears the state and returns the value that was set.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        self.0.take()
    }

    /// Clears the state.
    #[inline]
    pub fn clear(&mut self) {
        self.0 = None;
    }

    /// Whether a value is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.0.is_some()
    }
}

impl<T> Default for ValueState<T> {
    fn default() -> Self {
        ValueState(None)
    }
}

impl<T: Data> State for ValueState<T> {
    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Value, T::schema())
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Option::decode(input).map(ValueState)
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.0.is_none()
    }

    fn clear(&mut self) {
        self.0 = None;
    }
}
