//! Any number of elements per key, in the order they were added.

use super::State;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// Any number of elements per key, in the order they were added: Flink's `ListState`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListState<T>(Vec<T>);

impl<T: Data> ListState<T> {
    /// Adds an element at the end.
    #[inline]
    pub fn add(&mut self, element: T) {
        self.0.push(element);
    }

    /// Adds elements at the end.
    pub fn extend(&mut self, elements: impl IntoIterator<Item = T>) {
        self.0.extend(elements);
    }

    /// The elements in order.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.0.iter()
    }

    /// The elements as a slice.
    pub fn as_slice(&self) -> &[T] {
        &self.0
    }

    /// How many elements.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Replaces all elements.
    pub fn update(&mut self, elements: Vec<T>) {
        self.0 = elements;
    }

    /// Removes all elements and returns them.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        // With the memory: a cleared row is usually dropped or stays short.
        self.0 = Vec::new();
    }
}

impl<T> Default for ListState<T> {
    fn default() -> Self {
        ListState(Vec::new())
    }
}

impl<'a, T: Data> IntoIterator for &'a ListState<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Data> State for ListState<T> {
    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::List, T::schema())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Vec::decode(input).map(ListState)
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.0.is_empty()
    }

    fn clear(&mut self) {
        self.0 = Vec::new();
    }
}
