//! The entries of a key group after all sections were applied: rows under their keys, and timers.
//!
//! Keys and rows stay encoded; the stored schema tells where one ends and the next begins, without the types of the job.

use std::collections::{BTreeMap, BTreeSet};

use highwater_checkpoint::block::{Section, SectionKind};
use highwater_core::{Error, ErrorKind, KeyGroup, KeyHash, MaxParallelism, Result};
use highwater_state::{Data, DecodeError, Schema, StateSchema};

use crate::KeyedReader;

/// Rows by their keys, both encoded.
pub type Rows = BTreeMap<Vec<u8>, Vec<u8>>;

/// A timer of a key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// In event time rather than processing time.
    pub is_event_time: bool,
    /// When it fires, in milliseconds since the Unix epoch.
    pub time_ms: i64,
    /// Its key, encoded.
    pub key: Vec<u8>,
}

impl Timer {
    /// The word for its time: `event` or `processing`.
    pub fn domain(&self) -> &'static str {
        if self.is_event_time { "event" } else { "processing" }
    }
}

impl KeyedReader<'_> {
    /// The rows of a key group, of the keyed state `state`.
    ///
    /// # Errors
    /// If a block cannot be read or does not verify, or an entry is not of this schema or of this key group.
    pub fn rows(&mut self, group: KeyGroup, schema: &StateSchema) -> Result<Rows> {
        let (mut rows, max, row_schema) = (Rows::new(), self.max_parallelism(), schema.row());
        self.sections(group, |section| {
            each_entry(section, |input| {
                let key = key(input, &schema.key, max, group)?;
                match section.kind {
                    SectionKind::Rows => {
                        let row = part(input, &row_schema)?;
                        rows.insert(key.to_vec(), row.to_vec());
                    }
                    SectionKind::Removed => {
                        if key.is_empty() {
                            // So that it has a byte to be counted by.
                            u8::decode(input)?;
                        }
                        rows.remove(key);
                    }
                }
                Ok(())
            })
        })?;
        // What the sections have removed is in a store, or nowhere.
        self.stored(group, |stored_key, stored_row| {
            let (mut key_rest, mut row_rest) = (stored_key, stored_row);
            let whole = key(&mut key_rest, &schema.key, max, group).and_then(|_| part(&mut row_rest, &row_schema));
            let corrupt =
                || Error::new(ErrorKind::Corrupt, format!("a row of key group {} in a store does not decode", group.0));
            whole.map_err(|error| corrupt().with_source(error))?;
            if !key_rest.is_empty() || !row_rest.is_empty() {
                return Err(corrupt());
            }
            rows.entry(stored_key.to_vec()).or_insert_with(|| stored_row.to_vec());
            Ok(())
        })?;
        Ok(rows)
    }

    /// The timers of a key group, of the keyed state `timers`, whose keys are of this schema.
    ///
    /// # Errors
    /// If a block cannot be read or does not verify, or an entry is not of this schema or of this key group.
    pub fn timers(&mut self, group: KeyGroup, key_schema: &Schema) -> Result<BTreeSet<Timer>> {
        let max = self.max_parallelism();
        // A removal names the hash of the key, and means all timers of that time whose keys have it.
        let mut timers = BTreeMap::<(bool, i64, KeyHash), BTreeSet<Vec<u8>>>::new();
        self.sections(group, |section| {
            each_entry(section, |input| {
                let (is_event_time, time_ms) = <(bool, i64)>::decode(input)?;
                match section.kind {
                    SectionKind::Rows => {
                        let key = key(input, key_schema, max, group)?;
                        let place = (is_event_time, time_ms, KeyHash::of(key));
                        timers.entry(place).or_default().insert(key.to_vec());
                    }
                    SectionKind::Removed => {
                        timers.remove(&(is_event_time, time_ms, KeyHash(u64::decode(input)?)));
                    }
                }
                Ok(())
            })
        })?;
        let each = timers.into_iter().flat_map(|((is_event_time, time_ms, _), keys)| {
            keys.into_iter().map(move |key| Timer { is_event_time, time_ms, key })
        });
        Ok(each.collect())
    }
}

/// Reads the entries of a section one after the other with `entry`, which moves its input past one.
fn each_entry<'a>(
    section: &Section<'a>,
    mut entry: impl FnMut(&mut &'a [u8]) -> Result<(), DecodeError>,
) -> Result<()> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, what);
    let (mut rest, mut found) = (section.bytes, 0u32);
    while !rest.is_empty() && found < section.entries {
        entry(&mut rest).map_err(|error| corrupt(format!("entry {found} does not decode")).with_source(error))?;
        found += 1;
    }
    match (rest.len(), found == section.entries) {
        (0, true) => Ok(()),
        (0, false) => Err(corrupt(format!("{found} entries, the section says {}", section.entries))),
        (left, _) => Err(corrupt(format!("{left} bytes follow the {found} entries of the section"))),
    }
}

/// A key, which has to be of `group`.
fn key<'a>(
    input: &mut &'a [u8],
    schema: &Schema,
    max: MaxParallelism,
    group: KeyGroup,
) -> Result<&'a [u8], DecodeError> {
    let key = part(input, schema)?;
    let owner = KeyHash::of(key).key_group(max);
    if owner == group {
        return Ok(key);
    }
    Err(DecodeError::Invalid { what: "key of this key group", found: owner.0.into() })
}

/// The bytes of the next value.
fn part<'a>(input: &mut &'a [u8], schema: &Schema) -> Result<&'a [u8], DecodeError> {
    let before = *input;
    schema.skip(input)?;
    Ok(&before[..before.len() - input.len()])
}
