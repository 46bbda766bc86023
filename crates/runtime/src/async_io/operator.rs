//! The operator that has requests under way.
//!
//! A record is asked for when there is room among those under way; until then it waits, and as long as any does no further input is
//! read. All that have not come out are in the operator's state, and are asked for again after a restore.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use timely::scheduling::{Activator, SyncActivator};
use tokio::runtime::Runtime;

use highwater_checkpoint::metadata;
use highwater_core::{BoxError, Error, ErrorKind, Result};
use highwater_state::operator::SplitList;
use highwater_state::{Data, OperatorState};

use super::queue::Queue;
use super::request::{Answer, Request, runtime};
use super::{AsyncFunction, AsyncWait};
use crate::batch::{Batch, NO_TIME};
use crate::edge::Consumed;
use crate::graph::Task;
use crate::operator_state;
use crate::process::UserResult;
use crate::process_task::{ProcessScope, UnkeyedOperator};

/// How long the task trusts the clock without looking at it.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A record that has to be asked for.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
pub(super) struct Pending<In> {
    input: In,
    time_ms: Option<i64>,
}

/// The records whose results have not come out.
#[derive(OperatorState)]
#[state(crate = "highwater_state")]
pub(super) struct InFlight<In: Data> {
    requests: SplitList<Pending<In>>,
}

/// What wakes the operator: from its own thread, and from others.
struct Wakers {
    own: Activator,
    others: SyncActivator,
}

pub(super) struct AsyncOperator<In: Debug, F: AsyncFunction<In>> {
    function: Arc<F>,
    settings: AsyncWait,
    queue: Queue<In, F::Out>,
    /// Those under way, by the place of their record.
    requests: BTreeMap<u64, Request>,
    /// When what was asked for is over, oldest first; also of what is answered already.
    deadlines: VecDeque<(Duration, u64)>,
    sender: Sender<(u64, Answer<F::Out>)>,
    answers: Receiver<(u64, Answer<F::Out>)>,
    runtime: &'static Runtime,
    consumed: Consumed,
    /// Set once the operator has a place in the dataflow.
    wakers: Option<Wakers>,
    /// When a delayed activation that is under way will come.
    armed: Option<Duration>,
}

impl<In: Data + Debug, F: AsyncFunction<In>> AsyncOperator<In, F> {
    pub fn new(function: F, settings: AsyncWait, consumed: Consumed) -> Result<Self> {
        let (sender, answers) = channel();
        Ok(AsyncOperator {
            function: Arc::new(function),
            queue: Queue::new(settings.mode),
            settings,
            requests: BTreeMap::new(),
            deadlines: VecDeque::new(),
            sender,
            answers,
            runtime: runtime()?,
            consumed,
            wakers: None,
            armed: None,
        })
    }

    /// Has answers and deadlines activate the operator through these.
    pub fn wake_with(&mut self, own: Activator, others: SyncActivator) {
        self.wakers = Some(Wakers { own, others });
    }

    /// Asks for what waits, as far as there is room.
    fn ask(&mut self, task: &Task) {
        while let Some((place, input)) = self.queue.ask(self.settings.capacity) {
            let deadline = task.control().clock().monotonic().saturating_add(self.settings.timeout);
            self.deadlines.push_back((deadline, place));
            let (sender, waker) = (self.sender.clone(), self.wakers.as_ref().map(|wakers| wakers.others.clone()));
            let answered = move |answer| {
                // An operator that is gone needs no answer.
                if sender.send((place, answer)).is_ok() {
                    let _ = waker.map(|waker| waker.activate());
                }
            };
            let (function, retry) = (Arc::clone(&self.function), self.settings.retry);
            self.requests.insert(place, Request::send(self.runtime, function, input, retry, answered));
        }
    }

    /// Takes in what was answered.
    fn receive(&mut self, task: &Task) -> Result<()> {
        while let Ok((place, answer)) = self.answers.try_recv() {
            self.requests.remove(&place);
            let Some(input) = self.queue.unanswered(place) else { continue };
            let results = match answer {
                Ok(result) => result.map_err(|error| failed(task, input, error))?,
                Err(message) => {
                    let place = format!("operator {} ({}) panicked for record {input:?}", task.name, task.id);
                    return Err(Error::new(ErrorKind::UserFunction, format!("{place}: {message}")));
                }
            };
            self.queue.answer(place, results);
        }
        Ok(())
    }

    /// Ends the requests whose time is over.
    fn expire(&mut self, task: &Task) -> Result<()> {
        let now = task.control().clock().monotonic();
        while let Some((deadline, place)) = self.deadlines.front().copied() {
            let Some(input) = self.queue.unanswered(place) else {
                self.deadlines.pop_front();
                continue;
            };
            if deadline > now {
                self.wake_at(deadline, now);
                break;
            }
            let results = self.function.timeout(input.clone()).map_err(|error| failed(task, input, error))?;
            self.queue.answer(place, results);
            self.requests.remove(&place);
            self.deadlines.pop_front();
        }
        Ok(())
    }

    /// At most one delayed activation is under way: deadlines only grow.
    fn wake_at(&mut self, deadline: Duration, now: Duration) {
        if let Some(wakers) = &self.wakers
            && self.armed.is_none_or(|armed| armed <= now)
        {
            let delay = (deadline - now).min(LONGEST_SLEEP);
            self.armed = Some(now + delay);
            wakers.own.activate_after(delay);
        }
    }
}

#[cold]
fn failed<In: Debug>(task: &Task, input: &In, error: BoxError) -> Error {
    let place = format!("operator {} ({}) failed for record {input:?}", task.name, task.id);
    Error::new(ErrorKind::UserFunction, place).with_source(error)
}

impl<In: Data + Debug, F: AsyncFunction<In>> UnkeyedOperator for AsyncOperator<In, F> {
    type Batch = Batch<In>;
    type Out = F::Out;

    fn open(&mut self, task: &Task) -> Result<()> {
        let mut restored: InFlight<In> = operator_state::restore(task)?;
        for Pending { input, time_ms } in restored.requests.take() {
            self.queue.push(input, time_ms.unwrap_or(NO_TIME));
        }
        Ok(())
    }

    fn has_room(&self) -> bool {
        self.queue.is_all_asked()
    }

    fn process(&mut self, batch: Batch<In>, scope: ProcessScope<'_, F::Out>) -> Result<usize> {
        let rows = batch.len();
        for (input, time) in batch {
            self.queue.push(input, time);
        }
        self.consumed.rows(rows);
        self.ask(scope.task);
        Ok(rows)
    }

    fn advance(&mut self, scope: ProcessScope<'_, F::Out>) -> Result<i64> {
        let task = scope.task;
        self.queue.advance_watermark(scope.watermark);
        self.receive(task)?;
        self.expire(task)?;
        while scope.out.has_room()
            && let Some((results, time)) = self.queue.pop()
        {
            results.into_iter().for_each(|result| scope.out.outlet.push(result, time));
        }
        let had_room = self.has_room();
        self.ask(task);
        // What was asked for has a deadline, and input that was left unread wakes nobody.
        self.expire(task)?;
        if let Some(wakers) = self.wakers.as_ref().filter(|_| !had_room && self.has_room()) {
            wakers.own.activate();
        }
        Ok(self.queue.passed())
    }

    fn is_idle(&self) -> bool {
        self.queue.is_empty()
    }

    fn finish(&mut self, _: ProcessScope<'_, F::Out>) -> Result<()> {
        Ok(())
    }

    fn operator_state(&self, task: &Task) -> Vec<metadata::OperatorState> {
        let pending = self
            .queue
            .pending()
            .map(|(input, time)| Pending { input: input.clone(), time_ms: (time != NO_TIME).then_some(time) });
        let mut in_flight = InFlight::default();
        in_flight.requests.extend(pending);
        operator_state::snapshot(&in_flight, task.id.subtask)
    }

    fn close(&mut self) -> UserResult {
        self.requests.clear();
        Ok(())
    }
}
