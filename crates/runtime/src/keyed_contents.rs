//! What a keyed task keeps, and so what its checkpoints hold: the rows of its key groups, and their timers.

use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, Result};
use highwater_state::table::{ChunkKind, KeyGroupTables};
use highwater_state::{Key, KeyedState, StateSchema};

use crate::control::TaskEvent;
use crate::graph::Task;
use crate::restore::{Restored, StateClock};
use crate::timers::Timers;

/// Name of the keyed state that holds the rows.
pub(crate) const STATE: &str = "state";
/// Name of the keyed state that holds the timers.
pub(crate) const TIMERS: &str = "timers";

/// What a keyed task keeps: what its checkpoints hold.
pub(crate) struct KeyedContents<K: Key, S: KeyedState> {
    pub rows: KeyGroupTables<K, S>,
    pub timers: Timers<K>,
    pub range: KeyGroupRange,
}

impl<K: Key, S: KeyedState> KeyedContents<K, S> {
    /// Empty, or with what the restored checkpoint has for this task.
    pub fn open(task: &Task) -> Result<Self> {
        let mut clock = StateClock::start(&**task.control().clock());
        let attempt = &task.attempt;
        let range = attempt.max_parallelism.range_of(task.id.subtask, attempt.parallelism);
        let rows = KeyGroupTables::new(attempt.max_parallelism, range);
        let mut contents = KeyedContents { rows, timers: Timers::default(), range };
        clock.spend(|times| &mut times.init);
        let Some(restored) = &attempt.restored else { return Ok(contents) };
        let bytes = contents.restore(task, restored, &mut clock)?;
        clock.spend(|times| &mut times.complete);
        let (keys, times) = (contents.rows.len() as u64, clock.times());
        task.control().tell(TaskEvent::StateRestored { task: task.id.clone(), keys, bytes, times });
        Ok(contents)
    }

    pub fn schema() -> StateSchema {
        StateSchema { key: K::schema(), states: S::states() }
    }

    /// Takes in what the checkpoint has for this task; how many bytes that was.
    fn restore(&mut self, task: &Task, restored: &Restored, clock: &mut StateClock<'_>) -> Result<u64> {
        let (max, parallelism) = (task.attempt.max_parallelism, task.attempt.parallelism);
        let mut bytes = 0;
        for part in restored.keyed(&task.id.operator, task.id.subtask, parallelism, max)? {
            check_schema(&Self::schema(), part.schema, &task.name)?;
            clock.spend(|times| &mut times.confirm);
            bytes += restored.load(&part, clock, |group, entries, payload| {
                if part.name == TIMERS {
                    self.timers.restore(group, entries, payload, max)
                } else {
                    self.load_rows(group, entries, payload)
                }
            })?;
        }
        Ok(bytes)
    }

    fn load_rows(&mut self, group: KeyGroup, entries: u64, payload: &[u8]) -> Result<()> {
        let corrupt = |what: String| Error::new(ErrorKind::Corrupt, what);
        let found = self.rows.load(group, ChunkKind::Rows, payload);
        let found = found.map_err(|error| corrupt("the stored state does not decode".into()).with_source(error))?;
        if found == entries {
            return Ok(());
        }
        Err(corrupt(format!("{found} entries in key group {}, the metadata says {entries}", group.0)))
    }
}

/// Refuses state that this program would misread.
fn check_schema(new: &StateSchema, stored: &str, operator: &str) -> Result<()> {
    let old = StateSchema::from_json(stored)?;
    match StateSchema::difference(&old, new) {
        None => Ok(()),
        Some(difference) => Err(Error::new(
            ErrorKind::Incompatible,
            format!(
                "the stored state of operator {operator} is of another type: {difference}; \
                 restore it with the program that wrote it, or start over with --fresh"
            ),
        )),
    }
}
