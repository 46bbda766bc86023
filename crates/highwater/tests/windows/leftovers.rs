//! Windows that are over leave nothing behind, neither state nor timers.

use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::window::{
    CountTrigger, EventTimeSessionWindows, EventTimeTrigger, PurgingTrigger, SlidingEventTimeWindows,
    TumblingEventTimeWindows,
};
use highwater_snapshot::Snapshot;

/// Key and event time.
type Event = (u64, i64);

const KEYS: u64 = 50;

/// How many rows and timers the last checkpoint of a job has.
fn left(dir: &std::path::Path, job: &str) -> u64 {
    let id_of = |name: &str| name.strip_prefix("chk-").and_then(|id| id.parse::<u64>().ok());
    let names =
        std::fs::read_dir(dir.join(job)).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let newest = names.filter_map(|name| id_of(&name)).max().unwrap();
    let snapshot = Snapshot::at_path(dir.join(job).join(format!("chk-{newest}")).to_str().unwrap()).unwrap();
    let tasks = snapshot.metadata().operators.iter().flat_map(|operator| &operator.subtasks);
    let keyed: Vec<_> = tasks.flat_map(|(_, task)| &task.keyed).collect();
    assert_eq!(keyed.len(), 10, "the state and the timers of five operators");
    keyed.iter().flat_map(|keyed| keyed.lineage.blocks()).map(|block| block.entries).sum()
}

fn run(dir: &std::path::Path, job: &str, events: Vec<Event>) -> usize {
    let (env, output) = (StreamExecutionEnvironment::new(), CollectSink::new());
    env.stop_on_signals(false).set_parallelism(1).set_state_backend(FsStateBackend::new(dir.to_str().unwrap()));
    env.enable_checkpointing(Duration::from_secs(3600));
    let in_order = WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.1);
    let events = env.from_source(CollectionSource::new(events), in_order, "events").key_by(|event| event.0);
    let first = |_: &mut Event, _: Event| Ok(());
    let ms = Duration::from_millis;
    let windows = [
        events.count_window(3).reduce(first),
        events.window(TumblingEventTimeWindows::of(ms(100))).allowed_lateness(ms(50)).reduce(first),
        events.window(SlidingEventTimeWindows::of(ms(100), ms(30))).reduce(first),
        events.window(EventTimeSessionWindows::with_gap(ms(10))).trigger(CountTrigger::of(2)).reduce(first),
        events
            .window(TumblingEventTimeWindows::of(ms(100)))
            .trigger(PurgingTrigger::of(EventTimeTrigger))
            .allowed_lateness(ms(1_000_000))
            .reduce(first),
    ];
    windows[0].union(&windows[1..]).sink_to(output.clone());
    env.execute(job).unwrap();
    output.committed().len()
}

#[test]
fn windows_that_are_over_leave_nothing_behind() {
    let dir = tempfile::tempdir().unwrap();
    let events = |rounds: i64| (0..rounds).flat_map(|round| (0..KEYS).map(move |key| (key, 20 * round))).collect();
    assert!(run(dir.path(), "over", events(6)) > 0);
    assert_eq!(left(dir.path(), "over"), 0);
    // A seventh record of each key waits for two others.
    run(dir.path(), "waiting", events(7));
    assert_eq!(left(dir.path(), "waiting"), KEYS);
}
