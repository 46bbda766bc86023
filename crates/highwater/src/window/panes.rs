//! Windows that begin at regular times and fire at their end: each record is stored once, in the pane between two such times, and a
//! window is put together from its panes.
//!
//! A pane reaches from one beginning or end of a window to the next, so a window is a run of whole panes: two of them for each slide
//! if the slide does not divide the size, else one ("paired windows": Krishnamurthy, Wu, Franklin: "On-the-Fly Sharing for Streamed
//! Aggregation", SIGMOD 2006). Panes are sorted and disjoint, and none is without a record.
//!
//! Each pane has a timer, of its own or of another, at the next time that a window with it fires, or else at which it goes.

use highwater_runtime::{Context, KeyedProcessFunction, Record, TimeDomain, Timer, UserResult};
use highwater_state::{Data, Key};

use super::assigner::{SlicedWindows, Slices};
use super::contents::{Contents, WindowContext};
use super::operator::{Lateness, Windows, register_timer, time_of, time_over};
use super::short::Short;
use super::time::{TimeWindow, Window};

/// What came in a pane.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
pub(super) struct Pane<C> {
    start_ms: i64,
    contents: C,
}

/// The operator.
pub(super) struct PaneOperator<T, C, W> {
    domain: TimeDomain,
    slices: Slices,
    /// How long after the beginning of the last window another one ends, if one does before the next begins; else 0.
    cut_ms: i64,
    /// Which window an interval is.
    window: fn(TimeWindow) -> W,
    contents: C,
    lateness: Lateness<T>,
}

impl<T, C: Clone, W> Clone for PaneOperator<T, C, W> {
    fn clone(&self) -> Self {
        let PaneOperator { domain, slices, window, contents, lateness, .. } = self;
        PaneOperator::new(*domain, (*slices, *window), contents.clone(), lateness.clone())
    }
}

impl Slices {
    /// The first window that ends after `time_ms`, counting its last time as its end.
    #[inline]
    fn first_ending_after(&self, time_ms: i64) -> TimeWindow {
        let last = self.last_of(time_ms + 1 - self.size_ms);
        TimeWindow::new(last.start_ms + self.slide_ms, last.end_ms + self.slide_ms)
    }
}

impl<T, C, W> PaneOperator<T, C, W> {
    pub fn new(domain: TimeDomain, (slices, window): SlicedWindows<W>, contents: C, lateness: Lateness<T>) -> Self {
        let cut_ms = slices.size_ms % slices.slide_ms;
        PaneOperator { domain, slices, cut_ms, window, contents, lateness }
    }
}

impl<T: Data + Sync, C, W: Window> PaneOperator<T, C, W> {
    /// The first time after `now_ms` at which a window that has the pane fires, or the pane goes.
    fn wake(&self, pane_ms: i64, now_ms: i64) -> i64 {
        let fires = self.slices.first_ending_after(now_ms.max(pane_ms - 1));
        if fires.start_ms <= pane_ms { fires.max_timestamp() } else { self.gone_at(pane_ms) }
    }

    /// When the last window that has the pane is gone, `i64::MAX` if never.
    fn gone_at(&self, pane_ms: i64) -> i64 {
        self.end_of(&self.slices.last_of(pane_ms))
    }

    /// When a window is gone, `i64::MAX` if never.
    #[inline]
    fn end_of(&self, window: &TimeWindow) -> i64 {
        match self.domain {
            TimeDomain::EventTime => self.lateness.end_of(window),
            TimeDomain::ProcessingTime => window.max_timestamp(),
        }
    }

    fn register<K: Key, Out: Record>(&self, time_ms: i64, context: &mut Context<'_, K, Out>) {
        if time_ms != i64::MAX {
            register_timer(self.domain, time_ms, context);
        }
    }

    fn add<K: Key>(
        &mut self,
        record: T,
        (time_ms, watermark): (i64, i64),
        panes: &mut Short<Pane<C::Stored>>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, W>,
    {
        // The last window with the record, unless it came between two.
        let last = self.slices.last_of(time_ms);
        let cut_ms = last.start_ms + self.cut_ms;
        let pane_ms = if time_ms >= cut_ms { cut_ms } else { last.start_ms };
        // In processing time nothing is late, and nothing is complete before its timer comes.
        let watermark = if self.domain == TimeDomain::EventTime { watermark } else { i64::MIN };
        if last.end_ms <= time_ms || (watermark != i64::MIN && self.end_of(&last) <= watermark) {
            self.lateness.left_out(record, self.domain, (time_ms, watermark), context);
            return Ok(());
        }
        // The newest pane is at the end, and mostly the one.
        match panes.iter().rposition(|pane| pane.start_ms <= pane_ms) {
            Some(index) if panes[index].start_ms == pane_ms => {
                self.contents.add(&mut panes[index].contents, record, time_ms)?;
            }
            before => {
                let pane = Pane { start_ms: pane_ms, contents: self.contents.create(record, time_ms) };
                panes.insert(before.map_or(0, |index| index + 1), pane);
                self.register(self.wake(pane_ms, watermark), context);
            }
        }
        // No window with the record ends before it does.
        if time_ms <= watermark {
            self.fire_again(time_ms, watermark, panes, context)?;
        }
        Ok(())
    }

    /// Fires the windows that have fired, and are still there, once more for a late record.
    fn fire_again<K: Key>(
        &mut self,
        time_ms: i64,
        watermark: i64,
        panes: &mut [Pane<C::Stored>],
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, W>,
    {
        let has_fired =
            |window: &TimeWindow| window.max_timestamp() <= watermark && self.lateness.end_of(window) > watermark;
        let again: Vec<_> = self.slices.windows_of(time_ms).filter(has_fired).collect();
        for window in again.into_iter().rev() {
            self.fire(window, panes, context)?;
        }
        Ok(())
    }

    /// Puts a window together and fires it, if anything is in it.
    fn fire<K: Key>(
        &mut self,
        window: TimeWindow,
        panes: &mut [Pane<C::Stored>],
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, W>,
    {
        let begins = panes.partition_point(|pane| pane.start_ms < window.start_ms);
        let ends = panes.partition_point(|pane| pane.start_ms < window.end_ms);
        let (contents, kept) = (&mut self.contents, &mut C::Kept::default());
        WindowContext::fire((self.window)(window), context, |context| match &mut panes[begins..ends] {
            [] => Ok(()),
            [pane] => contents.emit(&mut pane.contents, kept, context),
            [first, others @ ..] => {
                let mut together = first.contents.clone();
                for pane in others {
                    contents.merge(&mut together, pane.contents.clone())?;
                }
                contents.emit(&mut together, kept, context)
            }
        })
    }

    fn wake_up<K: Key>(
        &mut self,
        now_ms: i64,
        panes: &mut Short<Pane<C::Stored>>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, W>,
    {
        let window = self.slices.first_ending_after(now_ms - 1);
        if window.max_timestamp() == now_ms {
            self.fire(window, panes, context)?;
        }
        panes.retain(|pane| self.gone_at(pane.start_ms) > now_ms);
        if let Some(next) = panes.iter().map(|pane| self.wake(pane.start_ms, now_ms)).min() {
            self.register(next, context);
        }
        Ok(())
    }
}

impl<K, T, C, W> KeyedProcessFunction<K, T> for PaneOperator<T, C, W>
where
    K: Key,
    T: Data + Sync,
    W: Window,
    C: Contents<K, T, W>,
{
    type State = Windows<Pane<C::Stored>>;
    type Out = C::Out;

    fn process(&mut self, record: T, state: &mut Self::State, context: &mut Context<'_, K, C::Out>) -> UserResult {
        let time_ms = time_of(self.domain, context)?;
        state.change(context.watermark(), |panes, watermark| self.add(record, (time_ms, watermark), panes, context))
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Self::State, context: &mut Context<'_, K, C::Out>) -> UserResult {
        state.wake_up(timer, |panes| self.wake_up(time_over(timer), panes, context))
    }
}
