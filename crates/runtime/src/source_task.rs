//! A source as a task: polls its reader while there is room, and ends an epoch when the driver has triggered its checkpoint.
//!
//! The positions stored for epoch e cover exactly the records that were emitted under epochs <= e (I1): both happen on one thread,
//! between two polls.
//!
//! A subtask without splits has nothing to emit, ever: it lets the watermark pass at once.

use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::Activator;

use highwater_checkpoint::metadata::{OperatorState, Redistribution};
use highwater_core::{CheckpointId, Result, TaskId};
use highwater_state::Data;

use crate::batch::Batch;
use crate::control::TaskEvent;
use crate::describe::Declared;
use crate::edge::{Meters, Outlet};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::mark::{MAX_WATERMARK, Mark, NO_WATERMARK};
use crate::metrics::{EventTimeMetrics, TaskMetrics};
use crate::restore::decode_all;
use crate::source::{Source, SourceOutput, SourceReader, SourceStatus};
use crate::streams::{Flow, StreamId};
use crate::upload::SnapshotFrame;
use crate::watermarks::{ANNOUNCE_EVERY, Link, PERIOD, SplitWatermarks, Standing, WatermarkStrategy};

/// Name of the operator state that holds a source's splits.
const SPLITS: &str = "splits";

/// Polls before other operators get their turn.
const POLLS_PER_STEP: usize = 8;

impl Graph {
    /// Adds a source.
    pub fn source<S: Source>(
        &mut self,
        name: &str,
        source: S,
        watermarks: WatermarkStrategy<S::Record>,
    ) -> (NodeId, StreamId<Batch<S::Record>>) {
        let output = self.stream();
        let (problem, relations) = (watermarks.problem(), watermarks.relations());
        let source = Arc::new(source);
        let discovering = Arc::clone(&source);
        let node = self.add(name, NodeKind::Source, move |builder: &Builder<'_>, site: &Site<'_>| {
            build_source(builder, site, &*source, &watermarks, output)
        });
        self.declare(node, Declared::default().and::<S::Split>(SPLITS));
        let discover = move |parallelism| {
            let splits = discovering.discover(parallelism)?;
            Ok(splits.iter().map(encoded).collect())
        };
        self.set_discover(node, Box::new(discover));
        self.set_relations(node, relations);
        if let Some(problem) = problem {
            self.reject(node, &problem);
        }
        (node, output)
    }
}

pub(crate) fn encoded<T: Data>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.encode(&mut bytes);
    bytes
}

fn build_source<S: Source>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    source: &S,
    watermarks: &WatermarkStrategy<S::Record>,
    output: StreamId<Batch<S::Record>>,
) -> Result<()> {
    let task = builder.stateful_task(site);
    let splits = splits_of::<S>(&task)?;
    let has_splits = !splits.is_empty();
    let reader = source.reader(splits)?;
    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let (port, stream) = operator.new_output::<Batch<S::Record>>();
    let address = operator.operator_info().address;
    let activator = builder.scope.activator_for(std::rc::Rc::clone(&address));
    task.control().register(builder.scope.worker().sync_activator_for(address.to_vec()));
    let link = Link::open(builder, site, address, watermarks.max_drift());
    let meters = Meters::new(activator.clone());
    builder.streams.put(output, Flow { stream, meters: meters.clone() });
    let epoch = task.control().first_epoch().0;
    let metrics = TaskMetrics::new(&task);
    let event_time = EventTimeMetrics::new(&task);
    let watermarks = SplitWatermarks::new(watermarks.clone(), Arc::clone(task.control().clock()));
    operator.build(move |mut capabilities| {
        let mut capability = capabilities.pop().expect("one output, one capability");
        capability.downgrade(&Mark::new(epoch, NO_WATERMARK));
        let mut source = SourceTask::<S> {
            outlet: Outlet::new(port, Some(capability), meters),
            output: SourceOutput::default(),
            mark: Mark::new(epoch, NO_WATERMARK),
            watermarks,
            link,
            has_splits,
            reader,
            activator,
            armed: None,
            state: State::Reading,
            metrics,
            event_time,
            task: task.clone(),
        };
        move |_| task.control().guard(&task.id, || source.step())
    });
    Ok(())
}

/// The splits of this subtask: from the checkpoint, else its share of what was discovered.
fn splits_of<S: Source>(task: &Task) -> Result<Vec<S::Split>> {
    let attempt = &task.attempt;
    let TaskId { operator, subtask } = &task.id;
    match attempt.restored.as_ref().filter(|restored| restored.operator(operator).is_some()) {
        Some(restored) => restored.elements(operator, (SPLITS, "source split"), *subtask, attempt.parallelism),
        None => {
            let all = attempt.splits.get(operator).map_or(&[][..], Vec::as_slice);
            let mine = all.iter().skip(subtask.0 as usize).step_by(attempt.parallelism.count() as usize);
            decode_all(&mine.cloned().collect::<Vec<_>>(), "source split")
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    /// Everything is read; takes part in checkpoints until the driver says finish.
    Ended,
}

struct SourceTask<S: Source> {
    task: Task,
    reader: S::Reader,
    watermarks: SplitWatermarks<S::Record>,
    /// Its way to the other sources, if they look at each other.
    link: Option<Link>,
    has_splits: bool,
    output: SourceOutput<S::Record>,
    outlet: Outlet<S::Record>,
    mark: Mark,
    state: State,
    activator: Activator,
    /// When a delayed activation that is under way will come.
    armed: Option<Duration>,
    metrics: TaskMetrics,
    event_time: EventTimeMetrics,
}

impl<S: Source> SourceTask<S> {
    fn step(&mut self) -> Result<()> {
        if let Some(link) = &mut self.link {
            link.hear();
        }
        if self.task.control().is_finishing() {
            self.outlet.release();
            return Ok(());
        }
        while self.mark.epoch < self.task.control().epoch() {
            self.end_epoch();
        }
        if self.state == State::Reading && !self.task.control().is_past_last(self.mark.epoch) {
            self.pass_time();
            let is_ahead = |link: &Link| link.is_ahead(self.mark.watermark);
            if self.has_splits && self.link.as_ref().is_some_and(is_ahead) {
                self.pause();
            } else {
                self.read()?;
            }
            self.outlet.advance(self.mark);
        }
        Ok(())
    }

    /// Stores the positions and moves on to the next epoch.
    fn end_epoch(&mut self) {
        let id = CheckpointId(self.mark.epoch);
        if self.task.control().is_drained_by(id) {
            self.mark.watermark = MAX_WATERMARK;
        }
        let began = self.task.control().clock().monotonic();
        let elements = self.reader.snapshot().iter().map(encoded).collect();
        let schema = S::Split::schema().to_json();
        let splits = OperatorState { name: SPLITS.into(), schema, redistribution: Redistribution::Split, elements };
        self.mark.epoch += 1;
        self.outlet.advance(self.mark);
        let pause = self.task.control().clock().monotonic().saturating_sub(began);
        self.task.control().tell(TaskEvent::Prepared { id, task: self.task.id.clone(), pause });
        let frame = SnapshotFrame { operator_state: vec![splits], ..SnapshotFrame::default() };
        self.task.uploads.finish(id, &self.task.id, frame);
    }

    fn pass_time(&mut self) {
        if self.watermarks.has_idleness() {
            self.watermarks.pass_time(self.task.control().clock().monotonic());
        }
    }

    fn read(&mut self) -> Result<()> {
        let mut status = Some(SourceStatus::More);
        for _ in 0..POLLS_PER_STEP {
            if status != Some(SourceStatus::More) {
                break;
            }
            status = if self.outlet.has_room() { Some(self.poll()?) } else { None };
        }
        self.watermarks.keep_from_reading(status.is_none());
        let has_news = self.follow_event_time();
        if has_news {
            self.activate_after(ANNOUNCE_EVERY);
        }
        match status {
            // The consumer activates this operator when there is room.
            None => {}
            Some(SourceStatus::More) => self.activator.activate(),
            Some(SourceStatus::Idle(delay)) if self.watermarks.is_periodic() => self.activate_after(delay.min(PERIOD)),
            Some(SourceStatus::Idle(delay)) => self.activate_after(delay),
            Some(SourceStatus::End) => {
                self.state = State::Ended;
                self.mark.watermark = MAX_WATERMARK;
                if let Some(link) = &mut self.link {
                    link.end();
                }
                self.task.control().tell(TaskEvent::SourceEnded { task: self.task.id.clone() });
            }
        }
        Ok(())
    }

    /// It is ahead of its alignment group, which wakes it when it moves.
    fn pause(&mut self) {
        self.watermarks.keep_from_reading(true);
        let has_news = self.follow_event_time();
        self.activate_after(if has_news { ANNOUNCE_EVERY } else { PERIOD });
    }

    fn poll(&mut self) -> Result<SourceStatus> {
        let status = self.reader.poll(&mut self.output)?;
        let (batch, too_far_ahead) = self.watermarks.observe(&mut self.output);
        self.event_time.too_far_ahead(too_far_ahead, &self.task);
        self.metrics.emitted(batch.len());
        self.outlet.push_batch(batch);
        Ok(status)
    }

    /// Moves the mark up to the watermark of the splits, or of the other sources if they are idle; whether something remains to be told
    /// to those.
    fn follow_event_time(&mut self) -> bool {
        if !self.has_splits {
            self.mark.watermark = MAX_WATERMARK - 1;
            if let Some(link) = &mut self.link {
                link.end();
            }
            return false;
        }
        let Standing { watermark, idle } = self.watermarks.standing();
        let mut watermark = watermark.max(self.mark.watermark);
        let mut has_news = false;
        let clock = self.task.control().clock();
        if let Some(link) = &mut self.link {
            let settled = link.settle(Standing { watermark, idle }, clock.monotonic());
            (watermark, has_news) = (settled.watermark, settled.has_news);
        }
        if watermark > self.mark.watermark {
            self.mark.watermark = watermark;
            self.event_time.watermark(watermark, &**clock);
        }
        has_news
    }

    /// At most one delayed activation is under way, unless an earlier one is asked for, however often something else wakes the source
    /// meanwhile.
    fn activate_after(&mut self, delay: Duration) {
        let now = self.task.control().clock().monotonic();
        if self.armed.is_none_or(|due| due <= now || now + delay < due) {
            self.armed = Some(now + delay);
            self.activator.activate_after(delay);
        }
    }
}
