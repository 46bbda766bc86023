//! The tier below: a store, and what waits to be written to it.
//!
//! Keys of rows that were cleared wait until the store may be written; up to then a look-up takes them as not there.

use std::collections::HashSet;
use std::sync::Arc;

use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, KeyHash, Result};

use super::Convert;
use super::hold::{Hold, StoreSnapshot};
use crate::spill::{KeyBatch, RowBatch, RowStore};
use crate::table::KeyGroupTables;
use crate::{Key, KeyedState};

/// A store below a table.
#[derive(Debug)]
pub(super) struct Below {
    store: Arc<dyn RowStore>,
    hold: Hold,
    /// Keys to delete in the store, encoded behind their key groups. None of them has a row above that is flagged as
    /// spilled, so none comes in twice.
    cleared: HashSet<Box<[u8]>>,
    misses: Misses,
    batch: RowBatch,
}

/// The keys of a batch that are not above. Kept for their memory.
#[derive(Debug, Default)]
struct Misses {
    keys: KeyBatch,
    /// Their indexes among the keys of the batch, by position in `keys`.
    indexes: Vec<u32>,
}

impl Below {
    pub fn new(store: Arc<dyn RowStore>) -> Self {
        Below {
            store,
            hold: Hold::default(),
            cleared: HashSet::new(),
            misses: Misses::default(),
            batch: RowBatch::default(),
        }
    }

    pub fn store(&self) -> &Arc<dyn RowStore> {
        &self.store
    }

    pub fn hold(&self) -> &Hold {
        &self.hold
    }

    /// Puts the rows of these keys into the table that are in the store and not there.
    pub fn bring_back<K: Key, S: KeyedState>(
        &mut self,
        table: &mut KeyGroupTables<K, S>,
        keys: &[K],
        hashes: &[KeyHash],
    ) -> Result<()> {
        let Misses { keys: missing, indexes } = &mut self.misses;
        missing.clear();
        indexes.clear();
        let cleared = &self.cleared;
        table.missing(keys, hashes, |index| {
            let pushed = missing.push_unless(
                table.group_of(hashes[index]),
                |out| keys[index].encode(out),
                |key| !cleared.is_empty() && cleared.contains(key),
            );
            if pushed {
                indexes.push(index as u32);
            }
        });
        if missing.is_empty() {
            return Ok(());
        }
        self.store.get_many(missing.sorted(), &mut |position, row| {
            let index = indexes[position] as usize;
            let state = decode(row).map_err(|error| error.context(format!("key {:?}", keys[index])))?;
            table.bring_back(hashes[index], keys[index].clone(), state);
            Ok(())
        })
    }

    /// To be called after each batch: what it brought in counts as not used yet, and keys that were cleared are taken over.
    pub fn end_batch<K: Key, S: KeyedState>(
        &mut self,
        table: &mut KeyGroupTables<K, S>,
        keys: &[K],
        hashes: &[KeyHash],
    ) {
        for index in &self.misses.indexes {
            table.take_use(hashes[*index as usize], &keys[*index as usize]);
        }
        self.take_cleared(table);
    }

    /// Appends the keys of a key group that have rows in the store and not in the table.
    pub fn keys_only_here<K: Key, S: KeyedState>(
        &self,
        table: &KeyGroupTables<K, S>,
        group: KeyGroup,
        keys: &mut Vec<K>,
    ) -> Result<()> {
        let number = u32::from(group.0);
        self.store.scan(KeyGroupRange::new(number..number + 1), &mut |group, bytes, _| {
            let key = K::decode(&mut &bytes[..]).map_err(|error| {
                Error::new(ErrorKind::Corrupt, "a key in the store does not decode").with_source(error)
            })?;
            let is_cleared = || self.cleared.contains(&[&group.0.to_be_bytes(), bytes].concat()[..]);
            if table.get(key.key_hash(), &key).is_none() && (self.cleared.is_empty() || !is_cleared()) {
                keys.push(key);
            }
            Ok(())
        })
    }

    /// Takes over the keys of rows that were cleared.
    pub fn take_cleared<K: Key, S: KeyedState>(&mut self, table: &mut KeyGroupTables<K, S>) {
        self.cleared.extend(table.drain_cleared());
    }

    /// Deletes what waits to be.
    pub fn write_cleared(&mut self) -> Result<()> {
        if self.cleared.is_empty() {
            return Ok(());
        }
        debug_assert!(!self.hold.is_held(), "a store is not written before its snapshot is taken");
        self.batch.clear();
        for key in self.cleared.drain() {
            let (group, key) = key.split_first_chunk().expect("a key begins with its key group");
            self.batch.delete(KeyGroup(u16::from_be_bytes(*group)), |out| out.extend_from_slice(key));
        }
        self.write_batch()
    }

    /// Moves rows of the table to the store: those that were not used since its hand came by last, in about `slots`
    /// slots. Returns how many slots were visited and rows moved.
    pub fn evict<K: Key, S: KeyedState>(
        &mut self,
        table: &mut KeyGroupTables<K, S>,
        slots: usize,
    ) -> Result<(usize, usize)> {
        // First, since a key that was cleared may have come back and be among those that leave.
        self.write_cleared()?;
        self.batch.clear();
        let batch = &mut self.batch;
        let visited =
            table.evict(slots, |group, key, state| batch.put(group, |out| key.encode(out), |out| state.encode(out)));
        let moved = self.batch.len();
        self.write_batch()?;
        Ok((visited, moved))
    }

    fn write_batch(&mut self) -> Result<()> {
        if self.batch.is_empty() { Ok(()) } else { self.store.write(self.batch.sorted()) }
    }

    /// Begins a snapshot of the store as it is, with what was cleared deleted.
    pub fn begin_snapshot(&mut self) -> Result<StoreSnapshot> {
        self.hold.wait();
        self.write_cleared()?;
        Ok(StoreSnapshot::begin(Arc::clone(&self.store), &self.hold))
    }

    /// Copies the rows of some key groups from another store, each changed by `entry`.
    pub fn copy(&mut self, from: &dyn RowStore, groups: KeyGroupRange, entry: &mut Convert<'_>) -> Result<()> {
        self.store.load(&mut |put| from.scan(groups, &mut |group, key, row| entry(group, key, row, put)))
    }
}

/// A state as a store has it.
fn decode<S: KeyedState>(row: &[u8]) -> Result<S> {
    let mut rest = row;
    let corrupt = || Error::new(ErrorKind::Corrupt, "a row that comes back from the store does not decode");
    match S::decode(&mut rest) {
        Ok(state) if rest.is_empty() => Ok(state),
        Ok(_) => Err(corrupt()),
        Err(error) => Err(corrupt().with_source(error)),
    }
}
