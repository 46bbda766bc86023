//! A keyed function over two keyed streams, which share its state.

use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata::OperatorState;
use highwater_core::Result;
use highwater_state::{Data, Key, KeyedState};

use crate::batch::{Batch, KeyedBatch, Record};
use crate::describe::Declared;
use crate::exchange::Route;
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::{Either, Input, TwoInputs};
use crate::keyed_edge::{KeyedEdge, KeyedScope, Routed, build_partitioner};
use crate::keyed_task::{KeyedOperator, OpenKeyed};
use crate::operator_state;
use crate::process::{Context, OpenContext, Timer, UserResult};
use crate::streams::StreamId;

/// A function over two keyed streams with declared state and timers that they share: Flink's `KeyedCoProcessFunction`.
///
/// Nothing is said about which input's records come first, except that both have passed a barrier before the state is stored, and
/// that the watermark is the minimum of theirs.
///
/// Each parallel instance has a clone of it. What it keeps in its own fields is *not* in checkpoints; what must survive a failure
/// goes into [`State`](KeyedCoProcessFunction::State).
pub trait KeyedCoProcessFunction<K: Key, In1, In2>: Clone + Send + Sync + 'static {
    /// The declared state of one key.
    type State: KeyedState;
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

    /// Called for each record of the first stream, with the state of its key.
    ///
    /// # Errors
    /// End the attempt.
    fn process1(&mut self, record: In1, state: &mut Self::State, context: &mut Context<'_, K, Self::Out>)
    -> UserResult;

    /// Called for each record of the second stream, with the state of its key.
    ///
    /// # Errors
    /// End the attempt.
    fn process2(&mut self, record: In2, state: &mut Self::State, context: &mut Context<'_, K, Self::Out>)
    -> UserResult;

    /// Called when a timer that was registered for a key is due.
    ///
    /// # Errors
    /// End the attempt.
    fn on_timer(
        &mut self,
        timer: Timer,
        state: &mut Self::State,
        context: &mut Context<'_, K, Self::Out>,
    ) -> UserResult {
        let _ = (timer, state, context);
        Ok(())
    }

    /// Called when the streams have ended or the job is stopped, but not after a failure.
    ///
    /// # Errors
    /// End the attempt.
    fn close(&mut self) -> UserResult {
        Ok(())
    }
}

impl Graph {
    /// Adds a keyed function over two streams, each behind a key-group exchange of its own.
    pub fn keyed_co_process<K, In1, In2, Key1, Key2, F>(
        &mut self,
        name: &str,
        (input1, key1): (StreamId<Batch<In1>>, Key1),
        (input2, key2): (StreamId<Batch<In2>>, Key2),
        function: F,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        K: Key,
        In1: Data,
        In2: Data,
        Key1: Fn(&In1) -> K + Clone + Send + Sync + 'static,
        Key2: Fn(&In2) -> K + Clone + Send + Sync + 'static,
        F: KeyedCoProcessFunction<K, In1, In2>,
    {
        let output = self.stream();
        self.consume(input1);
        self.consume(input2);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            let first = build_partitioner(builder, site, input1, key1.clone());
            let second = build_partitioner(builder, site, input2, key2.clone());
            build(builder, site, (first, second), output, function.clone())
        });
        self.declare(node, Declared::keyed::<K, F::State>());
        self.set_restore::<K, F::State>(node);
        (node, output)
    }
}

fn build<'s, K: Key, In1: Data, In2: Data, F: KeyedCoProcessFunction<K, In1, In2>>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    (first, second): (Routed<'s, K, In1>, Routed<'s, K, In2>),
    output: StreamId<Batch<F::Out>>,
    function: F,
) -> Result<()> {
    let opened = OpenKeyed::new(builder, site, CoProcess { function, first: first.edge, second: second.edge })?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let first = Input::new(&mut dataflow, first.stream, DistributorPact(|_| Route));
    let second = Input::new(&mut dataflow, second.stream, DistributorPact(|_| Route));
    let mut inputs = TwoInputs::new(first, second);
    opened.build(builder, site, dataflow, output, move |task| inputs.read(task));
    Ok(())
}

struct CoProcess<K, In1, In2, F> {
    function: F,
    first: KeyedEdge<K, In1>,
    second: KeyedEdge<K, In2>,
}

impl<K, In1, In2, F> KeyedOperator<K> for CoProcess<K, In1, In2, F>
where
    K: Key,
    In1: Data,
    In2: Data,
    F: KeyedCoProcessFunction<K, In1, In2>,
{
    type Batch = Either<KeyedBatch<K, In1>, KeyedBatch<K, In2>>;
    type State = F::State;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        operator_state::restore::<()>(task)?;
        self.function.open(&task.open_context()).map_err(|error| task.hook_error("open", error))
    }

    fn process(&mut self, batch: Self::Batch, scope: KeyedScope<'_, K, F::State, F::Out>) -> Result<usize> {
        let function = &mut self.function;
        match batch {
            Either::First(batch) => {
                self.first.for_each(batch, scope, " of its first input", |record, state, context| {
                    function.process1(record, state, context)
                })
            }
            Either::Second(batch) => {
                self.second.for_each(batch, scope, " of its second input", |record, state, context| {
                    function.process2(record, state, context)
                })
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, state: &mut F::State, context: &mut Context<'_, K, F::Out>) -> UserResult {
        self.function.on_timer(timer, state, context)
    }

    fn operator_state(&self, _: &Task) -> Vec<OperatorState> {
        Vec::new()
    }

    fn close(&mut self) -> UserResult {
        self.function.close()
    }
}
