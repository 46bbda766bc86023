//! Elements that are dealt out when the parallelism changes.

use super::{ElementState, Lists, NamedElements, ReadElements, Redistribution, encode_each};
use crate::data::Data;

/// The elements of one subtask, in the order they were added: Flink's `getListState`.
///
/// Restored with the parallelism it was stored with, each subtask gets its own elements back; with another one the elements of all
/// subtasks are dealt out in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SplitList<T>(Vec<T>);

impl<T: Data> SplitList<T> {
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

    /// The elements as a slice, to be changed in place.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        &mut self.0
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

    /// Keeps the elements for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&T) -> bool) {
        self.0.retain(keep);
    }

    /// Removes all elements and returns them.
    pub fn take(&mut self) -> Vec<T> {
        std::mem::take(&mut self.0)
    }

    /// Removes all elements.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<T> Default for SplitList<T> {
    fn default() -> Self {
        SplitList(Vec::new())
    }
}

impl<'a, T: Data> IntoIterator for &'a SplitList<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<T: Data> ElementState for SplitList<T> {
    type Kind = Lists;

    fn describe(name: &str) -> NamedElements {
        NamedElements { name: name.into(), redistribution: Redistribution::Split, schema: T::schema() }
    }

    fn encode(&self) -> Vec<Vec<u8>> {
        encode_each(&self.0)
    }

    fn restore<R: ReadElements>(name: &str, stored: &mut R) -> Result<Self, R::Error> {
        stored.share(&Self::describe(name)).map(SplitList)
    }
}
