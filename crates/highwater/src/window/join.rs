//! Two keyed streams joined, or grouped, in windows.
//!
//! Both are one stream of tagged records to the operator, and a window has two lists: so assigners, triggers and lateness are those of
//! any window, and sliding ones share their panes.

use std::marker::PhantomData;
use std::time::Duration;

use highwater_runtime::{Context, KeyedCoProcessFunction, KeyedProcessFunction, OutputTag, Record, Timer, UserResult};
use highwater_state::{Data, Key};

use super::assigner::WindowAssigner;
use super::contents::{Contents, WindowContext};
use super::setup::{Input, Setup};
use super::time::Window;
use super::trigger::Trigger;
use crate::stream::{DataStream, KeyedStream};

/// A record of one of two streams: what assigners and triggers of a join see.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
#[data(crate = "highwater_state")]
pub enum TaggedUnion<T, U> {
    /// Of the first stream.
    First(T),
    /// Of the second stream.
    Second(U),
}

/// A function sees each record of the first stream with each of the second that is in the same window: the streams of
/// [`KeyedStream::join`].
pub enum Join {}

/// A function sees all records of both streams in a window: the streams of [`KeyedStream::co_group`].
pub enum CoGroup {}

/// Two keyed streams that will be divided into windows: see [`KeyedStream::join`] and [`KeyedStream::co_group`].
pub struct JoinedStreams<K, T, F, U, G, How> {
    inputs: Inputs<K, T, F, U, G>,
    how: PhantomData<How>,
}

/// Two keyed streams divided into windows: see [`KeyedStream::join`] and [`KeyedStream::co_group`].
pub struct WindowedJoin<K, T, F, U, G, How, A, Tr = <A as WindowAssigner<TaggedUnion<T, U>>>::DefaultTrigger>
where
    A: WindowAssigner<TaggedUnion<T, U>>,
{
    inputs: Inputs<K, T, F, U, G>,
    setup: Setup<TaggedUnion<T, U>, A, Tr>,
    how: PhantomData<How>,
}

struct Inputs<K, T, F, U, G> {
    first: KeyedStream<K, T, F>,
    second: KeyedStream<K, U, G>,
}

impl<K, T, F, U, G, How> JoinedStreams<K, T, F, U, G, How> {
    pub(crate) fn new(first: KeyedStream<K, T, F>, second: KeyedStream<K, U, G>) -> Self {
        JoinedStreams { inputs: Inputs { first, second }, how: PhantomData }
    }

    /// The records of each key of both streams divided into windows.
    pub fn window<A: WindowAssigner<TaggedUnion<T, U>>>(self, assigner: A) -> WindowedJoin<K, T, F, U, G, How, A> {
        WindowedJoin { inputs: self.inputs, setup: Setup::new(assigner), how: PhantomData }
    }
}

impl<K, T, F, U, G, How, A, Tr> WindowedJoin<K, T, F, U, G, How, A, Tr>
where
    T: Data,
    U: Data,
    A: WindowAssigner<TaggedUnion<T, U>>,
{
    /// As [`WindowedStream::trigger`](super::WindowedStream::trigger).
    pub fn trigger<Tr2>(self, trigger: Tr2) -> WindowedJoin<K, T, F, U, G, How, A, Tr2>
    where
        Tr2: Trigger<TaggedUnion<T, U>, A::Window>,
    {
        WindowedJoin { inputs: self.inputs, setup: self.setup.trigger(trigger), how: PhantomData }
    }

    /// As [`WindowedStream::allowed_lateness`](super::WindowedStream::allowed_lateness).
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.setup.allowed_lateness(lateness);
        self
    }

    /// As [`WindowedStream::side_output_late_data`](super::WindowedStream::side_output_late_data).
    #[must_use]
    pub fn side_output_late_data(mut self, tag: &OutputTag<TaggedUnion<T, U>>) -> Self {
        self.setup.side_output_late_data(tag);
        self
    }
}

impl<K, T, F, U, G, A, Tr> WindowedJoin<K, T, F, U, G, Join, A, Tr>
where
    K: Key,
    T: Data + Sync,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    U: Data + Sync,
    G: Fn(&U) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<TaggedUnion<T, U>>,
    Tr: Trigger<TaggedUnion<T, U>, A::Window>,
{
    /// Calls `function` for each record of the first stream with each of the second, when their window fires.
    pub fn apply<Out: Record>(
        self,
        mut function: impl FnMut(&T, &U, &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        let pairs = move |first: &[T], second: &[U], context: &mut WindowContext<'_, '_, K, A::Window, Out>| {
            first.iter().try_for_each(|one| second.iter().try_for_each(|other| function(one, other, context)))
        };
        self.setup.add(&self.inputs, "window-join", Sides::new(pairs))
    }
}

impl<K, T, F, U, G, A, Tr> WindowedJoin<K, T, F, U, G, CoGroup, A, Tr>
where
    K: Key,
    T: Data + Sync,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    U: Data + Sync,
    G: Fn(&U) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<TaggedUnion<T, U>>,
    Tr: Trigger<TaggedUnion<T, U>, A::Window>,
{
    /// Calls `function` with all records of both streams in a window that fires: those of one of them may be none.
    pub fn apply<Out: Record>(
        self,
        function: impl FnMut(&[T], &[U], &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.setup.add(&self.inputs, "window-co-group", Sides::new(function))
    }
}

impl<K, T, F, U, G> Input<K, TaggedUnion<T, U>> for Inputs<K, T, F, U, G>
where
    K: Key,
    T: Data,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    U: Data,
    G: Fn(&U) -> K + Clone + Send + Sync + 'static,
{
    fn operator<P>(&self, name: &str, function: P) -> DataStream<P::Out>
    where
        P: KeyedProcessFunction<K, TaggedUnion<T, U>>,
    {
        self.first.connect(&self.second).process(Tagging(function)).name(name)
    }
}

/// A function over tagged records as one over two streams.
#[derive(Clone)]
struct Tagging<P>(P);

impl<K, T, U, P> KeyedCoProcessFunction<K, T, U> for Tagging<P>
where
    K: Key,
    P: KeyedProcessFunction<K, TaggedUnion<T, U>>,
{
    type State = P::State;
    type Out = P::Out;

    #[inline]
    fn process1(&mut self, record: T, state: &mut P::State, context: &mut Context<'_, K, P::Out>) -> UserResult {
        self.0.process(TaggedUnion::First(record), state, context)
    }

    #[inline]
    fn process2(&mut self, record: U, state: &mut P::State, context: &mut Context<'_, K, P::Out>) -> UserResult {
        self.0.process(TaggedUnion::Second(record), state, context)
    }

    fn on_timer(&mut self, timer: Timer, state: &mut P::State, context: &mut Context<'_, K, P::Out>) -> UserResult {
        self.0.on_timer(timer, state, context)
    }
}

/// The records of each stream.
struct Sides<F, Out> {
    function: F,
    out: PhantomData<fn() -> Out>,
}

impl<F, Out> Sides<F, Out> {
    fn new(function: F) -> Self {
        Sides { function, out: PhantomData }
    }
}

impl<F: Clone, Out> Clone for Sides<F, Out> {
    fn clone(&self) -> Self {
        Sides::new(self.function.clone())
    }
}

impl<K, T, U, W, F, Out> Contents<K, TaggedUnion<T, U>, W> for Sides<F, Out>
where
    K: Key,
    T: Data,
    U: Data,
    W: Window,
    F: FnMut(&[T], &[U], &mut WindowContext<'_, '_, K, W, Out>) -> UserResult + Clone + Send + Sync + 'static,
    Out: Record,
{
    type Stored = (Vec<T>, Vec<U>);
    type Kept = ();
    type Out = Out;

    fn create(&mut self, record: TaggedUnion<T, U>, _: i64) -> (Vec<T>, Vec<U>) {
        match record {
            TaggedUnion::First(record) => (vec![record], Vec::new()),
            TaggedUnion::Second(record) => (Vec::new(), vec![record]),
        }
    }

    #[inline]
    fn add(&mut self, (first, second): &mut (Vec<T>, Vec<U>), record: TaggedUnion<T, U>, _: i64) -> UserResult {
        match record {
            TaggedUnion::First(record) => first.push(record),
            TaggedUnion::Second(record) => second.push(record),
        }
        Ok(())
    }

    fn merge(&mut self, (first, second): &mut (Vec<T>, Vec<U>), other: (Vec<T>, Vec<U>)) -> UserResult {
        first.extend(other.0);
        second.extend(other.1);
        Ok(())
    }

    fn merge_kept(&mut self, (): &mut (), (): ()) {}

    fn emit(
        &mut self,
        (first, second): &mut (Vec<T>, Vec<U>),
        (): &mut (),
        context: &mut WindowContext<'_, '_, K, W, Out>,
    ) -> UserResult {
        (self.function)(first, second, context)
    }
}
