//! Reading an input no further than there is room for what comes of it.
//!
//! Timely's input handle hands out everything that has arrived. Flow control needs the opposite: a task whose output is full leaves
//! the rest unread, where it still counts in timely's accounting and so holds back the frontier. A [`Gated`] pact puts a gate behind
//! the channel; while the gate is shut the channel looks empty.

use std::cell::Cell;
use std::rc::Rc;

use highwater_core::Result;
use timely::Accountable;
use timely::communication::Pull;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::InputCapability;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::logging::TimelyLogger;
use timely::worker::Worker;

use crate::mark::Mark;

/// Opens and shuts the way from a channel to its reader.
#[derive(Clone, Debug, Default)]
pub(crate) struct Gate(Rc<Cell<bool>>);

impl Gate {
    /// Gives batches to `take` as long as it answers that there is room for another; `room` says whether there is for the first.
    pub fn read<C: Accountable + Default, P: Pull<Message<Mark, C>>>(
        &self,
        input: &mut InputHandleCore<Mark, C, P>,
        room: bool,
        mut take: impl FnMut(InputCapability<Mark>, C) -> Result<bool>,
    ) -> Result<()> {
        let mut result = Ok(());
        self.0.set(room);
        input.for_each(|capability, batch| match take(capability, std::mem::take(batch)) {
            Ok(room) => self.0.set(room),
            Err(error) => {
                self.0.set(false);
                result = Err(error);
            }
        });
        result
    }
}

/// A pact with a gate in front of the reader.
pub(crate) struct Gated<P>(pub P, pub Gate);

impl<C: 'static, P: ParallelizationContract<Mark, C>> ParallelizationContract<Mark, C> for Gated<P> {
    type Pusher = P::Pusher;
    type Puller = GatedPuller<C, P::Puller>;

    fn connect(
        self,
        worker: &Worker,
        identifier: usize,
        address: Rc<[usize]>,
        logging: Option<TimelyLogger>,
    ) -> (Self::Pusher, Self::Puller) {
        let (pusher, puller) = self.0.connect(worker, identifier, address, logging);
        (pusher, GatedPuller { puller, gate: self.1, nothing: None })
    }
}

pub(crate) struct GatedPuller<C, P> {
    puller: P,
    gate: Gate,
    nothing: Option<Message<Mark, C>>,
}

impl<C, P: Pull<Message<Mark, C>>> Pull<Message<Mark, C>> for GatedPuller<C, P> {
    #[inline]
    fn pull(&mut self) -> &mut Option<Message<Mark, C>> {
        if self.gate.0.get() { self.puller.pull() } else { &mut self.nothing }
    }
}
