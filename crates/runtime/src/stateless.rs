//! Operators without state: they pass batches on under the mark they came with, and take no part in checkpoints.

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use highwater_core::{Error, ErrorKind};

use crate::alignment::Alignment;
use crate::batch::{Batch, Record};
use crate::edge::{Consumed, Meters, Outlet};
use crate::gate::{Gate, Gated};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::mark::{Frontier, Mark};
use crate::process::{Collector, UserResult};
use crate::side::Sides;
use crate::streams::{Flow, StreamId};
use timely::dataflow::operators::InputCapability;

/// The one mark a batch travels under.
pub(crate) fn mark_of(capability: &InputCapability<Mark>) -> Mark {
    *capability.stamp().as_singleton().expect("every batch is sent under exactly one capability")
}

/// A user function failed.
pub(crate) fn user_error(task: &Task, error: highwater_core::BoxError) -> Error {
    Error::new(ErrorKind::UserFunction, format!("operator {} ({}) failed", task.name, task.id)).with_source(error)
}

impl Graph {
    /// Adds an operator that calls `function` for each record.
    pub fn transform<In, Out, F>(
        &mut self,
        name: &str,
        input: StreamId<Batch<In>>,
        function: F,
    ) -> (NodeId, StreamId<Batch<Out>>)
    where
        In: Record,
        Out: Record,
        F: FnMut(In, &mut Collector<'_, Out>) -> UserResult + Clone + Send + Sync + 'static,
    {
        let output = self.stream();
        self.consume(input);
        let node = self.add(name, NodeKind::Stateless, move |builder: &Builder<'_>, site: &Site<'_>| {
            build_transform(builder, site, input, output, function.clone());
            Ok(())
        });
        (node, output)
    }

    /// Adds an operator that passes on the records of several streams.
    pub fn union<T: Record>(&mut self, inputs: Vec<StreamId<Batch<T>>>) -> (NodeId, StreamId<Batch<T>>) {
        let output = self.stream();
        inputs.iter().for_each(|input| self.consume(*input));
        let node = self.add("union", NodeKind::Stateless, move |builder: &Builder<'_>, site: &Site<'_>| {
            build_union(builder, site, &inputs, output);
            Ok(())
        });
        (node, output)
    }
}

fn build_transform<In: Record, Out: Record>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    input: StreamId<Batch<In>>,
    output: StreamId<Batch<Out>>,
    mut function: impl FnMut(In, &mut Collector<'_, Out>) -> UserResult + 'static,
) {
    let task = builder.task(site);
    let flow = builder.streams.get(input);
    let consumed = flow.meters.consumer();
    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let gate = Gate::default();
    let mut input = operator.new_input(flow.stream, Gated(Pipeline, gate.clone()));
    operator.set_notify_for(0, FrontierInterest::Never);
    let (port, stream) = operator.new_output::<Batch<Out>>();
    let meters = Meters::new(builder.scope.activator_for(operator.operator_info().address));
    builder.streams.put(output, Flow { stream, meters: meters.clone() });
    let mut sides = Sides::open(&mut operator, &builder.streams, site.sides, &meters);
    let mut outlet = Outlet::new(port, None, meters);
    operator.build(move |_| {
        move |_| {
            task.control().guard(&task.id, || {
                let room = outlet.has_room() && sides.has_room();
                gate.read(&mut input, room, |capability, batch| {
                    let mark = mark_of(&capability);
                    outlet.carry(|| capability.delayed(&mark, 0), mark.epoch);
                    sides.carry(|index| capability.delayed(&mark, index + 1), mark.epoch);
                    let rows = batch.len();
                    for (record, time) in batch {
                        let mut collector = Collector { output: &mut outlet, sides: &mut sides, time };
                        function(record, &mut collector).map_err(|error| user_error(&task, error))?;
                    }
                    consumed.rows(rows);
                    Ok(outlet.has_room() && sides.has_room())
                })?;
                outlet.release();
                sides.release();
                Ok(())
            });
        }
    });
}

/// A batch on its way through a union, with the right to send it on.
struct Passing<T> {
    batch: Batch<T>,
    capability: InputCapability<Mark>,
    input: usize,
}

/// The output of a union never goes back an epoch: what of one input is ahead waits in the stash, as not consumed, until the
/// others have caught up. Without this a sender that merges a fast and a slow stream could fill its pairs with rows of the next
/// epoch, and the rows of this one, for which everybody waits, would be stuck behind them.
fn build_union<T: Record>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    inputs: &[StreamId<Batch<T>>],
    output: StreamId<Batch<T>>,
) {
    let task = builder.task(site);
    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let (mut pulls, mut meters_in): (Vec<_>, Vec<Consumed>) = (Vec::new(), Vec::new());
    for input in inputs {
        let flow = builder.streams.get(*input);
        meters_in.push(flow.meters.consumer());
        let gate = Gate::default();
        pulls.push((operator.new_input(flow.stream, Gated(Pipeline, gate.clone())), gate));
    }
    let (port, stream) = operator.new_output::<Batch<T>>();
    let meters = Meters::new(builder.scope.activator_for(operator.operator_info().address));
    builder.streams.put(output, Flow { stream, meters: meters.clone() });
    let mut outlet = Outlet::new(port, None, meters);
    let mut alignment = Alignment::new(task.attempt.mode, task.control().first_epoch().0);
    operator.build(move |_| {
        move |frontiers| {
            task.control().guard(&task.id, || {
                let pass = |outlet: &mut Outlet<T>, passing: Passing<T>| {
                    let mark = mark_of(&passing.capability);
                    meters_in[passing.input].rows(passing.batch.len());
                    outlet.carry(|| passing.capability.delayed(&mark, 0), mark.epoch);
                    outlet.push_batch(passing.batch);
                };
                for (input, (pull, gate)) in pulls.iter_mut().enumerate() {
                    let room = outlet.has_room();
                    gate.read(pull, room, |capability, batch| {
                        let mark = mark_of(&capability);
                        if let Some(passing) = alignment.admit(mark, Passing { batch, capability, input }) {
                            pass(&mut outlet, passing);
                        }
                        Ok(outlet.has_room())
                    })?;
                }
                let frontiers = frontiers.iter().map(|frontier| Frontier::of(frontier.frontier().iter()));
                let frontier = frontiers.fold(Frontier::Closed, Frontier::and);
                loop {
                    while outlet.has_room()
                        && let Some(passing) = alignment.released()
                    {
                        pass(&mut outlet, passing);
                    }
                    if !alignment.barrier(frontier) {
                        break;
                    }
                    alignment.next_epoch();
                }
                outlet.release();
                Ok(())
            });
        }
    });
}
