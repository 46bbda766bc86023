//! The operator of interval joins: what waits on either side, and for how long.

use std::marker::PhantomData;
use std::ops::RangeInclusive;

use highwater_runtime::{Context, KeyedCoProcessFunction, OutputTag, Record, Timer, UserResult};
use highwater_state::{Data, Key, KeyedState, MapState};

use crate::event_time::event_time_of;

/// What a join function sees beside the records.
pub struct JoinContext<'a, 'c, K: Key, Out: 'static> {
    context: &'a mut Context<'c, K, Out>,
    left_ms: Option<i64>,
    right_ms: Option<i64>,
}

impl<K: Key, Out: Record> JoinContext<'_, '_, K, Out> {
    /// The key.
    pub fn key(&self) -> &K {
        self.context.key()
    }

    /// The event time of the left record, in ms since the Unix epoch.
    pub fn left_timestamp(&self) -> Option<i64> {
        self.left_ms
    }

    /// The event time of the right record, in ms since the Unix epoch.
    pub fn right_timestamp(&self) -> Option<i64> {
        self.right_ms
    }

    /// The event time of the result, in ms since the Unix epoch: the later of those of the two records. Of a record that none has
    /// matched it is the first time at which none can any more, but not before its own, so that the result is not late.
    pub fn timestamp(&self) -> Option<i64> {
        self.context.timestamp()
    }

    /// Emits a record with that event time.
    #[inline]
    pub fn collect(&mut self, record: Out) {
        self.context.collect(record);
    }

    /// Emits a record to a side output.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.context.side_output(tag, record);
    }
}

/// The times of right records relative to the left one, both included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    pub lower_ms: i64,
    pub upper_ms: i64,
}

impl Bounds {
    pub fn check(self) -> Result<(), String> {
        let Bounds { lower_ms, upper_ms } = self;
        if lower_ms <= upper_ms {
            return Ok(());
        }
        Err(format!(
            "no two records are within the bounds of the interval join, from {lower_ms} ms to {upper_ms} ms: give `between` the \
             lower bound first, and leave a millisecond between bounds that are both exclusive"
        ))
    }

    /// The times that match a left record, if any can be.
    fn of_left(self, time_ms: i64) -> Option<RangeInclusive<i64>> {
        times(i128::from(time_ms) + i128::from(self.lower_ms), i128::from(time_ms) + i128::from(self.upper_ms))
    }

    /// The times that match a right record, if any can be.
    fn of_right(self, time_ms: i64) -> Option<RangeInclusive<i64>> {
        times(i128::from(time_ms) - i128::from(self.upper_ms), i128::from(time_ms) - i128::from(self.lower_ms))
    }
}

fn times(first: i128, last: i128) -> Option<RangeInclusive<i64>> {
    let within = |time: i128| time.clamp(i64::MIN.into(), i64::MAX.into()) as i64;
    (first <= i64::MAX.into() && last >= i64::MIN.into()).then(|| within(first)..=within(last))
}

/// The first watermark at which nothing can match any more what `matching` can.
fn expiry(matching: Option<&RangeInclusive<i64>>) -> i64 {
    matching.map_or(i64::MIN, |times| times.end().saturating_add(1))
}

/// Of which sides records are emitted that none has matched.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unmatched {
    pub left: bool,
    pub right: bool,
}

/// A record that waits for others.
#[derive(Clone, Data)]
#[data(crate = "highwater_state")]
struct Waiting<T> {
    record: T,
    /// Whether it was joined; only kept up to date where somebody asks.
    matched: bool,
}

/// What waits of one side, by event time, in the order it came.
type Side<T> = MapState<i64, Vec<Waiting<T>>>;

/// What waits of a key. The first record of either side has a timer at its expiry.
#[derive(KeyedState)]
#[state(crate = "highwater_state")]
pub(super) struct Sides<L: Data, R: Data> {
    left: Side<L>,
    right: Side<R>,
}

/// Has a record wait until its expiry.
fn wait<T: Data, K: Key, Out: Record>(
    side: &mut Side<T>,
    (time_ms, expiry_ms): (i64, i64),
    waiting: Waiting<T>,
    context: &mut Context<'_, K, Out>,
) {
    if side.keys().next().is_none_or(|first| time_ms < *first) {
        context.register_event_time_timer(expiry_ms);
    }
    side.update(time_ms, |same_time| same_time.push(waiting));
}

/// Notes that what waits at the times of `matching` was joined.
fn mark<T: Data>(side: &mut Side<T>, matching: &RangeInclusive<i64>) {
    let at = side.range(matching.clone()).filter(|(_, waiting)| waiting.iter().any(|waiting| !waiting.matched));
    let times: Vec<i64> = at.map(|(time, _)| *time).collect();
    for time in times {
        side.update(time, |waiting| waiting.iter_mut().for_each(|waiting| waiting.matched = true));
    }
}

/// Removes the first record whose time is in the past, with those of the same time; when, and until when, they waited.
fn expired<T: Data>(
    side: &mut Side<T>,
    expiry_of: impl Fn(i64) -> i64,
    watermark: i64,
) -> Option<(i64, i64, Vec<Waiting<T>>)> {
    let time_ms = *side.keys().next()?;
    let expiry_ms = expiry_of(time_ms);
    (expiry_ms <= watermark).then(|| (time_ms, expiry_ms, side.remove(&time_ms).unwrap_or_default()))
}

#[cold]
fn late<T: Record, K: Key, Out: Record>(tag: Option<&OutputTag<T>>, record: T, context: &mut Context<'_, K, Out>) {
    match tag {
        Some(tag) => context.side_output(tag, record),
        None => context.count_late_record(),
    }
}

/// A function over what an outer join can find.
pub(super) trait JoinFunction<K: Key, L, R, Out: 'static>:
    FnMut(Option<&L>, Option<&R>, &mut JoinContext<'_, '_, K, Out>) -> UserResult + Clone + Send + Sync + 'static
{
}

impl<K, L, R, Out, J> JoinFunction<K, L, R, Out> for J
where
    K: Key,
    Out: 'static,
    J: FnMut(Option<&L>, Option<&R>, &mut JoinContext<'_, '_, K, Out>) -> UserResult + Clone + Send + Sync + 'static,
{
}

/// The operator.
pub(super) struct Operator<L, R, Out, J> {
    pub bounds: Bounds,
    pub emits: Unmatched,
    pub function: J,
    pub late_left: Option<OutputTag<L>>,
    pub late_right: Option<OutputTag<R>>,
    pub out: PhantomData<fn() -> Out>,
}

impl<L, R, Out, J: Clone> Clone for Operator<L, R, Out, J> {
    fn clone(&self) -> Self {
        Operator {
            function: self.function.clone(),
            late_left: self.late_left.clone(),
            late_right: self.late_right.clone(),
            ..*self
        }
    }
}

impl<L: Data, R: Data, Out: Record, J> Operator<L, R, Out, J> {
    /// Calls the function for two records, or for one that none has matched.
    fn emit<K: Key>(
        &mut self,
        left: Option<(&L, i64)>,
        right: Option<(&R, i64)>,
        at_ms: i64,
        context: &mut Context<'_, K, Out>,
    ) -> UserResult
    where
        J: JoinFunction<K, L, R, Out>,
    {
        context.set_timestamp(at_ms);
        let (left, left_ms) = left.unzip();
        let (right, right_ms) = right.unzip();
        (self.function)(left, right, &mut JoinContext { context, left_ms, right_ms })
    }
}

impl<K: Key, L: Data, R: Data, Out: Record, J: JoinFunction<K, L, R, Out>> KeyedCoProcessFunction<K, L, R>
    for Operator<L, R, Out, J>
{
    type State = Sides<L, R>;
    type Out = Out;

    fn process1(&mut self, left: L, sides: &mut Sides<L, R>, context: &mut Context<'_, K, Out>) -> UserResult {
        let (time_ms, watermark) = (event_time_of(context, "the left side of an interval join")?, context.watermark());
        if time_ms < watermark {
            late(self.late_left.as_ref(), left, context);
            return Ok(());
        }
        let matching = self.bounds.of_left(time_ms);
        let mut matched = false;
        for (right_ms, rights) in matching.iter().flat_map(|times| sides.right.range(times.clone())) {
            for right in rights {
                matched = true;
                let right = Some((&right.record, *right_ms));
                self.emit(Some((&left, time_ms)), right, time_ms.max(*right_ms), context)?;
            }
        }
        if let Some(matching) = matching.as_ref().filter(|_| matched && self.emits.right) {
            mark(&mut sides.right, matching);
        }
        let expiry_ms = expiry(matching.as_ref());
        if expiry_ms > watermark {
            wait(&mut sides.left, (time_ms, expiry_ms), Waiting { record: left, matched }, context);
        } else if self.emits.left && !matched {
            self.emit(Some((&left, time_ms)), None, time_ms.max(expiry_ms), context)?;
        }
        Ok(())
    }

    fn process2(&mut self, right: R, sides: &mut Sides<L, R>, context: &mut Context<'_, K, Out>) -> UserResult {
        let (time_ms, watermark) = (event_time_of(context, "the right side of an interval join")?, context.watermark());
        if time_ms < watermark {
            late(self.late_right.as_ref(), right, context);
            return Ok(());
        }
        let matching = self.bounds.of_right(time_ms);
        let mut matched = false;
        for (left_ms, lefts) in matching.iter().flat_map(|times| sides.left.range(times.clone())) {
            for left in lefts {
                matched = true;
                let left = Some((&left.record, *left_ms));
                self.emit(left, Some((&right, time_ms)), time_ms.max(*left_ms), context)?;
            }
        }
        if let Some(matching) = matching.as_ref().filter(|_| matched && self.emits.left) {
            mark(&mut sides.left, matching);
        }
        let expiry_ms = expiry(matching.as_ref());
        if expiry_ms > watermark {
            wait(&mut sides.right, (time_ms, expiry_ms), Waiting { record: right, matched }, context);
        } else if self.emits.right && !matched {
            self.emit(None, Some((&right, time_ms)), time_ms.max(expiry_ms), context)?;
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, sides: &mut Sides<L, R>, context: &mut Context<'_, K, Out>) -> UserResult {
        let (bounds, emits) = (self.bounds, self.emits);
        let left_expiry = |time_ms| expiry(bounds.of_left(time_ms).as_ref());
        while let Some((time_ms, expiry_ms, lefts)) = expired(&mut sides.left, left_expiry, timer.time_ms) {
            for left in lefts.iter().filter(|left| emits.left && !left.matched) {
                self.emit(Some((&left.record, time_ms)), None, time_ms.max(expiry_ms), context)?;
            }
        }
        let right_expiry = |time_ms| expiry(bounds.of_right(time_ms).as_ref());
        while let Some((time_ms, expiry_ms, rights)) = expired(&mut sides.right, right_expiry, timer.time_ms) {
            for right in rights.iter().filter(|right| emits.right && !right.matched) {
                self.emit(None, Some((&right.record, time_ms)), time_ms.max(expiry_ms), context)?;
            }
        }
        let first_left = sides.left.keys().next().map(|time_ms| left_expiry(*time_ms));
        let first_right = sides.right.keys().next().map(|time_ms| right_expiry(*time_ms));
        for expiry_ms in [first_left, first_right].into_iter().flatten() {
            context.register_event_time_timer(expiry_ms);
        }
        Ok(())
    }
}
