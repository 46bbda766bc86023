//! At most one value per key.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use super::State;
use super::ttl::{Age, Expiry, Never, TtlClock};
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// At most one value per key: Flink's `ValueState`. With [`Ttl`](super::Ttl) as `E` it [expires](super::ttl).
#[derive(Clone)]
pub struct ValueState<T: Data, E: Expiry = Never> {
    entry: Option<E::Entry<T>>,
    clock: E::Clock,
}

impl<T: Data, E: Expiry> ValueState<T, E> {
    /// The value, if one is set.
    #[inline]
    pub fn get(&self) -> Option<&T> {
        self.entry.as_ref().and_then(|entry| E::read(&self.clock, entry))
    }

    /// A copy of the value, or the default if none is set; sets nothing.
    #[inline]
    pub fn get_or_default(&self) -> T
    where
        T: Default,
    {
        self.get().cloned().unwrap_or_default()
    }

    /// Sets the value.
    #[inline]
    pub fn set(&mut self, value: T) {
        match &mut self.entry {
            Some(entry) if E::EXPIRES => drop(E::replace(&self.clock, entry, value)),
            entry => *entry = Some(E::create(&self.clock, value)),
        }
    }

    /// Changes the value in place, starting from the default if none is set; returns what `change` returns.
    #[inline]
    pub fn update<R>(&mut self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Default,
    {
        change(self.get_or_insert_with(T::default))
    }

    /// The value to be changed, `fresh` if none is set.
    #[inline]
    pub(super) fn get_or_insert_with(&mut self, fresh: impl FnOnce() -> T) -> &mut T {
        match &mut self.entry {
            Some(entry) => E::write(&self.clock, entry, fresh),
            entry @ None => E::value_mut(entry.insert(E::create(&self.clock, fresh()))),
        }
    }

    /// Clears the state and returns the value that was set.
    #[inline]
    pub fn take(&mut self) -> Option<T> {
        self.entry.take().and_then(|entry| E::take(&self.clock, entry))
    }

    /// Clears the state.
    #[inline]
    pub fn clear(&mut self) {
        self.entry = None;
    }

    /// Whether a value is set.
    #[inline]
    pub fn is_set(&self) -> bool {
        self.entry.as_ref().is_some_and(|entry| E::is_visible::<T>(&self.clock, entry))
    }
}

impl<T: Data, E: Expiry> Default for ValueState<T, E> {
    fn default() -> Self {
        ValueState { entry: None, clock: E::Clock::default() }
    }
}

impl<T: Data, E: Expiry> Debug for ValueState<T, E>
where
    E::Entry<T>: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ValueState").field(&self.entry).finish()
    }
}

/// With the same value, and the same stamp if it has one.
impl<T: Data, E: Expiry> PartialEq for ValueState<T, E>
where
    E::Entry<T>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.entry == other.entry
    }
}

impl<T: Data, E: Expiry> Eq for ValueState<T, E> where E::Entry<T>: Eq {}

impl<T: Data, E: Expiry> State for ValueState<T, E> {
    type Expiry = E;

    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Value, T::schema()).with_ttl(E::EXPIRES)
    }

    #[inline]
    fn encode(&self, out: &mut Vec<u8>) {
        self.entry.encode(out);
    }

    #[inline]
    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(ValueState { entry: Option::decode(input)?, clock: E::Clock::default() })
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.entry.is_none()
    }

    fn clear(&mut self) {
        self.entry = None;
    }

    #[inline]
    fn follow(&mut self, clock: &Arc<TtlClock>) {
        E::follow(&mut self.clock, clock);
    }

    fn expire(&mut self) -> bool {
        let age = self.entry.as_ref().map_or(Age::Alive, |entry| E::age::<T>(&self.clock, entry));
        if age == Age::Expired {
            self.entry = None;
        }
        age != Age::Alive
    }
}
