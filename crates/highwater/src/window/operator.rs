//! Windows of any kind with any trigger: the contents of each window by itself.

use highwater_runtime::{Context, KeyedProcessFunction, OutputTag, Record, TimeDomain, Timer, UserResult};
use highwater_state::{Data, Key, KeyedState, ValueState};

use super::assigner::{MOST_MS, WindowAssigner};
use super::contents::{Contents, WindowContext};
use super::short::Short;
use super::time::{TimeWindow, Window};
use super::trigger::{Trigger, TriggerContext, TriggerResult};

/// What is late, and where it goes.
pub(super) struct Lateness<T> {
    /// How long a window is kept after it was complete.
    pub allowed_ms: i64,
    /// Where records go that are too late for all their windows.
    pub tag: Option<OutputTag<T>>,
}

impl<T> Clone for Lateness<T> {
    fn clone(&self) -> Self {
        Lateness { allowed_ms: self.allowed_ms, tag: self.tag.clone() }
    }
}

impl<T: Record> Lateness<T> {
    /// When the state of a window goes, `i64::MAX` if never.
    #[inline]
    pub fn end_of<W: Window>(&self, window: &W) -> i64 {
        match self.allowed_ms {
            MOST_MS.. => i64::MAX,
            allowed_ms => window.max_timestamp().saturating_add(allowed_ms),
        }
    }

    /// A record is in no window that is still there. It is late, unless windows have gaps and it came between two.
    #[cold]
    pub fn left_out<K: Key, Out: Record>(
        &self,
        record: T,
        domain: TimeDomain,
        (time_ms, watermark): (i64, i64),
        context: &mut Context<'_, K, Out>,
    ) {
        let end = TimeWindow::new(time_ms, time_ms + 1);
        if domain == TimeDomain::ProcessingTime || self.end_of(&end) > watermark {
            return;
        }
        match &self.tag {
            Some(tag) => context.side_output(tag, record),
            None => context.count_late_record(),
        }
    }
}

/// Some seventy million years before and after 1970: with times up to there windows can be computed.
const MOST_TIME_MS: i64 = 1 << 61;

/// The time that a record is assigned to windows by.
#[inline]
pub(super) fn time_of<K: Key, Out: Record>(domain: TimeDomain, context: &Context<'_, K, Out>) -> UserResult<i64> {
    match domain {
        TimeDomain::ProcessingTime => Ok(context.processing_time()),
        TimeDomain::EventTime => match context.timestamp() {
            Some(time_ms) => Ok(time_ms.clamp(-MOST_TIME_MS, MOST_TIME_MS)),
            None => Err("a record without event time has come to a window in event time: give its source a \
                         WatermarkStrategy that extracts timestamps, or use windows in processing time"
                .into()),
        },
    }
}

/// The windows of a key.
#[derive(KeyedState)]
#[state(crate = "highwater_state")]
pub(super) struct Windows<E: Data> {
    of_key: ValueState<OfKey<E>>,
}

/// What a key has as long as it has windows.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
struct OfKey<E> {
    /// The last event time that a timer came for. Watermarks are not in checkpoints: after a restore the key goes on from here, so
    /// that a late record fires a window that has fired before.
    woken_ms: i64,
    /// In the order of the windows.
    windows: Short<E>,
}

impl<E> Default for OfKey<E> {
    fn default() -> Self {
        OfKey { woken_ms: i64::MIN, windows: Short::default() }
    }
}

impl<E: Data> Windows<E> {
    /// Changes the windows, for which event time is `watermark`, or what it was before a restore.
    #[inline]
    pub fn change(&mut self, watermark: i64, change: impl FnOnce(&mut Short<E>, i64) -> UserResult) -> UserResult {
        self.update(|OfKey { woken_ms, windows }| change(windows, watermark.max(*woken_ms)))
    }

    /// Changes the windows because of a timer.
    pub fn wake_up(&mut self, timer: Timer, change: impl FnOnce(&mut Short<E>) -> UserResult) -> UserResult {
        self.update(|OfKey { woken_ms, windows }| {
            // The end of the input is no time: there may be more if it is read on.
            if timer.domain == TimeDomain::EventTime && timer.time_ms < i64::MAX {
                *woken_ms = timer.time_ms.max(*woken_ms);
            }
            change(windows)
        })
    }

    /// Without windows the key has no state.
    #[inline]
    fn update(&mut self, change: impl FnOnce(&mut OfKey<E>) -> UserResult) -> UserResult {
        let (result, is_empty) = self.of_key.update(|of_key| {
            let result = change(of_key);
            (result, of_key.windows.is_empty())
        });
        if is_empty {
            self.of_key.clear();
        }
        result
    }
}

/// A window of a key.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
pub(super) struct Entry<W, C, S, P> {
    window: W,
    /// `None` after it was purged.
    contents: Option<C>,
    trigger: S,
    kept: P,
}

/// The operator.
pub(super) struct WindowOperator<T, A, Tr, C, W> {
    assigner: A,
    trigger: Tr,
    contents: C,
    lateness: Lateness<T>,
    /// Windows of the record at hand.
    assigned: Vec<W>,
}

impl<T, A, Tr, C, W> WindowOperator<T, A, Tr, C, W> {
    pub fn new(assigner: A, trigger: Tr, contents: C, lateness: Lateness<T>) -> Self {
        WindowOperator { assigner, trigger, contents, lateness, assigned: Vec::new() }
    }
}

impl<T, A: Clone, Tr: Clone, C: Clone, W> Clone for WindowOperator<T, A, Tr, C, W> {
    fn clone(&self) -> Self {
        WindowOperator::new(self.assigner.clone(), self.trigger.clone(), self.contents.clone(), self.lateness.clone())
    }
}

type EntryOf<K, T, W, Tr, C> =
    Entry<W, <C as Contents<K, T, W>>::Stored, <Tr as Trigger<T, W>>::State, <C as Contents<K, T, W>>::Kept>;

impl<T, A, Tr, C> WindowOperator<T, A, Tr, C, A::Window>
where
    T: Data,
    A: WindowAssigner<T>,
    Tr: Trigger<T, A::Window>,
{
    /// The next time after `after_ms` at which something is to be done for a window.
    #[inline]
    fn wake(&self, domain: TimeDomain, window: &A::Window, trigger: &Tr::State, after_ms: i64) -> Option<i64> {
        let fires = match domain {
            TimeDomain::EventTime => self.trigger.next_event_time(window, trigger, after_ms),
            TimeDomain::ProcessingTime => self.trigger.next_processing_time(window, trigger, after_ms),
        };
        let ends = (domain == self.assigner.domain()).then(|| self.end_of(window)).flatten();
        [fires, ends.filter(|end| *end > after_ms)].into_iter().flatten().min()
    }

    /// When the window goes, if ever.
    #[inline]
    fn end_of(&self, window: &A::Window) -> Option<i64> {
        let end = match self.assigner.domain() {
            TimeDomain::EventTime => self.lateness.end_of(window),
            TimeDomain::ProcessingTime => window.max_timestamp(),
        };
        (end != i64::MAX).then_some(end)
    }

    /// Whether the window is one that is gone, or would be.
    #[inline]
    fn is_late(&self, window: &A::Window, watermark: i64) -> bool {
        self.assigner.domain() == TimeDomain::EventTime && self.lateness.end_of(window) <= watermark
    }

    /// When the timers of a window have to come next. Processing time that is past due comes at once.
    #[inline]
    fn wakes(&self, window: &A::Window, trigger: &Tr::State, watermark: i64) -> [Option<i64>; 2] {
        [
            self.wake(TimeDomain::EventTime, window, trigger, watermark),
            self.wake(TimeDomain::ProcessingTime, window, trigger, i64::MIN),
        ]
    }
}

/// Registers the timers that do not exist yet: a window has a timer at the time it is to be woken at, or an earlier one, at which it
/// is asked again.
#[inline]
fn register<K: Key, Out: Record>(timers: [Option<i64>; 2], wakes: [Option<i64>; 2], context: &mut Context<'_, K, Out>) {
    for (index, domain) in [TimeDomain::EventTime, TimeDomain::ProcessingTime].into_iter().enumerate() {
        if let Some(time) = wakes[index].filter(|time| timers[index].is_none_or(|timer| *time < timer)) {
            register_timer(domain, time, context);
        }
    }
}

/// Registers a timer for when `time_ms` is over. Of event time it is when the watermark is there; the clock has to show the next
/// ms, since until then there may be records that came at `time_ms`.
#[inline]
pub(super) fn register_timer<K: Key, Out: Record>(domain: TimeDomain, time_ms: i64, context: &mut Context<'_, K, Out>) {
    match domain {
        TimeDomain::EventTime => context.register_event_time_timer(time_ms),
        TimeDomain::ProcessingTime => context.register_processing_time_timer(time_ms.saturating_add(1)),
    }
}

/// The time that a timer was [registered](register_timer) for.
pub(super) fn time_over(timer: Timer) -> i64 {
    match timer.domain {
        TimeDomain::EventTime => timer.time_ms,
        TimeDomain::ProcessingTime => timer.time_ms - 1,
    }
}

impl<T, A, Tr, C> WindowOperator<T, A, Tr, C, A::Window>
where
    T: Data,
    A: WindowAssigner<T>,
    Tr: Trigger<T, A::Window>,
{
    /// Takes a record into the windows that it is assigned to.
    fn add<K: Key>(
        &mut self,
        record: T,
        (time_ms, watermark): (i64, i64),
        windows: &mut Short<EntryOf<K, T, A::Window, Tr, C>>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, A::Window>,
    {
        let mut assigned = std::mem::take(&mut self.assigned);
        assigned.clear();
        self.assigner.assign(&record, time_ms, &mut assigned)?;
        if A::MERGES {
            assigned.iter_mut().for_each(|window| *window = covering(window, windows));
        }
        assigned.retain(|window| !self.is_late(window, watermark));
        let last = assigned.pop();
        for window in &assigned {
            self.add_to(*window, record.clone(), (time_ms, watermark), windows, context)?;
        }
        self.assigned = assigned;
        match last {
            Some(window) => self.add_to(window, record, (time_ms, watermark), windows, context),
            None => {
                self.lateness.left_out(record, self.assigner.domain(), (time_ms, watermark), context);
                Ok(())
            }
        }
    }

    /// Takes a record into one window.
    fn add_to<K: Key>(
        &mut self,
        window: A::Window,
        record: T,
        (time_ms, watermark): (i64, i64),
        windows: &mut Short<EntryOf<K, T, A::Window, Tr, C>>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, A::Window>,
    {
        let (index, timers) = match windows.binary_search_by(|entry| entry.window.cmp(&window)) {
            Ok(index) => (index, self.wakes(&window, &windows[index].trigger, watermark)),
            Err(_) => self.open(window, windows, watermark)?,
        };
        let entry = &mut windows[index];
        let now = TriggerContext { watermark, clock: context.clock() };
        let result = self.trigger.on_element(&record, time_ms, &window, &mut entry.trigger, now);
        match &mut entry.contents {
            Some(contents) => self.contents.add(contents, record, time_ms)?,
            None => entry.contents = Some(self.contents.create(record, time_ms)),
        }
        self.act(result, entry, context)?;
        register(timers, self.wakes(&window, &entry.trigger, watermark), context);
        if self.is_forgotten(entry) {
            windows.remove(index);
        }
        Ok(())
    }

    /// Whether nothing is left of a window that was purged. Sessions stay, since they reach as far as what was in them.
    fn is_forgotten<K: Key>(&self, entry: &EntryOf<K, T, A::Window, Tr, C>) -> bool
    where
        C: Contents<K, T, A::Window>,
    {
        let keeps_nothing = entry.contents.is_none() && size_of::<C::Kept>() == 0;
        keeps_nothing && !A::MERGES && self.trigger.is_initial(&entry.trigger)
    }

    /// Makes the entry of a window that has none, of those that it covers if windows merge; where it is, and what timers they had.
    fn open<K: Key>(
        &mut self,
        window: A::Window,
        windows: &mut Short<EntryOf<K, T, A::Window, Tr, C>>,
        watermark: i64,
    ) -> UserResult<(usize, [Option<i64>; 2])>
    where
        C: Contents<K, T, A::Window>,
    {
        let mut opened = Entry { window, contents: None, trigger: Tr::State::default(), kept: C::Kept::default() };
        let mut timers = [None, None];
        if A::MERGES {
            let mut is_first = true;
            while let Some(index) = windows.iter().position(|entry| entry.window.merged(&window).is_some()) {
                let entry = windows.remove(index);
                let wakes = self.wakes(&entry.window, &entry.trigger, watermark);
                timers = [0, 1].map(|domain| [timers[domain], wakes[domain]].into_iter().flatten().min());
                if std::mem::take(&mut is_first) {
                    opened = Entry { window, ..entry };
                    continue;
                }
                match (&mut opened.contents, entry.contents) {
                    (Some(contents), Some(other)) => self.contents.merge(contents, other)?,
                    (none @ None, other) => *none = other,
                    (Some(_), None) => {}
                }
                self.trigger.merge(&mut opened.trigger, entry.trigger);
                self.contents.merge_kept(&mut opened.kept, entry.kept);
            }
        }
        let index = windows.partition_point(|entry| entry.window < window);
        windows.insert(index, opened);
        Ok((index, timers))
    }

    fn act<K: Key>(
        &mut self,
        result: TriggerResult,
        entry: &mut EntryOf<K, T, A::Window, Tr, C>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, A::Window>,
    {
        if result.fires()
            && let Some(contents) = &mut entry.contents
        {
            WindowContext::fire(entry.window, context, |context| {
                self.contents.emit(contents, &mut entry.kept, context)
            })?;
        }
        if result.purges() {
            entry.contents = None;
        }
        Ok(())
    }

    /// Does what is due at the time of a timer, for all windows of a key.
    fn wake_up<K: Key>(
        &mut self,
        timer: Timer,
        windows: &mut Short<EntryOf<K, T, A::Window, Tr, C>>,
        context: &mut Context<'_, K, C::Out>,
    ) -> UserResult
    where
        C: Contents<K, T, A::Window>,
    {
        let (domain, time_ms) = (timer.domain, time_over(timer));
        let now = TriggerContext { watermark: context.watermark(), clock: context.clock() };
        let mut index = 0;
        while let Some(entry) = windows.get_mut(index) {
            let window = entry.window;
            let fires = match domain {
                TimeDomain::EventTime => self.trigger.next_event_time(&window, &entry.trigger, time_ms - 1),
                TimeDomain::ProcessingTime => self.trigger.next_processing_time(&window, &entry.trigger, time_ms - 1),
            };
            if fires == Some(time_ms) {
                let result = match domain {
                    TimeDomain::EventTime => self.trigger.on_event_time(time_ms, &window, &mut entry.trigger, now),
                    TimeDomain::ProcessingTime => {
                        self.trigger.on_processing_time(time_ms, &window, &mut entry.trigger, now)
                    }
                };
                self.act(result, entry, context)?;
            }
            let has_ended = domain == self.assigner.domain() && self.end_of(&window) == Some(time_ms);
            if has_ended || self.is_forgotten(entry) {
                windows.remove(index);
                continue;
            }
            if let Some(time) = self.wake(domain, &window, &entry.trigger, time_ms) {
                register_timer(domain, time, context);
            }
            index += 1;
        }
        Ok(())
    }
}

/// The window that takes the place of `window` and of those that it meets.
fn covering<W: Window, C, S, P>(window: &W, windows: &[Entry<W, C, S, P>]) -> W {
    let met = windows.iter().filter(|entry| window.merged(&entry.window).is_some());
    met.fold(*window, |cover, entry| cover.merged(&entry.window).unwrap_or(cover))
}

impl<K, T, A, Tr, C> KeyedProcessFunction<K, T> for WindowOperator<T, A, Tr, C, A::Window>
where
    K: Key,
    T: Data + Sync,
    A: WindowAssigner<T>,
    Tr: Trigger<T, A::Window>,
    C: Contents<K, T, A::Window>,
{
    type State = Windows<EntryOf<K, T, A::Window, Tr, C>>;
    type Out = C::Out;

    fn process(&mut self, record: T, state: &mut Self::State, context: &mut Context<'_, K, C::Out>) -> UserResult {
        let time_ms = time_of(self.assigner.domain(), context)?;
        state.change(context.watermark(), |windows, watermark| self.add(record, (time_ms, watermark), windows, context))
    }

    fn on_timer(&mut self, timer: Timer, state: &mut Self::State, context: &mut Context<'_, K, C::Out>) -> UserResult {
        state.wake_up(timer, |windows| self.wake_up(timer, windows, context))
    }
}
