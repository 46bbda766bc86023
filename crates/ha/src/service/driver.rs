//! The threads of the service: one steps the election, one asks the store.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, RecvTimeoutError, Sender};
use std::thread;

use highwater_core::{Clock, Result};

use super::{Leadership, LeadershipEvent, unable};
use crate::election::{Append, Command, Contender, Election, Event, Notice, RequestId};
use crate::entry::{Entry, Token};
use crate::log::Log;
use crate::not_recorded::NotRecorded;

/// What the thread that decides is told.
pub(super) enum Input {
    /// What the store has answered.
    Answer(Event),
    Append {
        token: Token,
        append: Append,
        reply: Reply,
    },
    Resign,
}

type Then = Box<dyn FnOnce(Result<(), NotRecorded>) + Send>;

/// Whom the answer to an append is for. Dropped, it answers that the service has ended.
pub(super) struct Reply(Option<Then>);

impl Reply {
    pub(super) fn new(then: impl FnOnce(Result<(), NotRecorded>) + Send + 'static) -> Self {
        Reply(Some(Box::new(then)))
    }

    fn give(mut self, result: Result<(), NotRecorded>) {
        if let Some(then) = self.0.take() {
            then(result);
        }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if let Some(then) = self.0.take() {
            then(Err(ended()));
        }
    }
}

/// Appends are answered by the election while it runs, so one that is not was never begun.
pub(super) fn ended() -> NotRecorded {
    NotRecorded::fenced("this JobManager takes no part in the election any more")
}

/// A request to the store.
enum Ask {
    Look { known: u64 },
    Read { number: u64 },
    Put(Entry),
    Remove(Vec<u64>),
}

pub(super) struct Driver {
    election: Election,
    contender: Contender,
    clock: Arc<dyn Clock>,
    inbox: Sender<Input>,
    store: Sender<Ask>,
    events: Sender<LeadershipEvent>,
    replies: BTreeMap<RequestId, Reply>,
    requests: u64,
}

impl Driver {
    pub(super) fn new(
        log: Log,
        contender: Contender,
        clock: Arc<dyn Clock>,
        inbox: Sender<Input>,
        events: Sender<LeadershipEvent>,
    ) -> Result<Self> {
        let (store, asked) = mpsc::channel();
        let (answers, told) = (inbox.clone(), events.clone());
        // It ends when nobody can ask any more, and is not waited for: a store may take its time.
        thread::Builder::new()
            .name("highwater-ha-io".to_owned())
            .spawn(move || ask_the_store(&log, &asked, &answers, &told))
            .map_err(unable)?;
        let election = Election::new(contender.clone());
        Ok(Driver { election, contender, clock, inbox, store, events, replies: BTreeMap::new(), requests: 0 })
    }

    /// Runs until the election is over.
    pub(super) fn run(mut self, inputs: &Receiver<Input>) {
        self.step(Event::Wake);
        while !self.election.is_over() {
            let event = match self.next(inputs) {
                Some(Input::Answer(event)) => event,
                Some(Input::Append { token, append, reply }) => {
                    self.requests += 1;
                    let request = RequestId(self.requests);
                    self.replies.insert(request, reply);
                    Event::Append { request, token, append }
                }
                Some(Input::Resign) => Event::Resign,
                None => Event::Wake,
            };
            self.step(event);
        }
    }

    /// The next input; `None` once it is time to go on without one.
    fn next(&self, inputs: &Receiver<Input>) -> Option<Input> {
        let received = match self.election.wake_at() {
            Some(at) => inputs.recv_timeout(at.saturating_sub(self.clock.monotonic())),
            None => inputs.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        // Disconnected it cannot be: it holds a sender itself.
        received.ok()
    }

    fn step(&mut self, event: Event) {
        for command in self.election.step(event, self.clock.monotonic()) {
            match command {
                Command::Look { known } => self.ask(Ask::Look { known }),
                Command::Read { number } => self.ask(Ask::Read { number }),
                Command::Put(entry) => self.ask(Ask::Put(entry)),
                Command::Remove(numbers) => self.ask(Ask::Remove(numbers)),
                Command::Answer { request, result } => {
                    if let Some(reply) = self.replies.remove(&request) {
                        reply.give(result);
                    }
                }
                Command::Tell(notice) => self.tell(notice),
            }
        }
    }

    fn ask(&self, ask: Ask) {
        // Its thread lives as long as this sender.
        let _ = self.store.send(ask);
    }

    fn tell(&self, notice: Notice) {
        let job = &self.contender.job;
        let event = match notice {
            Notice::Granted { token, state } => {
                tracing::info!(%job, %token, address = self.contender.address, "this JobManager leads");
                let leadership = Leadership { token, job: job.clone(), inbox: self.inbox.clone() };
                LeadershipEvent::Granted { leadership, state }
            }
            Notice::Revoked { why } => {
                tracing::warn!(%job, why, "this JobManager leads no longer");
                LeadershipEvent::Revoked { why }
            }
            Notice::LeaderIs { token, address } => {
                tracing::info!(%job, %token, address, "another JobManager leads");
                LeadershipEvent::LeaderIs { token, address }
            }
            Notice::Ended(ended) => {
                tracing::info!(%job, token = %ended.token, "the job has ended");
                LeadershipEvent::Ended { result: ended.result }
            }
            Notice::Failed(error) => {
                tracing::error!(%job, %error, "this JobManager can neither lead nor stand in");
                LeadershipEvent::Failed(error)
            }
        };
        // Nobody listens while the JobManager ends.
        let _ = self.events.send(event);
    }
}

fn ask_the_store(log: &Log, asked: &Receiver<Ask>, answers: &Sender<Input>, told: &Sender<LeadershipEvent>) {
    // So that a store that is away is not logged ten times a lease.
    let mut away = false;
    for ask in asked {
        let event = match ask {
            Ask::Look { known } => Event::Looked(log.look(known)),
            Ask::Read { number } => Event::Read(log.read(number)),
            Ask::Put(entry) => Event::Put(log.put(&entry).map_err(|error| (error.outcome(), format!("{error:?}")))),
            Ask::Remove(numbers) => {
                remove(log, &numbers);
                continue;
            }
        };
        report(&event, &mut away, told);
        if answers.send(Input::Answer(event)).is_err() {
            break;
        }
    }
}

/// In order, so that what is left after a failure is not older than what was removed.
fn remove(log: &Log, numbers: &[u64]) {
    for number in numbers {
        if let Err(error) = log.remove(*number) {
            // Whoever leads next removes it.
            tracing::debug!(%error, "an old entry of the log was not removed");
            break;
        }
    }
}

/// Says so once when the store goes away, and once when it is back.
fn report(event: &Event, away: &mut bool, told: &Sender<LeadershipEvent>) {
    let trouble = match event {
        Event::Looked(Err(error)) | Event::Read(Err(error)) => Some(error.to_string()),
        Event::Put(Err((_, why))) => Some(why.clone()),
        Event::Looked(_) | Event::Read(_) | Event::Put(_) | Event::Wake | Event::Append { .. } | Event::Resign => None,
    };
    match &trouble {
        Some(why) if !*away => tracing::warn!(why, "the HA directory does not answer as it should; asking again"),
        None if *away => tracing::info!("the HA directory answers again"),
        Some(_) | None => {}
    }
    if *away != trouble.is_some() {
        *away = trouble.is_some();
        // Nobody listens while the JobManager ends.
        let _ = told.send(LeadershipEvent::Store { answers: !*away });
    }
}
