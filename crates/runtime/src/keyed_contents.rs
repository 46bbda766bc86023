//! What a keyed task keeps, and so what its checkpoints hold: the rows of its key groups, and their timers.

use highwater_checkpoint::block::{Section, SectionKind};
use highwater_checkpoint::rebase::Rebase;
use highwater_core::{Error, ErrorKind, KeyGroupRange, Result};
pub(crate) use highwater_snapshot::{STATE, TIMERS};
use highwater_state::schema::Migration;
use highwater_state::table::ChunkKind;
use highwater_state::tier::TieredTables;
use highwater_state::{DecodeError, Key, KeyedState, StateSchema};

use crate::control::TaskEvent;
use crate::graph::Task;
use crate::migrate;
use crate::restore::StateClock;
use crate::spilled;
use crate::time_to_live::TimeToLive;
use crate::timers::Timers;
use crate::upload::{LineageHandle, Restorable};

/// What a keyed task keeps: what its checkpoints hold.
pub(crate) struct KeyedContents<K: Key, S: KeyedState> {
    pub rows: TieredTables<K, S>,
    pub timers: Timers<K>,
    pub ttl: TimeToLive,
    pub range: KeyGroupRange,
    /// Which key groups of each a checkpoint has to hold in full.
    pub rows_lineage: LineageHandle,
    pub timers_lineage: LineageHandle,
}

/// What a keyed state was restored from, and the sizes of it.
struct Origin {
    restorable: Restorable,
    rebase: Rebase,
}

impl<K: Key, S: KeyedState> KeyedContents<K, S> {
    /// Empty, or with what the restored checkpoint has for this task.
    pub fn open(task: &Task) -> Result<Self> {
        let mut clock = StateClock::start(&**task.control().clock());
        let (max, parallelism) = (task.attempt.max_parallelism, task.attempt.parallelism);
        let range = max.range_of(task.id.subtask, parallelism);
        let mut rows = spilled::tables(task, range);
        let mut timers = Timers::new(max, range);
        let ttl = TimeToLive::open::<S>(task, range)?;
        let new = || Origin { restorable: Restorable::default(), rebase: Rebase::new(range) };
        let (mut rows_origin, mut timers_origin) = (new(), new());
        clock.spend(|times| &mut times.init);
        if let Some(restored) = &task.attempt.restored {
            let mut bytes = 0;
            for share in restored.keyed(&task.id.operator, task.id.subtask, parallelism, max)? {
                let migration = migrate::keyed(task, share.schema, &Self::schema())?;
                let is_timers = share.name == TIMERS;
                if !is_timers {
                    migrate::log_keyed(task, &migration);
                }
                clock.spend(|times| &mut times.confirm);
                bytes += spilled::restore(task, restored, &share, &migration, &mut rows)?;
                clock.spend(|times| &mut times.prepare);
                let mut origin = new();
                if !is_timers {
                    let entries = range.iter().zip(share.lineage.full_entries(range));
                    entries.for_each(|(group, entries)| rows.reserve(group, entries as usize));
                }
                bytes += restored.load(&share, &mut clock, |section| {
                    if task.control().is_aborted() {
                        return Err(Error::new(ErrorKind::Cluster, "the attempt is over"));
                    }
                    let is_full = section.id == share.lineage.since[range.index_of(section.group)];
                    origin.rebase.wrote(section.group, is_full, section.bytes.len() as u64);
                    if is_timers {
                        let Section { group, kind, entries, bytes, .. } = section;
                        timers.restore(*group, chunk_kind(*kind), u64::from(*entries), bytes)
                    } else {
                        load_rows(&mut rows, section, &migration)?;
                        rows.relieve_load()
                    }
                })?;
                // What was migrated is not what is stored: the next checkpoint holds all of it. A timer has nothing of the program's
                // but the key, whose bytes no migration changes.
                let is_rewritten = !is_timers && !migration.is_identity();
                // Nor is it in the checkpoint what has left memory while it was loaded.
                let is_spilled = !is_timers && share.stores.is_empty() && rows.store().is_some();
                if let Some(restorable) = restored.restorable(&share).filter(|_| !is_rewritten && !is_spilled) {
                    origin.restorable = restorable;
                    *(if is_timers { &mut timers_origin } else { &mut rows_origin }) = origin;
                }
            }
            clock.spend(|times| &mut times.complete);
            let (keys, times) = (rows.rows_estimate(), clock.times());
            task.control().tell(TaskEvent::StateRestored { task: task.id.clone(), keys, bytes, times });
        }
        let track = |state, origin: Origin| task.uploads.track(&task.id, state, origin.restorable, origin.rebase);
        let (rows_lineage, timers_lineage) = (track(STATE, rows_origin), track(TIMERS, timers_origin));
        Ok(KeyedContents { rows, timers, ttl, range, rows_lineage, timers_lineage })
    }

    pub fn schema() -> StateSchema {
        StateSchema { key: K::schema(), states: S::states() }
    }
}

fn load_rows<K: Key, S: KeyedState>(
    rows: &mut TieredTables<K, S>,
    section: &Section<'_>,
    migration: &Migration,
) -> Result<()> {
    let corrupt = |what: String| Error::new(ErrorKind::Corrupt, what);
    let mut load = |bytes: &[u8]| rows.load(section.group, chunk_kind(section.kind), bytes);
    let found = match section.kind {
        SectionKind::Rows if !migration.is_identity() => {
            migrated(migration, section.bytes).and_then(|rows| load(&rows))
        }
        SectionKind::Rows | SectionKind::Removed => load(section.bytes),
    };
    let found = found.map_err(|error| corrupt("the stored state does not decode".into()).with_source(error))?;
    if found == u64::from(section.entries) {
        return Ok(());
    }
    Err(corrupt(format!("{found} entries in key group {}, its section says {}", section.group.0, section.entries)))
}

/// Rows as the program encodes them.
fn migrated(migration: &Migration, mut bytes: &[u8]) -> Result<Vec<u8>, DecodeError> {
    let mut rows = Vec::with_capacity(bytes.len());
    while !bytes.is_empty() {
        let before = bytes.len();
        migration.entry(&mut bytes, &mut rows)?;
        // Entries without bytes would never come to an end.
        if bytes.len() == before {
            return Err(DecodeError::Invalid { what: "row that takes bytes", found: 0 });
        }
    }
    Ok(rows)
}

fn chunk_kind(kind: SectionKind) -> ChunkKind {
    match kind {
        SectionKind::Rows => ChunkKind::Rows,
        SectionKind::Removed => ChunkKind::Removed,
    }
}
