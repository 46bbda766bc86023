//! The output ports of a task with one mark: its stream, and the side outputs that the program reads.

use metrics::Counter;
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::batch::{Batch, Record};
use crate::edge::{Meters, Outlet};
use crate::graph::{Builder, Site};
use crate::mark::{Mark, NO_WATERMARK};
use crate::metrics::late_records_dropped;
use crate::side::Sides;
use crate::streams::{Flow, StreamId};

/// Everything a task emits goes through here, under the capabilities that it holds from the beginning and moves up.
pub(crate) struct Output<Out: 'static> {
    pub outlet: Outlet<Out>,
    pub sides: Sides,
    /// Counts what came too late and went nowhere.
    pub late: Counter,
}

impl<Out: Record> Output<Out> {
    /// Opens the ports of the operator at `site`, after those of its inputs.
    pub fn open<'s>(
        operator: &mut OperatorBuilder<'s, Mark>,
        builder: &Builder<'s>,
        site: &Site<'_>,
        id: StreamId<Batch<Out>>,
    ) -> Self {
        let (port, stream) = operator.new_output::<Batch<Out>>();
        let meters = Meters::new(builder.scope.activator_for(operator.operator_info().address));
        builder.streams.put(id, Flow { stream, meters: meters.clone() });
        let sides = Sides::open(operator, &builder.streams, site.sides, &meters);
        let late = late_records_dropped(&builder.task(site));
        Output { outlet: Outlet::new(port, None, meters), sides, late }
    }

    /// Takes the capabilities that the operator begins with, one a port, up to `epoch`.
    pub fn hold(&mut self, capabilities: Vec<Capability<Mark>>, epoch: u64) {
        let mut capabilities = capabilities.into_iter();
        let mut next = || {
            let mut capability = capabilities.next().expect("one capability an output");
            capability.downgrade(&Mark::new(epoch, NO_WATERMARK));
            capability
        };
        self.outlet.carry(&mut next, epoch);
        self.sides.hold(next);
    }

    /// Whether every consumer of every port has room for another batch.
    pub fn has_room(&self) -> bool {
        self.outlet.has_room() && self.sides.has_room()
    }

    /// Moves the mark of all later records up, after sending the earlier ones.
    pub fn advance(&mut self, mark: Mark) {
        self.outlet.advance(mark);
        self.sides.advance(mark);
    }

    /// Sends what has been emitted.
    pub fn flush(&mut self) {
        self.outlet.flush();
        self.sides.flush();
    }

    /// Sends what is left and ends the streams.
    pub fn release(&mut self) {
        self.outlet.release();
        self.sides.release();
    }
}
