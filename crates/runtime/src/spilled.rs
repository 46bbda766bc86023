//! Rows that are not in memory: the tables that have a store below them, and how the store comes back from a checkpoint.
//!
//! A subtask that had the same key groups before opens the files of its store. Else, or if the program's types have changed, the rows
//! of its key groups are copied from the stores of those that had them into a store of its own.

use std::sync::Arc;

use highwater_checkpoint::metadata::StoreSnapshot;
use highwater_checkpoint::rescale::KeyedShare;
use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, Result};
use highwater_state::schema::Migration;
use highwater_state::spill::{RowBatch, RowStore};
use highwater_state::tier::TieredTables;
use highwater_state::{Key, KeyedState};

use crate::graph::Task;
use crate::job::Spilling;
use crate::restore::{Restored, whole_store};

/// The tables of a task, without rows.
pub(crate) fn tables<K: Key, S: KeyedState>(task: &Task, range: KeyGroupRange) -> TieredTables<K, S> {
    let max = task.attempt.max_parallelism;
    match (&task.attempt.spilling, &task.budget) {
        (Some(spilling), Some(budget)) => {
            TieredTables::spilling(max, range, budget, Arc::clone(&spilling.stores), name(task))
        }
        _ => TieredTables::in_memory(max, range),
    }
}

/// Whose store it is, for people.
fn name(task: &Task) -> String {
    format!("operator {} ({})", task.name, task.id)
}

/// Puts the store below `rows` that the checkpoint has for a keyed state, if it has one; how many bytes were read.
pub(crate) fn restore<K: Key, S: KeyedState>(
    task: &Task,
    restored: &Restored,
    share: &KeyedShare<'_>,
    migration: &Migration,
    rows: &mut TieredTables<K, S>,
) -> Result<u64> {
    let mut bytes = 0;
    let Some((_, any)) = share.stores.first() else { return Ok(bytes) };
    let in_memory_only = || of_another_backend(task, any, "keeps all rows in memory");
    let spilling = task.attempt.spilling.as_ref().ok_or_else(in_memory_only)?;
    if let Some(store) = whole_store(share).filter(|_| migration.is_identity()) {
        rows.restore_store(open(task, spilling, restored, store, &mut bytes)?);
        return Ok(bytes);
    }
    for (stored_range, store) in &share.stores {
        let from = open(task, spilling, restored, store, &mut bytes)?;
        let (start, end) = (share.range.start().max(stored_range.start()), share.range.end().min(stored_range.end()));
        let mut entry = Vec::new();
        rows.import(&*from, KeyGroupRange::new(start..end), &mut |group, key, row, batch| {
            convert(migration, &mut entry, group, key, row, batch)
        })?;
    }
    Ok(bytes)
}

/// Opens a store from its files in the checkpoint.
fn open(
    task: &Task,
    spilling: &Spilling,
    restored: &Restored,
    store: &StoreSnapshot,
    bytes: &mut u64,
) -> Result<Arc<dyn RowStore>> {
    let kind = spilling.stores.kind();
    if store.kind != kind {
        return Err(of_another_backend(task, store, &format!("keeps such rows in a store of kind {kind}")));
    }
    spilling.stores.restore(&name(task), &mut |folder| {
        *bytes += restored.snapshot().fetch_store(store, folder)?;
        Ok(())
    })
}

/// Adds a row to a batch as the program encodes it. `entry` is for its memory.
fn convert(
    migration: &Migration,
    entry: &mut Vec<u8>,
    group: KeyGroup,
    key: &[u8],
    row: &[u8],
    batch: &mut RowBatch,
) -> Result<()> {
    if migration.is_identity() {
        batch.put(group, |out| out.extend_from_slice(key), |out| out.extend_from_slice(row));
        return Ok(());
    }
    entry.clear();
    let stored = [key, row].concat();
    let mut rest = &stored[..];
    let migrated = migration.entry(&mut rest, entry);
    migrated.map_err(|error| {
        Error::new(ErrorKind::Incompatible, "a row in the store of the checkpoint does not decode").with_source(error)
    })?;
    // No migration changes a key.
    batch.put(group, |out| out.extend_from_slice(key), |out| out.extend_from_slice(&entry[key.len()..]));
    Ok(())
}

fn of_another_backend(task: &Task, store: &StoreSnapshot, this: &str) -> Error {
    let (name, kind) = (name(task), &store.kind);
    let what =
        format!("the checkpoint has rows of {name} in a store of kind {kind}, and the job's state backend {this}");
    let way_out = "a checkpoint is restored with the state backend that wrote it; to change the backend, take a savepoint with \
                   that one and start from it";
    Error::new(ErrorKind::Incompatible, format!("{what}: {way_out}"))
}
