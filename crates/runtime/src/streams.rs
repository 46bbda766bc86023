//! The streams of a dataflow under construction, looked up by id and type.
//!
//! A job is a list of nodes whose types differ; when a worker builds its dataflow each node takes the streams of the nodes before
//! it. Timely's `Stream<'scope, ..>` is bound to the lifetime of its scope and so is not `Any`; [`Streams`] keeps it as `'static`
//! inside and hands it out under the one `'scope` it was put in with.

use std::any::Any;
use std::cell::RefCell;
use std::collections::HashMap;
use std::marker::PhantomData;

use timely::dataflow::Stream;

use crate::edge::Meters;
use crate::mark::Mark;

/// A typed name for the output of a node: valid in the graph that made it.
#[derive(Debug)]
pub struct StreamId<C> {
    index: usize,
    // `fn() -> C`: an id is `Send` and `Sync` whatever the container is.
    container: PhantomData<fn() -> C>,
}

impl<C> Clone for StreamId<C> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<C> Copy for StreamId<C> {}

impl<C> StreamId<C> {
    pub(crate) fn new(index: usize) -> Self {
        StreamId { index, container: PhantomData }
    }

    pub(crate) fn index(self) -> usize {
        self.index
    }
}

/// A stream with the meters that its producer watches.
pub struct Flow<'scope, C> {
    /// The timely stream.
    pub stream: Stream<'scope, Mark, C>,
    /// Where each consumer of the stream registers how much it has not consumed.
    pub meters: Meters,
}

impl<C: Clone + 'static> Clone for Flow<'_, C> {
    fn clone(&self) -> Self {
        Flow { stream: self.stream.clone(), meters: self.meters.clone() }
    }
}

/// The streams made so far while one worker builds its dataflow in `'scope`.
pub struct Streams<'scope> {
    flows: RefCell<HashMap<usize, Box<dyn Any>>>,
    // Invariant in 'scope: what is taken out has exactly the lifetime it was put in with.
    scope: PhantomData<fn(&'scope ()) -> &'scope ()>,
}

impl<'scope> Streams<'scope> {
    pub(crate) fn new() -> Self {
        Streams { flows: RefCell::default(), scope: PhantomData }
    }

    /// Puts in the stream that node output `id` stands for.
    pub(crate) fn put<C: 'static>(&self, id: StreamId<C>, flow: Flow<'scope, C>) {
        // SAFETY: only the lifetime changes, which has no influence on layout. `self` is invariant in 'scope, `flows` is
        // private, and `take_clone` returns the flow under the same 'scope again, so nobody ever sees the longer lifetime.
        let flow: Flow<'static, C> = unsafe { std::mem::transmute::<Flow<'scope, C>, Flow<'static, C>>(flow) };
        let previous = self.flows.borrow_mut().insert(id.index, Box::new(flow));
        assert!(previous.is_none(), "stream {} was made twice", id.index);
    }

    /// The stream that node output `id` stands for.
    ///
    /// # Panics
    /// If its node has not been built: the graph lists nodes before the nodes that read them.
    pub(crate) fn get<C: Clone + 'static>(&self, id: StreamId<C>) -> Flow<'scope, C> {
        let flows = self.flows.borrow();
        let flow = flows.get(&id.index).expect("a node is built after the nodes it reads");
        let flow =
            flow.downcast_ref::<Flow<'static, C>>().expect("a stream id carries the type it was made with").clone();
        // SAFETY: the reverse of `put`.
        unsafe { std::mem::transmute::<Flow<'static, C>, Flow<'scope, C>>(flow) }
    }
}
