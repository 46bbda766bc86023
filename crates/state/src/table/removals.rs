//! The keys of rows that are gone: what a snapshot of changes has to say beside the rows that are there.
//!
//! A key is kept here if an earlier snapshot has its row, encoded as it will be stored. A row comes into a snapshot once
//! and is removed once after, so the list never has more keys than the last snapshots had rows.

use highwater_core::KeyGroup;

use super::snapshot::{CHUNK_BYTES, Chunk, ChunkKind, Scope};
use crate::{Data, DecodeError, Key};

/// The keys that were removed since the last snapshot began.
#[derive(Default)]
pub(super) struct Removals {
    /// By table. Empty until a key is removed, since most jobs never do.
    open: Vec<Open>,
    /// Those of any table that are long enough for a chunk.
    closed: Vec<Chunk>,
}

/// Keys of one key group that do not fill a chunk.
#[derive(Clone, Default)]
struct Open {
    entries: u64,
    bytes: Vec<u8>,
}

impl Open {
    fn take(&mut self, group: KeyGroup) -> Chunk {
        let Open { entries, bytes } = std::mem::take(self);
        Chunk { group, kind: ChunkKind::Removed, entries, bytes }
    }
}

impl Removals {
    /// Notes that the row of `key` is gone. `index` is that of its table, one of `count`.
    pub(super) fn push<K: Key>(&mut self, key: &K, group: KeyGroup, index: usize, count: usize) {
        if self.open.is_empty() {
            self.open = vec![Open::default(); count];
        }
        let open = &mut self.open[index];
        encode(key, &mut open.bytes);
        open.entries += 1;
        if open.bytes.len() >= CHUNK_BYTES {
            self.closed.push(open.take(group));
        }
    }

    /// Moves what there is of the groups whose changes are asked for to `chunks`, and forgets the rest, except for a snapshot that
    /// is aside from the others.
    pub(super) fn drain(&mut self, start: u32, scopes: &[Scope], chunks: &mut Vec<Chunk>) {
        let scope = |group: KeyGroup| scopes[(u32::from(group.0) - start) as usize];
        let taken = self.closed.extract_if(.., |chunk| scope(chunk.group) != Scope::Aside);
        chunks.extend(taken.filter(|chunk| scope(chunk.group) == Scope::Changed));
        let is_taken = |index: usize, open: &Open| open.entries > 0 && scopes[index] != Scope::Aside;
        for (index, open) in self.open.iter_mut().enumerate().filter(|(index, open)| is_taken(*index, open)) {
            let chunk = open.take(KeyGroup((start as usize + index) as u16));
            if scopes[index] == Scope::Changed {
                chunks.push(chunk);
            }
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        *self = Removals::default();
    }
}

/// An entry takes a byte at least, so that entries can be counted: a key whose encoding has none is followed by a zero.
fn encode<K: Key>(key: &K, out: &mut Vec<u8>) {
    let before = out.len();
    key.encode(out);
    if out.len() == before {
        out.push(0);
    }
}

/// Reads a key that [`encode`] has written.
pub(super) fn decode<K: Key>(input: &mut &[u8]) -> Result<K, DecodeError> {
    let before = input.len();
    let key = K::decode(input)?;
    if input.len() == before {
        match u8::decode(input)? {
            0 => {}
            found => return Err(DecodeError::Invalid { what: "removed key", found: found.into() }),
        }
    }
    Ok(key)
}
