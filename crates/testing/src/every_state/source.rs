//! Sources that emit the script in its order, event by event, and end a run in between.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use highwater::client::{Answer, Answers, JobRequest, SavepointTarget};
use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::status::JobPhase;
use highwater::{Error, ErrorKind, JobClient, Result, StopHandle};

use super::ledger::{Ledger, Progress};
use super::script::{Event, Kind};

const CRASH: &str = "crashed by the test";

/// How often a source that waits looks again.
const LOOK: Duration = Duration::from_millis(1);

/// How many events a run emits after the checkpoint that the next one restores.
const REPLAYED: u64 = 3;

/// How a run ends before its input does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// It is stopped, with a last checkpoint.
    Stop,
    /// It is stopped with a savepoint, from which the next one starts.
    Savepoint,
    /// It fails a few events after a checkpoint.
    Crash,
}

/// Whether a run failed because it was to.
pub fn is_crash(error: &Error) -> bool {
    error.to_string().contains(CRASH)
}

/// Ends one run before event `at`.
pub struct Break {
    pub cut: Cut,
    pub at: u64,
    pub client: JobClient,
    pub stop: StopHandle,
    pub savepoints: String,
    pub asked: Mutex<Asked>,
    /// How many checkpoints have completed when the run's own one has.
    pub due: AtomicU64,
}

/// What was asked of the job.
#[derive(Default)]
pub struct Asked {
    /// How far the job had come: what the next run starts from.
    pub progress: Option<Progress>,
    answers: Option<Answers>,
}

impl Asked {
    /// The savepoint that the run ended with.
    pub fn savepoint(&mut self) -> Option<String> {
        match self.answers.take()?.last() {
            Some(Answer::Completed(Some(taken))) => Some(taken.path),
            other => panic!("no savepoint was taken: {other:?}"),
        }
    }
}

impl Break {
    /// Whether event `id` may come in, all before it having been dealt with.
    fn lets_pass(&self, id: u64, ledger: &Ledger) -> Result<bool> {
        if id < self.at {
            return Ok(true);
        }
        if self.client.status().phase() != JobPhase::Running {
            return Ok(false);
        }
        let mut asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        if asked.progress.is_none() {
            asked.progress = Some(ledger.progress());
            self.due.store(self.client.status().snapshot().completed + 1, Ordering::SeqCst);
            let ask = |request| Some(self.client.ask(request));
            match self.cut {
                Cut::Stop => self.stop.stop(),
                Cut::Crash => asked.answers = ask(JobRequest::Checkpoint),
                Cut::Savepoint => {
                    let target = SavepointTarget::Dir(self.savepoints.clone());
                    asked.answers = ask(JobRequest::Stop { drain: false, savepoint: Some(target) });
                }
            }
        }
        if self.cut != Cut::Crash || self.client.status().snapshot().completed < self.due.load(Ordering::SeqCst) {
            return Ok(false);
        }
        if id < self.at + REPLAYED { Ok(true) } else { Err(Error::new(ErrorKind::Input, CRASH)) }
    }
}

/// The events of one lane: those of keyed functions and rules in one split, or the items in several.
#[derive(Clone)]
pub struct Scripted {
    pub events: Arc<Vec<Event>>,
    pub items: bool,
    pub ledger: Ledger,
    pub parallelism: usize,
    pub interruption: Option<Arc<Break>>,
}

/// How many splits the items have.
const ITEM_SPLITS: u64 = 4;

impl Scripted {
    fn is_of(&self, event: &Event, split: u64) -> bool {
        match event.kind {
            Kind::Item => self.items && event.id % ITEM_SPLITS == split,
            _ => !self.items,
        }
    }
}

/// Number of the split, and the event up to which it has been read.
type Split = (u64, u64);

impl Source for Scripted {
    type Record = Event;
    type Split = Split;
    type Reader = ScriptReader;

    fn discover(&self, _parallelism: u32) -> Result<Vec<Split>> {
        Ok((0..if self.items { ITEM_SPLITS } else { 1 }).map(|split| (split, 0)).collect())
    }

    fn reader(&self, splits: Vec<Split>) -> Result<ScriptReader> {
        Ok(ScriptReader { source: self.clone(), splits })
    }
}

pub struct ScriptReader {
    source: Scripted,
    splits: Vec<Split>,
}

impl ScriptReader {
    /// The split whose event is the next of all, with that event.
    fn next(&self) -> Option<(usize, &Event)> {
        let of_split = |(index, (split, position)): (usize, &Split)| {
            let rest = &self.source.events[*position as usize..];
            rest.iter().find(|event| self.source.is_of(event, *split)).map(|event| (index, event))
        };
        self.splits.iter().enumerate().filter_map(of_split).min_by_key(|(_, event)| event.id)
    }
}

impl SourceReader for ScriptReader {
    type Record = Event;
    type Split = Split;

    fn poll(&mut self, output: &mut SourceOutput<Event>) -> Result<SourceStatus> {
        let Scripted { events, ledger, parallelism, interruption, .. } = &self.source;
        let Some((split, event)) = self.next() else {
            // The end is an event too: it raises the watermark.
            let is_over = self.splits.is_empty() || ledger.is_quiet(events.len() as u64)?;
            return Ok(if is_over { SourceStatus::End } else { SourceStatus::Idle(LOOK) });
        };
        let is_turn = ledger.is_quiet(event.id)?
            && interruption.as_ref().map_or(Ok(true), |run| run.lets_pass(event.id, ledger))?
            && ledger.clock_comes_to(event);
        if !is_turn {
            return Ok(SourceStatus::Idle(LOOK));
        }
        ledger.emitted(event, *parallelism);
        output.emit(event.clone());
        self.splits[split].1 = event.id + 1;
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<Split> {
        self.splits.clone()
    }
}
