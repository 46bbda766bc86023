//! A keyed process function as a task: aligned input, state by key group, timers, and a snapshot that is copied while it goes on.
//!
//! At the barrier of an epoch the task takes the synchronous part of its snapshot (mark every page of the state table as not yet
//! copied, copy the timers) and goes on at once. From then on a page is copied before it is changed, and a few more between
//! batches, until the table as it was at the barrier is with the upload thread (I1).

use std::time::Duration;

use timely::dataflow::Stream;
use timely::dataflow::channels::pact::{DistributorPact, Pipeline};
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::operate::FrontierInterest;
use timely::scheduling::Activator;

use highwater_core::{CheckpointId, Error, ErrorKind, KeyHash, Result};
use highwater_state::{Data, Key};

use crate::alignment::Alignment;
use crate::batch::{Batch, KeyedBatch, NO_TIME};
use crate::control::TaskEvent;
use crate::edge::{Meters, Outlet};
use crate::exchange::{Grants, Partitioner, Pool, Route, credit_channel};
use crate::gate::{Gate, Gated};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::keyed_contents::{KeyedContents, STATE, TIMERS};
use crate::mark::{Frontier, MAX_WATERMARK, Mark};
use crate::metrics::TaskMetrics;
use crate::process::{Context, KeyedProcessFunction, OpenContext, TimeDomain, Timer};
use crate::side::Sides;
use crate::stateless::mark_of;
use crate::streams::{Flow, StreamId};
use crate::upload::{KeyedFrame, SnapshotFrame};

/// Slots of the table copied after a batch, and in a step without one.
const SWEEP_BUSY: usize = 8 * 1024;
const SWEEP_IDLE: usize = 64 * 1024;
/// Copied bytes that may wait for the disk before the sweep pauses.
const SWEEP_BACKLOG: usize = 64 << 20;
/// How long the sweep pauses then.
const SWEEP_PAUSE: Duration = Duration::from_millis(2);

impl Graph {
    /// Adds a keyed process function behind a key-group exchange.
    pub fn process<K, In, Key_, F>(
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
            let routed = build_partitioner(builder, site, input, key.clone());
            build_keyed(builder, site, routed, output, function.clone())
        });
        (node, output)
    }
}

/// What the sending half hands to the receiving half.
struct Routed<'s, K, In> {
    stream: Stream<'s, Mark, KeyedBatch<K, In>>,
    grants: Grants,
    pool: Pool<K, In>,
}

/// The sending half: stateless, in the worker of the producer.
fn build_partitioner<'s, K: Key, In: Data>(
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
    Routed { stream, grants, pool }
}

fn build_keyed<'s, K: Key, In: Data, F: KeyedProcessFunction<K, In>>(
    builder: &Builder<'s>,
    site: &Site<'_>,
    Routed { stream: routed, grants, pool }: Routed<'s, K, In>,
    output: StreamId<Batch<F::Out>>,
    mut function: F,
) -> Result<()> {
    let task = builder.stateful_task(site);
    let keyed = KeyedContents::<K, F::State>::open(&task)?;
    let open = OpenContext {
        name: task.name.clone(),
        subtask: task.id.subtask,
        parallelism: task.attempt.parallelism,
        is_restored: task.attempt.restored.is_some(),
    };
    function.open(&open).map_err(|error| {
        Error::new(ErrorKind::UserFunction, format!("open of operator {} failed", task.name)).with_source(error)
    })?;

    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let gate = Gate::default();
    let mut input = operator.new_input(routed, Gated(DistributorPact(|_| Route), gate.clone()));
    let (port, stream) = operator.new_output::<Batch<F::Out>>();
    let address = operator.operator_info().address;
    let activator = builder.scope.activator_for(address);
    let meters = Meters::new(activator.clone());
    builder.streams.put(output, Flow { stream, meters: meters.clone() });
    let sides = Sides::open(&mut operator, &builder.streams, site.sides, &meters);
    let metrics = TaskMetrics::new(&task);
    operator.build(move |capabilities| {
        let epoch = task.control().first_epoch().0;
        let mut capabilities = capabilities.into_iter();
        let mut first = || {
            let mut capability = capabilities.next().expect("one capability an output");
            capability.downgrade(&Mark::new(epoch, i64::MIN));
            capability
        };
        let outlet = Outlet::new(port, Some(first()), meters);
        let mut sides = sides;
        sides.hold(first);
        let mut keyed = KeyedTask {
            alignment: Alignment::new(task.attempt.mode, epoch),
            out: Output { outlet, sides },
            contents: keyed,
            function,
            grants,
            pool,
            snapshot: None,
            activator,
            armed: None,
            closed: false,
            metrics,
            task: task.clone(),
        };
        move |frontiers| {
            task.control().guard(&task.id, || {
                let room = keyed.has_room();
                gate.read(&mut input, room, |capability, batch| {
                    keyed.receive(mark_of(&capability), batch)?;
                    Ok(keyed.has_room())
                })?;
                keyed.progress(Frontier::of(frontiers[0].frontier().iter()))
            });
        }
    });
    Ok(())
}

/// The ports of a keyed task.
struct Output<Out: 'static> {
    outlet: Outlet<Out>,
    sides: Sides,
}

/// A snapshot that is being copied.
struct Copying {
    id: CheckpointId,
    frame: SnapshotFrame,
    /// The longest time at one stretch that the task had for nothing else.
    longest: Duration,
}

struct KeyedTask<K: Key, In: Data, F: KeyedProcessFunction<K, In>> {
    task: Task,
    alignment: Alignment<KeyedBatch<K, In>>,
    contents: KeyedContents<K, F::State>,
    function: F,
    out: Output<F::Out>,
    grants: Grants,
    pool: Pool<K, In>,
    snapshot: Option<Copying>,
    activator: Activator,
    /// When the activation for the next processing-time timer comes, in ms since the Unix epoch.
    armed: Option<i64>,
    closed: bool,
    metrics: TaskMetrics,
}

impl<K: Key, In: Data, F: KeyedProcessFunction<K, In>> KeyedTask<K, In, F> {
    fn has_room(&self) -> bool {
        self.out.outlet.has_room() && self.out.sides.has_room()
    }

    fn receive(&mut self, mark: Mark, batch: KeyedBatch<K, In>) -> Result<()> {
        match self.alignment.admit(mark, batch) {
            Some(batch) => self.process(batch),
            None => Ok(()),
        }
    }

    fn process(&mut self, batch: KeyedBatch<K, In>) -> Result<()> {
        let began = self.snapshot.as_ref().map(|_| self.now());
        let (from, rows) = (batch.from, batch.rows.len());
        self.call_for_each(batch)?;
        self.grants.consumed(from, rows, || self.task.attempt.control.clock().monotonic());
        self.metrics.processed(rows);
        self.sweep(SWEEP_BUSY);
        if let (Some(began), Some(snapshot)) = (began, &mut self.snapshot) {
            let took = self.task.control().clock().monotonic().saturating_sub(began);
            snapshot.longest = snapshot.longest.max(took);
        }
        Ok(())
    }

    fn call_for_each(&mut self, mut batch: KeyedBatch<K, In>) -> Result<()> {
        let KeyedBatch { keys, hashes, rows, .. } = &mut batch;
        let (mut records, times) = rows.drain();
        let note = PanicNote { keys, index: std::cell::Cell::new(0), task: &self.task };
        let mut context = Context {
            key: &keys[0],
            time: NO_TIME,
            watermark: self.alignment.mark().watermark,
            output: &mut self.out.outlet,
            sides: &mut self.out.sides,
            timers: &mut self.contents.timers,
            clock: &**self.task.attempt.control.clock(),
        };
        let function = &mut self.function;
        let result = self.contents.rows.for_each(keys, hashes, |index, state| {
            note.index.set(index);
            let record = records.next().expect("a key for each record");
            context.key = &keys[index];
            context.time = times.get(index).copied().unwrap_or(NO_TIME);
            function.process(record, state, &mut context)
        });
        result.map_err(|(index, error)| key_error(&self.task, &keys[index], error))?;
        drop((records, note));
        self.pool.give(batch);
        Ok(())
    }

    /// Goes as far as the frontier allows: barriers, watermark, timers, the end.
    fn progress(&mut self, frontier: Frontier) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        loop {
            while self.has_room()
                && let Some(batch) = self.alignment.released()
            {
                self.process(batch)?;
            }
            self.alignment.advance_watermark(self.event_time(frontier));
            let watermark = self.alignment.mark().watermark;
            if !self.fire(TimeDomain::EventTime, watermark)? {
                // The consumer activates this operator when there is room; until then its mark stays where it was.
                self.sweep(SWEEP_BUSY);
                return Ok(());
            }
            self.advance_mark();
            if !self.alignment.barrier(frontier) {
                break;
            }
            self.begin_snapshot();
            self.alignment.next_epoch();
            self.advance_mark();
        }
        self.fire_processing_time()?;
        self.sweep(SWEEP_IDLE);
        self.out.outlet.flush();
        self.out.sides.flush();
        if frontier == Frontier::Closed {
            self.close(frontier)?;
        }
        Ok(())
    }

    /// A stream that has ended has passed all event time, which timely may tell as nothing but the closed frontier.
    fn event_time(&self, frontier: Frontier) -> Frontier {
        if frontier == Frontier::Closed && self.task.control().has_ended() {
            return Frontier::Open { epoch: self.alignment.mark().epoch, watermark: MAX_WATERMARK };
        }
        frontier
    }

    fn advance_mark(&mut self) {
        let mark = self.alignment.mark();
        self.out.outlet.advance(mark);
        self.out.sides.advance(mark);
    }

    fn fire_processing_time(&mut self) -> Result<()> {
        let Some(next) = self.contents.timers.next_processing_time() else { return Ok(()) };
        let now = self.task.control().clock().unix_ms();
        if next <= now && !self.fire(TimeDomain::ProcessingTime, now)? {
            return Ok(());
        }
        let Some(next) = self.contents.timers.next_processing_time() else { return Ok(()) };
        if self.armed.is_none_or(|armed| armed <= now || next < armed) {
            self.armed = Some(next);
            self.activator.activate_after(Duration::from_millis(next.saturating_sub(now).clamp(1, 60_000) as u64));
        }
        Ok(())
    }

    /// Calls the timers that are due, as long as there is room for what they emit; whether none is left.
    fn fire(&mut self, domain: TimeDomain, now_ms: i64) -> Result<bool> {
        while self.contents.timers.is_due(domain, now_ms) {
            if !self.has_room() {
                return Ok(false);
            }
            let Some((time_ms, hash, key)) = self.contents.timers.pop_due(domain, now_ms) else { break };
            self.call_on_timer(Timer { time_ms, domain }, hash, &key)
                .map_err(|error| key_error(&self.task, &key, error))?;
        }
        Ok(true)
    }

    fn call_on_timer(&mut self, timer: Timer, hash: KeyHash, key: &K) -> crate::process::UserResult {
        let keys = std::slice::from_ref(key);
        let _note = PanicNote { keys, index: std::cell::Cell::new(0), task: &self.task };
        let mut context = Context {
            key,
            time: timer.time_ms,
            watermark: self.alignment.mark().watermark,
            output: &mut self.out.outlet,
            sides: &mut self.out.sides,
            timers: &mut self.contents.timers,
            clock: &**self.task.attempt.control.clock(),
        };
        let function = &mut self.function;
        self.contents.rows.with(hash, key, |state| function.on_timer(timer, state, &mut context))
    }

    /// The synchronous part of the snapshot of the epoch that ends.
    fn begin_snapshot(&mut self) {
        // One copy at a time: whatever is left of an older one has to be out before its pages may be marked anew.
        while self.snapshot.is_some() {
            self.sweep_now(usize::MAX);
        }
        let id = CheckpointId(self.alignment.mark().epoch);
        let began = self.now();
        self.contents.rows.begin_snapshot();
        let max = self.task.attempt.max_parallelism;
        for (group, (count, bytes)) in self.contents.timers.snapshot(max) {
            self.task.uploads.chunk(id, &self.task.id, TIMERS, group, count, bytes);
        }
        let schema = KeyedContents::<K, F::State>::schema().to_json();
        let keyed =
            |name| KeyedFrame { name, schema: schema.clone(), max_parallelism: max, range: self.contents.range };
        let frame = SnapshotFrame { keyed: vec![keyed(STATE), keyed(TIMERS)], ..SnapshotFrame::default() };
        let pause = self.now().saturating_sub(began);
        self.snapshot = Some(Copying { id, frame, longest: pause });
        self.task.control().tell(TaskEvent::Prepared { id, task: self.task.id.clone(), pause });
    }

    /// Copies some more of the snapshot that is under way, unless the disk is behind.
    fn sweep(&mut self, slots: usize) {
        let Some(snapshot) = &self.snapshot else { return };
        if self.task.control().is_given_up(snapshot.id) {
            self.contents.rows.abort_snapshot();
            self.snapshot = None;
        } else if self.task.uploads.backlog() > SWEEP_BACKLOG {
            self.activator.activate_after(SWEEP_PAUSE);
        } else {
            self.sweep_now(slots);
            if self.snapshot.is_some() {
                self.activator.activate();
            }
        }
    }

    fn sweep_now(&mut self, slots: usize) {
        let Some(mut snapshot) = self.snapshot.take() else { return };
        self.task.uploads.written().into_iter().for_each(|chunk| self.contents.rows.recycle(chunk));
        let began = self.now();
        let (task, id) = (&self.task, snapshot.id);
        let done = self.contents.rows.advance_snapshot(slots, &mut |group, entries, bytes| {
            task.uploads.chunk(id, &task.id, STATE, group, entries, bytes);
        });
        snapshot.longest = snapshot.longest.max(self.now().saturating_sub(began));
        if done {
            self.task.uploads.finish(id, &self.task.id, snapshot.frame);
            self.metrics.paused(snapshot.longest);
            self.task.control().tell(TaskEvent::LongestPause { task: self.task.id.clone(), pause: snapshot.longest });
        } else {
            self.snapshot = Some(snapshot);
        }
    }

    fn close(&mut self, frontier: Frontier) -> Result<()> {
        self.alignment.close_epochs();
        self.advance_mark();
        while let Some(batch) = self.alignment.released() {
            self.process(batch)?;
        }
        assert!(self.alignment.is_finished(frontier), "the input has closed and every batch was processed");
        while self.snapshot.is_some() {
            self.sweep_now(usize::MAX);
        }
        self.function.close().map_err(|error| {
            Error::new(ErrorKind::UserFunction, format!("close of operator {} failed", self.task.name))
                .with_source(error)
        })?;
        self.out.outlet.release();
        self.out.sides.release();
        self.closed = true;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.task.control().clock().monotonic()
    }
}

fn key_error<K: Key>(task: &Task, key: &K, error: highwater_core::BoxError) -> Error {
    let place = format!("operator {} ({}) failed for key {key:?}", task.name, task.id);
    Error::new(ErrorKind::UserFunction, place).with_source(error)
}

/// Says for which key a user function panicked.
struct PanicNote<'a, K: Key> {
    keys: &'a [K],
    index: std::cell::Cell<usize>,
    task: &'a Task,
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
