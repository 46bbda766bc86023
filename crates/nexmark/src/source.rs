//! The stream as a source: its splits are the generators, each with its position.
//!
//! A subtask with several generators emits the event that is furthest behind first, so its event times never go back while the
//! generators are in step, as they are unless a job was rescaled in between.

use std::sync::Arc;
use std::time::Duration;

use highwater::source::{Source, SourceOutput, SourceReader, SourceStatus};
use highwater::{Result, WatermarkStrategy};

use crate::event::Event;
use crate::generator::Generator;
use crate::pace::Pace;

/// Emits the events of the stream.
///
/// With one generator, which is the default, it is the stream of the reference whatever the parallelism, read by one subtask. With
/// more, as many subtasks read, and what is drawn differs with their number.
///
/// ```
/// use highwater::prelude::*;
/// use highwater_nexmark::{Event, NexmarkSource, watermarks};
///
/// # fn main() -> highwater::Result<()> {
/// let (env, bids) = (StreamExecutionEnvironment::new(), CollectSink::new());
/// env.from_source(NexmarkSource::new(1_000), watermarks(), "nexmark")
///     .flat_map(|event, out| {
///         if let Event::Bid(bid) = event {
///             out.collect(bid.price);
///         }
///         Ok(())
///     })
///     .sink_to(bids.clone());
/// env.execute("bids")?;
/// assert_eq!(bids.committed().len(), 920);
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct NexmarkSource {
    events: u64,
    generators: u32,
    pace: Option<Arc<Pace>>,
}

impl NexmarkSource {
    /// The first `events` events, from one generator.
    pub fn new(events: u64) -> Self {
        NexmarkSource { events, generators: 1, pace: None }
    }

    /// As many events, from `generators` generators; at least one.
    #[must_use]
    pub fn generators(mut self, generators: u32) -> Self {
        self.generators = generators;
        self
    }

    /// Emits events when they are due, instead of as fast as the job takes them.
    #[must_use]
    pub fn paced(mut self, pace: Arc<Pace>) -> Self {
        self.pace = Some(pace);
        self
    }
}

/// The event time and watermarks of the public queries: `dateTime`, and 4 seconds behind it.
pub fn watermarks() -> WatermarkStrategy<Event> {
    // The strategy stays another millisecond behind.
    WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_millis(3_999), Event::date_time)
}

impl Source for NexmarkSource {
    type Record = Event;
    type Split = Generator;
    type Reader = NexmarkReader;

    fn discover(&self, _: u32) -> Result<Vec<Generator>> {
        Ok(Generator::split(self.events, self.generators))
    }

    fn reader(&self, generators: Vec<Generator>) -> Result<NexmarkReader> {
        Ok(NexmarkReader { generators, pace: self.pace.clone() })
    }
}

/// Reads the generators of one subtask.
#[derive(Debug)]
pub struct NexmarkReader {
    generators: Vec<Generator>,
    pace: Option<Arc<Pace>>,
}

/// How long a reader waits before it looks again whether an event is due: all that are due by then are emitted together.
const TICK: Duration = Duration::from_micros(100);

impl SourceReader for NexmarkReader {
    type Record = Event;
    type Split = Generator;

    fn poll(&mut self, output: &mut SourceOutput<Event>) -> Result<SourceStatus> {
        let elapsed = self.pace.as_ref().map(|pace| pace.elapsed());
        while output.room() > 0 {
            let unread = self.generators.iter_mut().filter(|generator| generator.left() > 0);
            let Some(generator) = unread.min_by_key(|generator| generator.date_time()) else {
                return Ok(SourceStatus::End);
            };
            if let (Some(pace), Some(elapsed)) = (&self.pace, elapsed)
                && pace.due(generator.date_time()) > elapsed
            {
                return Ok(SourceStatus::Idle(TICK));
            }
            generator.next().into_iter().for_each(|event| output.emit(event));
        }
        Ok(SourceStatus::More)
    }

    fn snapshot(&self) -> Vec<Generator> {
        self.generators.clone()
    }
}
