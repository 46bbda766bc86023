//! A map that is the same in all subtasks.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};

use super::{Broadcast, ElementState, NamedElements, ReadElements, Redistribution, encode_each};
use crate::data::Data;

/// A map that all subtasks of a broadcast function have alike, since all of them see the same broadcast records: Flink's
/// `BroadcastState`, iterated in the order of its keys.
///
/// A checkpoint stores the entries of one subtask, and every subtask restores them. So what the broadcast side writes must depend
/// on nothing but its records. Their order is that of the stream only if one subtask sends them: two subtasks that broadcast to
/// the same key may be heard in another order here and there, and then what the update says has to decide, a version for example.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BroadcastState<K, V>(BTreeMap<K, V>);

impl<K: Data + Ord, V: Data> BroadcastState<K, V> {
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

impl<K, V> Default for BroadcastState<K, V> {
    fn default() -> Self {
        BroadcastState(BTreeMap::new())
    }
}

impl<'a, K: Data + Ord, V: Data> IntoIterator for &'a BroadcastState<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = btree_map::Iter<'a, K, V>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Data + Ord, V: Data> ElementState for BroadcastState<K, V> {
    type Kind = Broadcast;

    fn describe(name: &str) -> NamedElements {
        NamedElements { name: name.into(), redistribution: Redistribution::Broadcast, schema: <(K, V)>::schema() }
    }

    fn encode(&self) -> Vec<Vec<u8>> {
        let entries: Vec<(K, V)> = self.0.iter().map(|(key, value)| (key.clone(), value.clone())).collect();
        encode_each(&entries)
    }

    fn restore<R: ReadElements>(name: &str, stored: &mut R) -> Result<Self, R::Error> {
        let entries = stored.all::<(K, V)>(&Self::describe(name))?;
        Ok(BroadcastState(entries.into_iter().collect()))
    }
}
