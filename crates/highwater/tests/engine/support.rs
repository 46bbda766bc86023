//! Jobs and sources that the tests share.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{Error, ErrorKind, JobResult, Result};

/// No test takes longer, however slow the machine: one that does hangs.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Runs `job` on a thread of its own, and fails the test if it does not come back: no failure may hang.
pub fn returns<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    let (sender, receiver) = channel();
    let run = move || {
        let _ = sender.send(job());
    };
    let thread = std::thread::Builder::new().name("test-job".into()).spawn(run).unwrap();
    match receiver.recv_timeout(PATIENCE) {
        Ok(result) => result,
        Err(RecvTimeoutError::Timeout) => panic!("the job hangs"),
        Err(RecvTimeoutError::Disconnected) => match thread.join() {
            Err(panic) => std::panic::resume_unwind(panic),
            Ok(()) => unreachable!("the sender is dropped only after it has sent, or by a panic"),
        },
    }
}

/// An environment with `workers` workers that leaves signals alone.
pub fn environment(workers: usize) -> StreamExecutionEnvironment {
    let env = StreamExecutionEnvironment::new();
    env.stop_on_signals(false).set_parallelism(workers);
    env
}

/// Restarts at once, up to `attempts` times.
pub fn at_once(attempts: u32) -> RestartStrategy {
    RestartStrategy::FixedDelay { attempts, delay: Duration::ZERO }
}

/// Runs what was built in `env`.
pub fn run(env: &StreamExecutionEnvironment) -> Result<JobResult> {
    env.execute("engine-test")
}

/// What a [`Numbers`] source does before it emits a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    Emit,
    Wait,
    Fail,
    /// There are no more.
    End,
}

/// Emits 0, 1, .. below `count` in small batches, each number when `step` says so.
#[derive(Clone)]
pub struct Numbers {
    count: u64,
    step: Arc<dyn Fn(u64) -> Step + Send + Sync>,
}

impl Numbers {
    pub fn new(count: u64) -> Self {
        Numbers { count, step: Arc::new(|_| Step::Emit) }
    }

    #[must_use]
    pub fn when(mut self, step: impl Fn(u64) -> Step + Send + Sync + 'static) -> Self {
        self.step = Arc::new(step);
        self
    }
}

/// Numbers `.0`, `.0 + .1`, ..
type Stride = (u64, u64);

impl Source for Numbers {
    type Record = u64;
    type Split = Stride;
    type Reader = NumbersReader;

    fn discover(&self, parallelism: u32) -> Result<Vec<Stride>> {
        Ok((0..u64::from(parallelism)).map(|first| (first, u64::from(parallelism))).collect())
    }

    fn reader(&self, splits: Vec<Stride>) -> Result<NumbersReader> {
        Ok(NumbersReader { numbers: self.clone(), splits })
    }
}

pub struct NumbersReader {
    numbers: Numbers,
    splits: Vec<Stride>,
}

impl SourceReader for NumbersReader {
    type Record = u64;
    type Split = Stride;

    fn poll(&mut self, output: &mut SourceOutput<u64>) -> Result<SourceStatus> {
        const BATCH: usize = 16;
        for _ in 0..BATCH {
            let next = self.splits.iter_mut().min_by_key(|(next, _)| *next);
            let Some((next, stride)) = next.filter(|(next, _)| *next < self.numbers.count) else {
                return Ok(SourceStatus::End);
            };
            match (self.numbers.step)(*next) {
                Step::Emit => output.emit(*next),
                Step::Wait => return Ok(SourceStatus::Idle(Duration::from_millis(1))),
                Step::End => return Ok(SourceStatus::End),
                Step::Fail => return Err(Error::new(ErrorKind::Input, format!("number {next} cannot be read"))),
            }
            *next += *stride;
        }
        Ok(SourceStatus::Idle(Duration::ZERO))
    }

    fn snapshot(&self) -> Vec<Stride> {
        self.splits.clone()
    }
}

/// How many keys [`count_by_key`] has.
pub const KEYS: u64 = 7;

#[derive(KeyedState)]
pub struct Count {
    pub seen: ValueState<u64>,
}

/// Emits each number with how many of its key there were up to it.
#[derive(Clone)]
pub struct CountNumbers<F> {
    /// Called for each number before it is counted: a place for failures.
    pub before: F,
}

impl<F: FnMut(u64) -> UserResult + Clone + Send + Sync + 'static> KeyedProcessFunction<u64, u64> for CountNumbers<F> {
    type State = Count;
    type Out = (u64, u64);

    fn process(&mut self, number: u64, state: &mut Count, out: &mut Context<'_, u64, (u64, u64)>) -> UserResult {
        (self.before)(number)?;
        let seen = state.seen.get_or_default() + 1;
        state.seen.set(seen);
        out.collect((number, seen));
        Ok(())
    }
}

/// The standard job: numbers, counted by key, collected.
pub fn counting(
    env: &StreamExecutionEnvironment,
    numbers: Numbers,
    sink: &CollectSink<(u64, u64)>,
    before: impl FnMut(u64) -> UserResult + Clone + Send + Sync + 'static,
) {
    env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
        .uid("numbers")
        .key_by(|number: &u64| number % KEYS)
        .process(CountNumbers { before })
        .name("count")
        .uid("count")
        .sink_to(sink.clone())
        .uid("collect");
}

/// Nothing goes wrong.
#[allow(clippy::unnecessary_wraps, reason = "it stands where a function that can fail is wanted")]
pub fn fine(_: u64) -> UserResult {
    Ok(())
}

/// Checks that each of 0 .. `count` was counted once, and each key up to how many there are of it.
pub fn assert_exactly_once(committed: &[(u64, u64)], count: u64) {
    let mut numbers: Vec<_> = committed.iter().map(|(number, _)| *number).collect();
    numbers.sort_unstable();
    assert!(
        numbers.iter().copied().eq(0..count),
        "{} numbers of {count} came out, or not the right ones",
        numbers.len()
    );
    let mut counts = BTreeMap::<_, Vec<_>>::new();
    for (number, seen) in committed {
        counts.entry(number % KEYS).or_default().push(*seen);
    }
    for (key, mut seen) in counts {
        seen.sort_unstable();
        assert!(seen.iter().copied().eq(1..=seen.len() as u64), "key {key} was counted {seen:?}");
    }
}
