//! Batches: what travels along an edge.
//!
//! Records travel about a thousand at a time, in columns. Event times are a column that is either empty (no record of the batch
//! has one) or as long as the records, so that jobs without event time pay nothing for it.
//!
//! A [`Batch`] stays on its worker. A [`KeyedBatch`] is addressed: it goes whole to the subtask that owns the key groups of all
//! its records, with each record's key and the hash that was computed once to route it.

use std::cell::OnceCell;

use highwater_core::KeyHash;
use highwater_state::Data;
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::dataflow::channels::ContainerBytes;

/// Rows after which a batch is sent on.
pub const BATCH_ROWS: usize = 1024;

/// Stands for "no event time" in a column of times.
pub const NO_TIME: i64 = i64::MIN;

/// What can flow along an edge within a process.
pub trait Record: Clone + Send + 'static {}
impl<T: Clone + Send + 'static> Record for T {}

/// Records with their event times, in columns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch<T> {
    records: Vec<T>,
    times: Vec<i64>,
}

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Batch { records: Vec::new(), times: Vec::new() }
    }
}

impl<T> Batch<T> {
    /// The number of records.
    #[inline]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether there is no record.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Appends a record with its event time in ms since the Unix epoch, or [`NO_TIME`].
    #[inline(always)]
    pub fn push(&mut self, record: T, time: i64) {
        if self.records.len() == self.records.capacity() {
            self.reserve();
        }
        if time != NO_TIME || !self.times.is_empty() {
            self.push_time(time);
        }
        self.records.push(record);
    }

    // Out of line, as is `push_time`: what every record passes through stays a few instructions.
    #[cold]
    #[inline(never)]
    fn reserve(&mut self) {
        self.records.reserve_exact(BATCH_ROWS);
    }

    #[inline(never)]
    fn push_time(&mut self, time: i64) {
        // The first record with a time: those before it have none.
        if self.times.len() < self.records.len() {
            self.times.reserve_exact(BATCH_ROWS.max(self.records.len() + 1));
            self.times.resize(self.records.len(), NO_TIME);
        }
        self.times.push(time);
    }

    /// The records.
    pub fn records(&self) -> &[T] {
        &self.records
    }

    /// The event times of the records, none if no record has one.
    pub(crate) fn times(&self) -> &[i64] {
        &self.times
    }

    /// The event time of the record at `index`, or [`NO_TIME`].
    #[inline]
    pub fn time(&self, index: usize) -> i64 {
        if self.times.is_empty() { NO_TIME } else { self.times[index] }
    }

    /// Takes the batch apart: the records, and their event times (empty if none has one).
    pub fn into_columns(self) -> (Vec<T>, Vec<i64>) {
        (self.records, self.times)
    }

    /// Takes the records out, beside their event times (empty if none has one), and keeps the memory.
    pub fn drain(&mut self) -> (std::vec::Drain<'_, T>, &[i64]) {
        (self.records.drain(..), &self.times)
    }

    /// Puts a batch together from columns.
    ///
    /// # Panics
    /// If `times` is neither empty nor as long as `records`.
    pub fn from_columns(records: Vec<T>, times: Vec<i64>) -> Self {
        assert!(times.is_empty() || times.len() == records.len(), "one event time a record, or none");
        Batch { records, times }
    }
}

impl<T> IntoIterator for Batch<T> {
    type Item = (T, i64);
    type IntoIter = Rows<T>;

    fn into_iter(self) -> Rows<T> {
        Rows { records: self.records.into_iter(), times: self.times.into_iter() }
    }
}

/// The records of a batch with their event times.
#[derive(Debug)]
pub struct Rows<T> {
    records: std::vec::IntoIter<T>,
    times: std::vec::IntoIter<i64>,
}

impl<T> Iterator for Rows<T> {
    type Item = (T, i64);

    #[inline]
    fn next(&mut self) -> Option<(T, i64)> {
        let record = self.records.next()?;
        Some((record, self.times.next().unwrap_or(NO_TIME)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.records.size_hint()
    }
}

impl<T> FromIterator<(T, i64)> for Batch<T> {
    fn from_iter<I: IntoIterator<Item = (T, i64)>>(rows: I) -> Self {
        let mut batch = Batch::default();
        for (record, time) in rows {
            batch.push(record, time);
        }
        batch
    }
}

impl<T> Accountable for Batch<T> {
    #[inline]
    fn record_count(&self) -> i64 {
        self.records.len() as i64
    }
}

/// Records of one sender for one target subtask, with keys and hashes, in columns.
#[derive(Clone, Debug)]
pub struct KeyedBatch<K, T> {
    /// The worker that sent it.
    pub from: u32,
    /// The worker that owns all its key groups.
    pub to: u32,
    /// Hash of each key.
    pub hashes: Vec<KeyHash>,
    /// Key of each record.
    pub keys: Vec<K>,
    /// The records and their event times.
    pub rows: Batch<T>,
    /// The form between processes, made when timely asks for its length and used when it asks for the bytes.
    encoded: OnceCell<Vec<u8>>,
}

impl<K, T> Default for KeyedBatch<K, T> {
    fn default() -> Self {
        KeyedBatch::addressed(0, 0)
    }
}

impl<K, T> KeyedBatch<K, T> {
    /// An empty batch from worker `from` to worker `to`.
    pub fn addressed(from: u32, to: u32) -> Self {
        KeyedBatch { from, to, hashes: Vec::new(), keys: Vec::new(), rows: Batch::default(), encoded: OnceCell::new() }
    }

    /// Drops the records and keeps the memory, for a batch from worker `from` to worker `to`.
    pub fn readdress(&mut self, from: u32, to: u32) {
        (self.from, self.to) = (from, to);
        self.hashes.clear();
        self.keys.clear();
        self.rows.records.clear();
        self.rows.times.clear();
        self.encoded = OnceCell::new();
    }

    #[cold]
    #[inline(never)]
    fn reserve(&mut self) {
        self.hashes.reserve_exact(BATCH_ROWS);
        self.keys.reserve_exact(BATCH_ROWS);
    }

    /// Appends a record.
    #[inline(always)]
    pub fn push(&mut self, hash: KeyHash, key: K, record: T, time: i64) {
        if self.hashes.len() == self.hashes.capacity() {
            self.reserve();
        }
        self.hashes.push(hash);
        self.keys.push(key);
        self.rows.push(record, time);
    }
}

impl<K, T> Accountable for KeyedBatch<K, T> {
    #[inline]
    fn record_count(&self) -> i64 {
        self.rows.record_count()
    }
}

/// The form between processes: from, to, rows (u32 each), whether times follow (u32), hashes, times, keys, records.
impl<K: Data, T: Data> ContainerBytes for KeyedBatch<K, T> {
    fn from_bytes(bytes: Bytes) -> Self {
        // Both ends are the same program, checked when they connected, and TCP delivers bytes whole: what does not decode is
        // a bug, and the panic ends the attempt with this message.
        Self::decode(&bytes).expect("a batch from another process of this job does not decode")
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded.get_or_init(|| self.encode()).len()
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        writer
            .write_all(self.encoded.get_or_init(|| self.encode()))
            .expect("timely hands out a buffer of the length it asked for");
    }
}

impl<K: Data, T: Data> KeyedBatch<K, T> {
    fn encode(&self) -> Vec<u8> {
        let (records, times) = (&self.rows.records, &self.rows.times);
        let mut out = Vec::with_capacity(16 + records.len() * (16 + size_of::<K>() + size_of::<T>()));
        for number in [self.from, self.to, records.len() as u32, u32::from(!times.is_empty())] {
            number.encode(&mut out);
        }
        self.hashes.iter().for_each(|hash| hash.0.encode(&mut out));
        times.iter().for_each(|time| time.encode(&mut out));
        self.keys.iter().for_each(|key| key.encode(&mut out));
        records.iter().for_each(|record| record.encode(&mut out));
        // Timely keeps messages aligned to eight bytes.
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    fn decode(bytes: &[u8]) -> Result<Self, highwater_state::DecodeError> {
        fn column<C: Data>(input: &mut &[u8], rows: usize) -> Result<Vec<C>, highwater_state::DecodeError> {
            (0..rows).map(|_| C::decode(input)).collect()
        }
        let mut input = bytes;
        let [from, to, rows, timed]: [u32; 4] = Data::decode(&mut input)?;
        let rows = rows as usize;
        let hashes = column::<u64>(&mut input, rows)?.into_iter().map(KeyHash).collect();
        let times = column(&mut input, if timed == 1 { rows } else { 0 })?;
        let keys = column(&mut input, rows)?;
        let records = column(&mut input, rows)?;
        Ok(KeyedBatch { from, to, hashes, keys, rows: Batch { records, times }, encoded: OnceCell::new() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_a_column_only_when_there_are_some() {
        let mut batch = Batch::default();
        batch.push("a", NO_TIME);
        assert!(batch.times.is_empty());
        batch.push("b", 7);
        batch.push("c", NO_TIME);
        assert_eq!(batch.into_iter().collect::<Vec<_>>(), [("a", NO_TIME), ("b", 7), ("c", NO_TIME)]);
    }

    #[test]
    fn a_keyed_batch_survives_the_way_between_processes() {
        let mut batch = KeyedBatch::addressed(1, 3);
        batch.push(KeyHash(9), "key".to_string(), (1u64, true), 5);
        batch.push(KeyHash(8), String::new(), (2u64, false), NO_TIME);
        let back = KeyedBatch::<String, (u64, bool)>::decode(&batch.encode()).unwrap();
        assert_eq!((back.from, back.to, &back.hashes, &back.keys), (1, 3, &batch.hashes, &batch.keys));
        assert_eq!(back.rows, batch.rows);
        assert!(KeyedBatch::<String, (u64, bool)>::decode(&batch.encode()[..20]).is_err());
    }
}
