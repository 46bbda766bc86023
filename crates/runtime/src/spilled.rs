//! Rows that are not in memory: the tables that have a store below them, and how the store comes back from a checkpoint.
//!
//! A subtask opens the files of the store that had most of its key groups, all of them if the parallelism is as before, and drops the
//! others from it. The rest is copied from the stores that had it; everything is, if the program's types have changed.

use std::sync::Arc;

use highwater_checkpoint::metadata::StoreSnapshot;
use highwater_checkpoint::rescale::KeyedShare;
use highwater_core::{Error, ErrorKind, KeyGroup, KeyGroupRange, Result};
use highwater_state::schema::Migration;
use highwater_state::spill::{EachRow, RowStore};
use highwater_state::tier::TieredTables;
use highwater_state::{Key, KeyedState};

use crate::graph::Task;
use crate::job::Spilling;
use crate::restore::Restored;

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
    let own = |range: &KeyGroupRange| {
        let (start, end) = (range.start().max(share.range.start()), range.end().min(share.range.end()));
        KeyGroupRange::new(start..end)
    };
    let mut stores: Vec<_> = share.stores.iter().map(|(range, store)| (own(range), *range, *store)).collect();
    // The one to begin with goes first.
    stores.sort_by_key(|(own, ..)| std::cmp::Reverse(own.count()));
    let mut entry = Vec::new();
    for (index, (groups, all, store)) in stores.into_iter().enumerate() {
        let store = open(task, spilling, restored, store, &mut bytes)?;
        if index == 0 && migration.is_identity() {
            store.delete(KeyGroupRange::new(all.start()..groups.start()))?;
            store.delete(KeyGroupRange::new(groups.end()..all.end()))?;
            rows.restore_store(store);
            continue;
        }
        rows.import(&*store, groups, &mut |group, key, row, put| convert(migration, &mut entry, group, key, row, put))?;
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

/// Passes on a row as the program encodes it. `entry` is for its memory.
fn convert(
    migration: &Migration,
    entry: &mut Vec<u8>,
    group: KeyGroup,
    key: &[u8],
    row: &[u8],
    put: &mut EachRow<'_>,
) -> Result<()> {
    if migration.is_identity() {
        return put(group, key, row);
    }
    entry.clear();
    let stored = [key, row].concat();
    let mut rest = &stored[..];
    let migrated = migration.entry(&mut rest, entry);
    migrated.map_err(|error| {
        Error::new(ErrorKind::Incompatible, "a row in the store of the checkpoint does not decode").with_source(error)
    })?;
    // No migration changes a key.
    put(group, key, &entry[key.len()..])
}

fn of_another_backend(task: &Task, store: &StoreSnapshot, this: &str) -> Error {
    let (name, kind) = (name(task), &store.kind);
    let what =
        format!("the checkpoint has rows of {name} in a store of kind {kind}, and the job's state backend {this}");
    let way_out = "a checkpoint is restored with the state backend that wrote it; to change the backend, take a savepoint with \
                   that one and start from it";
    Error::new(ErrorKind::Incompatible, format!("{what}: {way_out}"))
}
