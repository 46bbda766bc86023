//! Values by a second key, per key.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};

use super::State;
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// Values by a second key, per key: Flink's `MapState`.
///
/// A `BTreeMap`, for three reasons: a run with the same input iterates in the same order, which a seeded hash map does
/// not; it takes three words while empty and one block for the first entries, and most maps in keyed state are small;
/// and a range of keys can be asked for, as in a store that sorts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MapState<K, V>(BTreeMap<K, V>);

impl<K: Data + Ord, V: Data> MapState<K, V> {
    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.0.get(key)
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(key)
    }

    /// Sets the value of `key` and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        self.0.insert(key, value)
    }

    /// Changes the value of `key` in place, starting from the default if it has none; returns what `change` returns.
    pub fn update<R>(&mut self, key: K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        change(self.0.entry(key).or_default())
    }

    /// Removes `key` and returns the value it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.0.remove(key)
    }

    /// Keeps the entries for which `keep` is true.
    pub fn retain(&mut self, keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain(keep);
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> btree_map::Iter<'_, K, V> {
        self.0.iter()
    }

    /// The entries whose keys are in `range`, in order.
    ///
    /// # Panics
    /// If the range ends before it starts.
    pub fn range(&self, range: impl std::ops::RangeBounds<K>) -> btree_map::Range<'_, K, V> {
        self.0.range(range)
    }

    /// The keys in order.
    pub fn keys(&self) -> btree_map::Keys<'_, K, V> {
        self.0.keys()
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> btree_map::Values<'_, K, V> {
        self.0.values()
    }

    /// How many entries.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

impl<K, V> Default for MapState<K, V> {
    fn default() -> Self {
        MapState(BTreeMap::new())
    }
}

impl<'a, K: Data + Ord, V: Data> IntoIterator for &'a MapState<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Data + Ord, V: Data> State for MapState<K, V> {
    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Map { key: K::schema() }, V::schema())
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        BTreeMap::decode(input).map(MapState)
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.0.is_empty()
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}
