//! Watermark strategies: where event times come from, and how far event time has passed.
//!
//! A [`WatermarkStrategy`] is an optional timestamp assigner, which gives records their event times, and a [`WatermarkGenerator`],
//! which follows them. There is one generator for each split that a source reads ([`splits`]); the watermark of a source is the
//! minimum over its splits, and from there the frontier carries the minimum over all sources to every task.
//!
//! * Records travel in batches, so a watermark takes effect after the batch that has brought it.
//! * Watermarks are not in checkpoints. After a restore they begin anew and stay low until the generators have seen records: what
//!   a lower watermark would hold back has fired before the checkpoint was taken.
//! * An event time is any number of ms since the Unix epoch, negative before it; `i64::MIN` stands for none. A record without event
//!   time moves no watermark.

mod generator;
mod lead;
mod link;
mod origins;
mod splits;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use generator::BatchGenerator;
pub use generator::{BoundedOutOfOrdernessWatermarks, WatermarkGenerator, WatermarkOutput};
pub(crate) use lead::LeadBound;
pub(crate) use link::{ANNOUNCE_EVERY, Link, OriginSite, SharedOrigins};
pub(crate) use origins::{Origin, Origins, Place, Relations, origins_of};
pub(crate) use splits::{SplitWatermarks, Standing};

use crate::batch::NO_TIME;

/// How often a generator is asked for its watermark while there are no records, and idleness is looked at.
pub(crate) const PERIOD: Duration = Duration::from_millis(200);

/// How far ahead of the machine's clock a timestamp may be unless the strategy says otherwise.
const DEFAULT_LEAD: Duration = Duration::from_secs(24 * 60 * 60);

type MakeGenerator<T> = Arc<dyn Fn() -> Box<dyn BatchGenerator<T>> + Send + Sync>;
type Assign<T> = Arc<dyn Fn(&[T], &mut Vec<i64>) + Send + Sync>;

/// How records get their event times and how watermarks follow from them.
///
/// ```
/// use std::time::Duration;
/// use highwater_runtime::WatermarkStrategy;
///
/// let strategy = WatermarkStrategy::for_bounded_out_of_orderness(Duration::from_secs(5), |order: &(u64, i64)| order.1)
///     .with_idleness(Duration::from_secs(60));
/// ```
pub struct WatermarkStrategy<T> {
    generator: Option<MakeGenerator<T>>,
    /// Whether the generator may have something to say without a record.
    is_periodic: bool,
    assigner: Option<Assign<T>>,
    idleness: Option<Duration>,
    alignment: Option<Alignment>,
    max_lead: Option<Duration>,
}

/// A group of sources that wait for each other.
#[derive(Clone, Debug)]
struct Alignment {
    group: Arc<str>,
    max_drift: Duration,
}

impl<T> Clone for WatermarkStrategy<T> {
    fn clone(&self) -> Self {
        let (generator, assigner) = (self.generator.clone(), self.assigner.clone());
        WatermarkStrategy { generator, assigner, alignment: self.alignment.clone(), ..*self }
    }
}

impl<T> fmt::Debug for WatermarkStrategy<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WatermarkStrategy")
            .field("generator", &self.generator.is_some())
            .field("assigner", &self.assigner.is_some())
            .field("idleness", &self.idleness)
            .field("alignment", &self.alignment)
            .field("max_lead", &self.max_lead)
            .finish()
    }
}

impl<T: 'static> WatermarkStrategy<T> {
    /// No event time: event-time timers fire only at the end of the input.
    pub fn no_watermarks() -> Self {
        let max_lead = Some(DEFAULT_LEAD);
        WatermarkStrategy {
            generator: None,
            is_periodic: false,
            assigner: None,
            idleness: None,
            alignment: None,
            max_lead,
        }
    }

    /// Event times that never go back within a split. `timestamp` gives a record's event time in ms since the Unix epoch.
    pub fn for_monotonous_timestamps(timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static) -> Self {
        Self::for_bounded_out_of_orderness(Duration::ZERO, timestamp)
    }

    /// Event times that are within a split at most `bound` behind the latest one seen. `timestamp` gives a record's event time in ms
    /// since the Unix epoch.
    pub fn for_bounded_out_of_orderness(
        bound: Duration,
        timestamp: impl Fn(&T) -> i64 + Send + Sync + 'static,
    ) -> Self {
        let bounded = Self::for_generator(move || BoundedOutOfOrdernessWatermarks::new(bound));
        let bounded = WatermarkStrategy { is_periodic: false, ..bounded };
        bounded.with_timestamp_assigner(move |record, _| timestamp(record))
    }

    /// A generator of your own, or [`BoundedOutOfOrdernessWatermarks`] over the event times that records come with; `make` is called
    /// for each split in each attempt.
    pub fn for_generator<G: WatermarkGenerator<T>>(make: impl Fn() -> G + Send + Sync + 'static) -> Self {
        let generator: MakeGenerator<T> = Arc::new(move || Box::new(make()));
        WatermarkStrategy { generator: Some(generator), is_periodic: true, ..Self::no_watermarks() }
    }

    /// Gives each record the event time that `timestamp` returns for it and for the one it came with (`i64::MIN` if none), in ms since
    /// the Unix epoch.
    #[must_use]
    pub fn with_timestamp_assigner(mut self, timestamp: impl Fn(&T, i64) -> i64 + Send + Sync + 'static) -> Self {
        self.assigner = Some(Arc::new(move |records: &[T], times: &mut Vec<i64>| {
            if times.is_empty() {
                times.extend(records.iter().map(|record| timestamp(record, NO_TIME)));
            } else {
                times.iter_mut().zip(records).for_each(|(time, record)| *time = timestamp(record, *time));
            }
        }));
        self
    }

    /// A split that has emitted nothing for `timeout` by the machine's clock holds the watermark back no longer, until its next
    /// record; what it emits then below the watermark is late. Time in which the source was kept from reading does not count.
    ///
    /// A subtask whose splits are all idle goes along with the others whose streams meet its own somewhere, of the same source and of
    /// other ones: with the slowest that is active, or with the highest if none is. Those that have ended do not count.
    #[must_use]
    pub fn with_idleness(mut self, timeout: Duration) -> Self {
        self.idleness = Some(timeout);
        self
    }

    /// Keeps the sources of `group` together: one whose watermark is more than `max_drift` ahead of the minimum of all that are active
    /// in the group reads no further until they have caught up. It goes on taking part in checkpoints. What counts is the watermark of
    /// a subtask, over all its splits. One that has nothing to read and is never idle keeps the others waiting: see
    /// [`with_idleness`](Self::with_idleness).
    #[must_use]
    pub fn with_watermark_alignment(mut self, group: impl Into<String>, max_drift: Duration) -> Self {
        self.alignment = Some(Alignment { group: group.into().into(), max_drift });
        self
    }

    /// Lets timestamps be ahead of the machine's clock by `lead` at most; the default is a day. A record that is further ahead goes on
    /// as it is, but the generator does not see it, so that a single bad record cannot close all windows. Such records are counted in
    /// the metric `highwater_records_too_far_ahead`.
    #[must_use]
    pub fn with_max_timestamp_lead(mut self, lead: Duration) -> Self {
        self.max_lead = Some(lead);
        self
    }

    /// Lets every timestamp move the watermark, however far in the future: for event times that are not of this world.
    #[must_use]
    pub fn without_max_timestamp_lead(mut self) -> Self {
        self.max_lead = None;
        self
    }

    /// What makes no sense in it.
    pub(crate) fn problem(&self) -> Option<String> {
        if self.idleness == Some(Duration::ZERO) {
            return Some("the idle timeout of its watermark strategy is 0: give with_idleness a time above 0".into());
        }
        let Alignment { group, .. } = self.alignment.as_ref().filter(|_| self.generator.is_none())?;
        Some(format!("it has no watermarks to align in group {group}: give it a strategy with a generator"))
    }

    /// What makes no sense in it in the middle of a stream.
    pub(crate) fn problem_behind_a_source(&self) -> Option<String> {
        let held_back = |Alignment { group, .. }: &Alignment| {
            format!(
                "only sources can be held back for alignment group {group}: give the alignment to the source's strategy"
            )
        };
        self.problem().or_else(|| self.alignment.as_ref().map(held_back))
    }

    pub(crate) fn relations(&self) -> Relations {
        let group = self.alignment.as_ref().map(|alignment| Arc::clone(&alignment.group));
        Relations { may_be_idle: self.is_periodic(), group }
    }

    pub(crate) fn max_drift(&self) -> Option<Duration> {
        self.alignment.as_ref().map(|alignment| alignment.max_drift)
    }

    /// Whether there is anything to do without records.
    pub(crate) fn is_periodic(&self) -> bool {
        self.is_periodic || self.idleness.is_some()
    }

    pub(crate) fn idleness(&self) -> Option<Duration> {
        self.idleness
    }

    pub(crate) fn max_lead(&self) -> Option<Duration> {
        self.max_lead
    }

    pub(crate) fn generator(&self) -> Option<Box<dyn BatchGenerator<T>>> {
        self.generator.as_ref().map(|make| make())
    }

    /// Gives records their event times: one each, or none at all.
    pub(crate) fn assign(&self, records: &[T], times: &mut Vec<i64>) {
        if let Some(assign) = &self.assigner {
            assign(records, times);
        }
    }
}
