//! The kinds of windows under test: what a job makes them of, and what the model has to know of them.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use highwater::OutputTag;
use highwater::prelude::*;
use highwater::window::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaEvictor, DeltaTrigger,
    EventTimeSessionWindows, EventTimeTrigger, GlobalWindow, GlobalWindows, ProcessWindowFunction,
    ProcessingTimeSessionWindows, ProcessingTimeTrigger, PurgingTrigger, SlidingEventTimeWindows,
    SlidingProcessingTimeWindows, TimeEvictor, TimeWindow, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
    Window, WindowContext,
};

use crate::model::{Assigner, Evictor, GLOBAL, Kind, Shape, Time, Trigger};
use crate::script::{Item, Row, StepNumber};

pub type Records = KeyedStream<u64, Item, fn(&Item) -> u64>;

/// Makes windows of the records by key, or of all.
type Build = dyn Fn(&Records, &DataStream<Item>, &Rows) -> Vec<DataStream<Row>>;

/// A kind of window for the model, and for a job.
pub struct Tested {
    pub kind: Kind,
    pub build: Box<Build>,
}

pub fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A window as the model has it.
pub trait Bounds: Window {
    fn bounds(&self) -> (i64, i64);
}

impl Bounds for TimeWindow {
    fn bounds(&self) -> (i64, i64) {
        (self.start_ms, self.end_ms)
    }
}

impl Bounds for GlobalWindow {
    fn bounds(&self) -> (i64, i64) {
        GLOBAL
    }
}

/// A key as a number.
pub trait Numbered: Key {
    fn number(&self) -> u64;
}

impl Numbered for u64 {
    fn number(&self) -> u64 {
        *self
    }
}

impl Numbered for () {
    fn number(&self) -> u64 {
        0
    }
}

/// Makes rows of what is in windows.
#[derive(Clone)]
pub struct Rows {
    pub kind: u64,
    pub step: StepNumber,
}

impl Rows {
    fn emit<K: Numbered, W: Bounds>(
        &self,
        mut ids: Vec<u64>,
        fired: u64,
        context: &mut WindowContext<'_, '_, K, W, Row>,
    ) {
        ids.sort_unstable();
        self.emit_as_is(ids, fired, context);
    }

    pub fn emit_as_is<K: Numbered, W: Bounds>(
        &self,
        ids: Vec<u64>,
        fired: u64,
        context: &mut WindowContext<'_, '_, K, W, Row>,
    ) {
        let (key, window) = (context.key().number(), context.window().bounds());
        context.collect(Row { kind: self.kind, step: self.step.load(SeqCst), key, window, ids, fired });
    }

    /// For `apply`.
    fn all<K: Numbered, W: Bounds>(
        &self,
    ) -> impl FnMut(&[Item], &mut WindowContext<'_, '_, K, W, Row>) -> UserResult + Clone + Send + Sync + 'static {
        let rows = self.clone();
        move |items: &[Item], context: &mut WindowContext<'_, '_, K, W, Row>| {
            rows.emit(items.iter().flat_map(|item| item.ids.clone()).collect(), 0, context);
            Ok(())
        }
    }

    /// For `reduce_with`.
    fn reduced<K: Numbered, W: Bounds>(
        &self,
    ) -> impl FnMut(Item, &mut WindowContext<'_, '_, K, W, Row>) -> UserResult + Clone + Send + Sync + 'static {
        let rows = self.clone();
        move |item: Item, context: &mut WindowContext<'_, '_, K, W, Row>| {
            rows.emit(item.ids, 0, context);
            Ok(())
        }
    }

    /// For `aggregate_with`.
    fn aggregated<K: Numbered, W: Bounds>(
        &self,
    ) -> impl FnMut(Vec<u64>, &mut WindowContext<'_, '_, K, W, Row>) -> UserResult + Clone + Send + Sync + 'static {
        let rows = self.clone();
        move |ids: Vec<u64>, context: &mut WindowContext<'_, '_, K, W, Row>| {
            rows.emit(ids, 0, context);
            Ok(())
        }
    }

    /// The rows of late records.
    fn late(&self, stream: &DataStream<Row>, tag: &OutputTag<Item>) -> DataStream<Row> {
        let rows = self.clone();
        stream.side_output(tag).map(move |Item { key, ids }| Ok(rows.late_row(key, ids)))
    }

    pub fn late_row(&self, key: u64, ids: Vec<u64>) -> Row {
        Row { kind: self.kind, step: self.step.load(SeqCst), key, window: (0, 0), ids, fired: 0 }
    }
}

fn reduce(total: &mut Item, item: Item) -> UserResult {
    total.ids.extend(item.ids);
    Ok(())
}

/// All ids.
enum Ids {}

impl Aggregate for Ids {
    type In = Item;
    type Accumulator = Vec<u64>;
    type Out = Vec<u64>;

    fn create() -> Vec<u64> {
        Vec::new()
    }

    fn add(ids: &mut Vec<u64>, item: Item) {
        ids.extend(item.ids);
    }

    fn result(ids: &Vec<u64>) -> Vec<u64> {
        ids.clone()
    }

    fn merge(ids: &mut Vec<u64>, other: Vec<u64>) {
        ids.extend(other);
    }
}

/// Counts in the state of a window how often it has fired.
#[derive(Clone)]
struct Counted(Rows);

impl<W: Bounds> ProcessWindowFunction<u64, Item, W> for Counted {
    type State = u64;
    type Out = Row;

    fn process(
        &mut self,
        items: &[Item],
        fired: &mut u64,
        context: &mut WindowContext<'_, '_, u64, W, Row>,
    ) -> UserResult {
        self.0.emit(items.iter().flat_map(|item| item.ids.clone()).collect(), *fired, context);
        *fired += 1;
        Ok(())
    }

    fn merge(&mut self, fired: &mut u64, other: u64) {
        *fired += other;
    }
}

/// By how far ids are apart.
fn delta(one: &Item, other: &Item) -> f64 {
    one.ids[0].abs_diff(other.ids[0]) as f64
}

pub fn slices(time: Time, size: i64, slide: i64) -> Assigner {
    Assigner::Slices { time, size, slide, offset: 0 }
}

pub fn sessions(time: Time, gap: i64) -> Assigner {
    Assigner::Sessions { time, gap, more: 0 }
}

fn tested(kind: Kind, build: impl Fn(&Records, &Rows) -> DataStream<Row> + 'static) -> Tested {
    Tested { kind, build: Box::new(move |records, _, rows| vec![build(records, rows)]) }
}

/// Every assigner with its own trigger.
pub fn assigners() -> Vec<Tested> {
    use Time::{Event, Processing};
    let event = |assigner| Kind::new(assigner, Trigger::Event);
    let processing = |assigner| Kind::new(assigner, Trigger::Processing);
    let late = || OutputTag::<Item>::new("late");
    vec![
        tested(event(slices(Event, 100, 100)), |records, rows| {
            let windows = records.window(TumblingEventTimeWindows::of(ms(100)));
            windows.reduce_with(reduce, rows.reduced())
        }),
        Tested {
            kind: Kind {
                lateness: 200,
                late_rows: true,
                ..event(Assigner::Slices { time: Event, size: 300, slide: 300, offset: -100 })
            },
            build: Box::new(move |records, _, rows| {
                let windows = records.window(TumblingEventTimeWindows::of(ms(300)).offset_ms(-100));
                let windows = windows.allowed_lateness(ms(200)).side_output_late_data(&late());
                let fired = windows.aggregate_with::<Ids, _>(rows.aggregated());
                vec![rows.late(&fired, &late()), fired]
            }),
        },
        Tested {
            kind: Kind { lateness: 100, late_rows: true, ..event(slices(Event, 300, 100)) },
            build: Box::new(move |records, _, rows| {
                let windows = records.window(SlidingEventTimeWindows::of(ms(300), ms(100)));
                let windows = windows.allowed_lateness(ms(100)).side_output_late_data(&late());
                let fired = windows.aggregate_with::<Ids, _>(rows.aggregated());
                vec![rows.late(&fired, &late()), fired]
            }),
        },
        tested(
            Kind { lateness: 300, ..event(Assigner::Slices { time: Event, size: 500, slide: 200, offset: 100 }) },
            |records, rows| {
                let windows = records.window(SlidingEventTimeWindows::of(ms(500), ms(200)).offset_ms(100));
                windows.allowed_lateness(ms(300)).apply(rows.all())
            },
        ),
        Tested {
            kind: Kind { late_rows: true, ..event(slices(Event, 100, 300)) },
            build: Box::new(move |records, _, rows| {
                let windows = records.window(SlidingEventTimeWindows::of(ms(100), ms(300)));
                let fired = windows.side_output_late_data(&late()).reduce_with(reduce, rows.reduced());
                vec![rows.late(&fired, &late()), fired]
            }),
        },
        tested(processing(slices(Processing, 200, 200)), |records, rows| {
            records.window(TumblingProcessingTimeWindows::of(ms(200))).apply(rows.all())
        }),
        tested(processing(slices(Processing, 500, 200)), |records, rows| {
            records
                .window(SlidingProcessingTimeWindows::of(ms(500), ms(200)))
                .aggregate_with::<Ids, _>(rows.aggregated())
        }),
        Tested {
            kind: Kind { lateness: 100, late_rows: true, ..event(sessions(Event, 200)) },
            build: Box::new(move |records, _, rows| {
                let windows = records.window(EventTimeSessionWindows::with_gap(ms(200)));
                let windows = windows.allowed_lateness(ms(100)).side_output_late_data(&late());
                let fired = windows.apply(rows.all());
                vec![rows.late(&fired, &late()), fired]
            }),
        },
        tested(
            Kind {
                lateness: 300,
                shape: Shape::Counted,
                ..event(Assigner::Sessions { time: Event, gap: 100, more: 100 })
            },
            |records, rows| {
                let gap = |item: &Item| ms(100 + 100 * (item.ids[0] % 3));
                let windows = records.window(EventTimeSessionWindows::with_dynamic_gap(gap));
                windows.allowed_lateness(ms(300)).process(Counted(rows.clone()))
            },
        ),
        tested(processing(sessions(Processing, 200)), |records, rows| {
            let windows = records.window(ProcessingTimeSessionWindows::with_gap(ms(200)));
            windows.reduce_with(reduce, rows.reduced())
        }),
        tested(Kind { lateness: 200, shape: Shape::Counted, ..event(slices(Event, 300, 200)) }, |records, rows| {
            let windows = records.window(SlidingEventTimeWindows::of(ms(300), ms(200)));
            windows.allowed_lateness(ms(200)).process(Counted(rows.clone()))
        }),
        Tested {
            kind: Kind { all: true, ..event(slices(Event, 200, 100)) },
            build: Box::new(|_, items, rows| {
                vec![items.window_all(SlidingEventTimeWindows::of(ms(200), ms(100))).apply(rows.all())]
            }),
        },
    ]
}

/// Every trigger and evictor, with windows that they make a difference for.
pub fn triggers() -> Vec<Tested> {
    use Time::{Event, Processing};
    let kind = Kind::new;
    let tumbling = || TumblingEventTimeWindows::of(ms(300));
    vec![
        tested(Kind { purging: true, ..kind(Assigner::Global, Trigger::Count(3)) }, |records, rows| {
            records.count_window(3).reduce_with(reduce, rows.reduced())
        }),
        tested(kind(Assigner::Global, Trigger::Count(3)), |records, rows| {
            let windows = records.window(GlobalWindows).trigger(CountTrigger::of(3));
            windows.aggregate_with::<Ids, _>(rows.aggregated())
        }),
        tested(Kind { evictor: Evictor::Count(4), ..kind(Assigner::Global, Trigger::Count(2)) }, |records, rows| {
            records.sliding_count_window(4, 2).reduce_with(reduce, rows.reduced())
        }),
        tested(
            Kind { purging: true, lateness: 200, ..kind(slices(Event, 300, 300), Trigger::Event) },
            move |records, rows| {
                let windows = records.window(tumbling()).trigger(PurgingTrigger::of(EventTimeTrigger));
                windows.allowed_lateness(ms(200)).apply(rows.all())
            },
        ),
        tested(kind(slices(Event, 500, 200), Trigger::Count(2)), |records, rows| {
            let windows = records.window(SlidingEventTimeWindows::of(ms(500), ms(200))).trigger(CountTrigger::of(2));
            windows.reduce_with(reduce, rows.reduced())
        }),
        tested(Kind { lateness: 200, ..kind(sessions(Event, 200), Trigger::Count(3)) }, |records, rows| {
            let windows = records.window(EventTimeSessionWindows::with_gap(ms(200))).trigger(CountTrigger::of(3));
            windows.allowed_lateness(ms(200)).apply(rows.all())
        }),
        tested(Kind { purging: true, lateness: 100, ..kind(sessions(Event, 200), Trigger::Event) }, |records, rows| {
            let windows = records.window(EventTimeSessionWindows::with_gap(ms(200)));
            windows.trigger(PurgingTrigger::of(EventTimeTrigger)).allowed_lateness(ms(100)).apply(rows.all())
        }),
        tested(
            Kind { lateness: 100, ..kind(slices(Event, 500, 300), Trigger::ContinuousEvent(100)) },
            |records, rows| {
                let windows = records.window(SlidingEventTimeWindows::of(ms(500), ms(300)));
                windows.trigger(ContinuousEventTimeTrigger::of(ms(100))).allowed_lateness(ms(100)).apply(rows.all())
            },
        ),
        tested(Kind { lateness: 200, ..kind(sessions(Event, 300), Trigger::ContinuousEvent(200)) }, |records, rows| {
            let windows = records.window(EventTimeSessionWindows::with_gap(ms(300)));
            windows.trigger(ContinuousEventTimeTrigger::of(ms(200))).allowed_lateness(ms(200)).apply(rows.all())
        }),
        tested(kind(slices(Processing, 500, 500), Trigger::ContinuousProcessing(200)), |records, rows| {
            let windows = records.window(TumblingProcessingTimeWindows::of(ms(500)));
            windows.trigger(ContinuousProcessingTimeTrigger::of(ms(200))).apply(rows.all())
        }),
        tested(kind(slices(Event, 500, 500), Trigger::ContinuousProcessing(100)), |records, rows| {
            let windows = records.window(TumblingEventTimeWindows::of(ms(500)));
            windows.trigger(ContinuousProcessingTimeTrigger::of(ms(100))).apply(rows.all())
        }),
        // They are past at once by the clock, and stay for ever.
        tested(Kind { lateness: i64::MAX, ..kind(slices(Event, 500, 500), Trigger::Processing) }, |records, rows| {
            let windows = records.window(TumblingEventTimeWindows::of(ms(500))).trigger(ProcessingTimeTrigger);
            windows.allowed_lateness(Duration::MAX).apply(rows.all())
        }),
        tested(kind(Assigner::Global, Trigger::Delta(6)), |records, rows| {
            records.window(GlobalWindows).trigger(DeltaTrigger::of(6.0, delta)).apply(rows.all())
        }),
        tested(kind(Assigner::Global, Trigger::Event), |records, rows| {
            records.window(GlobalWindows).trigger(EventTimeTrigger).apply(rows.all())
        }),
        tested(kind(Assigner::Global, Trigger::Never), |records, rows| records.window(GlobalWindows).apply(rows.all())),
        tested(
            Kind { evictor: Evictor::Time(100), lateness: 200, ..kind(slices(Event, 500, 200), Trigger::Event) },
            |records, rows| {
                let windows = records.window(SlidingEventTimeWindows::of(ms(500), ms(200)));
                windows
                    .allowed_lateness(ms(200))
                    .evictor(TimeEvictor::of(ms(100)))
                    .aggregate_with::<Ids, _>(rows.aggregated())
            },
        ),
        tested(
            Kind { evictor: Evictor::Delta(9), ..kind(sessions(Event, 200), Trigger::Count(2)) },
            |records, rows| {
                let windows = records.window(EventTimeSessionWindows::with_gap(ms(200))).trigger(CountTrigger::of(2));
                windows.evictor(DeltaEvictor::of(9.0, delta)).apply(rows.all())
            },
        ),
    ]
}
