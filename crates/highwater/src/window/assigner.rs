//! Which windows a record belongs to.

use std::time::Duration;

use highwater_runtime::{TimeDomain, UserResult};

use super::time::{GlobalWindow, TimeWindow, Window};
use super::trigger::{EventTimeTrigger, NeverTrigger, ProcessingTimeTrigger, Trigger};

/// Assigns records to windows.
pub trait WindowAssigner<T>: Clone + Send + Sync + 'static {
    /// The windows.
    type Window: Window;
    /// What fires them unless a trigger is set.
    type DefaultTrigger: Trigger<T, Self::Window>;

    /// Whether the windows that a record opens become one with those that they meet.
    const MERGES: bool = false;

    /// The clock that windows follow.
    fn domain(&self) -> TimeDomain;

    /// Appends the windows that a record belongs to: `time_ms` is its event time, or the machine's in processing time.
    ///
    /// # Errors
    /// If the record cannot be assigned: they end the attempt, and name its key.
    fn assign(&self, record: &T, time_ms: i64, windows: &mut Vec<Self::Window>) -> UserResult;

    /// What fires the windows unless a trigger is set.
    fn default_trigger(&self) -> Self::DefaultTrigger;

    /// If the windows are all alike and begin one after the other: how, and which window an interval is.
    fn slices(&self) -> Option<SlicedWindows<Self::Window>> {
        None
    }

    /// What is wrong with the settings, and what to do.
    ///
    /// # Errors
    /// If no window could be right.
    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

/// How windows follow each other, and which window an interval of theirs is.
pub type SlicedWindows<W> = (Slices, fn(TimeWindow) -> W);

/// Windows of `size_ms` that begin at `offset_ms` and every `slide_ms` before and after.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    /// How long each window is.
    pub size_ms: i64,
    /// How long after a window the next one begins.
    pub slide_ms: i64,
    /// Where one of them begins.
    pub offset_ms: i64,
}

impl Slices {
    fn of(size: Duration, slide: Duration, offset_ms: i64) -> Self {
        Slices { size_ms: ms(size), slide_ms: ms(slide), offset_ms }
    }

    /// The last window that begins at `time_ms` or before.
    #[inline]
    pub(super) fn last_of(&self, time_ms: i64) -> TimeWindow {
        let start = time_ms - (time_ms - self.offset_ms).rem_euclid(self.slide_ms);
        TimeWindow::new(start, start + self.size_ms)
    }

    /// The windows that `time_ms` belongs to, the latest first.
    pub(super) fn windows_of(self, time_ms: i64) -> impl Iterator<Item = TimeWindow> {
        let back = move |window: &TimeWindow| {
            Some(TimeWindow::new(window.start_ms - self.slide_ms, window.end_ms - self.slide_ms))
        };
        std::iter::successors(Some(self.last_of(time_ms)), back).take_while(move |window| window.end_ms > time_ms)
    }

    pub(super) fn check(&self) -> Result<(), String> {
        match self {
            Slices { size_ms: ..1, .. } => Err("a window has a size of 0: give at least 1 ms".into()),
            Slices { slide_ms: ..1, .. } => Err("windows slide by 0: give at least 1 ms".into()),
            Slices { size_ms: MOST_MS.., .. } | Slices { slide_ms: MOST_MS.., .. } => {
                Err(format!("a window is longer than {} days: use a global window and a trigger", MOST_MS / DAY_MS))
            }
            Slices { slide_ms, offset_ms, .. } if offset_ms.unsigned_abs() >= slide_ms.unsigned_abs() => Err(format!(
                "windows that begin every {slide_ms} ms are shifted by {offset_ms} ms: shift them by less than that"
            )),
            _ => Ok(()),
        }
    }
}

const DAY_MS: i64 = 86_400_000;

/// A thousand years: longer windows are mistakes, and their ends could not be computed.
pub(super) const MOST_MS: i64 = 1000 * 365 * DAY_MS;

fn ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

macro_rules! sliced {
    ($name:ident, $domain:ident, $trigger:ident) => {
        impl<T: Clone + 'static> WindowAssigner<T> for $name {
            type Window = TimeWindow;
            type DefaultTrigger = $trigger;

            fn domain(&self) -> TimeDomain {
                TimeDomain::$domain
            }

            #[inline]
            fn assign(&self, _: &T, time_ms: i64, windows: &mut Vec<TimeWindow>) -> UserResult {
                windows.extend(self.slices.windows_of(time_ms));
                Ok(())
            }

            fn default_trigger(&self) -> $trigger {
                $trigger
            }

            fn slices(&self) -> Option<SlicedWindows<TimeWindow>> {
                Some((self.slices, |window| window))
            }
        }
    };
}

macro_rules! tumbling {
    ($name:ident, $time:literal, $domain:ident, $trigger:ident) => {
        #[doc = concat!("Windows one after the other, in ", $time, ".")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            slices: Slices,
        }

        impl $name {
            /// Windows of `size`, one of which begins at the Unix epoch.
            pub fn of(size: Duration) -> Self {
                $name { slices: Slices::of(size, size, 0) }
            }

            /// Shifts the windows by less than their size: by -8 hours, windows of a day begin at midnight in China.
            #[must_use]
            pub fn offset_ms(mut self, offset_ms: i64) -> Self {
                self.slices.offset_ms = offset_ms;
                self
            }
        }

        sliced!($name, $domain, $trigger);
    };
}

macro_rules! sliding {
    ($name:ident, $time:literal, $domain:ident, $trigger:ident) => {
        #[doc = concat!("Windows that overlap, in ", $time, ".")]
        ///
        /// A record is stored and counted once, however many windows it belongs to: windows share the panes between their
        /// beginnings and ends, and put them together when they fire.
        #[derive(Clone, Copy, Debug)]
        pub struct $name {
            slices: Slices,
        }

        impl $name {
            /// Windows of `size`, one of which begins every `slide`, also at the Unix epoch. The slide need not divide the size. With
            /// one that is larger there are gaps between windows, whose records are left out.
            pub fn of(size: Duration, slide: Duration) -> Self {
                $name { slices: Slices::of(size, slide, 0) }
            }

            /// Shifts the windows by less than they slide.
            #[must_use]
            pub fn offset_ms(mut self, offset_ms: i64) -> Self {
                self.slices.offset_ms = offset_ms;
                self
            }
        }

        sliced!($name, $domain, $trigger);
    };
}

tumbling!(TumblingEventTimeWindows, "event time", EventTime, EventTimeTrigger);
tumbling!(TumblingProcessingTimeWindows, "processing time", ProcessingTime, ProcessingTimeTrigger);
sliding!(SlidingEventTimeWindows, "event time", EventTime, EventTimeTrigger);
sliding!(SlidingProcessingTimeWindows, "processing time", ProcessingTime, ProcessingTimeTrigger);

/// How long a session lasts after a record.
pub trait SessionGap<T>: Clone + Send + Sync + 'static {
    /// The gap after `record`, at least 1.
    ///
    /// # Errors
    /// If the record has no gap that can be right.
    fn gap_ms(&self, record: &T) -> UserResult<i64>;

    /// As [`WindowAssigner::check`].
    ///
    /// # Errors
    /// If the gap cannot be right.
    fn check(&self) -> Result<(), String>;
}

/// The same gap after every record.
#[derive(Clone, Copy, Debug)]
pub struct FixedGap {
    gap_ms: i64,
}

/// What is wrong with a gap.
fn check_gap(gap_ms: i64) -> Result<(), String> {
    match gap_ms {
        ..1 => Err("the gap of a session is 0: give at least 1 ms".into()),
        MOST_MS.. => Err(format!("the gap of a session is longer than {} days", MOST_MS / DAY_MS)),
        _ => Ok(()),
    }
}

impl<T> SessionGap<T> for FixedGap {
    #[inline]
    fn gap_ms(&self, _: &T) -> UserResult<i64> {
        Ok(self.gap_ms)
    }

    fn check(&self) -> Result<(), String> {
        check_gap(self.gap_ms)
    }
}

/// A gap that a function of the record gives.
#[derive(Clone, Copy)]
pub struct DynamicGap<F>(F);

impl<T, F: Fn(&T) -> Duration + Clone + Send + Sync + 'static> SessionGap<T> for DynamicGap<F> {
    #[inline]
    fn gap_ms(&self, record: &T) -> UserResult<i64> {
        let gap_ms = ms((self.0)(record));
        check_gap(gap_ms)?;
        Ok(gap_ms)
    }

    fn check(&self) -> Result<(), String> {
        Ok(())
    }
}

macro_rules! sessions {
    ($name:ident, $time:literal, $domain:ident, $trigger:ident) => {
        #[doc = concat!("Sessions: windows that end when no record has come for a while, in ", $time, ".")]
        #[derive(Clone, Copy, Debug)]
        pub struct $name<G = FixedGap> {
            gap: G,
        }

        impl $name {
            /// Sessions that end when there was no record for `gap`.
            pub fn with_gap(gap: Duration) -> Self {
                $name { gap: FixedGap { gap_ms: ms(gap) } }
            }

            /// Sessions that end when there was no record for as long as `gap` says of each record. A gap of 0 fails the job.
            pub fn with_dynamic_gap<F>(gap: F) -> $name<DynamicGap<F>> {
                $name { gap: DynamicGap(gap) }
            }
        }

        impl<T: Clone + 'static, G: SessionGap<T>> WindowAssigner<T> for $name<G> {
            type Window = TimeWindow;
            type DefaultTrigger = $trigger;
            const MERGES: bool = true;

            fn domain(&self) -> TimeDomain {
                TimeDomain::$domain
            }

            #[inline]
            fn assign(&self, record: &T, time_ms: i64, windows: &mut Vec<TimeWindow>) -> UserResult {
                windows.push(TimeWindow::new(time_ms, time_ms.saturating_add(self.gap.gap_ms(record)?)));
                Ok(())
            }

            fn default_trigger(&self) -> $trigger {
                $trigger
            }

            fn check(&self) -> Result<(), String> {
                SessionGap::<T>::check(&self.gap)
            }
        }
    };
}

sessions!(EventTimeSessionWindows, "event time", EventTime, EventTimeTrigger);
sessions!(ProcessingTimeSessionWindows, "processing time", ProcessingTime, ProcessingTimeTrigger);

/// All records of a key in one window that never ends.
#[derive(Clone, Copy, Debug, Default)]
pub struct GlobalWindows;

impl<T: Clone + 'static> WindowAssigner<T> for GlobalWindows {
    type Window = GlobalWindow;
    type DefaultTrigger = NeverTrigger;

    // Records need no event time.
    fn domain(&self) -> TimeDomain {
        TimeDomain::ProcessingTime
    }

    fn assign(&self, _: &T, _: i64, windows: &mut Vec<GlobalWindow>) -> UserResult {
        windows.push(GlobalWindow);
        Ok(())
    }

    fn default_trigger(&self) -> NeverTrigger {
        NeverTrigger
    }
}
