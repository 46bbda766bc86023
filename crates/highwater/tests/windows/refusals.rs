//! Settings and records that no window can be right with: refused with what is wrong and where.

use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::window::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountEvictor, CountTrigger, EventTimeSessionWindows,
    GlobalWindows, ProcessingTimeSessionWindows, PurgingTrigger, SlidingEventTimeWindows, SlidingProcessingTimeWindows,
    TimeEvictor, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
};

type Records = KeyedStream<u64, u64, fn(&u64) -> u64>;

/// What a job ends with that has these windows over records that have their number as event time, or none.
fn error_of(has_time: bool, windows: impl FnOnce(&Records) -> DataStream<u64>) -> String {
    let (env, source) = (StreamExecutionEnvironment::new(), CollectionSource::new(vec![7u64]));
    env.stop_on_signals(false).set_parallelism(1).set_restart_strategy(RestartStrategy::None);
    let watermarks = match has_time {
        true => WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64),
        false => WatermarkStrategy::no_watermarks(),
    };
    let records = env.from_source(source, watermarks, "numbers").key_by((|number| *number) as fn(&u64) -> u64);
    windows(&records).name("windows").sink_to(CollectSink::new());
    env.execute("refused").unwrap_err().to_string()
}

fn sum(total: &mut u64, number: u64) -> UserResult {
    *total += number;
    Ok(())
}

const MS: Duration = Duration::from_millis(1);

#[test]
fn settings_that_cannot_be_right_are_refused_before_anything_runs() {
    macro_rules! refused {
        ($($assigner:expr $(, $set:ident = $with:expr)? => $message:literal;)+) => {
            $({
                let error = error_of(true, |records| records.window($assigner)$(.$set($with))?.reduce(sum));
                assert!(error.contains("operator windows: ") && error.contains($message), "{error}");
            })+
        };
    }
    refused! {
        TumblingEventTimeWindows::of(Duration::ZERO) => "a size of 0";
        TumblingProcessingTimeWindows::of(Duration::from_nanos(1)) => "a size of 0";
        TumblingEventTimeWindows::of(Duration::MAX) => "longer than 365000 days";
        TumblingEventTimeWindows::of(10 * MS).offset_ms(10) => "every 10 ms are shifted by 10 ms";
        SlidingEventTimeWindows::of(Duration::ZERO, MS) => "a size of 0";
        SlidingEventTimeWindows::of(10 * MS, Duration::ZERO) => "slide by 0";
        SlidingProcessingTimeWindows::of(10 * MS, 3 * MS).offset_ms(-3) => "every 3 ms are shifted by -3 ms";
        SlidingProcessingTimeWindows::of(10 * MS, 3 * MS).offset_ms(i64::MIN) => "shifted by -9223372036854775808 ms";
        EventTimeSessionWindows::with_gap(Duration::ZERO) => "the gap of a session is 0";
        ProcessingTimeSessionWindows::with_gap(Duration::MAX) => "longer than 365000 days";
        GlobalWindows, trigger = CountTrigger::of(0) => "after each 0 records";
        GlobalWindows, trigger = PurgingTrigger::of(CountTrigger::of(0)) => "after each 0 records";
        GlobalWindows, trigger = ContinuousEventTimeTrigger::of(Duration::ZERO) => "at intervals of 0";
        GlobalWindows, trigger = ContinuousProcessingTimeTrigger::of(Duration::ZERO) => "at intervals of 0";
        GlobalWindows, evictor = CountEvictor::of(0) => "the last 0 elements";
        GlobalWindows, evictor = TimeEvictor::of(Duration::ZERO) => "the last 0 ms";
    }
    let joined = |records: &Records| {
        let windows = records.join(records).window(TumblingEventTimeWindows::of(Duration::ZERO));
        windows.apply(|left, _, context| {
            context.collect(*left);
            Ok(())
        })
    };
    assert!(error_of(true, joined).contains("a size of 0"));
}

#[test]
fn a_record_that_cannot_be_assigned_is_named() {
    let error = error_of(false, |records| records.window(TumblingEventTimeWindows::of(MS)).reduce(sum));
    assert!(error.contains("key 7") && error.contains("without event time"), "{error}");
    let error = error_of(true, |records| {
        let gap = |number: &u64| Duration::from_millis(number - 7);
        records.window(EventTimeSessionWindows::with_dynamic_gap(gap)).reduce(sum)
    });
    assert!(error.contains("key 7") && error.contains("the gap of a session is 0"), "{error}");
}

/// Event times as far out as they can be are computed with, and are in the last windows there are.
#[test]
fn event_times_beyond_all_years_do_no_harm() {
    let (env, output) = (StreamExecutionEnvironment::new(), CollectSink::new());
    env.stop_on_signals(false).set_parallelism(1);
    let times = vec![i64::MIN + 1, -5, 5, i64::MAX];
    let items = env.from_collection(times).flat_map(|time, out| {
        out.collect_at(time, time);
        Ok(())
    });
    let sliding = SlidingEventTimeWindows::of(10 * MS, 3 * MS);
    let windows = items.key_by(|_: &i64| 0u64).window(sliding).allowed_lateness(Duration::MAX);
    let counted = windows.apply(|times, context| {
        context.collect((times.to_vec(), context.window().start_ms));
        Ok(())
    });
    counted.sink_to(output.clone());
    env.execute("far").unwrap();
    let mut starts = output.committed();
    starts.sort();
    let of = |time: i64| starts.iter().filter(move |(times, _)| times.contains(&time)).map(|(_, start)| *start);
    assert_eq!(of(-5).collect::<Vec<_>>(), [-12, -9, -6]);
    assert_eq!(of(5).collect::<Vec<_>>(), [-3, 0, 3]);
    assert!((3..=4).contains(&of(i64::MIN + 1).count()) && (3..=4).contains(&of(i64::MAX).count()));
}
