//! A keyed function with a second input that every subtask hears: rules, settings, a table to look up in.

use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata;
use highwater_core::Result;
use highwater_state::operator::{Broadcast, OperatorState};
use highwater_state::tier::Failure;
use highwater_state::{Data, Key, KeyedState};

use crate::batch::{Batch, KeyedBatch, Record};
use crate::broadcast_edge::{BroadcastBatch, BroadcastEdge, Broadcasted, build_broadcaster};
use crate::describe::Declared;
use crate::exchange::Route;
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::{Either, Input, TwoInputs};
use crate::keyed_contents::KeyedContents;
use crate::keyed_edge::{KeyedEdge, KeyedScope, Routed, build_partitioner};
use crate::keyed_task::{KeyedOperator, OpenKeyed};
use crate::operator_state;
use crate::process::{Context, OpenContext, Timer, UserResult};
use crate::process_function::ProcessContext;
use crate::process_task::ProcessScope;
use crate::side::OutputTag;
use crate::streams::StreamId;

/// A function over a keyed stream and a broadcast one: Flink's `KeyedBroadcastProcessFunction`.
///
/// Every subtask sees every broadcast record, and writes what it says to the broadcast state; the keyed side can only read that
/// state. Nothing is said about which input's records come first, except that both have passed a barrier before the state is
/// stored, and that the watermark is the minimum of theirs: event-time timers wait for the watermark of the broadcast stream too.
///
/// Each parallel instance has a clone of it. What it keeps in its own fields is *not* in checkpoints.
pub trait KeyedBroadcastProcessFunction<K: Key, In, B>: Clone + Send + Sync + 'static {
    /// The declared state of one key.
    type State: KeyedState;
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

    /// Called for each record of the keyed stream, with the state of its key.
    ///
    /// # Errors
    /// End the attempt.
    fn process(
        &mut self,
        record: In,
        state: &mut Self::State,
        broadcast: &Self::Broadcast,
        context: &mut Context<'_, K, Self::Out>,
    ) -> UserResult;

    /// Called for each record of the broadcast stream, in every subtask.
    ///
    /// # Errors
    /// End the attempt.
    fn process_broadcast(
        &mut self,
        record: B,
        broadcast: &mut Self::Broadcast,
        context: &mut KeyedBroadcastContext<'_, K, Self::State, Self::Out>,
    ) -> UserResult;

    /// Called when a timer that was registered for a key is due.
    ///
    /// # Errors
    /// End the attempt.
    fn on_timer(
        &mut self,
        timer: Timer,
        state: &mut Self::State,
        broadcast: &Self::Broadcast,
        context: &mut Context<'_, K, Self::Out>,
    ) -> UserResult {
        let _ = (timer, state, broadcast, context);
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

/// What the broadcast side of a keyed function sees beside its record and the broadcast state.
pub struct KeyedBroadcastContext<'a, K: Key, S: KeyedState, Out: 'static> {
    process: ProcessContext<'a, Out>,
    contents: &'a mut KeyedContents<K, S>,
}

impl<K: Key, S: KeyedState, Out: Record> KeyedBroadcastContext<'_, K, S, Out> {
    /// Calls `function` with each key that this subtask has state of, and that state. In no particular order; a state that is left
    /// empty is removed. Takes time with the number of keys.
    ///
    /// # Errors
    /// Stops at the first error of `function` and returns it.
    pub fn apply_to_keyed_state(&mut self, mut function: impl FnMut(&K, &mut S) -> UserResult) -> UserResult {
        let (KeyedContents { rows, ttl, .. }, time) = (&mut *self.contents, self.process.time);
        let visited = rows.visit_all(|key, state| {
            if S::HAS_TTL {
                ttl.hand_out(state, time);
            }
            function(key, state)
        });
        visited.map_err(|failure| match failure {
            Failure::Function(_, error) => error,
            Failure::Store(error) => error.into(),
        })
    }

    /// The event time of the record, in ms since the Unix epoch.
    pub fn timestamp(&self) -> Option<i64> {
        self.process.timestamp()
    }

    /// The task's watermark: the minimum over all its upstream subtasks, in ms since the Unix epoch.
    pub fn watermark(&self) -> i64 {
        self.process.watermark()
    }

    /// The time of the machine's clock, in ms since the Unix epoch.
    pub fn processing_time(&self) -> i64 {
        self.process.processing_time()
    }

    /// Emits a record, from each subtask, with the event time of the broadcast record.
    pub fn collect(&mut self, record: Out) {
        self.process.collect(record);
    }

    /// Emits a record, from each subtask, with an event time of its own, in ms since the Unix epoch.
    pub fn collect_at(&mut self, record: Out, time_ms: i64) {
        self.process.collect_at(record, time_ms);
    }

    /// Emits a record to a side output, from each subtask.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.process.side_output(tag, record);
    }
}

impl Graph {
    /// Adds a keyed function with a broadcast side.
    pub fn keyed_broadcast_process<K, In, B, Key_, F>(
        &mut self,
        name: &str,
        (input, key): (StreamId<Batch<In>>, Key_),
        broadcast: StreamId<Batch<B>>,
        function: F,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        K: Key,
        In: Data,
        B: Data,
        Key_: Fn(&In) -> K + Clone + Send + Sync + 'static,
        F: KeyedBroadcastProcessFunction<K, In, B>,
    {
        let output = self.stream();
        self.consume(input);
        self.consume(broadcast);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            let keyed = build_partitioner(builder, site, input, key.clone());
            let broadcast = build_broadcaster(builder, site, broadcast);
            build(builder, site, (keyed, broadcast), output, function.clone())
        });
        self.declare(node, Declared::keyed::<K, F::State>().and_all::<F::Broadcast>());
        self.set_restore::<K, F::State>(node);
        (node, output)
    }
}

fn build<'s, K: Key, In: Data, B: Data, F: KeyedBroadcastProcessFunction<K, In, B>>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    (keyed, broadcast): (Routed<'s, K, In>, Broadcasted<'s, B>),
    output: StreamId<Batch<F::Out>>,
    function: F,
) -> Result<()> {
    let state = F::Broadcast::default();
    let process = KeyedBroadcastProcess { function, state, keyed: keyed.edge, broadcast: broadcast.edge };
    let opened = OpenKeyed::new(builder, site, process)?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let first = Input::new(&mut dataflow, keyed.stream, DistributorPact(|_| Route));
    let second = Input::new(&mut dataflow, broadcast.stream, DistributorPact(|_| Route));
    let mut inputs = TwoInputs::new(first, second);
    opened.build(builder, site, dataflow, output, move |task| inputs.read(task));
    Ok(())
}

struct KeyedBroadcastProcess<K: Key, In, B, F: KeyedBroadcastProcessFunction<K, In, B>> {
    function: F,
    state: F::Broadcast,
    keyed: KeyedEdge<K, In>,
    broadcast: BroadcastEdge,
}

impl<K, In, B, F> KeyedOperator<K> for KeyedBroadcastProcess<K, In, B, F>
where
    K: Key,
    In: Data,
    B: Data,
    F: KeyedBroadcastProcessFunction<K, In, B>,
{
    type Batch = Either<KeyedBatch<K, In>, BroadcastBatch<B>>;
    type State = F::State;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        self.state = operator_state::restore(task)?;
        self.function.open(&task.open_context()).map_err(|error| task.hook_error("open", error))
    }

    fn process(&mut self, batch: Self::Batch, scope: KeyedScope<'_, K, F::State, F::Out>) -> Result<usize> {
        let (function, state) = (&mut self.function, &mut self.state);
        match batch {
            Either::First(batch) => self.keyed.for_each(batch, scope, "", |record, keyed_state, context| {
                function.process(record, keyed_state, state, context)
            }),
            Either::Second(batch) => {
                let KeyedScope { task, watermark, contents, out } = scope;
                let process = ProcessScope { task, watermark, out }.context();
                let mut context = KeyedBroadcastContext { process, contents };
                self.broadcast.for_each(batch, task, |record, time| {
                    context.process.time = time;
                    function.process_broadcast(record, state, &mut context)
                })
            }
        }
    }

    fn on_timer(&mut self, timer: Timer, state: &mut F::State, context: &mut Context<'_, K, F::Out>) -> UserResult {
        self.function.on_timer(timer, state, &self.state, context)
    }

    fn operator_state(&self, task: &Task) -> Vec<metadata::OperatorState> {
        operator_state::snapshot(&self.state, task.id.subtask)
    }

    fn close(&mut self) -> UserResult {
        self.function.close()
    }
}
