//! Declared operator state on its way into a checkpoint and back.
//!
//! A state that the checkpoint does not know begins empty. One that the program does not know is refused, since it would be lost;
//! so is one that was redistributed in another way, because its elements then mean something else.

use highwater_checkpoint::metadata::{self, OperatorSnapshot};
use highwater_core::{Error, ErrorKind, Result, SubtaskIndex};
use highwater_state::Data;
use highwater_state::operator::{NamedElements, OperatorState, ReadElements, Redistribution};

use crate::graph::Task;
use crate::restore::{Restored, decode_all, of_another};
use crate::time_to_live::EVENT_TIME;

/// The operator state of a task: empty, or what the restored checkpoint has for it.
pub(crate) fn restore<S: OperatorState>(task: &Task) -> Result<S> {
    let Some(restored) = task.attempt.restored.as_deref() else { return Ok(S::default()) };
    let Some(operator) = restored.operator(&task.id.operator) else { return Ok(S::default()) };
    check(&S::states(), operator, &task.name)?;
    S::restore(&mut Stored { task, restored, operator })
}

/// Refuses keyed state under the uid of an operator without keys: it would be lost.
pub(crate) fn refuse_keyed(task: &Task) -> Result<()> {
    let Some(restored) = task.attempt.restored.as_deref() else { return Ok(()) };
    let operator = restored.operator(&task.id.operator);
    if operator.is_some_and(|operator| operator.subtasks.iter().any(|(_, task)| !task.keyed.is_empty())) {
        return Err(of_another(&task.id.operator, "operator state"));
    }
    Ok(())
}

/// What a task that is not subtask 0 stores of a broadcast state is nothing: subtask 0 has the same.
pub(crate) fn snapshot<S: OperatorState>(state: &S, subtask: SubtaskIndex) -> Vec<metadata::OperatorState> {
    let stored = |(state, elements): (NamedElements, Vec<Vec<u8>>)| {
        let is_mine = state.redistribution != Redistribution::Broadcast || subtask == SubtaskIndex(0);
        metadata::OperatorState {
            name: state.name,
            schema: state.schema.to_json(),
            redistribution: stored_form(state.redistribution),
            elements: if is_mine { elements } else { Vec::new() },
        }
    };
    S::states().into_iter().zip(state.encode()).map(stored).collect()
}

fn stored_form(redistribution: Redistribution) -> metadata::Redistribution {
    match redistribution {
        Redistribution::Split => metadata::Redistribution::Split,
        Redistribution::Union => metadata::Redistribution::Union,
        Redistribution::Broadcast => metadata::Redistribution::Broadcast,
    }
}

fn check(declared: &[NamedElements], operator: &OperatorSnapshot, name: &str) -> Result<()> {
    let stored = operator.subtasks.iter().flat_map(|(_, task)| &task.operator_state);
    for stored in stored.filter(|state| state.name != EVENT_TIME) {
        let Some(state) = declared.iter().find(|state| state.name == stored.name) else {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "operator state {:?} is stored under the uid of operator {name}, which does not declare it: \
                     give each operator the uid it had, declare the state again, or start over with --fresh",
                    stored.name
                ),
            ));
        };
        if stored_form(state.redistribution) != stored.redistribution {
            return Err(Error::new(
                ErrorKind::Incompatible,
                format!(
                    "operator state {:?} of operator {name} was stored to be redistributed by {:?}, and is declared to be \
                     by {:?}: declare it as it was, or start over with --fresh",
                    stored.name, stored.redistribution, state.redistribution
                ),
            ));
        }
    }
    Ok(())
}

/// What a checkpoint has for one task.
struct Stored<'a> {
    task: &'a Task,
    restored: &'a Restored,
    operator: &'a OperatorSnapshot,
}

impl Stored<'_> {
    fn knows(&self, state: &NamedElements) -> bool {
        let states = self.operator.subtasks.iter().flat_map(|(_, task)| &task.operator_state);
        states.into_iter().any(|stored| stored.name == state.name)
    }
}

impl ReadElements for Stored<'_> {
    type Error = Error;

    fn share<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>> {
        if !self.knows(state) {
            return Ok(Vec::new());
        }
        let (id, what) = (&self.task.id, format!("operator state {:?}", state.name));
        self.restored.elements(&id.operator, (&state.name, &what), id.subtask, self.task.attempt.parallelism)
    }

    fn all<T: Data>(&mut self, state: &NamedElements) -> Result<Vec<T>> {
        if !self.knows(state) {
            return Ok(Vec::new());
        }
        let what = format!("operator state {:?}", state.name);
        let elements = self.restored.all_elements::<T>(&self.task.id.operator, (&state.name, &what))?;
        decode_all(&elements, &what)
    }
}
