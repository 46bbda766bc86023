//! Requests to other systems: each result once, in an order that is allowed, whatever the answers do.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use highwater::async_io::{AsyncFunction, AsyncRetryStrategy, AsyncWait};
use highwater::connectors::CollectSink;
use highwater::prelude::*;
use highwater_testing::harness::{Interruption, interrupted, sorted};
use tokio::sync::Barrier;

use crate::support::{Numbers, Step, environment, returns, run};

/// No request takes so long, however slow the machine.
const LONG: Duration = Duration::from_secs(40);

/// How often each number was asked for.
type Asked = Arc<Mutex<BTreeMap<u64, u32>>>;

fn ask(asked: &Asked, number: u64) -> u32 {
    let mut asked = asked.lock().unwrap();
    let times = asked.entry(number).or_default();
    *times += 1;
    *times
}

/// Does not answer a request that is made for the first time.
#[derive(Clone)]
struct AnswersWhenAskedAgain(Asked);

impl AsyncFunction<u64> for AnswersWhenAskedAgain {
    type Out = (u64, u8);

    async fn invoke(&self, number: u64) -> UserResult<Vec<(u64, u8)>> {
        if ask(&self.0, number) == 1 {
            std::future::pending::<()>().await;
        }
        Ok(vec![(number, 0), (number, 1)])
    }
}

#[test]
fn requests_under_way_survive_and_are_made_again() {
    const COUNT: u64 = 20;
    let expected: Vec<(u64, u8)> = (0..COUNT).flat_map(|number| [(number, 0), (number, 1)]).collect();
    for (settings, interruption, parallelism) in [
        (AsyncWait::ordered(LONG, 3), Interruption::Stop, &[1][..]),
        (AsyncWait::ordered(LONG, 1), Interruption::Crash, &[1, 3, 2]),
        (AsyncWait::unordered(LONG, 2), Interruption::Stop, &[1, 3, 2]),
        (AsyncWait::unordered(LONG, 3), Interruption::Crash, &[1]),
    ] {
        let asked = Asked::default();
        let runs = interrupted(interruption, parallelism, |stage| {
            let numbers = stage.records((0..COUNT).collect(), WatermarkStrategy::no_watermarks(), "numbers");
            numbers.async_wait(AnswersWhenAskedAgain(asked.clone()), settings).uid("ask")
        });
        let is_in_order = interruption == Interruption::Stop && parallelism.len() == 1;
        let output = if is_in_order { runs.output } else { sorted(runs.output) };
        assert_eq!(output, expected, "{settings:?}, {interruption:?}, parallelism {parallelism:?}");
        let asked = asked.lock().unwrap();
        assert!(asked.len() as u64 == COUNT && asked.values().all(|times| *times >= 2), "{asked:?}");
    }
}

/// Answers when so many are asked for at once, and not in their order.
#[derive(Clone)]
struct AnswersTogether {
    barrier: Arc<Barrier>,
    under_way: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl AsyncFunction<u64> for AnswersTogether {
    type Out = u64;

    async fn invoke(&self, number: u64) -> UserResult<Vec<u64>> {
        let under_way = self.under_way.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(under_way, Ordering::SeqCst);
        self.barrier.wait().await;
        // Each waits for the one after it of the four.
        tokio::time::sleep(Duration::from_millis(3 - number % 4)).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        Ok(vec![number])
    }
}

/// Passes on what the watermark has not come to.
#[derive(Clone)]
struct NoneIsLate;

impl KeyedProcessFunction<u64, u64> for NoneIsLate {
    type State = highwater::state::keyed::Plain<u8>;
    type Out = u64;

    fn process(&mut self, number: u64, _: &mut Self::State, context: &mut Context<'_, u64, u64>) -> UserResult {
        if context.timestamp() != Some(number as i64) || context.watermark() >= number as i64 {
            return Err(format!("at {:?}, watermark {}", context.timestamp(), context.watermark()).into());
        }
        context.collect(number);
        Ok(())
    }
}

#[test]
fn as_many_as_allowed_are_under_way_and_no_result_is_behind_the_watermark() {
    const COUNT: u64 = 400;
    const CAPACITY: usize = 4;
    for settings in [AsyncWait::ordered(LONG, CAPACITY), AsyncWait::unordered(LONG, CAPACITY)] {
        let (most, output) = returns(move || {
            let (env, sink, most) = (environment(1), CollectSink::new(), Arc::new(AtomicUsize::new(0)));
            let (barrier, under_way) = (Arc::new(Barrier::new(CAPACITY)), Arc::default());
            let in_order = WatermarkStrategy::for_monotonous_timestamps(|number: &u64| *number as i64);
            env.from_source(Numbers::new(COUNT), in_order, "numbers")
                .async_wait(AnswersTogether { barrier, under_way, most: most.clone() }, settings)
                .key_by(|_| 0)
                .process(NoneIsLate)
                .sink_to(sink.clone());
            run(&env).unwrap();
            (most.load(Ordering::SeqCst), sink.committed())
        });
        assert_eq!(most, CAPACITY, "{settings:?}");
        let is_ordered = output.is_sorted();
        assert_eq!(is_ordered, format!("{settings:?}").contains("Ordered"), "{settings:?}");
        assert!(sorted(output).into_iter().eq(0..COUNT), "{settings:?}");
    }
}

/// Answers when so many checkpoints have completed.
#[derive(Clone)]
struct AnswersAfter(u64, Arc<highwater::JobStatus>);

impl AsyncFunction<u64> for AnswersAfter {
    type Out = u64;

    async fn invoke(&self, number: u64) -> UserResult<Vec<u64>> {
        while self.1.snapshot().completed < self.0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(vec![number])
    }
}

#[test]
fn checkpoints_complete_while_as_many_requests_as_allowed_are_under_way() {
    let output = returns(|| {
        let (env, sink) = (environment(2), CollectSink::new());
        env.enable_checkpointing(Duration::from_millis(2));
        let status = env.status();
        let numbers = Numbers::new(12)
            .when(move |number| if number < 10 || status.snapshot().completed >= 4 { Step::Emit } else { Step::Wait });
        env.from_source(numbers, WatermarkStrategy::no_watermarks(), "numbers")
            .async_wait(AnswersAfter(4, env.status()), AsyncWait::ordered(LONG, 2))
            .sink_to(sink.clone());
        run(&env).unwrap();
        sink.committed()
    });
    assert!(sorted(output).into_iter().eq(0..12));
}

/// What goes wrong with number 3.
#[derive(Clone, Copy, Debug)]
enum Wrong {
    NoAnswer,
    BlockedThread,
    Error,
    Panic,
}

#[derive(Clone)]
struct GoesWrong(Wrong, Asked);

impl AsyncFunction<u64> for GoesWrong {
    type Out = u64;

    async fn invoke(&self, number: u64) -> UserResult<Vec<u64>> {
        let times = ask(&self.1, number);
        match self.0 {
            _ if number != 3 || times == 3 => return Ok(vec![number]),
            Wrong::NoAnswer => std::future::pending::<()>().await,
            Wrong::BlockedThread => std::thread::sleep(Duration::from_millis(500)),
            Wrong::Error => return Err("no such user".into()),
            Wrong::Panic => panic!("what a pity"),
        }
        Ok(Vec::new())
    }
}

/// Emits a number in place of what is not answered.
#[derive(Clone)]
struct WithDefault(GoesWrong);

impl AsyncFunction<u64> for WithDefault {
    type Out = u64;

    async fn invoke(&self, number: u64) -> UserResult<Vec<u64>> {
        self.0.invoke(number).await
    }

    fn timeout(&self, number: u64) -> UserResult<Vec<u64>> {
        Ok(vec![number + 1000])
    }
}

/// Runs the numbers below 6; what comes out, or the error.
fn outcome<F: AsyncFunction<u64, Out = u64>>(function: F, settings: AsyncWait) -> Result<Vec<u64>, String> {
    returns(move || {
        let (env, sink) = (environment(1), CollectSink::new());
        let numbers = env.from_source(Numbers::new(6), WatermarkStrategy::no_watermarks(), "numbers");
        numbers.async_wait(function, settings).name("ask").sink_to(sink.clone());
        run(&env).map_err(|error| error.to_string())?;
        Ok(sink.committed())
    })
}

#[test]
fn what_is_not_answered_is_an_error_that_names_the_record_or_what_the_function_says() {
    const SHORT: Duration = Duration::from_millis(30);
    let wrong = |wrong| GoesWrong(wrong, Asked::default());
    for (problem, timeout, expected) in [
        (Wrong::NoAnswer, SHORT, "the request for 3 was not answered in time"),
        (Wrong::BlockedThread, SHORT, "the request for 3 was not answered in time"),
        (Wrong::Error, LONG, "no such user"),
        (Wrong::Panic, LONG, "panicked for record 3: what a pity"),
    ] {
        let error = outcome(wrong(problem), AsyncWait::unordered(timeout, 10)).unwrap_err();
        assert!(error.contains("ask") && error.contains("for record 3") && error.contains(expected), "{error}");
    }
    let output = outcome(WithDefault(wrong(Wrong::NoAnswer)), AsyncWait::ordered(SHORT, 2)).unwrap();
    assert_eq!(output, [0, 1, 2, 1003, 4, 5]);
}

#[test]
fn a_request_is_made_again_as_often_as_it_may_be() {
    let retried = |retries| {
        let asked = Asked::default();
        let strategy = AsyncRetryStrategy::FixedDelay { retries, delay: Duration::from_millis(1) };
        let settings = AsyncWait::ordered(LONG, 3).with_retry(strategy);
        let outcome = outcome(GoesWrong(Wrong::Error, asked.clone()), settings);
        (outcome, asked.lock().unwrap()[&3])
    };
    assert_eq!(retried(2), (Ok((0..6).collect()), 3));
    let (outcome, times) = retried(1);
    assert!(outcome.unwrap_err().contains("no such user") && times == 2);
}

#[test]
fn settings_with_which_nothing_can_be_answered_are_refused() {
    let shrinking = AsyncRetryStrategy::ExponentialBackoff {
        retries: 1,
        initial: Duration::ZERO,
        max: Duration::ZERO,
        multiplier: f64::NAN,
    };
    for (settings, expected) in [
        (AsyncWait::ordered(Duration::ZERO, 1), "a timeout of zero"),
        (AsyncWait::unordered(LONG, 0), "a capacity of zero"),
        (AsyncWait::ordered(LONG, 1).with_retry(shrinking), "a multiplier of 1 at least"),
    ] {
        let error = outcome(GoesWrong(Wrong::Error, Asked::default()), settings).unwrap_err();
        assert!(error.contains("ask") && error.contains(expected), "{error}");
    }
}
