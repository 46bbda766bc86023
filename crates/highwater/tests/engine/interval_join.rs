//! Joins by event time, against all pairs of two random streams.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::interval_join::IntervalJoined;
use highwater::prelude::*;
use highwater_testing::Random;
use highwater_testing::harness::{Interruption, Stage, interrupted, sorted, uninterrupted};

use crate::support::{Numbers, Step, environment, returns, run};

/// Key, event time and number.
type Event = (u64, i64, u64);
/// Key, number of the left one, number of the right one, event time.
type Joined = (u64, Option<u64>, Option<u64>, i64);

/// How far the event times of a stream are out of order.
const DISORDER_MS: i64 = 15;

fn events(seed: u64, count: u64) -> Vec<Event> {
    let (mut random, mut latest) = (Random::new(seed), -40);
    let mut event = |number| {
        latest += random.up_to(8) as i64;
        (random.any() % 3, latest - random.up_to(DISORDER_MS as usize) as i64, number)
    };
    (0..count).map(&mut event).collect()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Kind {
    Inner,
    Left,
    Right,
    Full,
}

/// The join, and what it is: which kind, and the first and last difference in time that match.
#[derive(Clone, Debug)]
struct Case {
    kind: Kind,
    between: (i64, i64),
    exclusive: (bool, bool),
    left: Vec<Event>,
    right: Vec<Event>,
}

impl Case {
    fn expected(&self) -> Vec<Joined> {
        let (first, last) =
            (self.between.0 + i64::from(self.exclusive.0), self.between.1 - i64::from(self.exclusive.1));
        let matches = |left: &Event, right: &Event| left.0 == right.0 && (first..=last).contains(&(right.1 - left.1));
        let mut joined = Vec::new();
        for left in &self.left {
            let rights = self.right.iter().filter(|right| matches(left, right));
            joined.extend(rights.map(|right| (left.0, Some(left.2), Some(right.2), left.1.max(right.1))));
        }
        if matches!(self.kind, Kind::Left | Kind::Full) {
            let alone = self.left.iter().filter(|left| !self.right.iter().any(|right| matches(left, right)));
            joined.extend(alone.map(|left| (left.0, Some(left.2), None, left.1.max(left.1 + last + 1))));
        }
        if matches!(self.kind, Kind::Right | Kind::Full) {
            let alone = self.right.iter().filter(|right| !self.left.iter().any(|left| matches(left, right)));
            joined.extend(alone.map(|right| (right.0, None, Some(right.2), right.1.max(right.1 - first + 1))));
        }
        sorted(joined)
    }

    fn job(&self, stage: &Stage) -> DataStream<Joined> {
        let disorder = Duration::from_millis(DISORDER_MS as u64);
        let watermarks = || WatermarkStrategy::for_bounded_out_of_orderness(disorder, |event: &Event| event.1);
        let left = stage.records(self.left.clone(), watermarks(), "left").key_by(|event: &Event| event.0);
        let right = stage.records(self.right.clone(), watermarks(), "right").key_by(|event: &Event| event.0);
        let mut join = left.interval_join(&right).between(self.between.0, self.between.1);
        if self.exclusive.0 {
            join = join.lower_bound_exclusive();
        }
        if self.exclusive.1 {
            join = join.upper_bound_exclusive();
        }
        joined(join, self.kind)
    }
}

fn joined<F, G>(join: IntervalJoined<u64, Event, Event, F, G>, kind: Kind) -> DataStream<Joined>
where
    F: Fn(&Event) -> u64 + Clone + Send + Sync + 'static,
    G: Fn(&Event) -> u64 + Clone + Send + Sync + 'static,
{
    let number = |event: &Event| event.2;
    match kind {
        Kind::Inner => join.process(move |left, right, context| {
            assert_eq!((context.left_timestamp(), context.right_timestamp()), (Some(left.1), Some(right.1)));
            let result = (*context.key(), Some(left.2), Some(right.2), context.timestamp().unwrap());
            context.collect(result);
            Ok(())
        }),
        Kind::Left => join.process_left_outer(move |left, right, context| {
            let result = (*context.key(), Some(left.2), right.map(number), context.timestamp().unwrap());
            context.collect(result);
            Ok(())
        }),
        Kind::Right => join.process_right_outer(move |left, right, context| {
            let result = (*context.key(), left.map(number), Some(right.2), context.timestamp().unwrap());
            context.collect(result);
            Ok(())
        }),
        Kind::Full => join.process_full_outer(move |left, right, context| {
            let result = (*context.key(), left.map(number), right.map(number), context.timestamp().unwrap());
            context.collect(result);
            Ok(())
        }),
    }
}

#[test]
fn every_kind_joins_what_all_pairs_would() {
    let mut random = Random::new(1);
    for round in 0..24 {
        let lower = random.up_to(60) as i64 - 40;
        let upper = lower + 2 + random.up_to(30) as i64;
        let case = Case {
            kind: [Kind::Inner, Kind::Left, Kind::Right, Kind::Full][round % 4],
            between: (lower, upper),
            exclusive: (random.chance(50), random.chance(50)),
            left: events(random.any(), 60),
            right: events(random.any(), 60),
        };
        let expected = case.expected();
        assert!(expected.len() > 20, "{case:?}");
        let actual = sorted(uninterrupted(|stage| case.job(stage)));
        assert_eq!(actual, expected, "{case:?}");
    }
}

#[test]
fn joins_survive_restores_and_rescaling_between_any_two_records() {
    for (kind, interruption, between) in [
        (Kind::Full, Interruption::Stop, (-10, 10)),
        (Kind::Full, Interruption::Crash, (2, 25)),
        (Kind::Inner, Interruption::Stop, (-30, -3)),
    ] {
        let (left, right) = (events(3, 15), events(4, 15));
        let case = Case { kind, between, exclusive: (false, false), left, right };
        let runs = interrupted(interruption, &[1, 3, 2], |stage| case.job(stage));
        assert_eq!(sorted(runs.output), case.expected(), "{case:?}");
    }
}

/// Tells the source that the watermark has come to a time.
#[derive(Clone)]
struct Tell(i64, Arc<AtomicBool>);

impl KeyedProcessFunction<u64, Joined> for Tell {
    type State = highwater::state::keyed::Plain<u8>;
    type Out = Joined;

    fn process(&mut self, record: Joined, _: &mut Self::State, context: &mut Context<'_, u64, Joined>) -> UserResult {
        context.register_event_time_timer(self.0);
        context.collect(record);
        Ok(())
    }

    fn on_timer(&mut self, _: Timer, _: &mut Self::State, _: &mut Context<'_, u64, Joined>) -> UserResult {
        self.1.store(true, Ordering::SeqCst);
        Ok(())
    }
}

#[test]
fn what_is_behind_the_watermark_is_late_and_what_is_at_it_is_not() {
    returns(|| {
        // Side and event time; after the third the watermark is 99.
        const EVENTS: [(bool, i64); 7] =
            [(true, 0), (false, 0), (true, 100), (true, 98), (false, 98), (true, 99), (false, 99)];
        let (env, on_time, late) = (environment(1), CollectSink::new(), CollectSink::new());
        let (late_left, late_right) = (OutputTag::<Event>::new("late-left"), OutputTag::<Event>::new("late-right"));
        let is_passed = Arc::new(AtomicBool::new(false));
        let passed = Arc::clone(&is_passed);
        let numbers = Numbers::new(EVENTS.len() as u64)
            .when(move |number| if number < 3 || passed.load(Ordering::SeqCst) { Step::Emit } else { Step::Wait });
        let in_order = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| EVENTS[*number as usize].1);
        let numbers = env.from_source(numbers, in_order, "numbers");
        let side = |is_left: bool| {
            let side = numbers.filter(move |number| Ok(EVENTS[*number as usize].0 == is_left));
            side.map(|number| Ok((0, EVENTS[number as usize].1, number))).key_by(|event: &Event| event.0)
        };
        let join = side(true).interval_join(&side(false)).between(0, 0);
        let join = join.side_output_left_late_data(&late_left).side_output_right_late_data(&late_right);
        let out = joined(join, Kind::Inner);
        out.side_output(&late_left).union([&out.side_output(&late_right)]).sink_to(late.clone());
        out.key_by(|joined: &Joined| joined.0).process(Tell(99, is_passed)).sink_to(on_time.clone());
        run(&env).unwrap();
        assert_eq!(sorted(on_time.committed()), [(0, Some(0), Some(1), 0), (0, Some(5), Some(6), 99)]);
        assert_eq!(sorted(late.committed()), [(0, 98, 3), (0, 98, 4)]);
    });
}

#[test]
fn bounds_within_which_nothing_is_and_records_without_event_time_are_refused() {
    let error = |between: (i64, i64), exclusive: bool| {
        let env = environment(1);
        let events = env.from_collection([(0, 0, 0)]).key_by(|event: &Event| event.0);
        let mut join = events.interval_join(&events).between(between.0, between.1);
        if exclusive {
            join = join.lower_bound_exclusive().upper_bound_exclusive();
        }
        joined(join, Kind::Inner).name("near").sink_to(CollectSink::new());
        run(&env).unwrap_err().to_string()
    };
    for (between, exclusive) in [((5, -5), false), ((5, 5), true), ((5, 6), true), ((i64::MAX, i64::MIN), true)] {
        let error = error(between, exclusive);
        assert!(error.contains("near") && error.contains("no two records are within the bounds"), "{error}");
    }
    let error = error((-5, 5), false);
    assert!(error.contains("a record without event time has come to the"), "{error}");
}

#[test]
fn event_times_at_the_ends_of_time_do_no_harm() {
    let ends = [i64::MIN + 1, i64::MAX - 1, i64::MAX];
    let events = |ends: &[i64]| (0..).zip(ends).map(|(number, time)| (0, *time, number)).collect::<Vec<Event>>();
    for between in [(i64::MIN, i64::MAX), (1, i64::MAX), (i64::MIN, -1), (1, 1)] {
        let job = |stage: &Stage| {
            let watermarks = || WatermarkStrategy::for_bounded_out_of_orderness(Duration::MAX, |event: &Event| event.1);
            let left = stage.records(events(&ends), watermarks(), "left").key_by(|event: &Event| event.0);
            let right = stage.records(events(&ends), watermarks(), "right").key_by(|event: &Event| event.0);
            joined(left.interval_join(&right).between(between.0, between.1), Kind::Inner)
        };
        let pairs = ends.iter().flat_map(|left| ends.iter().map(move |right| i128::from(*right) - i128::from(*left)));
        let expected = pairs.filter(|difference| (between.0.into()..=between.1.into()).contains(difference)).count();
        assert_eq!(uninterrupted(job).len(), expected, "{between:?}");
    }
}
