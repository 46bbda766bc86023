//! Joins and co-groups in windows under test.

use highwater::OutputTag;
use highwater::prelude::*;
use highwater::window::{
    CountTrigger, EventTimeSessionWindows, GlobalWindows, PurgingTrigger, SlidingEventTimeWindows, TaggedUnion,
    TumblingEventTimeWindows, TumblingProcessingTimeWindows, WindowContext,
};

use crate::kinds::{Bounds, Records, Rows, Tested, ms, sessions, slices};
use crate::model::{Assigner, Kind, Shape, Time, Trigger};
use crate::script::{Item, Row};

/// The ids of the second side of joins are records of another type.
type Number = (u64, u64);

type Numbers = KeyedStream<u64, Number, fn(&Number) -> u64>;

/// The two sides of joins: records with an even id and those with an odd one.
fn sides(items: &DataStream<Item>) -> (Records, Numbers) {
    let even = items.filter(|item| Ok(item.ids[0] % 2 == 0));
    let odd = items.filter(|item| Ok(item.ids[0] % 2 == 1)).map(|item| Ok((item.key, item.ids[0])));
    (even.key_by(|item| item.key), odd.key_by(|number| number.0))
}

type Side = TaggedUnion<Item, Number>;

/// The function of a join.
fn pairs<W: Bounds>(
    rows: &Rows,
) -> impl FnMut(&Item, &Number, &mut WindowContext<'_, '_, u64, W, Row>) -> UserResult + Clone + Send + Sync + 'static {
    let rows = rows.clone();
    move |item: &Item, number: &Number, context: &mut WindowContext<'_, '_, u64, W, Row>| {
        rows.emit_as_is(vec![item.ids[0], number.1], 0, context);
        Ok(())
    }
}

/// The function of a co-group.
fn groups<W: Bounds>(
    rows: &Rows,
) -> impl FnMut(&[Item], &[Number], &mut WindowContext<'_, '_, u64, W, Row>) -> UserResult + Clone + Send + Sync + 'static
{
    let rows = rows.clone();
    move |items: &[Item], numbers: &[Number], context: &mut WindowContext<'_, '_, u64, W, Row>| {
        let mut even: Vec<u64> = items.iter().map(|item| item.ids[0]).collect();
        let mut odd: Vec<u64> = numbers.iter().map(|number| number.1).collect();
        even.sort_unstable();
        odd.sort_unstable();
        rows.emit_as_is([even, odd].concat(), 0, context);
        Ok(())
    }
}

fn joined(kind: Kind, build: impl Fn(&DataStream<Item>, &Rows) -> Vec<DataStream<Row>> + 'static) -> Tested {
    Tested { kind, build: Box::new(move |_, items, rows| build(items, rows)) }
}

/// Joins and co-groups, with each of the two operators and each kind of assigner.
pub fn joins() -> Vec<Tested> {
    use Time::{Event, Processing};
    let join = |assigner, trigger| Kind { shape: Shape::Joined, ..Kind::new(assigner, trigger) };
    let co_group = |assigner, trigger| Kind { shape: Shape::CoGrouped, ..Kind::new(assigner, trigger) };
    vec![
        joined(join(slices(Event, 300, 300), Trigger::Event), |items, rows| {
            let (even, odd) = sides(items);
            vec![even.join(&odd).window(TumblingEventTimeWindows::of(ms(300))).apply(pairs(rows))]
        }),
        joined(
            Kind { lateness: 200, late_rows: true, ..co_group(slices(Event, 500, 200), Trigger::Event) },
            |items, rows| {
                let ((even, odd), tag) = (sides(items), OutputTag::<Side>::new("late"));
                let windows = even.co_group(&odd).window(SlidingEventTimeWindows::of(ms(500), ms(200)));
                let windows = windows.allowed_lateness(ms(200)).side_output_late_data(&tag);
                let (fired, rows) = (windows.apply(groups(rows)), rows.clone());
                let late = fired.side_output(&tag).map(move |record| {
                    let (key, id) = match record {
                        TaggedUnion::First(item) => (item.key, item.ids[0]),
                        TaggedUnion::Second(number) => number,
                    };
                    Ok(rows.late_row(key, vec![id]))
                });
                vec![fired, late]
            },
        ),
        joined(Kind { lateness: 100, ..join(sessions(Event, 200), Trigger::Event) }, |items, rows| {
            let (even, odd) = sides(items);
            let windows = even.join(&odd).window(EventTimeSessionWindows::with_gap(ms(200)));
            vec![windows.allowed_lateness(ms(100)).apply(pairs(rows))]
        }),
        joined(co_group(slices(Processing, 300, 300), Trigger::Processing), |items, rows| {
            let (even, odd) = sides(items);
            vec![even.co_group(&odd).window(TumblingProcessingTimeWindows::of(ms(300))).apply(groups(rows))]
        }),
        joined(Kind { purging: true, ..join(Assigner::Global, Trigger::Count(5)) }, |items, rows| {
            let (even, odd) = sides(items);
            let windows = even.join(&odd).window(GlobalWindows).trigger(PurgingTrigger::of(CountTrigger::of(5)));
            vec![windows.apply(pairs(rows))]
        }),
    ]
}
