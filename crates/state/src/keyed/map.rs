//! Values by a second key, per key.

use std::borrow::Borrow;
use std::collections::{BTreeMap, btree_map};
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use super::State;
use super::ttl::{Age, Expiry, Never, TtlClock};
use crate::data::{Data, DecodeError};
use crate::schema::{NamedState, StateKind};

/// Values by a second key, per key: Flink's `MapState`. With [`Ttl`](super::Ttl) as `E` each entry
/// [expires](super::ttl) by itself.
///
/// A `BTreeMap`, for three reasons: a run with the same input iterates in the same order, which a seeded hash map does
/// not; it takes three words while empty and one block for the first entries, and most maps in keyed state are small;
/// and a range of keys can be asked for, as in a store that sorts.
#[derive(Clone)]
pub struct MapState<K: Data + Ord, V: Data, E: Expiry = Never> {
    entries: BTreeMap<K, E::Entry<V>>,
    clock: E::Clock,
}

impl<K: Data + Ord, V: Data, E: Expiry> MapState<K, V, E> {
    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.entries.get(key).and_then(|entry| E::read(&self.clock, entry))
    }

    /// Whether `key` has a value.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get(key).is_some()
    }

    /// Sets the value of `key` and returns the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.entries.entry(key) {
            btree_map::Entry::Occupied(mut entry) => E::replace(&self.clock, entry.get_mut(), value),
            btree_map::Entry::Vacant(entry) => {
                entry.insert(E::create(&self.clock, value));
                None
            }
        }
    }

    /// Changes the value of `key` in place, starting from the default if it has none; returns what `change` returns.
    pub fn update<R>(&mut self, key: K, change: impl FnOnce(&mut V) -> R) -> R
    where
        V: Default,
    {
        change(match self.entries.entry(key) {
            btree_map::Entry::Occupied(entry) => E::write(&self.clock, entry.into_mut(), V::default),
            btree_map::Entry::Vacant(entry) => E::value_mut(entry.insert(E::create(&self.clock, V::default()))),
        })
    }

    /// Removes `key` and returns the value it had.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        self.entries.remove(key).and_then(|entry| E::take(&self.clock, entry))
    }

    /// Keeps the entries for which `keep` is true. For a time-to-live this counts as reading them, also if `keep`
    /// changes what it keeps.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        let clock = &self.clock;
        self.entries.retain(|key, entry| E::read::<V>(clock, entry).is_some() && keep(key, E::value_mut(entry)));
    }

    /// The entries in the order of their keys.
    pub fn iter(&self) -> MapIter<'_, K, V, E> {
        MapIter { entries: self.entries.iter(), clock: &self.clock }
    }

    /// The entries whose keys are in `range`, in order.
    ///
    /// # Panics
    /// If the range ends before it starts.
    pub fn range(&self, range: impl std::ops::RangeBounds<K>) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        let clock = &self.clock;
        self.entries.range(range).filter_map(|(key, entry)| E::read(clock, entry).map(|value| (key, value)))
    }

    /// The keys in order.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values in the order of their keys.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// How many entries. With [`Ttl`](super::Ttl) it takes time to count them.
    pub fn len(&self) -> usize {
        if E::EXPIRES { self.visible().count() } else { self.entries.len() }
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.visible().next().is_none()
    }

    /// Removes all entries.
    pub fn clear(&mut self) {
        self.entries.clear();
    }

    fn visible(&self) -> impl Iterator<Item = &E::Entry<V>> {
        self.entries.values().filter(|entry| E::is_visible::<V>(&self.clock, entry))
    }
}

/// The entries of a [`MapState`] in the order of their keys.
pub struct MapIter<'a, K: Data + Ord, V: Data, E: Expiry = Never> {
    entries: btree_map::Iter<'a, K, E::Entry<V>>,
    clock: &'a E::Clock,
}

impl<'a, K: Data + Ord, V: Data, E: Expiry> Iterator for MapIter<'a, K, V, E> {
    type Item = (&'a K, &'a V);

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.entries.find_map(|(key, entry)| E::read(self.clock, entry).map(|value| (key, value)))
    }

    #[inline]
    fn size_hint(&self) -> (usize, Option<usize>) {
        let most = self.entries.len();
        (if E::EXPIRES { 0 } else { most }, Some(most))
    }
}

impl<K: Data + Ord, V: Data, E: Expiry> DoubleEndedIterator for MapIter<'_, K, V, E> {
    #[inline]
    fn next_back(&mut self) -> Option<Self::Item> {
        let clock = self.clock;
        self.entries.by_ref().rev().find_map(|(key, entry)| E::read(clock, entry).map(|value| (key, value)))
    }
}

impl<K: Data + Ord, V: Data> ExactSizeIterator for MapIter<'_, K, V> {}

impl<K: Data + Ord, V: Data, E: Expiry> Clone for MapIter<'_, K, V, E> {
    fn clone(&self) -> Self {
        MapIter { entries: self.entries.clone(), clock: self.clock }
    }
}

impl<K: Data + Ord, V: Data, E: Expiry> Default for MapState<K, V, E> {
    fn default() -> Self {
        MapState { entries: BTreeMap::new(), clock: E::Clock::default() }
    }
}

impl<K: Data + Ord + Debug, V: Data, E: Expiry> Debug for MapState<K, V, E>
where
    E::Entry<V>: Debug,
{
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("MapState").field(&self.entries).finish()
    }
}

/// With the same entries, and the same stamps if they have any.
impl<K: Data + Ord, V: Data, E: Expiry> PartialEq for MapState<K, V, E>
where
    E::Entry<V>: PartialEq,
{
    fn eq(&self, other: &Self) -> bool {
        self.entries == other.entries
    }
}

impl<K: Data + Ord, V: Data, E: Expiry> Eq for MapState<K, V, E> where E::Entry<V>: Eq {}

impl<'a, K: Data + Ord, V: Data, E: Expiry> IntoIterator for &'a MapState<K, V, E> {
    type Item = (&'a K, &'a V);
    type IntoIter = MapIter<'a, K, V, E>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl<K: Data + Ord, V: Data, E: Expiry> State for MapState<K, V, E> {
    type Expiry = E;

    fn describe(name: &str) -> NamedState {
        NamedState::new(name, StateKind::Map { key: K::schema() }, V::schema()).with_ttl(E::EXPIRES)
    }

    fn encode(&self, out: &mut Vec<u8>) {
        self.entries.encode(out);
    }

    fn decode(input: &mut &[u8]) -> Result<Self, DecodeError> {
        Ok(MapState { entries: BTreeMap::decode(input)?, clock: E::Clock::default() })
    }

    #[inline]
    fn is_cleared(&self) -> bool {
        self.entries.is_empty()
    }

    fn clear(&mut self) {
        self.entries.clear();
    }

    #[inline]
    fn follow(&mut self, clock: &Arc<TtlClock>) {
        E::follow(&mut self.clock, clock);
    }

    fn expire(&mut self) -> bool {
        let (clock, mut changed) = (&self.clock, false);
        self.entries.retain(|_, entry| {
            let age = E::age::<V>(clock, entry);
            changed |= age != Age::Alive;
            age != Age::Expired
        });
        changed
    }
}
