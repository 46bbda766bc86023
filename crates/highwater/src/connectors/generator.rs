//! A source that computes its records.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use highwater_core::{Clock, Error, Result, SystemClock};
use highwater_runtime::batch::Record;
use highwater_runtime::source::{Source, SourceOutput, SourceReader, SourceStatus};

use super::index_split::{IndexSplit, Turns};

/// Emits `make(0)`, `make(1)`, .. : up to a count or for ever, as fast as the job takes them or at a rate.
///
/// `make` is called again for the same index after a restore and must return the same record.
///
/// ```
/// use highwater::connectors::Generator;
///
/// let clicks = Generator::new(|index| format!("user-{}", index % 10)).count(1_000).rate(100);
/// ```
pub struct Generator<F> {
    make: Arc<F>,
    count: Option<u64>,
    rate: Option<u64>,
    clock: Arc<dyn Clock>,
}

impl<F> Generator<F> {
    /// An endless source of `make(index)`.
    pub fn new<T>(make: F) -> Self
    where
        F: Fn(u64) -> T + Send + Sync + 'static,
    {
        Generator { make: Arc::new(make), count: None, rate: None, clock: Arc::new(SystemClock::new()) }
    }

    /// Ends after `count` records, of all subtasks together.
    #[must_use]
    pub fn count(mut self, count: u64) -> Self {
        self.count = Some(count);
        self
    }

    /// Emits `per_second` records a second, of all subtasks together. What could not be emitted in time is caught up with, but
    /// never more than a second's worth.
    #[must_use]
    pub fn rate(mut self, per_second: u64) -> Self {
        self.rate = Some(per_second);
        self
    }

    /// Takes the time for the rate from `clock`.
    #[must_use]
    pub fn clock(mut self, clock: Arc<dyn Clock>) -> Self {
        self.clock = clock;
        self
    }
}

impl<F> fmt::Debug for Generator<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generator").field("count", &self.count).field("rate", &self.rate).finish_non_exhaustive()
    }
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> Source for Generator<F> {
    type Record = T;
    type Split = IndexSplit;
    type Reader = GeneratorReader<F>;

    fn discover(&self, parallelism: u32) -> Result<Vec<IndexSplit>> {
        Ok(IndexSplit::deal(parallelism))
    }

    fn reader(&self, splits: Vec<IndexSplit>) -> Result<GeneratorReader<F>> {
        let pace = match self.rate {
            None => None,
            Some(0) => return Err(Error::settings("the rate of a generator is 0: give at least 1 record a second")),
            Some(rate) => splits.first().map(|split| {
                let per_second = u128::from(rate) * splits.len() as u128;
                Pace::new(per_second, u128::from(split.stride().max(1)), self.clock.clone())
            }),
        };
        let turns = Turns::new(splits, self.count.unwrap_or(u64::MAX));
        Ok(GeneratorReader { make: self.make.clone(), turns, pace })
    }
}

/// Computes the records of one subtask of a [`Generator`].
pub struct GeneratorReader<F> {
    make: Arc<F>,
    turns: Turns,
    pace: Option<Pace>,
}

impl<F> fmt::Debug for GeneratorReader<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GeneratorReader").field("turns", &self.turns).finish_non_exhaustive()
    }
}

impl<T: Record, F: Fn(u64) -> T + Send + Sync + 'static> SourceReader for GeneratorReader<F> {
    type Record = T;
    type Split = IndexSplit;

    fn poll(&mut self, output: &mut SourceOutput<T>) -> Result<SourceStatus> {
        let room = output.room();
        let allowed = match &mut self.pace {
            Some(pace) => pace.allow(room),
            None => room,
        };
        let more = self.turns.emit(allowed, output, |index| (self.make)(index));
        Ok(match &self.pace {
            _ if !more => SourceStatus::End,
            Some(pace) if allowed < room => SourceStatus::Idle(pace.wait()),
            Some(_) | None => SourceStatus::More,
        })
    }

    fn snapshot(&self) -> Vec<IndexSplit> {
        self.turns.splits().to_vec()
    }
}

/// Allows `per_seconds / seconds` records a second, in whole numbers so that no rounding adds up.
struct Pace {
    per_seconds: u128,
    seconds: u128,
    clock: Arc<dyn Clock>,
    /// What is allowed is `credit` at this time, and more by the rate later.
    since: Option<Duration>,
    credit: u128,
    used: u128,
}

impl Pace {
    const NANOS: u128 = 1_000_000_000;

    /// A shorter sleep costs more than it is worth: what is due is emitted together.
    const SHORTEST_WAIT: Duration = Duration::from_millis(1);

    fn new(per_seconds: u128, seconds: u128, clock: Arc<dyn Clock>) -> Self {
        Pace { per_seconds, seconds, clock, since: None, credit: 1, used: 0 }
    }

    /// How many of `wanted` records may be emitted now. They count as emitted.
    fn allow(&mut self, wanted: usize) -> usize {
        let now = self.clock.monotonic();
        let elapsed = now.saturating_sub(*self.since.get_or_insert(now)).as_nanos();
        let due = self.credit + elapsed * self.per_seconds / (self.seconds * Self::NANOS) - self.used;
        let one_second = (self.per_seconds / self.seconds).max(1);
        let due = if due > one_second {
            (self.since, self.credit, self.used) = (Some(now), one_second, 0);
            one_second
        } else {
            due
        };
        let allowed = wanted.min(usize::try_from(due).unwrap_or(usize::MAX));
        self.used += allowed as u128;
        allowed
    }

    /// How long until the next record is due.
    fn wait(&self) -> Duration {
        let Some(since) = self.since else { return Self::SHORTEST_WAIT };
        let missing = (self.used + 1).saturating_sub(self.credit);
        let due = (missing * self.seconds * Self::NANOS).div_ceil(self.per_seconds);
        let due = since + Duration::from_nanos(u64::try_from(due).unwrap_or(u64::MAX));
        due.saturating_sub(self.clock.monotonic()).max(Self::SHORTEST_WAIT)
    }
}
