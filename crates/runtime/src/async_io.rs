//! Asynchronous requests to other systems: Flink's async I/O.
//!
//! An [`AsyncFunction`] is asked for each record, many at a time, on threads of their own; the results come out in the order of the
//! records or as they are answered. Of a checkpoint the records are part whose results have not come out: what was on the way at a
//! failure is asked for again, so that the other system may see a request twice and the output has each result once.
//!
//! Every request has a time limit, since one that is never answered would hold up the stream for ever. It is kept by the task, so
//! it also holds for a future that blocks its thread; but that thread is lost to the other requests, so block none.

mod operator;
mod queue;
mod request;

use std::fmt::Debug;
use std::time::Duration;

use timely::dataflow::channels::pact::Pipeline;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

use highwater_core::Result;
use highwater_state::Data;

use crate::batch::{Batch, Record};
use crate::describe::Declared;
use crate::graph::{Builder, Graph, NodeId, NodeKind, Site};
use crate::inputs::Input;
use crate::process::UserResult;
use crate::process_task::OpenProcess;
use crate::streams::StreamId;
use operator::{AsyncOperator, InFlight};

/// Asks another system for each record.
pub trait AsyncFunction<In: Debug>: Clone + Send + Sync + 'static {
    /// What it emits.
    type Out: Record;

    /// Asks for a record: any number of results. The future runs on a tokio runtime that all asynchronous functions of the process
    /// share, and must not block its thread.
    ///
    /// # Errors
    /// End the attempt, unless they are [retried](AsyncWait::with_retry).
    fn invoke(&self, input: In) -> impl Future<Output = UserResult<Vec<Self::Out>>> + Send;

    /// Called when the time limit of a request has passed: what to emit in place of its results.
    ///
    /// # Errors
    /// End the attempt; so does the default, which names the record.
    fn timeout(&self, input: In) -> UserResult<Vec<Self::Out>> {
        Err(format!(
            "the request for {input:?} was not answered in time: give it a longer timeout, or say in `timeout` what to emit \
             instead"
        )
        .into())
    }

    /// Whether a result is one to [ask again](AsyncWait::with_retry) for: by default every error.
    fn retries_on(&self, result: &UserResult<Vec<Self::Out>>) -> bool {
        result.is_err()
    }
}

/// In which order the results of requests come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OutputMode {
    /// In the order of the records.
    Ordered,
    /// As they are answered; but what was there before a watermark comes out before it, and what came after it after.
    Unordered,
}

/// How a stream waits for its requests.
#[derive(Clone, Copy, Debug)]
pub struct AsyncWait {
    mode: OutputMode,
    timeout: Duration,
    capacity: usize,
    retry: AsyncRetryStrategy,
}

impl AsyncWait {
    /// Results in the order of the records. `timeout` is the time limit of a request, with all its retries; `capacity` is how many may
    /// be under way, or be answered and wait for others, in each subtask. With so many, no further input is read.
    pub fn ordered(timeout: Duration, capacity: usize) -> Self {
        AsyncWait { mode: OutputMode::Ordered, timeout, capacity, retry: AsyncRetryStrategy::None }
    }

    /// The same with results as they are answered, but none on the other side of a watermark.
    pub fn unordered(timeout: Duration, capacity: usize) -> Self {
        AsyncWait { mode: OutputMode::Unordered, ..AsyncWait::ordered(timeout, capacity) }
    }

    /// Asks again after a result that [is to be retried](AsyncFunction::retries_on), within the time limit.
    #[must_use]
    pub fn with_retry(mut self, retry: AsyncRetryStrategy) -> Self {
        self.retry = retry;
        self
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        if self.timeout.is_zero() {
            return Err("asynchronous requests with a timeout of zero are never answered in time: give them longer");
        }
        if self.capacity == 0 {
            return Err("with a capacity of zero no asynchronous request is ever made: allow one at least");
        }
        match self.retry {
            AsyncRetryStrategy::ExponentialBackoff { multiplier, .. } if multiplier.is_nan() || multiplier < 1.0 => {
                Err("the delays between retries shrink: give the exponential backoff a multiplier of 1 at least")
            }
            _ => Ok(()),
        }
    }
}

/// Whether and when a request is made again.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum AsyncRetryStrategy {
    /// Never.
    None,
    /// Always after the same time.
    FixedDelay {
        /// How often at most.
        retries: u32,
        /// How long after the last answer.
        delay: Duration,
    },
    /// After more and more time.
    ExponentialBackoff {
        /// How often at most.
        retries: u32,
        /// How long after the first answer.
        initial: Duration,
        /// How long at most.
        max: Duration,
        /// By how much the delay grows from one to the next.
        multiplier: f64,
    },
}

impl AsyncRetryStrategy {
    /// The delays before each retry.
    fn delays(self) -> impl Iterator<Item = Duration> + Send {
        let (retries, initial, max, multiplier) = match self {
            AsyncRetryStrategy::None => (0, Duration::ZERO, Duration::ZERO, 1.0),
            AsyncRetryStrategy::FixedDelay { retries, delay } => (retries, delay, delay, 1.0),
            AsyncRetryStrategy::ExponentialBackoff { retries, initial, max, multiplier } => {
                (retries, initial, max, multiplier)
            }
        };
        let grown = move |delay: &Duration| {
            let longer = Duration::try_from_secs_f64(delay.as_secs_f64() * multiplier);
            Some(longer.map_or(max, |longer| longer.min(max)))
        };
        std::iter::successors(Some(initial.min(max)), grown).take(retries as usize)
    }
}

impl Graph {
    /// Adds asynchronous requests for each record.
    pub fn async_wait<In, F>(
        &mut self,
        name: &str,
        input: StreamId<Batch<In>>,
        function: F,
        settings: AsyncWait,
    ) -> (NodeId, StreamId<Batch<F::Out>>)
    where
        In: Data + Debug,
        F: AsyncFunction<In>,
    {
        let output = self.stream();
        self.consume(input);
        let node = self.add(name, NodeKind::Stateful, move |builder: &Builder<'_>, site: &Site<'_>| {
            build(builder, site, input, output, (function.clone(), settings))
        });
        self.declare(node, Declared::default().and_all::<InFlight<In>>());
        if let Err(problem) = settings.check() {
            self.reject(node, problem);
        }
        (node, output)
    }
}

fn build<In: Data + Debug, F: AsyncFunction<In>>(
    builder: &Builder<'_>,
    site: &Site<'_>,
    input: StreamId<Batch<In>>,
    output: StreamId<Batch<F::Out>>,
    (function, settings): (F, AsyncWait),
) -> Result<()> {
    let flow = builder.streams.get(input);
    let operator = AsyncOperator::new(function, settings, flow.meters.consumer())?;
    let mut opened = OpenProcess::new(builder, site, operator)?;
    let mut dataflow = OperatorBuilder::new(site.name.to_string(), builder.scope);
    let address = dataflow.operator_info().address;
    let others = builder.scope.worker().sync_activator_for(address.to_vec());
    // After a last checkpoint that was not the last, what it kept back may come out.
    builder.attempt.control.register(others.clone());
    opened.operator_mut().wake_with(builder.scope.activator_for(address), others);
    let mut input = Input::new(&mut dataflow, flow.stream, Pipeline);
    opened.build(builder, site, dataflow, output, move |task| input.read(task, |batch| batch));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_grow_up_to_the_longest() {
        let ms = Duration::from_millis;
        let delays = |strategy: AsyncRetryStrategy| strategy.delays().collect::<Vec<_>>();
        assert_eq!(delays(AsyncRetryStrategy::None), []);
        assert_eq!(delays(AsyncRetryStrategy::FixedDelay { retries: 2, delay: ms(5) }), [ms(5), ms(5)]);
        let growing = |initial, max, multiplier| {
            delays(AsyncRetryStrategy::ExponentialBackoff { retries: 4, initial, max, multiplier })
        };
        assert_eq!(growing(ms(10), ms(50), 2.0), [ms(10), ms(20), ms(40), ms(50)]);
        assert_eq!(growing(ms(10), ms(5), 2.0), [ms(5); 4]);
        assert_eq!(growing(ms(1), Duration::MAX, f64::INFINITY), [ms(1), Duration::MAX, Duration::MAX, Duration::MAX]);
    }
}
