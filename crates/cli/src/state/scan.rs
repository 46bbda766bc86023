//! `highwater state scan`

use highwater_checkpoint::metadata::OperatorSnapshot;
use highwater_core::{Error, KeyGroup, MaxParallelism, Result};
use highwater_snapshot::{KeyedReader, STATE, Snapshot, TIMERS};
use highwater_state::StateSchema;
use serde_json::json;

use super::{ScanArgs, row};
use crate::failure::{Failure, Finding};
use crate::output::Output;
use crate::states::{List, Selected, States};
use crate::stores;

pub fn run(args: &ScanArgs, out: &mut Output) -> Result<Finding, Failure> {
    let snapshot = stores::open(&args.path)?;
    let operator = snapshot.operator(&args.operator)?;
    let states = States::of(operator)?;
    let groups = groups(args.key_group, operator.max_parallelism)?;
    let mut scan = Scan { snapshot: &snapshot, operator, groups, left: args.limit.unwrap_or(u64::MAX), out };
    let selected = args.state.as_deref().map(|name| states.select(name)).transpose()?;
    match (selected, &states.keyed) {
        (Some(Selected::List(name, list)), _) => scan.list(name, list)?,
        (Some(Selected::Timers), Some(schema)) => scan.timers(schema)?,
        (Some(Selected::Declared(index)), Some(schema)) => scan.rows(schema, Some(index))?,
        (_, Some(schema)) => scan.rows(schema, None)?,
        (_, None) => states.lists.iter().try_for_each(|(name, list)| scan.list(name, list))?,
    }
    Ok(Finding::Fine)
}

/// The key groups to look at.
fn groups(only: Option<u16>, max: MaxParallelism) -> Result<Vec<KeyGroup>> {
    match only.map(KeyGroup) {
        None => Ok(max.all().iter().collect()),
        Some(group) if max.all().contains(group) => Ok(vec![group]),
        Some(group) => {
            Err(Error::settings(format!("there is no key group {}: give 0 to {}", group.0, max.count() - 1)))
        }
    }
}

/// A scan under way.
struct Scan<'a> {
    snapshot: &'a Snapshot,
    operator: &'a OperatorSnapshot,
    groups: Vec<KeyGroup>,
    /// How many may still be printed.
    left: u64,
    out: &'a mut Output,
}

impl Scan<'_> {
    fn rows(&mut self, schema: &StateSchema, only: Option<usize>) -> Result<(), Failure> {
        let Some(mut reader) = KeyedReader::open(self.snapshot, self.operator, STATE)? else { return Ok(()) };
        let shown: Vec<usize> =
            (0..schema.states.len()).filter(|index| only.is_none_or(|only| only == *index)).collect();
        let names = shown.iter().map(|index| schema.states[*index].name.as_str());
        let names = names.map(|name| if name.is_empty() { STATE } else { name });
        self.header(["key group", "key"].into_iter().chain(names))?;
        for group in std::mem::take(&mut self.groups) {
            if self.left == 0 {
                break;
            }
            for (key, bytes) in reader.rows(group, schema)? {
                let (key, values) = (row::key(schema, &key)?, row::values(schema, &bytes)?);
                if !self.take() {
                    break;
                }
                if self.out.is_json() {
                    let state = row::document(schema, values, only);
                    self.out.json_line(&json!({"key": key, "key_group": group.0, "state": state}))?;
                } else {
                    let cells = shown.iter().map(|index| values[*index].to_string());
                    self.cells([group.0.to_string(), key.to_string()].into_iter().chain(cells))?;
                }
            }
        }
        Ok(())
    }

    fn timers(&mut self, schema: &StateSchema) -> Result<(), Failure> {
        let Some(mut reader) = KeyedReader::open(self.snapshot, self.operator, TIMERS)? else { return Ok(()) };
        self.header(["key group", "key", "time", "time ms"])?;
        for group in std::mem::take(&mut self.groups) {
            if self.left == 0 {
                break;
            }
            for timer in reader.timers(group, &schema.key)? {
                let (key, domain, time_ms) = (row::key(schema, &timer.key)?, timer.domain(), timer.time_ms);
                if !self.take() {
                    break;
                }
                if self.out.is_json() {
                    let document = json!({"key": key, "key_group": group.0, "time": domain, "time_ms": time_ms});
                    self.out.json_line(&document)?;
                } else {
                    self.cells([group.0.to_string(), key.to_string(), domain.to_owned(), time_ms.to_string()])?;
                }
            }
        }
        Ok(())
    }

    fn list(&mut self, name: &str, list: &List<'_>) -> Result<(), Failure> {
        self.header(["state", "subtask", "element"])?;
        for (subtask, mut bytes) in list.elements.iter().copied() {
            let element = list.schema.decode_json(&mut bytes).map_err(row::undecodable)?;
            if !self.take() {
                break;
            }
            if self.out.is_json() {
                self.out.json_line(&json!({"state": name, "subtask": subtask.0, "element": element}))?;
            } else {
                self.cells([name.to_owned(), subtask.to_string(), element.to_string()])?;
            }
        }
        Ok(())
    }

    /// Whether one more may be printed.
    fn take(&mut self) -> bool {
        let is_left = self.left > 0;
        self.left = self.left.saturating_sub(1);
        is_left
    }

    fn header<'c>(&mut self, cells: impl IntoIterator<Item = &'c str>) -> Result<(), Failure> {
        if self.out.is_json() {
            return Ok(());
        }
        self.cells(cells.into_iter().map(str::to_uppercase))
    }

    fn cells(&mut self, cells: impl IntoIterator<Item = String>) -> Result<(), Failure> {
        Ok(self.out.line(cells.into_iter().collect::<Vec<_>>().join("\t"))?)
    }
}
