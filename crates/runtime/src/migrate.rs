//! What becomes of stored state when a program declares it in another way: planned before anything is read, and said in
//! the log once for each operator.

use highwater_core::{Error, ErrorKind, OperatorUid, Result, SubtaskIndex};
use highwater_state::schema::{Incompatible, Migration, Schema, StateSchema, ValueMigration, Verdict};

use crate::graph::Task;

/// How the rows of a keyed operator, stored with the schema `stored`, become those that the program declares.
///
/// # Errors
/// If they cannot.
pub(crate) fn keyed(task: &Task, stored: &str, new: &StateSchema) -> Result<Migration> {
    let old = StateSchema::from_json(stored)?;
    Migration::plan(&old, new).map_err(|incompatible| refuse("state", &task.name, &incompatible))
}

/// Says what becomes of the states of a keyed operator.
pub(crate) fn log_keyed(task: &Task, migration: &Migration) {
    if task.id.subtask != SubtaskIndex(0) {
        return;
    }
    let (uid, operator) = (&task.id.operator, &task.name);
    for state in &migration.verdict().states {
        let name = &state.state;
        match &state.verdict {
            Verdict::Migrated { changes } => {
                tracing::info!(%uid, operator, state = name, changes = changes.join("; "), "stored state is migrated");
            }
            Verdict::New => tracing::info!(%uid, operator, state = name, "new state: starts cleared"),
            Verdict::Dropped => tracing::warn!(%uid, operator, state = name, "stored state is dropped"),
            Verdict::AsIs | Verdict::Incompatible { .. } => {}
        }
    }
}

/// How the elements of an operator state, which are `what`, become those that the program declares; says it if
/// `is_first` of the subtasks.
///
/// # Errors
/// If they cannot.
pub(crate) fn elements(
    uid: &OperatorUid,
    what: &str,
    stored: &str,
    new: &Schema,
    is_first: bool,
) -> Result<ValueMigration> {
    let old = Schema::from_json(stored)?;
    let migration =
        ValueMigration::plan(&old, new).map_err(|incompatible| refuse(what, uid.as_str(), &incompatible))?;
    if is_first && !migration.changes().is_empty() {
        tracing::info!(%uid, state = what, changes = migration.changes().join("; "), "stored state is migrated");
    }
    Ok(migration)
}

fn refuse(what: &str, operator: &str, incompatible: &Incompatible) -> Error {
    Error::new(
        ErrorKind::Incompatible,
        format!(
            "the stored {what} of operator {operator} is of another type: {incompatible}; \
             restore it with the program that wrote it, or start over with --fresh"
        ),
    )
}
