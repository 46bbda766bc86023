//! Watermarks given in the middle of a stream, as by Flink's `assignTimestampsAndWatermarks`.
//!
//! What comes in aligned goes out aligned: the operator has a capability of its own, in the epoch of its input and at the watermark
//! of its generator. The watermark of its input counts only if it says that the input has ended.
//!
//! It keeps nothing for a checkpoint, as a generator has nothing that a restore needs.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::progress::Antichain;
use timely::scheduling::Activator;

use highwater_core::Result;

use crate::alignment::Alignment;
use crate::batch::{Batch, Record};
use crate::edge::{Consumed, Meters, Outlet};
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site, Task};
use crate::inputs::{Input, Receiver};
use crate::mark::{Frontier, MAX_WATERMARK, Mark, NO_WATERMARK};
use crate::metrics::EventTimeMetrics;
use crate::source::SourceOutput;
use crate::streams::{Flow, StreamId};
use crate::watermarks::{ANNOUNCE_EVERY, Link, PERIOD, SplitWatermarks, Standing, WatermarkStrategy};

impl Graph {
    /// Adds an operator that gives the records of a stream event times and watermarks; those that it had count no more.
    pub fn assign_watermarks<T: Record>(
        &mut self,
        input: StreamId<Batch<T>>,
        strategy: WatermarkStrategy<T>,
    ) -> (NodeId, StreamId<Batch<T>>) {
        let output = self.stream();
        let (problem, relations) = (strategy.problem_behind_a_source(), strategy.relations());
        self.consume(input);
        let name = "timestamps-and-watermarks";
        let node = self.add(name, NodeKind::Stateless, move |builder: &Builder<'_>, site: &Site<'_>| {
            build(builder, site, input, output, &strategy);
            Ok(())
        });
        self.set_relations(node, relations);
        if let Some(problem) = problem {
            self.reject(node, &problem);
        }
        (node, output)
    }
}

fn build<T: Record>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    input: StreamId<Batch<T>>,
    output: StreamId<Batch<T>>,
    strategy: &WatermarkStrategy<T>,
) {
    let task = builder.task(site);
    let flow = builder.streams.get(input);
    let consumed = flow.meters.consumer();
    let mut operator = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let mut input = Input::new(&mut operator, flow.stream, Pipeline);
    // Connected to no input: a path from there would carry on the watermark of the input, too.
    let (port, stream) = operator.new_output_connection::<Batch<T>, [(usize, Antichain<()>); 0]>([]);
    let address = operator.operator_info().address;
    let meters = Meters::new(builder.scope.activator_for(Rc::clone(&address)));
    builder.streams.put(output, Flow { stream, meters: meters.clone() });
    let activator = builder.scope.activator_for(Rc::clone(&address));
    let link = Link::open(builder, site, address, None);
    let watermarks = SplitWatermarks::new(strategy.clone(), Arc::clone(task.control().clock()));
    let event_time = EventTimeMetrics::new(&task);
    operator.build(move |mut capabilities| {
        let epoch = task.control().first_epoch().0;
        let mut capability = capabilities.pop().expect("one output, one capability");
        capability.downgrade(&Mark::new(epoch, NO_WATERMARK));
        let mut assigner = Assigner {
            alignment: Alignment::new(task.attempt.mode, epoch),
            watermarks,
            link,
            scratch: SourceOutput::default(),
            outlet: Outlet::new(port, Some(capability), meters),
            consumed,
            watermark: NO_WATERMARK,
            activator,
            armed: None,
            is_closed: false,
            event_time,
            task: task.clone(),
        };
        move |frontiers| {
            task.control().guard(&task.id, || {
                assigner.begin();
                input.read(&mut assigner, |batch| batch)?;
                assigner.progress(Frontier::of(frontiers[0].frontier().iter()));
                Ok(())
            });
        }
    });
}

struct Assigner<T: Record> {
    task: Task,
    alignment: Alignment<Batch<T>>,
    watermarks: SplitWatermarks<T>,
    /// Its way to the other operators that give event time, if they look at each other.
    link: Option<Link>,
    /// Lends the records of a batch to the generator.
    scratch: SourceOutput<T>,
    outlet: Outlet<T>,
    consumed: Consumed,
    /// What it has told its consumers.
    watermark: i64,
    activator: Activator,
    /// When a delayed activation that is under way will come.
    armed: Option<Duration>,
    is_closed: bool,
    event_time: EventTimeMetrics,
}

impl<T: Record> Receiver for Assigner<T> {
    type Batch = Batch<T>;

    fn has_room(&self) -> bool {
        self.outlet.has_room()
    }

    fn receive(&mut self, mark: Mark, batch: Batch<T>) -> Result<()> {
        if let Some(batch) = self.alignment.admit(mark, batch) {
            self.pass_on(batch);
        }
        Ok(())
    }
}

impl<T: Record> Assigner<T> {
    fn pass_on(&mut self, batch: Batch<T>) {
        self.consumed.rows(batch.len());
        self.scratch.put(batch);
        let (batch, too_far_ahead) = self.watermarks.observe(&mut self.scratch);
        self.event_time.too_far_ahead(too_far_ahead, &self.task);
        self.outlet.push_batch(batch);
    }

    fn begin(&mut self) {
        if let Some(link) = &mut self.link {
            link.hear();
        }
        if self.watermarks.has_idleness() {
            self.watermarks.pass_time(self.task.control().clock().monotonic());
        }
    }

    /// Goes as far as the frontier allows: barriers, watermark, the end.
    fn progress(&mut self, frontier: Frontier) {
        if self.is_closed {
            return;
        }
        let mut has_news;
        loop {
            while self.has_room()
                && let Some(batch) = self.alignment.released()
            {
                self.pass_on(batch);
            }
            let event_time = self.task.event_time(frontier, self.alignment.mark().epoch);
            self.alignment.advance_watermark(event_time);
            has_news = self.follow_event_time();
            if !self.alignment.barrier(frontier) {
                break;
            }
            self.alignment.next_epoch();
            self.advance();
        }
        self.watermarks.keep_from_reading(!self.has_room());
        if frontier == Frontier::Closed {
            self.close();
        } else if has_news {
            self.look_again(ANNOUNCE_EVERY);
        } else if self.watermarks.is_periodic() {
            self.look_again(PERIOD);
        }
    }

    /// Moves its watermark up to that of its generator, or of others if it is idle; whether something remains to be told to those.
    fn follow_event_time(&mut self) -> bool {
        let mut has_news = false;
        if self.alignment.mark().watermark == MAX_WATERMARK {
            self.watermark = MAX_WATERMARK;
            if let Some(link) = &mut self.link {
                link.end();
            }
        } else {
            let Standing { watermark, idle } = self.watermarks.standing();
            let mut watermark = watermark.max(self.watermark);
            let clock = self.task.control().clock();
            if let Some(link) = &mut self.link {
                let settled = link.settle(Standing { watermark, idle }, clock.monotonic());
                (watermark, has_news) = (settled.watermark, settled.has_news);
            }
            if watermark > self.watermark {
                self.watermark = watermark;
                self.event_time.watermark(watermark, &**clock);
            }
        }
        self.advance();
        has_news
    }

    fn advance(&mut self) {
        self.outlet.advance(Mark::new(self.alignment.mark().epoch, self.watermark));
    }

    fn close(&mut self) {
        self.alignment.close_epochs();
        self.advance();
        while let Some(batch) = self.alignment.released() {
            self.pass_on(batch);
        }
        self.outlet.release();
        self.is_closed = true;
    }

    /// Has the generator asked again after a while, though nothing comes in.
    fn look_again(&mut self, delay: Duration) {
        let now = self.task.control().clock().monotonic();
        if self.armed.is_none_or(|due| due <= now || now + delay < due) {
            self.armed = Some(now + delay);
            self.activator.activate_after(delay);
        }
    }
}
