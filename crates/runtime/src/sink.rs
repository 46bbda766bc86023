//! What a sink is: a writer whose output becomes visible by two-phase commit.
//!
//! A writer keeps what it writes invisible. At the barrier of a checkpoint it *prepares*: everything written so far is described
//! by committables (output that is whole, waiting to be made visible) and by writer states (output that goes on growing). Both
//! are stored in the checkpoint. When the checkpoint has completed, and only then, its committables are *committed*.
//!
//! Invariant I4: commit happens after the checkpoint completed; it may happen again after a restore, so it must be idempotent; and
//! whatever a writer left behind that no restored checkpoint mentions must never become visible.

use highwater_core::{CheckpointId, Parallelism, Result, SubtaskIndex};
use highwater_state::Data;

use crate::batch::Record;

/// A place where output goes: a description that all subtasks share.
pub trait Sink: Send + Sync + 'static {
    /// What it takes.
    type Record: Record;
    /// What writes for one subtask.
    type Writer: SinkWriter<Record = Self::Record>;

    /// Opens the writer of one subtask. `states` holds the writer states of the restored checkpoint that were dealt to this
    /// subtask (their number and owners may differ from this attempt's); committables are given to
    /// [`SinkWriter::commit`] right afterwards.
    ///
    /// # Errors
    /// If the place is missing or unwritable, with the way out.
    fn open(&self, context: &SinkContext, states: Vec<<Self::Writer as SinkWriter>::State>) -> Result<Self::Writer>;
}

/// What a writer may know about where it runs.
#[derive(Clone)]
pub struct SinkContext {
    /// Which of the writers.
    pub subtask: SubtaskIndex,
    /// Of how many.
    pub parallelism: Parallelism,
    /// The first epoch of this attempt. No earlier attempt wrote under this epoch or a later one, so names that contain it are
    /// new; and what carries an older epoch and is not mentioned by a restored state is left over.
    pub first_epoch: CheckpointId,
    /// Every writer state and every committable of the restored checkpoint, of all subtasks, encoded: what must not be swept
    /// away as left over.
    pub referenced: std::sync::Arc<Vec<Vec<u8>>>,
    /// Milliseconds since the Unix epoch and monotonic time.
    pub clock: std::sync::Arc<dyn highwater_core::Clock>,
}

/// Writes the output of one subtask.
pub trait SinkWriter: 'static {
    /// What it takes.
    type Record: Record;
    /// Output that is complete and waits to be made visible.
    type Committable: Data;
    /// Output that is begun and goes on after the checkpoint.
    type State: Data;

    /// Writes one record; `time` is its event time in ms, or [`NO_TIME`](crate::batch::NO_TIME). Nothing becomes visible.
    ///
    /// # Errors
    /// Ends the attempt.
    fn write(&mut self, record: Self::Record, time: i64) -> Result<()>;

    /// Called after each batch of records, so that output that needs no commit (a terminal) can be flushed, and files can roll.
    ///
    /// # Errors
    /// Ends the attempt.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// The barrier of checkpoint `id` has arrived: describe everything written so far. With `last`, no record will follow
    /// (end of input, or the job is being stopped): leave nothing in a state, everything becomes a committable.
    ///
    /// # Errors
    /// Ends the attempt.
    fn prepare(&mut self, id: CheckpointId, last: bool) -> Result<Prepared<Self::Committable, Self::State>>;

    /// Makes committables visible, in order. Idempotent: one that is visible already is skipped.
    ///
    /// # Errors
    /// Ends the attempt; the restored one commits again.
    fn commit(&mut self, committables: Vec<Self::Committable>) -> Result<()>;
}

/// Work that makes prepared output durable, done off the task's thread before the task acknowledges.
pub type MakeDurable = Box<dyn FnOnce() -> Result<()> + Send>;

/// What a writer hands to a checkpoint.
pub struct Prepared<C, S> {
    /// To commit when the checkpoint completes.
    pub committables: Vec<C>,
    /// To go on from when the checkpoint is restored.
    pub states: Vec<S>,
    /// What must have happened before the checkpoint may count on them.
    pub durable: Option<MakeDurable>,
}

impl<C, S> Default for Prepared<C, S> {
    fn default() -> Self {
        Prepared { committables: Vec::new(), states: Vec::new(), durable: None }
    }
}
