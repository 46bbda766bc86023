//! Restoring: the chunks of snapshots are put back into tables.

use highwater_core::{KeyGroup, KeyHash, MaxParallelism};

use super::bucket::Row;
use super::evict::Lower;
use super::group::Group;
use super::snapshot::{CHUNK_BYTES, ChunkKind};
use super::tag::Standing;
use super::{KeyGroupTables, removals};
use crate::{DecodeError, Key, KeyedState};

/// So many rows are decoded before they are put into the table: the memory of the last is on its way meanwhile.
const BATCH: usize = 64;

impl<K: Key, S: KeyedState> KeyGroupTables<K, S> {
    /// Makes room for `rows` rows of a group in all, so that its table does not grow step by step while they are
    /// loaded. Further rows find room as always.
    ///
    /// # Panics
    /// If `group` is not in the range (I2).
    pub fn reserve(&mut self, group: KeyGroup, rows: usize) {
        let index = self.range.index_of(group);
        let more = rows.saturating_sub(self.groups[index].len());
        if !self.groups[index].has_room(more) {
            self.resize(index, rows);
        }
    }

    /// Restores the entries of a chunk, and returns how many they are. Rows take the place of those that are there;
    /// where a removed key has none, nothing is to be done. What is loaded counts as unchanged.
    ///
    /// # Errors
    /// If the bytes are not entries of this type, or hold a key of another key group, or, where it costs nothing to see
    /// because the group had no rows, the same key twice. The tables are then to be discarded: part of the chunk may be
    /// loaded.
    ///
    /// # Panics
    /// If `group` is not in the range (I2).
    pub fn load(&mut self, group: KeyGroup, kind: ChunkKind, bytes: &[u8]) -> Result<u64, DecodeError> {
        let index = self.range.index_of(group);
        match kind {
            ChunkKind::Rows => self.load_rows(index, group, bytes),
            ChunkKind::Removed => Ok(self.load_removed(index, decode_removed(self.max, group, bytes)?)),
        }
    }

    fn load_rows(&mut self, index: usize, group: KeyGroup, mut bytes: &[u8]) -> Result<u64, DecodeError> {
        let was_empty = self.groups[index].len() == 0;
        let (mut entries, mut rows) = (0, Vec::with_capacity(BATCH));
        while !bytes.is_empty() {
            let before = bytes.len();
            decode_rows(self.max, group, &mut bytes, &mut rows)?;
            if !self.groups[index].has_room(rows.len()) {
                let rest = more_rows(rows.len(), before - bytes.len(), bytes.len());
                self.resize(index, self.groups[index].len() + rows.len() + rest);
            }
            rows.iter().for_each(|(hash, _)| self.groups[index].prefetch(*hash));
            entries += rows.len() as u64;
            rows.drain(..).try_for_each(|(hash, row)| self.load_row(index, hash, row, was_empty))?;
        }
        Ok(entries)
    }

    /// Loads a row into a table that has room for it. `is_new` says that there is none of its key.
    #[inline]
    fn load_row(&mut self, index: usize, hash: KeyHash, row: Row<K, S>, is_new: bool) -> Result<(), DecodeError> {
        let place = self.groups[index].find_or_vacancy(hash, &row.key);
        let (Ok(slot) | Err(slot)) = place;
        self.before_change(index, Group::<K, S>::page_of(slot));
        let is_empty = row.state.is_empty();
        if is_empty && self.lower != Lower::Nothing {
            self.clear_below(index, &row.key);
        }
        let group = &mut self.groups[index];
        // SAFETY: a row was found in the slot, or it is the vacancy for the hash, and the table did not change since.
        match place {
            Ok(_) if is_new => return Err(DecodeError::Duplicate { what: "key group" }),
            Ok(slot) if is_empty => unsafe { group.remove(slot) },
            Ok(slot) => unsafe { group.restore(slot, row) },
            Err(_) if is_empty => {}
            Err(slot) => unsafe {
                group.insert(slot, hash, Standing::Stored, row);
                if self.lower != Lower::Nothing {
                    group.spill(slot);
                }
            },
        }
        Ok(())
    }

    fn load_removed(&mut self, index: usize, keys: Vec<Hashed<K>>) -> u64 {
        for (hash, key) in &keys {
            if self.lower == Lower::Loaded {
                self.clear_below(index, key);
            }
            if let Some(slot) = self.groups[index].find(*hash, key) {
                self.before_change(index, Group::<K, S>::page_of(slot));
                // SAFETY: the row was found there just now, and capturing its page leaves it there.
                unsafe { self.groups[index].remove(slot) };
            }
        }
        self.shrink(index);
        keys.len() as u64
    }
}

/// A key or row with the hash of the key.
type Hashed<T> = (KeyHash, T);

/// Decodes the next rows of a chunk, at most [`BATCH`], to the end of `rows`.
fn decode_rows<K: Key, S: KeyedState>(
    max: MaxParallelism,
    group: KeyGroup,
    bytes: &mut &[u8],
    rows: &mut Vec<Hashed<Row<K, S>>>,
) -> Result<(), DecodeError> {
    while !bytes.is_empty() && rows.len() < BATCH {
        let before = bytes.len();
        let row = Row { key: K::decode(bytes)?, state: S::decode(bytes)? };
        let hash = row.key.key_hash();
        // Entries without bytes would never come to an end.
        check_owner(hash, max, group, bytes.len() < before)?;
        rows.push((hash, row));
    }
    Ok(())
}

/// How many rows will follow `rows` that took `taken` bytes, where `left` bytes are left. Not more than the rest of a
/// usual chunk would have: a few small rows may be followed by a huge one.
fn more_rows(rows: usize, taken: usize, left: usize) -> usize {
    left.min(CHUNK_BYTES) * rows / taken.max(1)
}

/// The entries of a chunk of removed keys.
fn decode_removed<K: Key>(max: MaxParallelism, group: KeyGroup, bytes: &[u8]) -> Result<Vec<Hashed<K>>, DecodeError> {
    let (mut rest, mut keys) = (bytes, Vec::new());
    while !rest.is_empty() {
        let key: K = removals::decode(&mut rest)?;
        let hash = key.key_hash();
        check_owner(hash, max, group, true)?;
        keys.push((hash, key));
    }
    Ok(keys)
}

fn check_owner(hash: KeyHash, max: MaxParallelism, group: KeyGroup, has_bytes: bool) -> Result<(), DecodeError> {
    let owner = hash.key_group(max);
    if owner == group && has_bytes {
        return Ok(());
    }
    Err(DecodeError::Invalid { what: "key of this key group", found: u64::from(owner.0) })
}
