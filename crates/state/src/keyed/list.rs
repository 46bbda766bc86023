//! Any number of elements per key, in the order they were added.

use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use super::State;
use super::ttl::{Age, Expiry, Never, TtlClock};
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// Any number of elements per key, in the order they were added: Flink's `ListState`. With [`Ttl`](super::Ttl) as `E`
/// each element [expires](super::ttl) by itself.
#[derive(Clone)]
pub struct ListState<T: Data, E: Expiry = Never> {
    entries: Vec<E::Entry<T>>,
    clock: E::Clock,
}

impl<T: Data, E: Expiry> ListState<T, E> {
    /// Adds an element at the end.
    #[inline]
    pub fn add(&mut self, element: T) {
        self.entries.push(E::create(&self.clock, element));
    }

    /// Adds elements at the end.
    pub fn extend(&mut self, elements: impl IntoIterator<Item = T>) {
        self.entries.extend(elements.into_iter().map(|element| E::create(&self.clock, element)));
    }

    /// The elements in order.
    pub fn iter(&self) -> ListIter<'_, T, E> {
        ListIter { entries: self.entries.iter(), clock: &self.clock }
    }

    /// How many elements. With [`Ttl`](super::Ttl) it takes time to count them.
    pub fn len(&self) -> usize {
        if E::EXPIRES { self.visible().count() } else { self.entries.len() }
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.visible().next().is_none()
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: Vec<T>) {
        self.entries = E::create_all(&self.clock, elements);
    }

    /// Removes all elements and returns them.
    pub fn take(&mut self) -> Vec<T> {
        E::into_values(&self.clock, std::mem::take(&mut self.entries))
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        // With the memory: a cleared row is usually dropped or stays short.
        self.entries = Vec::new();
    }

    fn visible(&self) -> impl Iterator<Item = &E::Entry<T>> {
        self.entries.iter().filter(|entry| E::is_visible::<T>(&self.clock, entry))
    }
}

impl<T: Data> ListState<T> {
    /// The elements as a slice; only without [`Ttl`](super::Ttl), for what has expired leaves gaps.
    pub fn as_slice(&self) -> &[T] {
        &self.entries
    }
}

/// The elements of a [`ListState`] in order.
pub struct ListIter<'a, T: Data, E: Expiry = Never> {
    entries: std::slice::Iter<'a, E::Entry<T>>,
    clock: &'a E::Clock,
}

impl<'a, T: Data, E: Expiry> Iterator for ListIter<'a, T, E> {
    type Item = &'a T;

    #[inline]
    fn next(&mut self) -> Option<&'a T> {
        self.entries.find_map(|entry| E::read(self.clock, entry))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.entries.len();
        (if E::EXPIRES { 0 } else { most }, Some(most))
    }
}

impl<T: Data, E: Expiry> DoubleEndedIterator for ListIter<'_, T, E> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let clock = self.clock;
        self.entries.by_ref().rev().find_map(|entry| E::read(clock, entry))
    }
}

impl<T: Data> ExactSizeIterator for ListIter<'_, T> {}

impl<T: Data, E: Expiry> Clone for ListIter<'_, T, E> {
    fn clone(&self) -> Self {
        ListIter { entries: self.entries.clone(), clock: self.clock }
    }
}

impl<T: Data, E: Expiry> Default for ListState<T, E> {
    fn default() -> Self {
        ListState { entries: Vec::new(), clock: E::Clock::default() }
    }
}

impl<T: Data, E: Expiry> Debug for ListState<T, E>
where
    E::Entry<T>: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ListState").field(&self.entries).finish()
    }
}

/// With the same elements, and the same stamps if they have any.
impl<T: Data, E: Expiry> PartialEq for ListState<T, E>
where
    E::Entry<T>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<T: Data, E: Expiry> Eq for ListState<T, E> where E::Entry<T>: Eq {}

impl<'a, T: Data, E: Expiry> IntoIterator for &'a ListState<T, E> {
    type Item = &'a T;
    type IntoIter = ListIter<'a, T, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<T: Data, E: Expiry> State for ListState<T, E> {
    type Expiry = E;

    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::List, T::schema()).with_ttl(E::EXPIRES)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.entries.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(ListState { entries: Vec::decode(input)?, clock: E::Clock::default() })
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.entries = Vec::new();
    }

    #[inline]
    fn follow(&mut self, clock: &Arc<TtlClock>) {
        E::follow(&mut self.clock, clock);
    }

    fn expire(&mut self) -> bool {
        let (clock, mut changed) = (&self.clock, false);
        self.entries.retain(|entry| {
            let age = E::age::<T>(clock, entry);
            changed |= age != Age::Alive;
            age != Age::Expired
        });
        if changed && self.entries.len() < self.entries.capacity() / 4 {
            self.entries.shrink_to_fit();
        }
        changed
    }
}
