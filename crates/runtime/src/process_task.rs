//! An operator with operator state as a task: aligned inputs, and a snapshot that is taken as a whole at the barrier.
//!
//! What it runs, and behind how many inputs, is an [`UnkeyedOperator`]. The task aligns all inputs together, as a
//! [keyed task](crate::keyed_task) does (I1, I5). Operator state is small and in memory, so it is encoded at the barrier, and no
//! copy goes on afterwards.

use std::time::Duration;

use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata::OperatorState;
use highwater_core::{CheckpointId, Result};

use crate::alignment::Alignment;
use crate::batch::{Batch, NO_TIME, Record};
use crate::control::TaskEvent;
use crate::graph::{Builder, Site, Task};
use crate::inputs::Receiver;
use crate::mark::{Frontier, MAX_WATERMARK, Mark, NO_WATERMARK};
use crate::metrics::TaskMetrics;
use crate::operator_state;
use crate::output::Output;
use crate::process::UserResult;
use crate::process_function::ProcessContext;
use crate::streams::StreamId;
use crate::upload::SnapshotFrame;

/// What the task lends to its operator.
pub(crate) struct ProcessScope<'a, Out: 'static> {
    pub task: &'a Task,
    pub watermark: i64,
    pub out: &'a mut Output<Out>,
}

impl<'a, Out: Record> ProcessScope<'a, Out> {
    /// What a user function sees of it.
    pub fn context(self) -> ProcessContext<'a, Out> {
        ProcessContext {
            time: NO_TIME,
            watermark: self.watermark,
            output: &mut self.out.outlet,
            sides: &mut self.out.sides,
            clock: &**self.task.control().clock(),
        }
    }
}

/// What a task without keys runs: a user's function behind the inputs that it has.
pub(crate) trait UnkeyedOperator: 'static {
    /// A batch of any of its inputs.
    type Batch: 'static;
    /// What it emits.
    type Out: Record;

    /// Before the first record: restores its state, and opens the user function.
    fn open(&mut self, task: &Task) -> Result<()>;

    /// Whether it may be given another batch.
    fn has_room(&self) -> bool {
        true
    }

    /// Processes a batch; how many records it had.
    fn process(&mut self, batch: Self::Batch, scope: ProcessScope<'_, Self::Out>) -> Result<usize>;

    /// Goes on with what it keeps of earlier records: in every step, after the watermark has moved. Returns the watermark before which
    /// it has nothing more to emit: those behind the task learn no later one.
    fn advance(&mut self, scope: ProcessScope<'_, Self::Out>) -> Result<i64> {
        Ok(scope.watermark)
    }

    /// Whether it keeps nothing of earlier records that is still to be emitted.
    fn is_idle(&self) -> bool {
        true
    }

    /// All input has been read.
    fn finish(&mut self, scope: ProcessScope<'_, Self::Out>) -> Result<()>;

    /// Its state, for a checkpoint.
    fn operator_state(&self, task: &Task) -> Vec<OperatorState>;

    /// The stream has ended.
    fn close(&mut self) -> UserResult;
}

/// An operator with its state, opened: whatever can fail has happened, since timely has no way back from a dataflow operator that
/// was begun.
pub(crate) struct OpenProcess<O: UnkeyedOperator> {
    task: Task,
    operator: O,
}

impl<O: UnkeyedOperator> OpenProcess<O> {
    /// Opens this worker's instance.
    pub fn new(builder: &Builder<'_>, site: &Site<'_>, mut operator: O) -> Result<Self> {
        let task = builder.stateful_task(site);
        operator_state::refuse_keyed(&task)?;
        operator.open(&task)?;
        Ok(OpenProcess { task, operator })
    }

    /// The operator, to be told of its place in the dataflow.
    pub fn operator_mut(&mut self) -> &mut O {
        &mut self.operator
    }

    /// Builds the task behind the inputs of `dataflow`; `read` takes in what has arrived on them while there is room.
    pub fn build<'s>(
        self,
        builder: &Builder<'s>,
        site: &Site<'_>,
        mut dataflow: OperatorBuilder<'s, Mark>,
        output: StreamId<Batch<O::Out>>,
        mut read: impl FnMut(&mut ProcessTask<O>) -> Result<()> + 'static,
    ) {
        let OpenProcess { task, operator } = self;
        let mut out = Output::open(&mut dataflow, builder, site, output);
        let metrics = TaskMetrics::new(&task);
        dataflow.build(move |capabilities| {
            let epoch = task.control().first_epoch().0;
            out.hold(capabilities, epoch);
            let alignment = Alignment::new(task.attempt.mode, epoch);
            let (finished, closed) = (false, false);
            let passed = NO_WATERMARK;
            let mut process =
                ProcessTask { alignment, operator, out, passed, finished, closed, metrics, task: task.clone() };
            move |frontiers| {
                task.control().guard(&task.id, || {
                    read(&mut process)?;
                    let frontiers = frontiers.iter().map(|frontier| Frontier::of(frontier.frontier().iter()));
                    process.progress(frontiers.fold(Frontier::Closed, Frontier::and))
                });
            }
        });
    }
}

/// One subtask of an operator with operator state.
pub(crate) struct ProcessTask<O: UnkeyedOperator> {
    task: Task,
    alignment: Alignment<O::Batch>,
    operator: O,
    out: Output<O::Out>,
    /// The watermark before which the operator has emitted everything.
    passed: i64,
    /// The operator knows that all input has been read.
    finished: bool,
    closed: bool,
    metrics: TaskMetrics,
}

impl<O: UnkeyedOperator> Receiver for ProcessTask<O> {
    type Batch = O::Batch;

    fn has_room(&self) -> bool {
        self.out.has_room() && self.operator.has_room()
    }

    fn receive(&mut self, mark: Mark, batch: O::Batch) -> Result<()> {
        match self.alignment.admit(mark, batch) {
            Some(batch) => self.process(batch),
            None => Ok(()),
        }
    }
}

impl<O: UnkeyedOperator> ProcessTask<O> {
    fn process(&mut self, batch: O::Batch) -> Result<()> {
        let watermark = self.alignment.mark().watermark;
        let rows = self.operator.process(batch, ProcessScope { task: &self.task, watermark, out: &mut self.out })?;
        self.metrics.processed(rows);
        Ok(())
    }

    /// Goes as far as the frontier allows: barriers, watermark, the end.
    fn progress(&mut self, frontier: Frontier) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        loop {
            while self.has_room()
                && let Some(batch) = self.alignment.released()
            {
                self.process(batch)?;
            }
            let event_time = self.task.event_time(frontier, self.alignment.mark().epoch);
            self.alignment.advance_watermark(event_time);
            self.advance()?;
            if !self.finish()? {
                // The consumer activates this operator when there is room, or what it waits for; until then its mark stays.
                self.out.flush();
                return Ok(());
            }
            self.advance_mark();
            if !self.alignment.barrier(frontier) {
                break;
            }
            self.snapshot();
            self.alignment.next_epoch();
            self.advance_mark();
        }
        self.out.flush();
        // What waits is in the last checkpoint, if there are any.
        if frontier == Frontier::Closed && (self.task.attempt.checkpointing || self.operator.is_idle()) {
            self.close(frontier)?;
        }
        Ok(())
    }

    /// Has the operator go on with what it keeps; after the last checkpoint nothing comes out any more.
    fn advance(&mut self) -> Result<()> {
        let Mark { epoch, watermark } = self.alignment.mark();
        if !self.task.control().is_past_last(epoch) {
            self.passed = self.operator.advance(ProcessScope { task: &self.task, watermark, out: &mut self.out })?;
        }
        Ok(())
    }

    fn advance_mark(&mut self) {
        self.out.advance(Mark { watermark: self.passed, ..self.alignment.mark() });
    }

    /// Tells the operator once that all input has been read, if it has and nothing of it is left to be emitted; whether that needs
    /// no room any more.
    fn finish(&mut self) -> Result<bool> {
        let watermark = self.alignment.mark().watermark;
        if self.finished || watermark < MAX_WATERMARK {
            return Ok(true);
        }
        if self.passed < watermark || !self.out.has_room() {
            return Ok(false);
        }
        self.finished = true;
        self.operator.finish(ProcessScope { task: &self.task, watermark, out: &mut self.out })?;
        Ok(true)
    }

    /// The barrier: the state as it is now is that of the epoch that ends.
    fn snapshot(&mut self) {
        let id = CheckpointId(self.alignment.mark().epoch);
        let began = self.now();
        let operator_state = self.operator.operator_state(&self.task);
        let pause = self.now().saturating_sub(began);
        self.metrics.paused(pause);
        self.task.control().tell(TaskEvent::Prepared { id, task: self.task.id.clone(), pause });
        let frame = SnapshotFrame { operator_state, ..SnapshotFrame::default() };
        self.task.uploads.finish(id, &self.task.id, frame);
    }

    fn close(&mut self, frontier: Frontier) -> Result<()> {
        self.alignment.close_epochs();
        self.advance_mark();
        while let Some(batch) = self.alignment.released() {
            self.process(batch)?;
        }
        assert!(self.alignment.is_finished(frontier), "the input has closed and every batch was processed");
        self.operator.close().map_err(|error| self.task.hook_error("close", error))?;
        self.out.release();
        self.closed = true;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.task.control().clock().monotonic()
    }
}
