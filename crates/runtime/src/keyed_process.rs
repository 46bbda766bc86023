//! A keyed process function behind one input.

use timely::dataflow::channels::pact::DistributorPact;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata::OperatorState;
use highwater_core::Result;
use highwater_state::{Data, Key};

use crate::batch::{Batch, KeyedBatch};
use crate::describe::Declared;
use crate::exchange::Route;
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::Input;
use crate::keyed_edge::{KeyedEdge, KeyedScope, Routed, build_partitioner};
use crate::keyed_task::{KeyedOperator, OpenKeyed};
use crate::operator_state;
use crate::process::{Context, KeyedProcessFunction, Timer, UserResult};
use crate::streams::StreamId;

impl Graph {
    /// Adds a keyed process function behind a key-group exchange.
    pub fn keyed_process<K, In, Key_, F>(
        &mut self,
        name: &str,
        input: StreamId<Batch<In>>,
        key: Key_,
        function: F,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        K: Key,
        In: Data,
        Key_: Fn(&In) -> K + Clone + Send + Sync + 'static,
        F: KeyedProcessFunction<K, In>,
    {
        let output = self.stream();
        self.consume(input);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            build(builder, site, build_partitioner(builder, site, input, key.clone()), output, function.clone())
        });
        self.declare(node, Declared::keyed::<K, F::State>());
        self.set_restore::<K, F::State>(node);
        (node, output)
    }
}

fn build<'s, K: Key, In: Data, F: KeyedProcessFunction<K, In>>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    routed: Routed<'s, K, In>,
    output: StreamId<Batch<F::Out>>,
    function: F,
) -> Result<()> {
    let opened = OpenKeyed::new(builder, site, KeyedProcess { function, edge: routed.edge })?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let mut input = Input::new(&mut dataflow, routed.stream, DistributorPact(|_| Route));
    opened.build(builder, site, dataflow, output, move |task| input.read(task, |batch| batch));
    Ok(())
}

struct KeyedProcess<K, In, F> {
    function: F,
    edge: KeyedEdge<K, In>,
}

impl<K: Key, In: Data, F: KeyedProcessFunction<K, In>> KeyedOperator<K> for KeyedProcess<K, In, F> {
    type Batch = KeyedBatch<K, In>;
    type State = F::State;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        operator_state::restore::<()>(task)?;
        self.function.open(&task.open_context()).map_err(|error| task.hook_error("open", error))
    }

    fn process(&mut self, batch: KeyedBatch<K, In>, scope: KeyedScope<'_, K, F::State, F::Out>) -> Result<usize> {
        let function = &mut self.function;
        self.edge.for_each(batch, scope, "", |record, state, context| function.process(record, state, context))
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
