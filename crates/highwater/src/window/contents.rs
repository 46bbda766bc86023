//! What a window keeps of its records, and what it makes of it when it fires.

use std::marker::PhantomData;

use highwater_runtime::{Context, OutputTag, Record, UserResult};
use highwater_state::{Aggregate, Data, Key};

use super::evictor::{Evictor, Timed};
use super::time::Window;

/// What a function over windows sees beside what is in the window.
pub struct WindowContext<'a, 'c, K: Key, W, Out: 'static> {
    pub(super) window: W,
    pub(super) context: &'a mut Context<'c, K, Out>,
}

impl<'a, 'c, K: Key, W: Window, Out: Record> WindowContext<'a, 'c, K, W, Out> {
    /// Calls `emit` for a window that fires.
    pub(super) fn fire(
        window: W,
        context: &'a mut Context<'c, K, Out>,
        emit: impl FnOnce(&mut WindowContext<'a, 'c, K, W, Out>) -> UserResult,
    ) -> UserResult {
        // What comes out of a window that never ends has the time of what made it fire.
        if window.max_timestamp() != i64::MAX {
            context.set_timestamp(window.max_timestamp());
        }
        emit(&mut WindowContext { window, context })
    }

    /// The key.
    pub fn key(&self) -> &K {
        self.context.key()
    }

    /// The window that fires.
    pub fn window(&self) -> W {
        self.window
    }

    /// The task's watermark, in ms since the Unix epoch.
    pub fn watermark(&self) -> i64 {
        self.context.watermark()
    }

    /// The time of the machine's clock, in ms since the Unix epoch.
    pub fn processing_time(&self) -> i64 {
        self.context.processing_time()
    }

    /// Emits a record with the last time of the window as its event time.
    #[inline]
    pub fn collect(&mut self, record: Out) {
        self.context.collect(record);
    }

    /// Emits a record to a side output.
    pub fn side_output<T: Record>(&mut self, tag: &OutputTag<T>, record: T) {
        self.context.side_output(tag, record);
    }
}

/// A function over all elements of a window.
pub trait ProcessWindowFunction<K: Key, T, W: Window>: Clone + Send + Sync + 'static {
    /// What it keeps for each key and window from one firing to the next; `()` if nothing. It goes with the window.
    type State: Data + Default;
    /// What it emits.
    type Out: Record;

    /// Called when the window fires, with its elements in the order they came; of sliding windows, pane by pane.
    ///
    /// # Errors
    /// End the attempt.
    fn process(
        &mut self,
        elements: &[T],
        state: &mut Self::State,
        context: &mut WindowContext<'_, '_, K, W, Self::Out>,
    ) -> UserResult;

    /// Another window has become part of this one, and `other` was its state: by default it is dropped.
    fn merge(&mut self, state: &mut Self::State, other: Self::State) {
        let _ = (state, other);
    }
}

/// A closure as a [`ProcessWindowFunction`].
pub struct Apply<F, Out> {
    function: F,
    out: PhantomData<fn() -> Out>,
}

impl<F, Out> Apply<F, Out> {
    pub(super) fn new(function: F) -> Self {
        Apply { function, out: PhantomData }
    }
}

impl<F: Clone, Out> Clone for Apply<F, Out> {
    fn clone(&self) -> Self {
        Apply::new(self.function.clone())
    }
}

impl<K, T, W, F, Out> ProcessWindowFunction<K, T, W> for Apply<F, Out>
where
    K: Key,
    W: Window,
    F: FnMut(&[T], &mut WindowContext<'_, '_, K, W, Out>) -> UserResult + Clone + Send + Sync + 'static,
    Out: Record,
{
    type State = ();
    type Out = Out;

    fn process(&mut self, elements: &[T], (): &mut (), context: &mut WindowContext<'_, '_, K, W, Out>) -> UserResult {
        (self.function)(elements, context)
    }
}

/// What windows do with their records.
pub(super) trait Contents<K: Key, T, W: Window>: Clone + Send + Sync + 'static {
    /// What is kept of the records.
    type Stored: Data;
    /// What is kept of a window beside its records.
    type Kept: Data + Default;
    /// What comes out.
    type Out: Record;

    /// What is kept of the first record.
    fn create(&mut self, record: T, time_ms: i64) -> Self::Stored;

    /// Takes in a record.
    fn add(&mut self, stored: &mut Self::Stored, record: T, time_ms: i64) -> UserResult;

    /// Takes in what was kept of other records.
    fn merge(&mut self, stored: &mut Self::Stored, other: Self::Stored) -> UserResult;

    /// Another window has become part of one.
    fn merge_kept(&mut self, kept: &mut Self::Kept, other: Self::Kept);

    /// The window fires.
    fn emit(
        &mut self,
        stored: &mut Self::Stored,
        kept: &mut Self::Kept,
        context: &mut WindowContext<'_, '_, K, W, Self::Out>,
    ) -> UserResult;
}

/// One record that the others are reduced to.
pub(super) struct Reduced<R, F, Out> {
    reduce: R,
    function: F,
    out: PhantomData<fn() -> Out>,
}

impl<R, F, Out> Reduced<R, F, Out> {
    pub fn new(reduce: R, function: F) -> Self {
        Reduced { reduce, function, out: PhantomData }
    }
}

impl<R: Clone, F: Clone, Out> Clone for Reduced<R, F, Out> {
    fn clone(&self) -> Self {
        Reduced::new(self.reduce.clone(), self.function.clone())
    }
}

impl<K, T, W, R, F, Out> Contents<K, T, W> for Reduced<R, F, Out>
where
    K: Key,
    T: Data,
    W: Window,
    R: FnMut(&mut T, T) -> UserResult + Clone + Send + Sync + 'static,
    F: FnMut(T, &mut WindowContext<'_, '_, K, W, Out>) -> UserResult + Clone + Send + Sync + 'static,
    Out: Record,
{
    type Stored = T;
    type Kept = ();
    type Out = Out;

    fn create(&mut self, record: T, _: i64) -> T {
        record
    }

    #[inline]
    fn add(&mut self, stored: &mut T, record: T, _: i64) -> UserResult {
        (self.reduce)(stored, record)
    }

    fn merge(&mut self, stored: &mut T, other: T) -> UserResult {
        (self.reduce)(stored, other)
    }

    fn merge_kept(&mut self, (): &mut (), (): ()) {}

    fn emit(&mut self, stored: &mut T, (): &mut (), context: &mut WindowContext<'_, '_, K, W, Out>) -> UserResult {
        (self.function)(stored.clone(), context)
    }
}

/// An accumulator.
pub(super) struct Aggregated<A, F, Out> {
    function: F,
    types: PhantomData<fn() -> (A, Out)>,
}

impl<A, F, Out> Aggregated<A, F, Out> {
    pub fn new(function: F) -> Self {
        Aggregated { function, types: PhantomData }
    }
}

impl<A, F: Clone, Out> Clone for Aggregated<A, F, Out> {
    fn clone(&self) -> Self {
        Aggregated::new(self.function.clone())
    }
}

impl<K, W, A, F, Out> Contents<K, A::In, W> for Aggregated<A, F, Out>
where
    K: Key,
    W: Window,
    A: Aggregate,
    F: FnMut(A::Out, &mut WindowContext<'_, '_, K, W, Out>) -> UserResult + Clone + Send + Sync + 'static,
    Out: Record,
{
    type Stored = A::Accumulator;
    type Kept = ();
    type Out = Out;

    #[inline]
    fn create(&mut self, record: A::In, _: i64) -> A::Accumulator {
        let mut accumulator = A::create();
        A::add(&mut accumulator, record);
        accumulator
    }

    #[inline]
    fn add(&mut self, accumulator: &mut A::Accumulator, record: A::In, _: i64) -> UserResult {
        A::add(accumulator, record);
        Ok(())
    }

    fn merge(&mut self, accumulator: &mut A::Accumulator, other: A::Accumulator) -> UserResult {
        A::merge(accumulator, other);
        Ok(())
    }

    fn merge_kept(&mut self, (): &mut (), (): ()) {}

    fn emit(
        &mut self,
        accumulator: &mut A::Accumulator,
        (): &mut (),
        context: &mut WindowContext<'_, '_, K, W, Out>,
    ) -> UserResult {
        (self.function)(A::result(accumulator), context)
    }
}

/// All records.
#[derive(Clone)]
pub(super) struct Listed<P> {
    function: P,
}

impl<P> Listed<P> {
    pub fn new(function: P) -> Self {
        Listed { function }
    }
}

impl<K: Key, T: Data, W: Window, P: ProcessWindowFunction<K, T, W>> Contents<K, T, W> for Listed<P> {
    type Stored = Vec<T>;
    type Kept = P::State;
    type Out = P::Out;

    fn create(&mut self, record: T, _: i64) -> Vec<T> {
        vec![record]
    }

    #[inline]
    fn add(&mut self, stored: &mut Vec<T>, record: T, _: i64) -> UserResult {
        stored.push(record);
        Ok(())
    }

    fn merge(&mut self, stored: &mut Vec<T>, other: Vec<T>) -> UserResult {
        stored.extend(other);
        Ok(())
    }

    fn merge_kept(&mut self, kept: &mut P::State, other: P::State) {
        self.function.merge(kept, other);
    }

    fn emit(
        &mut self,
        stored: &mut Vec<T>,
        kept: &mut P::State,
        context: &mut WindowContext<'_, '_, K, W, P::Out>,
    ) -> UserResult {
        self.function.process(stored, kept, context)
    }
}

/// All records, of which some are dropped when the window fires.
#[derive(Clone)]
pub(super) struct Evicted<E, P> {
    evictor: E,
    function: P,
}

impl<E, P> Evicted<E, P> {
    pub fn new(evictor: E, function: P) -> Self {
        Evicted { evictor, function }
    }
}

impl<K, T, W, E, P> Contents<K, T, W> for Evicted<E, P>
where
    K: Key,
    T: Data,
    W: Window,
    E: Evictor<T, W>,
    P: ProcessWindowFunction<K, T, W>,
{
    type Stored = Vec<Timed<T>>;
    type Kept = P::State;
    type Out = P::Out;

    fn create(&mut self, record: T, time_ms: i64) -> Vec<Timed<T>> {
        vec![Timed { record, time_ms }]
    }

    fn add(&mut self, stored: &mut Vec<Timed<T>>, record: T, time_ms: i64) -> UserResult {
        stored.push(Timed { record, time_ms });
        Ok(())
    }

    fn merge(&mut self, stored: &mut Vec<Timed<T>>, other: Vec<Timed<T>>) -> UserResult {
        stored.extend(other);
        Ok(())
    }

    fn merge_kept(&mut self, kept: &mut P::State, other: P::State) {
        self.function.merge(kept, other);
    }

    fn emit(
        &mut self,
        stored: &mut Vec<Timed<T>>,
        kept: &mut P::State,
        context: &mut WindowContext<'_, '_, K, W, P::Out>,
    ) -> UserResult {
        self.evictor.evict_before(stored, &context.window);
        let elements: Vec<T> = stored.iter().map(|timed| timed.record.clone()).collect();
        self.function.process(&elements, kept, context)?;
        self.evictor.evict_after(stored, &context.window);
        Ok(())
    }
}
