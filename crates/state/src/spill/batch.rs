//! Batches of encoded keys and rows, in the order in which stores keep them.
//!
//! A batch is filled in any order and sorted once, when it is handed to a store. Its memory is used again for the
//! next one. The first eight bytes of a key, as a number, decide nearly every comparison.

use highwater_core::KeyGroup;

/// Encoded keys, numbered in the order in which they are pushed.
#[derive(Debug, Default)]
pub struct KeyBatch {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
    pushed: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    prefix: u64,
    start: usize,
    end: usize,
    position: usize,
}

impl KeyBatch {
    /// Adds the key that `encode` appends.
    pub fn push(&mut self, group: KeyGroup, encode: impl FnOnce(&mut Vec<u8>)) {
        self.push_unless(group, encode, |_| false);
    }

    /// Adds the key that `encode` appends, unless it is to be skipped as it is stored; whether it was added.
    pub(crate) fn push_unless(
        &mut self,
        group: KeyGroup,
        encode: impl FnOnce(&mut Vec<u8>),
        skips: impl FnOnce(&[u8]) -> bool,
    ) -> bool {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&group.0.to_be_bytes());
        encode(&mut self.bytes);
        let key = &self.bytes[start..];
        if skips(key) {
            self.bytes.truncate(start);
            return false;
        }
        self.entries.push(Entry { prefix: prefix(key), start, end: self.bytes.len(), position: self.pushed });
        self.pushed += 1;
        true
    }

    /// How many keys were pushed.
    pub fn len(&self) -> usize {
        self.pushed
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.pushed == 0
    }

    /// Bytes of the encoded keys.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Removes all keys, and keeps the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.entries.clear();
        self.pushed = 0;
    }

    /// The keys in ascending order. One that was pushed several times is there once, where it was pushed first.
    pub fn sorted(&mut self) -> SortedKeys<'_> {
        let KeyBatch { bytes, entries, .. } = self;
        let key = |entry: &Entry| &bytes[entry.start..entry.end];
        entries.sort_unstable_by(|a, b| (a.prefix, key(a), a.position).cmp(&(b.prefix, key(b), b.position)));
        entries.dedup_by(|later, first| later.prefix == first.prefix && key(later) == key(first));
        SortedKeys { bytes, entries }
    }
}

/// The first eight bytes, as a number that orders as they do.
fn prefix(key: &[u8]) -> u64 {
    let mut head = [0; 8];
    let len = key.len().min(8);
    head[..len].copy_from_slice(&key[..len]);
    u64::from_be_bytes(head)
}

/// Encoded keys in ascending order, each once.
#[derive(Clone, Copy, Debug)]
pub struct SortedKeys<'a> {
    bytes: &'a [u8],
    entries: &'a [Entry],
}

impl<'a> SortedKeys<'a> {
    /// The keys, each with its position in the batch.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (usize, &'a [u8])> + Clone {
        self.entries.iter().map(move |entry| (entry.position, &self.bytes[entry.start..entry.end]))
    }

    /// The keys in parts of at most `len`.
    pub fn chunks(self, len: usize) -> impl Iterator<Item = SortedKeys<'a>> {
        self.entries.chunks(len).map(move |entries| SortedKeys { bytes: self.bytes, entries })
    }

    /// How many keys.
    pub fn len(self) -> usize {
        self.entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.entries.is_empty()
    }
}

/// Rows to put, and keys to delete.
#[derive(Debug, Default)]
pub struct RowBatch {
    keys: KeyBatch,
    rows: Vec<u8>,
    /// Where in `rows` the row of a position ends, and whether there is one; it starts where the one before ends.
    ends: Vec<(usize, bool)>,
}

impl RowBatch {
    /// Adds a row, whose key and state the functions append. A key may come once in a batch.
    pub fn put(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>), row: impl FnOnce(&mut Vec<u8>)) {
        self.keys.push(group, key);
        row(&mut self.rows);
        self.ends.push((self.rows.len(), true));
    }

    /// Adds a key to delete, which need not be there.
    pub fn delete(&mut self, group: KeyGroup, key: impl FnOnce(&mut Vec<u8>)) {
        self.keys.push(group, key);
        self.ends.push((self.rows.len(), false));
    }

    /// How many rows and keys.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Bytes of encoded keys and rows.
    pub fn encoded_bytes(&self) -> usize {
        self.keys.encoded_bytes() + self.rows.len()
    }

    /// Removes all, and keeps the memory.
    pub fn clear(&mut self) {
        self.keys.clear();
        self.rows.clear();
        self.ends.clear();
    }

    /// Rows and keys in ascending order of the keys.
    ///
    /// # Panics
    /// If a key came more than once: which one counts would be anyone's guess.
    pub fn sorted(&mut self) -> SortedRows<'_> {
        let pushed = self.keys.len();
        let keys = self.keys.sorted();
        assert_eq!(keys.len(), pushed, "a key comes once in a batch of rows");
        SortedRows { keys, rows: &self.rows, ends: &self.ends }
    }
}

/// Rows to put and keys to delete, in ascending order of the keys, each once.
#[derive(Clone, Copy, Debug)]
pub struct SortedRows<'a> {
    keys: SortedKeys<'a>,
    rows: &'a [u8],
    ends: &'a [(usize, bool)],
}

impl<'a> SortedRows<'a> {
    /// The keys, each with its row, or `None` if it is to be deleted.
    pub fn iter(self) -> impl ExactSizeIterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        self.keys.iter().map(move |(position, key)| {
            let start = position.checked_sub(1).map_or(0, |before| self.ends[before].0);
            let (end, is_row) = self.ends[position];
            (key, is_row.then(|| &self.rows[start..end]))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pushed(keys: &[(u16, &[u8])]) -> KeyBatch {
        let mut batch = KeyBatch::default();
        keys.iter().for_each(|(group, key)| batch.push(KeyGroup(*group), |out| out.extend_from_slice(key)));
        batch
    }

    #[test]
    fn keys_come_in_order_of_group_and_bytes_and_once() {
        let mut batch = pushed(&[
            (258, b"b"),
            (1, b"a long key, equal in its first bytes: 2"),
            (1, b"a long key, equal in its first bytes: 1"),
            (258, b""),
            (1, b"\xff"),
            (258, b"b"),
            (1, b"\xff\0"),
            (2, b"\0"),
        ]);
        assert_eq!(batch.len(), 8);
        let order: Vec<usize> = batch.sorted().iter().map(|(position, _)| position).collect();
        assert_eq!(order, [2, 1, 4, 6, 7, 3, 0]);
        let keys: Vec<&[u8]> = batch.sorted().iter().map(|(_, key)| key).collect();
        assert!(keys.is_sorted());
        assert_eq!(keys[4..], [&b"\0\x02\0"[..], b"\x01\x02", b"\x01\x02b"]);
        assert_eq!(batch.sorted().chunks(3).map(SortedKeys::len).collect::<Vec<_>>(), [3, 3, 1]);
        batch.clear();
        assert!(batch.is_empty() && batch.sorted().is_empty());
    }

    #[test]
    fn rows_stay_with_their_keys() {
        let mut batch = RowBatch::default();
        batch.put(KeyGroup(3), |key| key.push(9), |row| row.extend_from_slice(b"nine"));
        batch.delete(KeyGroup(3), |key| key.push(5));
        batch.put(KeyGroup(3), |key| key.push(7), |_| ());
        batch.put(KeyGroup(0), |key| key.push(1), |row| row.push(1));
        let rows: Vec<_> = batch.sorted().iter().map(|(key, row)| (key.to_vec(), row.map(<[u8]>::to_vec))).collect();
        let expected =
            [([0, 0, 1], Some(&[1][..])), ([0, 3, 5], None), ([0, 3, 7], Some(b"")), ([0, 3, 9], Some(b"nine"))];
        assert!(
            rows.iter().map(|(key, row)| (&key[..], row.as_deref())).eq(expected.iter().map(|(k, r)| (&k[..], *r)))
        );
    }

    #[test]
    #[should_panic(expected = "comes once")]
    fn a_key_that_comes_twice_is_refused() {
        let mut batch = RowBatch::default();
        batch.delete(KeyGroup(3), |key| key.push(9));
        batch.put(KeyGroup(3), |key| key.push(9), |_| ());
        batch.sorted();
    }
}
