//! Keyed state key by key, one key group of both snapshots at a time.

use std::collections::BTreeMap;

use highwater_checkpoint::metadata::OperatorSnapshot;
use highwater_core::{Error, ErrorKind, KeyGroup, Result};
use highwater_snapshot::{KeyedReader, STATE, Snapshot, Timer};
use highwater_state::{Schema, StateSchema};
use serde::Serialize;
use serde_json::{Value, json};

use super::{Change, Changed, print_schema};
use crate::output::Output;
use crate::states::States;

/// A keyed state of an operator in both snapshots.
#[derive(Debug, Serialize)]
pub(super) struct Keyed {
    state: String,
    pub change: Change,
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Changed<String>>,
    /// Why keys were not compared.
    #[serde(skip_serializing_if = "Option::is_none")]
    not_compared: Option<String>,
    added: u64,
    removed: u64,
    changed: u64,
    /// Of the keys that changed, in how many each declared state did.
    changed_states: BTreeMap<String, u64>,
    keys: Vec<KeyDiff>,
}

#[derive(Debug, Serialize)]
struct KeyDiff {
    change: Change,
    #[serde(flatten)]
    what: Value,
}

/// How many keys may still be named.
#[derive(Debug)]
pub(super) struct KeysLeft(usize);

impl KeysLeft {
    pub fn new(limit: usize) -> Self {
        KeysLeft(limit)
    }
}

/// One side of the comparison.
type Side<'a> = (&'a Snapshot, &'a OperatorSnapshot, &'a States<'a>);

impl Keyed {
    /// Compares the keyed state `name`; `None` if neither side has it.
    pub fn compare(name: &str, a: Side<'_>, b: Side<'_>, keys_left: &mut KeysLeft) -> Result<Option<Self>> {
        let (has_a, has_b) = (a.2.has_keyed(name), b.2.has_keyed(name));
        let mut keyed = Keyed {
            state: name.to_owned(),
            change: Change::Same,
            schema: None,
            not_compared: None,
            added: 0,
            removed: 0,
            changed: 0,
            changed_states: BTreeMap::new(),
            keys: Vec::new(),
        };
        match (has_a, has_b, &a.2.keyed, &b.2.keyed) {
            (true, true, Some(old), Some(new)) => keyed.compare_both(name, (a, old), (b, new), keys_left)?,
            (false, true, ..) => keyed.change = Change::Added,
            (true, false, ..) => keyed.change = Change::Removed,
            _ => return Ok(None),
        }
        Ok(Some(keyed))
    }

    fn compare_both(
        &mut self,
        name: &str,
        ((a, old_operator, _), old): (Side<'_>, &StateSchema),
        ((b, new_operator, _), new): (Side<'_>, &StateSchema),
        keys_left: &mut KeysLeft,
    ) -> Result<()> {
        self.schema = match name {
            STATE => Changed::of(old.to_string(), new.to_string()),
            _ => Changed::of(old.key.to_string(), new.key.to_string()),
        };
        self.not_compared = match () {
            () if old_operator.max_parallelism != new_operator.max_parallelism => {
                Some("max parallelism is another: keys are in other key groups".to_owned())
            }
            () if old.key != new.key => Some("keys are of another type".to_owned()),
            () => None,
        };
        if self.not_compared.is_none() {
            let readers = (KeyedReader::open(a, old_operator, name)?, KeyedReader::open(b, new_operator, name)?);
            if let (Some(mut a), Some(mut b)) = readers {
                for group in
                    a.max_parallelism().all().iter().filter(|group| !a.is_same_at(*group, &b)).collect::<Vec<_>>()
                {
                    match name {
                        STATE => self.compare_rows(group, (&mut a, old), (&mut b, new), keys_left)?,
                        _ => self.compare_timers(group, (&mut a, &old.key), (&mut b, &new.key), keys_left)?,
                    }
                }
            }
        }
        let is_same = self.schema.is_none() && self.not_compared.is_none();
        if !is_same || self.added + self.removed + self.changed > 0 {
            self.change = Change::Changed;
        }
        Ok(())
    }

    fn compare_rows(
        &mut self,
        group: KeyGroup,
        (a, old): (&mut KeyedReader<'_>, &StateSchema),
        (b, new): (&mut KeyedReader<'_>, &StateSchema),
        keys_left: &mut KeysLeft,
    ) -> Result<()> {
        let (old_rows, mut new_rows) = (a.rows(group, old)?, b.rows(group, new)?);
        for (key, old_row) in old_rows {
            match new_rows.remove(&key) {
                None => {
                    self.removed += 1;
                    self.name(Change::Removed, &old.key, &key, None, keys_left)?;
                }
                Some(new_row) if new_row != old_row => {
                    self.changed += 1;
                    self.note_states(old, &old_row, new, &new_row)?;
                    self.name(Change::Changed, &old.key, &key, None, keys_left)?;
                }
                Some(_) => {}
            }
        }
        for key in new_rows.into_keys() {
            self.added += 1;
            self.name(Change::Added, &new.key, &key, None, keys_left)?;
        }
        Ok(())
    }

    fn compare_timers(
        &mut self,
        group: KeyGroup,
        (a, old): (&mut KeyedReader<'_>, &Schema),
        (b, new): (&mut KeyedReader<'_>, &Schema),
        keys_left: &mut KeysLeft,
    ) -> Result<()> {
        let (old_timers, new_timers) = (a.timers(group, old)?, b.timers(group, new)?);
        for timer in old_timers.difference(&new_timers) {
            self.removed += 1;
            self.name(Change::Removed, old, &timer.key, Some(timer), keys_left)?;
        }
        for timer in new_timers.difference(&old_timers) {
            self.added += 1;
            self.name(Change::Added, new, &timer.key, Some(timer), keys_left)?;
        }
        Ok(())
    }

    /// Notes which declared states of a row are not the same, by their encodings.
    fn note_states(&mut self, old: &StateSchema, old_row: &[u8], new: &StateSchema, new_row: &[u8]) -> Result<()> {
        let (old_parts, mut new_parts) = (parts(old, old_row)?, parts(new, new_row)?);
        for (name, old_part) in old_parts {
            if new_parts.remove(name) != Some(old_part) {
                *self.changed_states.entry(name.to_owned()).or_default() += 1;
            }
        }
        for name in new_parts.into_keys() {
            *self.changed_states.entry(name.to_owned()).or_default() += 1;
        }
        Ok(())
    }

    fn name(
        &mut self,
        change: Change,
        schema: &Schema,
        key: &[u8],
        timer: Option<&Timer>,
        keys_left: &mut KeysLeft,
    ) -> Result<()> {
        let Some(left) = keys_left.0.checked_sub(1) else { return Ok(()) };
        keys_left.0 = left;
        let key = schema.decode_json(&mut &*key).map_err(undecodable)?;
        let what = match timer {
            Some(timer) => json!({"key": key, "time": timer.domain(), "time_ms": timer.time_ms}),
            None => json!({"key": key}),
        };
        self.keys.push(KeyDiff { change, what });
        Ok(())
    }

    pub fn print(&self, out: &mut Output) -> std::io::Result<()> {
        let Keyed { state, change, added, removed, changed, .. } = self;
        let what = if state == STATE { "keys" } else { "timers" };
        out.line(format!(
            "  keyed {state}: {}, {added} {what} added, {removed} removed, {changed} changed",
            change.word()
        ))?;
        print_schema(self.schema.as_ref(), out)?;
        if let Some(why) = &self.not_compared {
            out.line(format!("    {what} are not compared: {why}"))?;
        }
        for (name, count) in self.changed_states.iter().filter(|(name, _)| !name.is_empty()) {
            out.line(format!("    {name}: changed in {count}"))?;
        }
        for KeyDiff { change, what } in &self.keys {
            let sign = match change {
                Change::Added => '+',
                Change::Removed => '-',
                Change::Changed | Change::Same => '~',
            };
            let timer = match (&what["time"], &what["time_ms"]) {
                (Value::String(domain), time) => format!(" {domain} {time}"),
                _ => String::new(),
            };
            out.line(format!("    {sign} {}{timer}", what["key"]))?;
        }
        Ok(())
    }
}

/// The encodings of the declared states in a row, by their names.
fn parts<'s, 'r>(schema: &'s StateSchema, mut row: &'r [u8]) -> Result<BTreeMap<&'s str, &'r [u8]>> {
    let Schema::Tuple(encodings) = schema.row() else { return Err(Error::internal("a row is no tuple")) };
    let mut parts = BTreeMap::new();
    for (state, encoding) in schema.states.iter().zip(&encodings) {
        let before = row;
        encoding.skip(&mut row).map_err(undecodable)?;
        parts.insert(state.name.as_str(), &before[..before.len() - row.len()]);
    }
    Ok(parts)
}

fn undecodable(error: highwater_state::DecodeError) -> Error {
    Error::new(ErrorKind::Corrupt, "an entry does not decode").with_source(error)
}
