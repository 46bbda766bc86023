//! A sink as a task: aligned input, two-phase commit around each checkpoint.
//!
//! Committables of checkpoint e are prepared at its barrier, stored in it (and in later ones until they are committed), and
//! committed once the driver has said that e, or a later checkpoint, has completed (I4).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_checkpoint::metadata::{OperatorState, Redistribution};
use highwater_core::{CheckpointId, Result, TaskId};
use highwater_state::Data;

use crate::alignment::Alignment;
use crate::batch::Batch;
use crate::control::TaskEvent;
use crate::describe::Declared;
use crate::edge::Consumed;
use crate::gate::{Gate, Gated};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::mark::{Frontier, Mark};
use crate::metrics::TaskMetrics;
use crate::sink::{Sink, SinkContext, SinkWriter};
use crate::source_task::encoded;
use crate::stateless::mark_of;
use crate::streams::StreamId;
use crate::upload::SnapshotFrame;

/// Name of the operator state that holds what waits to be committed.
const COMMITTABLES: &str = "committables";
/// Name of the operator state that holds what goes on growing.
const WRITERS: &str = "writers";

type Committable<S> = <<S as Sink>::Writer as SinkWriter>::Committable;
type WriterState<S> = <<S as Sink>::Writer as SinkWriter>::State;

impl Graph {
    /// Adds a sink.
    pub fn sink<S: Sink>(&mut self, name: &str, input: StreamId<Batch<S::Record>>, sink: S) -> NodeId {
        self.consume(input);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            build_sink(builder, site, input, &sink)
        });
        let declared = Declared::default().and::<Committable<S>>(COMMITTABLES).and::<WriterState<S>>(WRITERS);
        self.declare(node, declared);
        node
    }
}

fn build_sink<S: Sink>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    input: StreamId<Batch<S::Record>>,
    sink: &S,
) -> Result<()> {
    let task = builder.stateful_task(site);
    let writer = open_writer(&task, sink)?;
    let flow = builder.streams.get(input);
    let consumed = flow.meters.consumer();
    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let gate = Gate::default();
    let mut input = operator.new_input(flow.stream, Gated(Pipeline, gate.clone()));
    let address = operator.operator_info().address;
    task.control().register(builder.scope.worker().sync_activator_for(address.to_vec()));
    let metrics = TaskMetrics::new(&task);
    operator.build_reschedule(move |_| {
        let mut sink = SinkTask {
            alignment: Alignment::new(task.attempt.mode, task.control().first_epoch().0),
            writer,
            prepared: VecDeque::new(),
            consumed,
            closed: false,
            metrics,
            task: task.clone(),
        };
        move |frontiers| {
            task.control().guard(&task.id, || {
                sink.commit()?;
                gate.read(&mut input, true, |capability, batch| {
                    sink.receive(mark_of(&capability), batch)?;
                    // A sink that is slow lets others have their turn, and hears of an abort, after each batch.
                    Ok(!sink.task.control().is_aborted())
                })?;
                sink.progress(Frontier::of(frontiers[0].frontier().iter()))
            });
            !sink.closed
        }
    });
    Ok(())
}

/// Opens the writer with what the restored checkpoint has for it, and commits what that checkpoint had prepared: it completed.
fn open_writer<S: Sink>(task: &Task, sink: &S) -> Result<S::Writer> {
    let attempt = &task.attempt;
    let context = |referenced| SinkContext {
        subtask: task.id.subtask,
        parallelism: attempt.parallelism,
        first_epoch: task.control().first_epoch(),
        referenced: Arc::new(referenced),
        clock: Arc::clone(task.control().clock()),
    };
    let Some(restored) = &attempt.restored else { return sink.open(&context(Vec::new()), Vec::new()) };
    let TaskId { operator, subtask } = &task.id;
    let (of_writers, of_committables) = ((WRITERS, "writer state"), (COMMITTABLES, "committable"));
    let states = restored.elements(operator, of_writers, *subtask, attempt.parallelism)?;
    let committables = restored.elements::<Committable<S>>(operator, of_committables, *subtask, attempt.parallelism)?;
    let mut referenced = restored.all_elements::<WriterState<S>>(operator, of_writers)?;
    referenced.extend(restored.all_elements::<Committable<S>>(operator, of_committables)?);
    let mut writer = sink.open(&context(referenced), states)?;
    if !committables.is_empty() {
        tracing::debug!(task = %task.id, count = committables.len(), "commit what the restored checkpoint had prepared");
        writer.commit(committables)?;
    }
    Ok(writer)
}

struct SinkTask<W: SinkWriter> {
    task: Task,
    alignment: Alignment<Batch<W::Record>>,
    writer: W,
    /// What waits for its checkpoint to complete, oldest first.
    prepared: VecDeque<(CheckpointId, Vec<W::Committable>)>,
    consumed: Consumed,
    closed: bool,
    metrics: TaskMetrics,
}

impl<W: SinkWriter> SinkTask<W> {
    fn receive(&mut self, mark: Mark, batch: Batch<W::Record>) -> Result<()> {
        match self.alignment.admit(mark, batch) {
            Some(batch) => self.write(batch),
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: Batch<W::Record>) -> Result<()> {
        let rows = batch.len();
        for (record, time) in batch {
            self.writer.write(record, time)?;
        }
        self.writer.flush()?;
        self.consumed.rows(rows);
        self.metrics.processed(rows);
        Ok(())
    }

    fn progress(&mut self, frontier: Frontier) -> Result<()> {
        if self.closed {
            return Ok(());
        }
        loop {
            while let Some(batch) = self.alignment.released() {
                self.write(batch)?;
            }
            self.alignment.advance_watermark(frontier);
            if !self.alignment.barrier(frontier) {
                break;
            }
            self.prepare()?;
            self.alignment.next_epoch();
        }
        if frontier == Frontier::Closed {
            self.close(frontier)?;
        }
        Ok(())
    }

    /// The barrier: what was written so far becomes part of the checkpoint.
    fn prepare(&mut self) -> Result<()> {
        let id = CheckpointId(self.alignment.mark().epoch);
        let began = self.now();
        let last = self.task.control().is_last(id);
        let prepared = self.writer.prepare(id, last)?;
        self.prepared.push_back((id, prepared.committables));
        let committables = self.prepared.iter().flat_map(|(_, committables)| committables);
        let operator_state = vec![
            OperatorState {
                name: COMMITTABLES.into(),
                schema: W::Committable::schema().to_json(),
                redistribution: Redistribution::Split,
                elements: committables.map(encoded).collect(),
            },
            OperatorState {
                name: WRITERS.into(),
                schema: W::State::schema().to_json(),
                redistribution: Redistribution::Split,
                elements: prepared.states.iter().map(encoded).collect(),
            },
        ];
        let pause = self.now().saturating_sub(began);
        self.task.control().tell(TaskEvent::Prepared { id, task: self.task.id.clone(), pause });
        let frame = SnapshotFrame { keyed: Vec::new(), operator_state, durable: prepared.durable };
        self.task.uploads.finish(id, &self.task.id, frame);
        Ok(())
    }

    /// Commits what completed checkpoints have prepared. A completed checkpoint covers all earlier ones.
    fn commit(&mut self) -> Result<()> {
        let Some(completed) = self.task.control().completed() else { return Ok(()) };
        while self.prepared.front().is_some_and(|(id, _)| *id <= completed) {
            let (_, committables) = self.prepared.pop_front().expect("just seen");
            self.writer.commit(committables)?;
        }
        Ok(())
    }

    fn close(&mut self, frontier: Frontier) -> Result<()> {
        self.alignment.close_epochs();
        while let Some(batch) = self.alignment.released() {
            self.write(batch)?;
        }
        assert!(self.alignment.is_finished(frontier), "the input has closed and every batch was written");
        self.commit()?;
        if !self.task.attempt.checkpointing {
            // No checkpoint will ever complete: the end of the input is the only commit.
            let prepared = self.writer.prepare(CheckpointId(self.alignment.mark().epoch), true)?;
            prepared.durable.map_or(Ok(()), |durable| durable())?;
            self.writer.commit(prepared.committables)?;
        }
        self.closed = true;
        Ok(())
    }

    fn now(&self) -> Duration {
        self.task.control().clock().monotonic()
    }
}
