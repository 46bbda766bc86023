//! Flow control on edges within a worker.
//!
//! Timely's queues are unbounded. Here each consumer of a stream has a [`Meter`] of rows sent to it and not yet consumed; the
//! producer leaves its own input unread while any of its meters is full, and is activated again when there is room. What waits in
//! a consumer's stash counts as not consumed. The edge between workers has its own accounting, in
//! [`exchange`](crate::exchange).
//!
//! Invariant I6: rows in flight on an edge are at most [`LOCAL_WINDOW_ROWS`] plus what one input batch expands to.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use timely::dataflow::channels::pushers::Output;
use timely::dataflow::operators::Capability;
use timely::scheduling::Activator;

use crate::batch::{BATCH_ROWS, Batch};
use crate::mark::Mark;

/// Rows that may wait on an edge within a worker. Producer and consumer take turns on one thread, so little is enough.
pub const LOCAL_WINDOW_ROWS: usize = 16 * BATCH_ROWS;

/// Rows sent over one edge and not yet consumed.
#[derive(Debug)]
struct Meter {
    waiting: Cell<usize>,
    producer: Activator,
}

/// The meters of all consumers of a stream, shared with its producer.
#[derive(Clone, Debug)]
pub struct Meters {
    producer: Activator,
    list: Rc<RefCell<Vec<Rc<Meter>>>>,
}

impl Meters {
    /// No consumers yet; `producer` activates the operator that feeds the stream.
    pub fn new(producer: Activator) -> Self {
        Meters { producer, list: Rc::default() }
    }

    /// The meters of another stream of the same producer.
    pub fn sibling(&self) -> Self {
        Meters::new(self.producer.clone())
    }

    /// Registers a consumer.
    pub fn consumer(&self) -> Consumed {
        let meter = Rc::new(Meter { waiting: Cell::new(0), producer: self.producer.clone() });
        self.list.borrow_mut().push(Rc::clone(&meter));
        Consumed(meter)
    }

    fn sent(&self, rows: usize) {
        for meter in self.list.borrow().iter() {
            meter.waiting.set(meter.waiting.get() + rows);
        }
    }

    fn has_room(&self) -> bool {
        self.list.borrow().iter().all(|meter| meter.waiting.get() < LOCAL_WINDOW_ROWS)
    }
}

/// A consumer's end of an edge within a worker.
#[derive(Debug)]
pub struct Consumed(Rc<Meter>);

impl Consumed {
    /// Says that `rows` received over this edge are dealt with.
    pub fn rows(&self, rows: usize) {
        let before = self.0.waiting.get();
        let after = before.checked_sub(rows).expect("more rows consumed than sent over an edge");
        self.0.waiting.set(after);
        if before >= LOCAL_WINDOW_ROWS && after < LOCAL_WINDOW_ROWS {
            self.0.producer.activate();
        }
    }
}

/// An operator's output within its worker: builds batches, sends them under a capability, and knows when it is full.
///
/// A stateful task gives its outlets one capability and moves it up. A stateless operator lends the capability of each input batch
/// ([`carry`](Outlet::carry)) and takes it back when it returns ([`release`](Outlet::release)).
pub struct Outlet<T: 'static> {
    port: Output<Mark, Batch<T>>,
    capability: Option<Capability<Mark>>,
    batch: Batch<T>,
    meters: Meters,
}

impl<T: 'static> Outlet<T> {
    /// An output that sends through `port`.
    pub fn new(port: Output<Mark, Batch<T>>, capability: Option<Capability<Mark>>, meters: Meters) -> Self {
        Outlet { port, capability, batch: Batch::default(), meters }
    }

    /// Appends a record and sends the batch when it is full.
    #[inline]
    pub fn push(&mut self, record: T, time: i64) {
        self.batch.push(record, time);
        if self.batch.len() >= BATCH_ROWS {
            self.flush();
        }
    }

    /// Sends what has been appended.
    ///
    /// # Panics
    /// If there is no capability: a record is emitted outside of a batch or after the end of the stream.
    #[inline(never)]
    pub fn flush(&mut self) {
        let mut batch = std::mem::take(&mut self.batch);
        self.send(&mut batch);
    }

    /// Sends a whole batch behind what has been appended.
    pub fn push_batch(&mut self, mut batch: Batch<T>) {
        self.flush();
        self.send(&mut batch);
    }

    fn send(&mut self, batch: &mut Batch<T>) {
        if !batch.is_empty() {
            self.meters.sent(batch.len());
            let capability = self.capability.as_ref().expect("a record is emitted under a capability");
            self.port.activate().give(capability, batch);
        }
    }

    /// Whether every consumer has room for another batch.
    pub fn has_room(&self) -> bool {
        self.meters.has_room()
    }

    /// Emits later records under `capability`, unless the one in use is of the same epoch: then under that, whose watermark can
    /// only be older, which delays nothing but itself.
    pub fn carry(&mut self, capability: impl FnOnce() -> Capability<Mark>, epoch: u64) {
        if self.capability.as_ref().is_none_or(|current| current.time().epoch != epoch) {
            self.flush();
            self.capability = Some(capability());
        }
    }

    /// Moves the mark of all later records up, after sending the earlier ones.
    pub fn advance(&mut self, mark: Mark) {
        self.flush();
        if let Some(capability) = &mut self.capability
            && *capability.time() != mark
        {
            capability.downgrade(&mark);
        }
    }

    /// Sends what is left and gives up the capability.
    pub fn release(&mut self) {
        self.flush();
        self.capability = None;
    }
}
