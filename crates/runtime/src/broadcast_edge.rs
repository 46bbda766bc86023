//! The edge that brings every record to every subtask.
//!
//! The sending half is an operator of its own, without state, in the worker of the producer: it sends a copy of each batch to every
//! worker. The receiving half is part of the task. Rows are counted per pair of sender and target, as between keyed tasks
//! ([`exchange`](crate::exchange)), and for the same reason; a sender with one full pair leaves its input unread, so the slowest
//! subtask sets the pace.
//!
//! Invariant I6: the copies between a sender and a target are bounded by the window that the target grants, plus one input batch.

use std::cell::OnceCell;

use highwater_core::{Error, ErrorKind, Result};
use highwater_state::{Data, DecodeError};
use timely::Accountable;
use timely::bytes::arc::Bytes;
use timely::communication::Push;
use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::channels::pushers::exchange::Distributor;
use timely::dataflow::channels::{ContainerBytes, Message};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Stamp;
use timely::progress::operate::FrontierInterest;

use crate::batch::Batch;
use crate::exchange::{Grants, Route, credit_channel};
use crate::gate::{Gate, Gated};
use crate::graph::{Builder, Site, Task};
use crate::mark::Mark;
use crate::process::UserResult;
use crate::stateless::mark_of;
use crate::streams::StreamId;

/// A copy of a batch for one worker.
#[derive(Clone, Debug)]
pub(crate) struct BroadcastBatch<T> {
    from: u32,
    to: u32,
    rows: Batch<T>,
    /// The form between processes, made when timely asks for its length and used when it asks for the bytes.
    encoded: OnceCell<Vec<u8>>,
}

impl<T> Default for BroadcastBatch<T> {
    fn default() -> Self {
        BroadcastBatch::new(0, 0, Batch::default())
    }
}

impl<T> BroadcastBatch<T> {
    fn new(from: u32, to: u32, rows: Batch<T>) -> Self {
        BroadcastBatch { from, to, rows, encoded: OnceCell::new() }
    }
}

impl<T> Accountable for BroadcastBatch<T> {
    #[inline]
    fn record_count(&self) -> i64 {
        self.rows.record_count()
    }
}

/// The form between processes: from, to, rows (u32 each), whether times follow (u32), times, records.
impl<T: Data> ContainerBytes for BroadcastBatch<T> {
    fn from_bytes(bytes: Bytes) -> Self {
        // As for keyed batches: both ends are the same program, and TCP delivers bytes whole.
        Self::decode(&bytes).expect("a broadcast batch from another process of this job does not decode")
    }

    fn length_in_bytes(&self) -> usize {
        self.encoded.get_or_init(|| self.encode()).len()
    }

    fn into_bytes<W: std::io::Write>(&self, writer: &mut W) {
        writer
            .write_all(self.encoded.get_or_init(|| self.encode()))
            .expect("timely hands out a buffer of the length it asked for");
    }
}

impl<T: Data> BroadcastBatch<T> {
    fn encode(&self) -> Vec<u8> {
        let (records, times) = (self.rows.records(), self.rows.times());
        let mut out = Vec::with_capacity(16 + records.len() * (8 + size_of::<T>()));
        for number in [self.from, self.to, records.len() as u32, u32::from(!times.is_empty())] {
            number.encode(&mut out);
        }
        times.iter().for_each(|time| time.encode(&mut out));
        records.iter().for_each(|record| record.encode(&mut out));
        // Timely keeps messages aligned to eight bytes.
        out.resize(out.len().next_multiple_of(8), 0);
        out
    }

    fn decode(bytes: &[u8]) -> std::result::Result<Self, DecodeError> {
        let mut input = bytes;
        let [from, to, rows, timed]: [u32; 4] = Data::decode(&mut input)?;
        let timed = if timed == 1 { rows } else { 0 };
        let times = (0..timed).map(|_| i64::decode(&mut input)).collect::<std::result::Result<_, _>>()?;
        let records = (0..rows).map(|_| T::decode(&mut input)).collect::<std::result::Result<_, _>>()?;
        Ok(BroadcastBatch::new(from, to, Batch::from_columns(records, times)))
    }
}

impl<R: 'static> Distributor<BroadcastBatch<R>> for Route {
    fn partition<T: Clone, P: Push<Message<T, BroadcastBatch<R>>>>(
        &mut self,
        batch: &mut BroadcastBatch<R>,
        stamp: &Stamp<T>,
        pushers: &mut [P],
    ) {
        let target = batch.to as usize;
        Message::push_at(batch, stamp.clone(), &mut pushers[target]);
    }

    fn flush<T: Clone, P: Push<Message<T, BroadcastBatch<R>>>>(&mut self, _: &Stamp<T>, _: &mut [P]) {}
}

/// What the sending half hands to the receiving half.
pub(crate) struct Broadcasted<'s, In: 'static> {
    pub stream: Stream<'s, Mark, BroadcastBatch<In>>,
    pub edge: BroadcastEdge,
}

/// Builds the sending half, in the worker of the producer.
pub(crate) fn build_broadcaster<'s, In: Data>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    input: StreamId<Batch<In>>,
) -> Broadcasted<'s, In> {
    let task = builder.task(site);
    let flow = builder.streams.get(input);
    let consumed = flow.meters.consumer();
    let mut operator = OperatorBuilder::new(format!("broadcast ({})", site.name), builder.scope);
    let gate = Gate::default();
    let mut input = operator.new_input(flow.stream, Gated(Pipeline, gate.clone()));
    operator.set_notify_for(0, FrontierInterest::Never);
    let (mut port, stream) = operator.new_output::<BroadcastBatch<In>>();
    let (mut granted, grants) = credit_channel(&builder.scope, operator.operator_info().address);
    let (worker, workers) = (builder.scope.index() as u32, task.attempt.parallelism.count());
    operator.build(move |_| {
        move |_| {
            task.control().guard(&task.id, || {
                let room = granted.has_room();
                gate.read(&mut input, room, |capability, batch| {
                    let rows = batch.len();
                    let capability = capability.delayed(&mark_of(&capability), 0);
                    for target in 0..workers {
                        granted.sent(target, rows);
                        let mut copy = BroadcastBatch::new(worker, target, batch.clone());
                        port.activate().give(&capability, &mut copy);
                    }
                    consumed.rows(rows);
                    Ok(granted.has_room())
                })
            });
        }
    });
    Broadcasted { stream, edge: BroadcastEdge { grants } }
}

/// The receiving half.
pub(crate) struct BroadcastEdge {
    grants: Grants,
}

impl BroadcastEdge {
    /// Calls `function` for each record and its event time; how many records the batch had. An error or a panic names the
    /// broadcast side.
    pub fn for_each<In>(
        &mut self,
        batch: BroadcastBatch<In>,
        task: &Task,
        mut function: impl FnMut(In, i64) -> UserResult,
    ) -> Result<usize> {
        let (from, rows) = (batch.from, batch.rows.len());
        let note = PanicNote(task);
        for (record, time) in batch.rows {
            function(record, time).map_err(|error| {
                let place = format!("operator {} ({}) failed on its broadcast side", task.name, task.id);
                Error::new(ErrorKind::UserFunction, place).with_source(error)
            })?;
        }
        drop(note);
        self.grants.consumed(from, rows, || task.control().clock().monotonic());
        Ok(rows)
    }
}

/// Says that a user function panicked on the broadcast side.
struct PanicNote<'a>(&'a Task);

impl Drop for PanicNote<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.control().note_panic("on its broadcast side".into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::batch::NO_TIME;

    #[test]
    fn a_broadcast_batch_survives_the_way_between_processes() {
        let rows: Batch<_> = [(("rule".to_string(), 7u64), 5), ((String::new(), 8), NO_TIME)].into_iter().collect();
        for rows in [rows, [(("without a time".to_string(), 1u64), NO_TIME)].into_iter().collect()] {
            let batch = BroadcastBatch::new(1, 3, rows);
            let back = BroadcastBatch::<(String, u64)>::decode(&batch.encode()).unwrap();
            assert_eq!((back.from, back.to, &back.rows), (1, 3, &batch.rows));
            assert_eq!(batch.encode().len() % 8, 0);
            assert!(BroadcastBatch::<(String, u64)>::decode(&batch.encode()[..20]).is_err());
        }
    }
}
