//! One job with every kind of state, run with a state backend and rescaled while everything is pending.
//!
//! The job keeps value, list, map, reducing and aggregating state, and each of them with a time-to-live, in processing time or in
//! event time, renewed by writes alone or by reads too; timers in both times; operator state that is split, shown to all, and
//! broadcast; two keyed streams that are connected, and one with a broadcast. Its input is a script: an event comes in when all that was under way
//! is dealt with, and the clock shows what the event says. So the job is deterministic, processing time included, though it runs
//! on real threads, and [`survives`] can compare whole outputs: of runs that end in the middle and go on with another
//! parallelism, of one run in one piece, and of plain loops over the script.

mod expected;
mod keyed;
mod ledger;
mod operator;
mod script;
mod source;

use std::sync::Arc;
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::{JobEnd, StartFrom, StateBackend};

use keyed::{Pair, Recent, Total};
use ledger::Ledger;
use operator::{Bundle, Scale};
use script::{Event, Kind};
use source::{Break, Scripted, is_crash};

pub use source::Cut;

/// A record of the output: which function it is from, the key, and numbers.
type Line = (String, u64, Vec<i64>);

/// How many events come in between two cuts.
const RUN: u64 = 11;

/// Runs the job in one piece and in pieces with these parallelisms, over and over; each begins where the one before was `cut`.
/// The output has to be the same, and what is computed without the job.
///
/// `backend` is called for each run: what it returns has to find what the runs before stored. Savepoints go to the directory
/// `savepoints`, a path or a URI.
///
/// # Panics
/// If it is not.
pub fn survives<B: StateBackend + 'static>(cut: Cut, parallelism: &[usize], savepoints: &str, backend: impl Fn() -> B) {
    let events = Arc::new(script::events());
    let expected = sorted(expected::lines(&events));
    assert_same(&sorted(in_one_piece(&events)), &expected, "in one piece");

    let (ledger, output) = (Ledger::default(), CollectSink::new());
    let (mut start, mut pending) = (None, [0, 0]);
    for run in 0.. {
        let env = StreamExecutionEnvironment::new();
        env.set_state_backend(backend()).set_parallelism(parallelism[run % parallelism.len()]);
        env.enable_checkpointing(Duration::from_secs(3600));
        if let Some(from) = start.take() {
            env.start_from(from);
        }
        let interruption = Arc::new(Break {
            cut,
            at: ledger.progress().next + RUN,
            client: env.client(),
            stop: env.stop_handle(),
            savepoints: savepoints.to_owned(),
            asked: Default::default(),
            due: Default::default(),
        });
        build(&env, &events, &ledger, Some(Arc::clone(&interruption)), parallelism[run % parallelism.len()], &output);
        match env.execute("every-state") {
            Ok(result) if result.end == JobEnd::Finished => break,
            Ok(_) => {}
            Err(error) if is_crash(&error) => {}
            Err(error) => panic!("run {run}, {cut:?}: {error}"),
        }
        let mut asked = interruption.asked.lock().expect("no source panics while it holds this");
        let progress = asked.progress.take().expect("a run that ends before its input was cut");
        pending = [0, 1].map(|domain| pending[domain] + usize::from(progress.pending_timers()[domain] > 0));
        start = asked.savepoint().filter(|_| cut == Cut::Savepoint).map(StartFrom::Path);
        ledger.go_back(progress);
    }
    assert!(pending.iter().all(|runs| *runs >= parallelism.len()), "timers were pending at {pending:?} cuts");
    assert_same(&sorted(output.committed()), &expected, &format!("{cut:?}, parallelism {parallelism:?}"));
}

fn in_one_piece(events: &Arc<Vec<Event>>) -> Vec<Line> {
    let (env, output) = (StreamExecutionEnvironment::new(), CollectSink::new());
    env.set_parallelism(1);
    build(&env, events, &Ledger::default(), None, 1, &output);
    env.execute("every-state").unwrap_or_else(|error| panic!("the job fails in one piece: {error}"));
    output.committed()
}

fn build(
    env: &StreamExecutionEnvironment,
    events: &Arc<Vec<Event>>,
    ledger: &Ledger,
    interruption: Option<Arc<Break>>,
    parallelism: usize,
    output: &CollectSink<Line>,
) {
    env.stop_on_signals(false).set_restart_strategy(RestartStrategy::None).set_clock(ledger.clock());
    let scripted = |items| {
        let (events, ledger, interruption) = (Arc::clone(events), ledger.clone(), interruption.clone());
        Scripted { events, items, ledger, parallelism, interruption }
    };
    let in_order = WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.event_ms);
    let events = env.from_source(scripted(false), in_order, "events").uid("events");
    let items = env.from_source(scripted(true), WatermarkStrategy::no_watermarks(), "items").uid("items");
    let of = |kind| events.filter(move |event| Ok(event.kind == kind));
    let key = |event: &Event| event.key;
    let (left, right) = (of(Kind::Left).key_by(key), of(Kind::Right).key_by(key));

    let totals = left.process(Total { ledger: ledger.clone() }).uid("totals");
    let recents = left.process(Recent { ledger: ledger.clone() }).uid("recents");
    let pairs = left.connect(&right).process(Pair { ledger: ledger.clone() }).uid("pairs");
    let scales = left.connect(&of(Kind::Rule).broadcast()).process(Scale { ledger: ledger.clone() }).uid("scales");
    let items = items.process(Bundle::new(ledger.clone())).uid("bundles");
    totals.union([&recents, &pairs, &scales, &items]).sink_to(output.clone()).uid("output");
}

fn sorted(mut lines: Vec<Line>) -> Vec<Line> {
    lines.sort();
    lines
}

/// Names what is different, since the whole is too long to be looked at.
fn assert_same(actual: &[Line], expected: &[Line], what: &str) {
    let only = |of: &[Line], other: &[Line]| of.iter().filter(|line| !other.contains(line)).take(5).cloned().collect();
    let (extra, missing): (Vec<Line>, Vec<Line>) = (only(actual, expected), only(expected, actual));
    assert!(
        actual == expected,
        "{what}: {} lines, expected are {}; not expected: {extra:?}; missing: {missing:?}",
        actual.len(),
        expected.len()
    );
}
