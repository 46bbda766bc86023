//! Process functions without keys: declared operator state, of a subtask instead of a key.

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata;
use highwater_core::{Clock, Result};
use highwater_state::operator::{Lists, OperatorState};

use crate::batch::{Batch, NO_TIME, Record};
use crate::describe::Declared;
use crate::edge::{Consumed, Outlet};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::Input;
use crate::operator_state;
use crate::process::{OpenContext, UserResult};
use crate::process_task::{OpenProcess, ProcessScope, UnkeyedOperator};
use crate::side::{OutputTag, Sides};
use crate::stateless::user_error;
use crate::streams::StreamId;

/// A function over a stream with declared operator state: Flink's `ProcessFunction` with `CheckpointedFunction`.
///
/// Each parallel instance has a clone of it. What it keeps in its own fields is *not* in checkpoints; what must survive a failure
/// goes into [`State`](ProcessFunction::State). A snapshot has the state as it was after the last record of its epoch.
pub trait ProcessFunction<In>: Clone + Send + Sync + 'static {
    /// The declared state of one subtask; `()` if there is none.
    type State: OperatorState<Kind = Lists>;
    /// What it emits.
    type Out: Record;

    /// Called once in each attempt, before the first record, with the state of the restored checkpoint or an empty one.
    ///
    /// # Errors
    /// End the attempt.
    fn open(&mut self, state: &mut Self::State, context: &OpenContext) -> UserResult {
        let _ = (state, context);
        Ok(())
    }

    /// Called for each record.
    ///
    /// # Errors
    /// End the attempt.
    fn process(
        &mut self,
        record: In,
        state: &mut Self::State,
        context: &mut ProcessContext<'_, Self::Out>,
    ) -> UserResult;

    /// Called when all input has been read, before the last checkpoint, so that what is left in the state can be emitted; not
    /// when the job is stopped. A job that is restored from its last checkpoint calls it again.
    ///
    /// # Errors
    /// End the attempt.
    fn finish(&mut self, state: &mut Self::State, context: &mut ProcessContext<'_, Self::Out>) -> UserResult {
        let _ = (state, context);
        Ok(())
    }

    /// Called when the stream has ended or the job is stopped, but not after a failure.
    ///
    /// # Errors
    /// End the attempt.
    fn close(&mut self) -> UserResult {
        Ok(())
    }
}

/// What a function without keys sees beside its record and its state.
pub struct ProcessContext<'a, Out: 'static> {
    pub(crate) time: i64,
    pub(crate) watermark: i64,
    pub(crate) output: &'a mut Outlet<Out>,
    pub(crate) sides: &'a mut Sides,
    pub(crate) clock: &'a dyn Clock,
}

impl<Out: Record> ProcessContext<'_, Out> {
    /// The event time of the record, in ms since the Unix epoch.
    pub fn timestamp(&self) -> Option<i64> {
        (self.time != NO_TIME).then_some(self.time)
    }

    /// The task's watermark: the minimum over all its upstream subtasks, in ms since the Unix epoch.
    pub fn watermark(&self) -> i64 {
        self.watermark
    }

    /// The time of the machine's clock, in ms since the Unix epoch.
    pub fn processing_time(&self) -> i64 {
        self.clock.unix_ms()
    }

    /// Emits a record with the event time of the input record.
    #[inline]
    pub fn collect(&mut self, record: Out) {
        self.output.push(record, self.time);
    }

    /// Emits a record with an event time of its own, in ms since the Unix epoch.
    #[inline]
    pub fn collect_at(&mut self, record: Out, time_ms: i64) {
        self.output.push(record, time_ms);
    }

    /// Emits a record to a side output.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.sides.push(tag, record, self.time);
    }
}

impl Graph {
    /// Adds a process function with operator state.
    pub fn process<In, F>(
        &mut self,
        name: &str,
        input: StreamId<Batch<In>>,
        function: F,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        In: Record,
        F: ProcessFunction<In>,
    {
        let output = self.stream();
        self.consume(input);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            build(builder, site, input, output, function.clone())
        });
        self.declare(node, Declared::default().and_all::<F::State>());
        (node, output)
    }
}

fn build<In: Record, F: ProcessFunction<In>>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    input: StreamId<Batch<In>>,
    output: StreamId<Batch<F::Out>>,
    function: F,
) -> Result<()> {
    let flow = builder.streams.get(input);
    let process = Process { function, state: F::State::default(), consumed: flow.meters.consumer() };
    let opened = OpenProcess::new(builder, site, process)?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let mut input = Input::new(&mut dataflow, flow.stream, Pipeline);
    opened.build(builder, site, dataflow, output, move |task| input.read(task, |batch| batch));
    Ok(())
}

/// A process function and the input it is for.
struct Process<In, F: ProcessFunction<In>> {
    function: F,
    state: F::State,
    consumed: Consumed,
}

impl<In: Record, F: ProcessFunction<In>> UnkeyedOperator for Process<In, F> {
    type Batch = Batch<In>;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        self.state = operator_state::restore(task)?;
        let opened = self.function.open(&mut self.state, &task.open_context());
        opened.map_err(|error| task.hook_error("open", error))
    }

    fn process(&mut self, batch: Batch<In>, scope: ProcessScope<'_, F::Out>) -> Result<usize> {
        let rows = batch.len();
        let task = scope.task;
        let mut context = scope.context();
        for (record, time) in batch {
            context.time = time;
            let processed = self.function.process(record, &mut self.state, &mut context);
            processed.map_err(|error| user_error(task, error))?;
        }
        self.consumed.rows(rows);
        Ok(rows)
    }

    fn finish(&mut self, scope: ProcessScope<'_, F::Out>) -> Result<()> {
        let task = scope.task;
        let finished = self.function.finish(&mut self.state, &mut scope.context());
        finished.map_err(|error| task.hook_error("finish", error))
    }

    fn operator_state(&self, task: &Task) -> Vec<metadata::OperatorState> {
        operator_state::snapshot(&self.state, task.id.subtask)
    }

    fn close(&mut self) -> UserResult {
        self.function.close()
    }
}
