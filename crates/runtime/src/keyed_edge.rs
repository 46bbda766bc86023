//! The edge that brings a keyed task its records: keyed and sent by the worker of the producer, processed by the owner of the key.
//!
//! The sending half is an operator of its own, without state. The receiving half is part of the task: it calls a function for each
//! record with the state of its key, and returns the credit of what was processed to the sender.

use std::cell::Cell;

use timely::dataflow::Stream;
use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;

use highwater_core::{BoxError, Error, ErrorKind, Result};
use highwater_state::tier::Failure;
use highwater_state::{Data, Key, KeyedState};

use crate::batch::{Batch, KeyedBatch, NO_TIME, Record};
use crate::exchange::{Grants, Partitioner, Pool, credit_channel};
use crate::gate::{Gate, Gated};
use crate::graph::{Builder, Site, Task};
use crate::keyed_contents::KeyedContents;
use crate::mark::Mark;
use crate::output::Output;
use crate::process::{Context, UserResult};
use crate::stateless::mark_of;
use crate::streams::StreamId;

/// What the sending half hands to the receiving half.
pub(crate) struct Routed<'s, K: Key, In: 'static> {
    pub stream: Stream<'s, Mark, KeyedBatch<K, In>>,
    pub edge: KeyedEdge<K, In>,
}

/// The receiving half.
pub(crate) struct KeyedEdge<K, In> {
    grants: Grants,
    pool: Pool<K, In>,
}

/// Builds the sending half, in the worker of the producer.
pub(crate) fn build_partitioner<'s, K: Key, In: Data>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    input: StreamId<Batch<In>>,
    key: impl Fn(&In) -> K + 'static,
) -> Routed<'s, K, In> {
    let task = builder.task(site);
    let flow = builder.streams.get(input);
    let consumed = flow.meters.consumer();
    let mut operator = OperatorBuilder::new(format!("key by ({})", site.name), builder.scope);
    let gate = Gate::default();
    let mut input = operator.new_input(flow.stream, Gated(Pipeline, gate.clone()));
    operator.set_notify_for(0, FrontierInterest::Never);
    let (port, stream) = operator.new_output::<KeyedBatch<K, In>>();
    let (granted, grants) = credit_channel(&builder.scope, operator.operator_info().address);
    let (attempt, worker) = (&task.attempt, builder.scope.index() as u32);
    let pool = Pool::new();
    let mut partitioner =
        Partitioner::new(attempt.max_parallelism, worker, attempt.parallelism, port, granted, pool.clone());
    operator.build(move |_| {
        move |_| {
            task.control().guard(&task.id, || {
                let room = partitioner.has_room();
                gate.read(&mut input, room, |capability, batch| {
                    let mark = mark_of(&capability);
                    partitioner.carry(|| capability.delayed(&mark, 0), mark.epoch);
                    let rows = batch.len();
                    for (record, time) in batch {
                        partitioner.push(key(&record), record, time);
                    }
                    consumed.rows(rows);
                    Ok(partitioner.has_room())
                })?;
                partitioner.release();
                Ok(())
            });
        }
    });
    Routed { stream, edge: KeyedEdge { grants, pool } }
}

/// What a keyed task lends to its operator while a batch is processed.
pub(crate) struct KeyedScope<'a, K: Key, S: KeyedState, Out: 'static> {
    pub task: &'a Task,
    pub watermark: i64,
    pub contents: &'a mut KeyedContents<K, S>,
    pub out: &'a mut Output<Out>,
}

impl<K: Key, In> KeyedEdge<K, In> {
    /// Calls `function` for each record with the state of its key; how many records the batch had. An error is of the key and
    /// `input`, which is empty where there is only one.
    #[inline]
    pub fn for_each<S: KeyedState, Out: Record>(
        &mut self,
        mut batch: KeyedBatch<K, In>,
        scope: KeyedScope<'_, K, S, Out>,
        input: &str,
        mut function: impl FnMut(In, &mut S, &mut Context<'_, K, Out>) -> UserResult,
    ) -> Result<usize> {
        let KeyedScope { task, watermark, contents, out } = scope;
        let KeyedContents { rows: table, timers, ttl, .. } = contents;
        let from = batch.from;
        let KeyedBatch { keys, hashes, rows, .. } = &mut batch;
        let (mut records, times) = rows.drain();
        let note = PanicNote::new(task, keys);
        let mut context = Context {
            key: &keys[0],
            time: NO_TIME,
            watermark,
            output: &mut out.outlet,
            sides: &mut out.sides,
            timers,
            clock: &**task.control().clock(),
            late: &out.late,
        };
        let result = table.for_each(keys, hashes, |index, state| {
            note.index.set(index);
            let record = records.next().expect("a key for each record");
            context.key = &keys[index];
            context.time = times.get(index).copied().unwrap_or(NO_TIME);
            if S::HAS_TTL {
                ttl.hand_out(state, context.time);
            }
            function(record, state, &mut context)
        });
        result.map_err(|failure| match failure {
            Failure::Function(index, error) => key_error(task, &keys[index], input, error),
            Failure::Store(error) => store_error(task, error),
        })?;
        drop((records, note));
        let count = batch.keys.len();
        self.pool.give(batch);
        self.grants.consumed(from, count, || task.control().clock().monotonic());
        Ok(count)
    }
}

/// The store of the rows that are not in memory failed.
pub(crate) fn store_error(task: &Task, error: Error) -> Error {
    error.context(format!("operator {} ({}) cannot go on", task.name, task.id))
}

/// A user function failed for `key`, at a record of `input`.
pub(crate) fn key_error<K: Key>(task: &Task, key: &K, input: &str, error: BoxError) -> Error {
    let place = format!("operator {} ({}) failed for key {key:?}{input}", task.name, task.id);
    Error::new(ErrorKind::UserFunction, place).with_source(error)
}

/// Says for which key a user function panicked.
pub(crate) struct PanicNote<'a, K: Key> {
    task: &'a Task,
    keys: &'a [K],
    index: Cell<usize>,
}

impl<'a, K: Key> PanicNote<'a, K> {
    /// For a function that is called for each of `keys` in turn.
    pub fn new(task: &'a Task, keys: &'a [K]) -> Self {
        PanicNote { task, keys, index: Cell::new(0) }
    }
}

impl<K: Key> Drop for PanicNote<'_, K> {
    fn drop(&mut self) {
        if std::thread::panicking()
            && let Some(key) = self.keys.get(self.index.get())
        {
            self.task.control().note_panic(format!("for key {key:?}"));
        }
    }
}
