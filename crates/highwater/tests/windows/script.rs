//! A job whose input is a script: records, watermarks and times of the clock, each of which is dealt with before the next.
//!
//! A watermark has been dealt with when the end of the job has seen it. Whatever the machine's clock has made due, or a record, has
//! been when two further watermarks have: a task that passes the first on does everything else before it passes on the second. So
//! what a job emits is determined, step by step, though it runs on real threads.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering::SeqCst};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{JobEnd, Result, StopHandle};
use highwater_testing::{HandSetClock, Random};

const LOOK: Duration = Duration::from_micros(100);

#[derive(Clone, Copy, Debug)]
pub enum Action {
    Record { key: u64, id: u64, at_ms: i64 },
    Watermark,
    Clock,
}

/// What happens, and the state of things around it.
#[derive(Clone, Debug)]
pub struct Step {
    pub action: Action,
    /// The watermark before.
    pub watermark: i64,
    /// The watermarks after it, one after the other.
    pub beats: Vec<i64>,
    /// The clock, from this step on.
    pub clock_ms: i64,
}

/// A random script of so many steps. Windows under test begin and end at full hundreds, give or take one: that is what it aims at.
///
/// The clock is set only where the beats that follow reach no such time, so that it does not matter which of the two a task sees first.
pub fn script(seed: u64, count: u64) -> Vec<Step> {
    let mut random = Random::new(seed);
    let (mut watermark, mut clock_ms) = (-800i64, 10_000i64);
    let edges = [0, 0, 1, 50, 98, 99];
    let mut steps = Vec::new();
    for id in 0..count {
        let before = watermark;
        let hundred = |time: i64| time - time.rem_euclid(100);
        let edge = edges[random.up_to(edges.len() - 1)];
        let action = match random.up_to(9) {
            0..=5 => {
                let at_ms = hundred(watermark) + 100 * (random.up_to(7) as i64 - 5) + edge;
                Action::Record { key: random.up_to(2) as u64, id, at_ms }
            }
            6 | 7 if (1..=90).contains(&watermark.rem_euclid(100)) => {
                clock_ms = (hundred(clock_ms) + 100 * random.up_to(3) as i64 + edge).max(clock_ms);
                Action::Clock
            }
            _ => Action::Watermark,
        };
        let beats = match action {
            Action::Watermark => vec![(hundred(watermark) + 100 * random.up_to(3) as i64 + edge).max(watermark + 1)],
            _ => vec![watermark + 1, watermark + 2],
        };
        watermark = *beats.last().unwrap();
        steps.push(Step { action, watermark: before, beats, clock_ms });
    }
    steps
}

#[derive(Clone, Debug, PartialEq, Data)]
pub struct Event {
    key: u64,
    id: u64,
    at_ms: i64,
    watermark: i64,
    is_beat: bool,
}

/// A record, or several that were reduced to one.
#[derive(Clone, Debug, PartialEq, Data)]
pub struct Item {
    pub key: u64,
    pub ids: Vec<u64>,
}

/// What a window emits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Data)]
pub struct Row {
    pub kind: u64,
    /// The number of the step at which it was emitted, from 1.
    pub step: u64,
    pub key: u64,
    /// Start and end of the window; of a late record its step.
    pub window: (i64, i64),
    pub ids: Vec<u64>,
    /// How often the window had fired before, if it counts that.
    pub fired: u64,
}

/// What the source and the end of the job share.
#[derive(Clone, Default)]
struct Progress {
    step: Arc<AtomicU64>,
    seen: Arc<AtomicI64>,
    clock: Arc<HandSetClock>,
}

#[derive(Clone)]
struct Script {
    steps: Arc<Vec<Step>>,
    progress: Progress,
    /// Ends the job after each step.
    stop: Option<StopHandle>,
}

impl Source for Script {
    type Record = Event;
    type Split = u64;
    type Reader = Reader;

    fn discover(&self, _: u32) -> Result<Vec<u64>> {
        Ok(vec![0])
    }

    fn reader(&self, splits: Vec<u64>) -> Result<Reader> {
        // A watermark is not part of a checkpoint: the next run has to hear of it again, if it is to.
        let heard = splits.first().and_then(|next| self.steps.get(*next as usize)).map(|step| step.watermark);
        let heard = heard.filter(|watermark| *watermark > i64::MIN);
        Ok(Reader {
            script: self.clone(),
            next: splits,
            beats: heard.into_iter().collect(),
            awaited: None,
            is_done: false,
            is_stopped: false,
        })
    }
}

struct Reader {
    script: Script,
    next: Vec<u64>,
    beats: VecDeque<i64>,
    awaited: Option<i64>,
    /// Whether a step was made in this run.
    is_done: bool,
    is_stopped: bool,
}

impl SourceReader for Reader {
    type Record = Event;
    type Split = u64;

    fn poll(&mut self, output: &mut SourceOutput<Event>) -> Result<SourceStatus> {
        let Script { steps, progress, stop } = &self.script;
        let Some(next) = self.next.first_mut() else { return Ok(SourceStatus::End) };
        if self.awaited.is_some_and(|beat| progress.seen.load(SeqCst) < beat) {
            return Ok(SourceStatus::Idle(LOOK));
        }
        self.awaited = self.beats.pop_front();
        if let Some(watermark) = self.awaited {
            output.emit(Event { key: 0, id: 0, at_ms: 0, watermark, is_beat: true });
            return Ok(SourceStatus::Idle(LOOK));
        }
        if let (Some(stop), true) = (stop, self.is_done) {
            if !std::mem::replace(&mut self.is_stopped, true) {
                stop.stop();
            }
            return Ok(SourceStatus::Idle(LOOK));
        }
        progress.step.store(*next + 1, SeqCst);
        let Some(Step { action, watermark, beats, clock_ms }) = steps.get(*next as usize) else {
            return Ok(SourceStatus::End);
        };
        progress.clock.unix_ms.store(*clock_ms, SeqCst);
        if let Action::Record { key, id, at_ms } = *action {
            output.emit(Event { key, id, at_ms, watermark: *watermark, is_beat: false });
        }
        self.beats.extend(beats);
        self.is_done = true;
        *next += 1;
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<u64> {
        self.next.clone()
    }
}

#[derive(KeyedState)]
struct Nothing {
    nothing: ValueState<()>,
}

/// The end of the job: says how far the watermark is, and passes rows on.
#[derive(Clone)]
struct Probe(Progress);

impl KeyedCoProcessFunction<(), Event, Row> for Probe {
    type State = Nothing;
    type Out = Row;

    fn process1(&mut self, beat: Event, _: &mut Nothing, context: &mut Context<'_, (), Row>) -> UserResult {
        context.register_event_time_timer(beat.watermark);
        Ok(())
    }

    fn process2(&mut self, row: Row, _: &mut Nothing, context: &mut Context<'_, (), Row>) -> UserResult {
        if row.window.1 < i64::MAX && row.window.0 < row.window.1 {
            assert_eq!(context.timestamp(), Some(row.window.1 - 1), "the event time of {row:?}");
        }
        context.collect(row);
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, _: &mut Nothing, _: &mut Context<'_, (), Row>) -> UserResult {
        self.0.seen.store(timer.time_ms, SeqCst);
        Ok(())
    }
}

/// The number of the step at hand.
pub type StepNumber = Arc<AtomicU64>;

/// What a job does with the records of the script.
pub type Job = dyn Fn(&DataStream<Item>, StepNumber) -> Vec<DataStream<Row>>;

/// Runs a job: in one piece, or with one run a step and the parallelism changing from run to run.
pub fn run(steps: &[Step], parallelism: &[usize], in_pieces: bool, job: &Job) -> Vec<Row> {
    let (steps, output, clock) = (Arc::new(steps.to_vec()), CollectSink::new(), Arc::new(HandSetClock::default()));
    clock.unix_ms.store(steps[0].clock_ms, SeqCst);
    let backend = MemoryStateBackend::new();
    for run in 0.. {
        let env = StreamExecutionEnvironment::new();
        env.stop_on_signals(false).set_parallelism(parallelism[run % parallelism.len()]).set_clock(clock.clone());
        env.set_state_backend(backend.clone()).enable_checkpointing(Duration::from_secs(3600));
        env.set_restart_strategy(RestartStrategy::None);
        let seen = Arc::new(AtomicI64::new(i64::MIN));
        let progress = Progress { step: Arc::default(), seen, clock: clock.clone() };
        let stop = in_pieces.then(|| env.stop_handle());
        let script = Script { steps: steps.clone(), progress: progress.clone(), stop };
        // The watermark stays below the time of an event.
        let watermarks = WatermarkStrategy::for_monotonous_timestamps(|event: &Event| event.watermark + 1);
        let events = env.from_source(script, watermarks, "script");
        let items = events.flat_map(|Event { key, id, at_ms, is_beat, .. }, out| {
            if !is_beat {
                out.collect_at(Item { key, ids: vec![id] }, at_ms);
            }
            Ok(())
        });
        let rows = job(&items, progress.step.clone());
        let rows = rows[0].union(&rows[1..]).key_by(|_: &Row| ());
        let beats = events.filter(|event| Ok(event.is_beat)).key_by(|_: &Event| ());
        beats.connect(&rows).process(Probe(progress)).sink_to(output.clone());
        if env.execute("script").unwrap_or_else(|error| panic!("run {run}: {error}")).end == JobEnd::Finished {
            break;
        }
    }
    output.committed()
}
