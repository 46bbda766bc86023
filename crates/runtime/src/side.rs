//! Side outputs: further typed streams of an operator, named by tags.
//!
//! An operator has a port for each tag that the program reads; a record for a tag that nobody reads is dropped, as in Flink.

use std::any::Any;
use std::marker::PhantomData;
use std::sync::Arc;

use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use crate::batch::{Batch, Record};
use crate::edge::{Meters, Outlet};
use crate::mark::Mark;
use crate::streams::{Flow, StreamId, Streams};

/// Names a side output of records of type `T`.
#[derive(Debug)]
pub struct OutputTag<T> {
    name: Arc<str>,
    record: PhantomData<fn() -> T>,
}

impl<T> Clone for OutputTag<T> {
    fn clone(&self) -> Self {
        OutputTag { name: Arc::clone(&self.name), record: PhantomData }
    }
}

impl<T: Record> OutputTag<T> {
    /// A tag. Two tags of one name and type are the same tag.
    pub fn new(name: &str) -> Self {
        OutputTag { name: name.into(), record: PhantomData }
    }

    /// The tag's name.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// A side output that the program reads: makes its port when an operator is built.
pub(crate) struct SidePort {
    name: Arc<str>,
    open: OpenFn,
}

type OpenFn =
    Box<dyn for<'s> Fn(&mut OperatorBuilder<'s, Mark>, &Streams<'s>, Meters) -> Box<dyn SideOutlet> + Send + Sync>;

impl SidePort {
    pub fn new<T: Record>(tag: &OutputTag<T>, id: StreamId<Batch<T>>) -> Self {
        let open = erase(move |builder, streams, meters| open_port(builder, streams, meters, id));
        SidePort { name: Arc::clone(&tag.name), open: Box::new(open) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }
}

/// Fixes the signature of a closure to be general over the scope's lifetime.
fn erase<F>(open: F) -> F
where
    F: for<'s> Fn(&mut OperatorBuilder<'s, Mark>, &Streams<'s>, Meters) -> Box<dyn SideOutlet> + Send + Sync,
{
    open
}

fn open_port<'s, T: Record>(
    builder: &mut OperatorBuilder<'s, Mark>,
    streams: &Streams<'s>,
    meters: Meters,
    id: StreamId<Batch<T>>,
) -> Box<dyn SideOutlet> {
    let (port, stream) = builder.new_output::<Batch<T>>();
    streams.put(id, Flow { stream, meters: meters.clone() });
    Box::new(Outlet::new(port, None, meters))
}

/// An outlet whose record type is known to its tag only.
trait SideOutlet {
    fn as_any(&mut self) -> &mut dyn Any;
    fn has_room(&self) -> bool;
    fn carry(&mut self, capability: Capability<Mark>, epoch: u64);
    fn hold(&mut self, capability: Capability<Mark>);
    fn flush(&mut self);
    fn advance(&mut self, mark: Mark);
    fn release(&mut self);
}

impl<T: 'static> SideOutlet for Outlet<T> {
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }

    fn has_room(&self) -> bool {
        Outlet::has_room(self)
    }

    fn carry(&mut self, capability: Capability<Mark>, epoch: u64) {
        Outlet::carry(self, || capability, epoch);
    }

    fn hold(&mut self, capability: Capability<Mark>) {
        let epoch = capability.time().epoch;
        Outlet::carry(self, || capability, epoch);
    }

    fn flush(&mut self) {
        Outlet::flush(self);
    }

    fn advance(&mut self, mark: Mark) {
        Outlet::advance(self, mark);
    }

    fn release(&mut self) {
        Outlet::release(self);
    }
}

/// The side outputs of one operator instance.
#[derive(Default)]
pub struct Sides {
    outlets: Vec<(Arc<str>, Box<dyn SideOutlet>)>,
}

impl Sides {
    /// Opens a port for each of `ports`, behind the ports that `builder` has already.
    pub(crate) fn open<'s>(
        builder: &mut OperatorBuilder<'s, Mark>,
        streams: &Streams<'s>,
        ports: &[SidePort],
        meters: &Meters,
    ) -> Self {
        let open = |port: &SidePort| (Arc::clone(&port.name), (port.open)(builder, streams, meters.sibling()));
        Sides { outlets: ports.iter().map(open).collect() }
    }

    /// Emits a record to the side output named by `tag`.
    pub(crate) fn push<T: Record>(&mut self, tag: &OutputTag<T>, record: T, time: i64) {
        let mut outlets = self.outlets.iter_mut().filter(|(name, _)| *name == tag.name);
        if let Some(outlet) = outlets.find_map(|(_, outlet)| outlet.as_any().downcast_mut::<Outlet<T>>()) {
            outlet.push(record, time);
        }
    }

    pub(crate) fn has_room(&self) -> bool {
        self.outlets.iter().all(|(_, outlet)| outlet.has_room())
    }

    /// Lends a capability to each outlet; `capability` makes one for the port with that index among the side outputs.
    pub(crate) fn carry(&mut self, capability: impl Fn(usize) -> Capability<Mark>, epoch: u64) {
        for (index, (_, outlet)) in self.outlets.iter_mut().enumerate() {
            outlet.carry(capability(index), epoch);
        }
    }

    /// Gives each outlet a capability to keep.
    pub(crate) fn hold(&mut self, mut capability: impl FnMut() -> Capability<Mark>) {
        self.outlets.iter_mut().for_each(|(_, outlet)| outlet.hold(capability()));
    }

    pub(crate) fn flush(&mut self) {
        self.outlets.iter_mut().for_each(|(_, outlet)| outlet.flush());
    }

    pub(crate) fn advance(&mut self, mark: Mark) {
        self.outlets.iter_mut().for_each(|(_, outlet)| outlet.advance(mark));
    }

    pub(crate) fn release(&mut self) {
        self.outlets.iter_mut().for_each(|(_, outlet)| outlet.release());
    }
}
