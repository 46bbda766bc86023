//! A sink that collects records in memory, with real two-phase commit, for tests.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use highwater_core::{CheckpointId, Result, SubtaskIndex};
use highwater_runtime::batch::Record;
use highwater_runtime::sink::{Prepared, Sink, SinkContext, SinkWriter};
use highwater_state::Data;

/// Collects records. They become visible through [`committed`](Self::committed) when their checkpoint completes, and once, also
/// if the commit is repeated: so a test sees with it whether a job is exactly-once.
///
/// Clones share what is collected. It is kept for the life of the process and belongs to one job: a second one would number its
/// checkpoints from the start again, and its output would pass for a repetition.
///
/// ```
/// use highwater::connectors::CollectSink;
///
/// let sink = CollectSink::<String>::new();
/// let handle = sink.clone();
/// // .. give `sink` to a job and run it ..
/// assert!(handle.committed().is_empty());
/// ```
pub struct CollectSink<T> {
    committed: Arc<Mutex<Committed<T>>>,
}

struct Committed<T> {
    records: Vec<T>,
    /// Which checkpoints of which subtask have been committed: a checkpoint id is never used again.
    ids: HashSet<(u64, u32)>,
}

impl<T> CollectSink<T> {
    /// A sink that has collected nothing.
    pub fn new() -> Self {
        CollectSink { committed: Arc::new(Mutex::new(Committed { records: Vec::new(), ids: HashSet::new() })) }
    }

    fn lock(&self) -> MutexGuard<'_, Committed<T>> {
        // Whoever panicked with it, a `Vec` and a `HashSet` are whole between two statements.
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T: Clone> CollectSink<T> {
    /// The records that are visible so far: of one subtask in the order in which they were written.
    pub fn committed(&self) -> Vec<T> {
        self.lock().records.clone()
    }
}

impl<T> Default for CollectSink<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> Clone for CollectSink<T> {
    fn clone(&self) -> Self {
        CollectSink { committed: self.committed.clone() }
    }
}

impl<T> fmt::Debug for CollectSink<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CollectSink").field("committed", &self.lock().records.len()).finish()
    }
}

impl<T: Record + Data> Sink for CollectSink<T> {
    type Record = T;
    type Writer = CollectWriter<T>;

    fn open(&self, context: &SinkContext, _states: Vec<()>) -> Result<CollectWriter<T>> {
        Ok(CollectWriter { sink: self.clone(), subtask: context.subtask, records: Vec::new() })
    }
}

/// Collects the records of one subtask.
#[derive(Debug)]
pub struct CollectWriter<T> {
    sink: CollectSink<T>,
    subtask: SubtaskIndex,
    records: Vec<T>,
}

/// What one subtask wrote up to one checkpoint and after the one before.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub struct Collected<T> {
    checkpoint: u64,
    subtask: u32,
    records: Vec<T>,
}

impl<T: Record + Data> SinkWriter for CollectWriter<T> {
    type Record = T;
    type Committable = Collected<T>;
    type State = ();

    fn write(&mut self, record: T, _time: i64) -> Result<()> {
        self.records.push(record);
        Ok(())
    }

    fn prepare(&mut self, id: CheckpointId, _last: bool) -> Result<Prepared<Collected<T>, ()>> {
        let records = std::mem::take(&mut self.records);
        let collected = (!records.is_empty()).then(|| Collected { checkpoint: id.0, subtask: self.subtask.0, records });
        Ok(Prepared { committables: collected.into_iter().collect(), ..Prepared::default() })
    }

    fn commit(&mut self, committables: Vec<Collected<T>>) -> Result<()> {
        let mut committed = self.sink.lock();
        for collected in committables {
            if committed.ids.insert((collected.checkpoint, collected.subtask)) {
                committed.records.extend(collected.records);
            }
        }
        Ok(())
    }
}
