//! The inputs of a task that keeps state: one, or two.
//!
//! An input is read as far as the task has room. Two are read by turns: with little room neither keeps the other waiting. Aligning
//! them is up to the task, over the frontiers of both.

use timely::Accountable;
use timely::communication::Pull;
use timely::dataflow::Stream;
use timely::dataflow::channels::Message;
use timely::dataflow::channels::pact::ParallelizationContract;
use timely::dataflow::operators::generic::InputHandleCore;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_core::Result;

use crate::gate::{Gate, Gated, GatedPuller};
use crate::mark::Mark;
use crate::stateless::mark_of;

/// A batch of one of two inputs.
#[derive(Debug)]
pub(crate) enum Either<A, B> {
    /// Of the first input.
    First(A),
    /// Of the second input.
    Second(B),
}

/// A task that takes batches in.
pub(crate) trait Receiver {
    /// A batch of any of its inputs.
    type Batch;

    /// Whether it may take in another batch.
    fn has_room(&self) -> bool;

    /// Takes in a batch that came under `mark`.
    fn receive(&mut self, mark: Mark, batch: Self::Batch) -> Result<()>;
}

/// One input of a task, which reads no further than there is room.
pub(crate) struct Input<C, P: Pull<Message<Mark, C>>> {
    handle: InputHandleCore<Mark, C, GatedPuller<C, P>>,
    gate: Gate,
}

impl<C: Accountable + Default + Clone + 'static, P: Pull<Message<Mark, C>> + 'static> Input<C, P> {
    /// Connects `stream` to the operator under construction.
    pub fn new<'s>(
        operator: &mut OperatorBuilder<'s, Mark>,
        stream: Stream<'s, Mark, C>,
        pact: impl ParallelizationContract<Mark, C, Puller = P>,
    ) -> Self {
        let gate = Gate::default();
        Input { handle: operator.new_input(stream, Gated(pact, gate.clone())), gate }
    }

    /// Gives `task` what has arrived, as far as it has room.
    pub fn read<T: Receiver>(&mut self, task: &mut T, batch_of: impl Fn(C) -> T::Batch) -> Result<()> {
        let room = task.has_room();
        self.gate.read(&mut self.handle, room, |capability, batch| {
            task.receive(mark_of(&capability), batch_of(batch))?;
            Ok(task.has_room())
        })
    }
}

/// Two inputs of a task.
pub(crate) struct TwoInputs<A, PA: Pull<Message<Mark, A>>, B, PB: Pull<Message<Mark, B>>> {
    first: Input<A, PA>,
    second: Input<B, PB>,
    second_goes_first: bool,
}

impl<A, PA, B, PB> TwoInputs<A, PA, B, PB>
where
    A: Accountable + Default + Clone + 'static,
    PA: Pull<Message<Mark, A>> + 'static,
    B: Accountable + Default + Clone + 'static,
    PB: Pull<Message<Mark, B>> + 'static,
{
    /// Reads both by turns.
    pub fn new(first: Input<A, PA>, second: Input<B, PB>) -> Self {
        TwoInputs { first, second, second_goes_first: false }
    }

    /// Gives `task` what has arrived on both, as far as it has room.
    pub fn read<T: Receiver<Batch = Either<A, B>>>(&mut self, task: &mut T) -> Result<()> {
        self.second_goes_first = !self.second_goes_first;
        if self.second_goes_first {
            self.second.read(task, Either::Second)?;
            self.first.read(task, Either::First)
        } else {
            self.first.read(task, Either::First)?;
            self.second.read(task, Either::Second)
        }
    }
}
