//! A function without keys with a second input that every subtask hears.

use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata;
use highwater_core::Result;
use highwater_state::Data;
use highwater_state::operator::{Broadcast, OperatorState};

use crate::batch::{Batch, Record};
use crate::broadcast_edge::{BroadcastBatch, BroadcastEdge, Broadcasted, build_broadcaster};
use crate::describe::Declared;
use crate::edge::Consumed;
use crate::exchange::Route;
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::{Either, Input, TwoInputs};
use crate::operator_state;
use crate::process::{OpenContext, UserResult};
use crate::process_function::ProcessContext;
use crate::process_task::{OpenProcess, ProcessScope, UnkeyedOperator};
use crate::stateless::user_error;
use crate::streams::StreamId;

/// A function over a stream and a broadcast one: Flink's `BroadcastProcessFunction`.
///
/// Every subtask sees every broadcast record, and writes what it says to the broadcast state; the other side can only read that
/// state. Nothing is said about which input's records come first, except that both have passed a barrier before the state is
/// stored, and that the watermark is the minimum of theirs.
///
/// Each parallel instance has a clone of it. What it keeps in its own fields is *not* in checkpoints.
pub trait BroadcastProcessFunction<In, B>: Clone + Send + Sync + 'static {
    /// The declared state that all subtasks have alike; what it must not depend on is said at
    /// [`BroadcastState`](highwater_state::BroadcastState).
    type Broadcast: OperatorState<Kind = Broadcast>;
    /// What it emits.
    type Out: Record;

    /// Called once in each attempt, before the first record.
    ///
    /// # Errors
    /// End the attempt.
    fn open(&mut self, context: &OpenContext) -> UserResult {
        let _ = context;
        Ok(())
    }

    /// Called for each record of the stream that is not broadcast.
    ///
    /// # Errors
    /// End the attempt.
    fn process(
        &mut self,
        record: In,
        broadcast: &Self::Broadcast,
        context: &mut ProcessContext<'_, Self::Out>,
    ) -> UserResult;

    /// Called for each record of the broadcast stream, in every subtask: what it emits is emitted by each.
    ///
    /// # Errors
    /// End the attempt.
    fn process_broadcast(
        &mut self,
        record: B,
        broadcast: &mut Self::Broadcast,
        context: &mut ProcessContext<'_, Self::Out>,
    ) -> UserResult;

    /// Called when the streams have ended or the job is stopped, but not after a failure.
    ///
    /// # Errors
    /// End the attempt.
    fn close(&mut self) -> UserResult {
        Ok(())
    }
}

impl Graph {
    /// Adds a function with a broadcast side.
    pub fn broadcast_process<In, B, F>(
        &mut self,
        name: &str,
        input: StreamId<Batch<In>>,
        broadcast: StreamId<Batch<B>>,
        function: F,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        In: Record,
        B: Data,
        F: BroadcastProcessFunction<In, B>,
    {
        let output = self.stream();
        self.consume(input);
        self.consume(broadcast);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            let broadcast = build_broadcaster(builder, site, broadcast);
            build(builder, site, (input, broadcast), output, function.clone())
        });
        self.declare(node, Declared::default().and_all::<F::Broadcast>());
        (node, output)
    }
}

fn build<'s, In: Record, B: Data, F: BroadcastProcessFunction<In, B>>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    (input, broadcast): (StreamId<Batch<In>>, Broadcasted<'s, B>),
    output: StreamId<Batch<F::Out>>,
    function: F,
) -> Result<()> {
    let flow = builder.streams.get(input);
    let (state, consumed) = (F::Broadcast::default(), flow.meters.consumer());
    let process = BroadcastProcess { function, state, consumed, broadcast: broadcast.edge };
    let opened = OpenProcess::new(builder, site, process)?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let first = Input::new(&mut dataflow, flow.stream, Pipeline);
    let second = Input::new(&mut dataflow, broadcast.stream, DistributorPact(|_| Route));
    let mut inputs = TwoInputs::new(first, second);
    opened.build(builder, site, dataflow, output, move |task| inputs.read(task));
    Ok(())
}

struct BroadcastProcess<In, B, F: BroadcastProcessFunction<In, B>> {
    function: F,
    state: F::Broadcast,
    consumed: Consumed,
    broadcast: BroadcastEdge,
}

impl<In: Record, B: Data, F: BroadcastProcessFunction<In, B>> UnkeyedOperator for BroadcastProcess<In, B, F> {
    type Batch = Either<Batch<In>, BroadcastBatch<B>>;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        self.state = operator_state::restore(task)?;
        self.function.open(&task.open_context()).map_err(|error| task.hook_error("open", error))
    }

    fn process(&mut self, batch: Self::Batch, scope: ProcessScope<'_, F::Out>) -> Result<usize> {
        let (function, state, task) = (&mut self.function, &mut self.state, scope.task);
        let mut context = scope.context();
        match batch {
            Either::First(batch) => {
                let rows = batch.len();
                for (record, time) in batch {
                    context.time = time;
                    function.process(record, state, &mut context).map_err(|error| user_error(task, error))?;
                }
                self.consumed.rows(rows);
                Ok(rows)
            }
            Either::Second(batch) => self.broadcast.for_each(batch, task, |record, time| {
                context.time = time;
                function.process_broadcast(record, state, &mut context)
            }),
        }
    }

    fn finish(&mut self, _: ProcessScope<'_, F::Out>) -> Result<()> {
        Ok(())
    }

    fn operator_state(&self, task: &Task) -> Vec<metadata::OperatorState> {
        operator_state::snapshot(&self.state, task.id.subtask)
    }

    fn close(&mut self) -> UserResult {
        self.function.close()
    }
}
