//! Streams divided into windows.

use std::time::Duration;

use highwater_runtime::{OutputTag, Record, UserResult};
use highwater_state::{Aggregate, Data, Key};

use super::assigner::WindowAssigner;
use super::contents::{Aggregated, Apply, Contents, Evicted, Listed, ProcessWindowFunction, Reduced, WindowContext};
use super::evictor::Evictor;
use super::setup::Setup;
use super::trigger::Trigger;
use crate::stream::{DataStream, KeyedStream};

/// A keyed stream divided into windows: see the [module](super).
pub struct WindowedStream<K, T, F, A: WindowAssigner<T>, Tr = <A as WindowAssigner<T>>::DefaultTrigger> {
    stream: KeyedStream<K, T, F>,
    setup: Setup<T, A, Tr>,
}

impl<K, T, F, A: WindowAssigner<T>> WindowedStream<K, T, F, A> {
    pub(crate) fn new(stream: KeyedStream<K, T, F>, assigner: A) -> Self {
        WindowedStream { stream, setup: Setup::new(assigner) }
    }
}

impl<K, T, F, A, Tr> WindowedStream<K, T, F, A, Tr>
where
    K: Key,
    T: Data + Sync,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T, A::Window>,
{
    /// Has `trigger` decide when windows fire.
    pub fn trigger<Tr2: Trigger<T, A::Window>>(self, trigger: Tr2) -> WindowedStream<K, T, F, A, Tr2> {
        WindowedStream { stream: self.stream, setup: self.setup.trigger(trigger) }
    }

    /// Keeps windows in event time for so long after they were complete; a record that comes until then has them fire again. Has no
    /// effect in processing time.
    #[must_use]
    pub fn allowed_lateness(mut self, lateness: Duration) -> Self {
        self.setup.allowed_lateness(lateness);
        self
    }

    /// Sends records that are too late for all their windows to a side output, instead of dropping and counting them.
    #[must_use]
    pub fn side_output_late_data(mut self, tag: &OutputTag<T>) -> Self {
        self.setup.side_output_late_data(tag);
        self
    }

    /// Drops elements when windows fire.
    pub fn evictor<E: Evictor<T, A::Window>>(self, evictor: E) -> EvictingWindowedStream<K, T, F, A, Tr, E> {
        EvictingWindowedStream { windows: self, evictor }
    }

    /// One record for each window: `reduce` takes each further record into the first.
    pub fn reduce(self, reduce: impl FnMut(&mut T, T) -> UserResult + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.reduce_with(reduce, |record, context| {
            context.collect(record);
            Ok(())
        })
    }

    /// As [`reduce`](Self::reduce), and `function` makes of the record what is emitted.
    pub fn reduce_with<Out: Record>(
        self,
        reduce: impl FnMut(&mut T, T) -> UserResult + Clone + Send + Sync + 'static,
        function: impl FnMut(T, &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.add("window-reduce", Reduced::new(reduce, function))
    }

    /// The result of an [`Aggregate`] for each window.
    pub fn aggregate<G>(self) -> DataStream<G::Out>
    where
        G: Aggregate<In = T>,
        G::Out: Record,
    {
        self.aggregate_with::<G, _>(|result, context| {
            context.collect(result);
            Ok(())
        })
    }

    /// As [`aggregate`](Self::aggregate), and `function` makes of the result what is emitted: so it can know key and window.
    pub fn aggregate_with<G, Out>(
        self,
        function: impl FnMut(G::Out, &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out>
    where
        G: Aggregate<In = T>,
        Out: Record,
    {
        self.add("window-aggregate", Aggregated::<G, _, Out>::new(function))
    }

    /// Calls `function` with all elements of a window, which are kept until then.
    pub fn apply<Out: Record>(
        self,
        function: impl FnMut(&[T], &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.add("window-apply", Listed::new(Apply::new(function)))
    }

    /// Calls `function` with all elements of a window, which are kept until then, and with a state for the window.
    pub fn process<P: ProcessWindowFunction<K, T, A::Window>>(self, function: P) -> DataStream<P::Out> {
        self.add("window-process", Listed::new(function))
    }

    fn add<C: Contents<K, T, A::Window>>(self, name: &str, contents: C) -> DataStream<C::Out> {
        self.setup.add(&self.stream, name, contents)
    }
}

/// A [`WindowedStream`] that keeps all elements of its windows, with their times, and drops some when they fire.
pub struct EvictingWindowedStream<K, T, F, A: WindowAssigner<T>, Tr, E> {
    windows: WindowedStream<K, T, F, A, Tr>,
    evictor: E,
}

impl<K, T, F, A, Tr, E> EvictingWindowedStream<K, T, F, A, Tr, E>
where
    K: Key,
    T: Data + Sync,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    A: WindowAssigner<T>,
    Tr: Trigger<T, A::Window>,
    E: Evictor<T, A::Window>,
{
    /// One record for each window, from the elements that are left: `reduce` takes each further record into the first.
    pub fn reduce(self, reduce: impl FnMut(&mut T, T) -> UserResult + Clone + Send + Sync + 'static) -> DataStream<T> {
        self.reduce_with(reduce, |record, context| {
            context.collect(record);
            Ok(())
        })
    }

    /// As [`reduce`](Self::reduce), and `function` makes of the record what is emitted.
    pub fn reduce_with<Out: Record>(
        self,
        mut reduce: impl FnMut(&mut T, T) -> UserResult + Clone + Send + Sync + 'static,
        mut function: impl FnMut(T, &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        let apply = move |elements: &[T], context: &mut WindowContext<'_, '_, K, A::Window, Out>| {
            let [first, others @ ..] = elements else { return Ok(()) };
            let mut reduced = first.clone();
            others.iter().try_for_each(|record| reduce(&mut reduced, record.clone()))?;
            function(reduced, context)
        };
        self.add("window-reduce", Apply::new(apply))
    }

    /// The result of an [`Aggregate`] for each window, over the elements that are left.
    pub fn aggregate<G>(self) -> DataStream<G::Out>
    where
        G: Aggregate<In = T>,
        G::Out: Record,
    {
        self.aggregate_with::<G, _>(|result, context| {
            context.collect(result);
            Ok(())
        })
    }

    /// As [`aggregate`](Self::aggregate), and `function` makes of the result what is emitted.
    pub fn aggregate_with<G, Out>(
        self,
        mut function: impl FnMut(G::Out, &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out>
    where
        G: Aggregate<In = T>,
        Out: Record,
    {
        let apply = move |elements: &[T], context: &mut WindowContext<'_, '_, K, A::Window, Out>| {
            let mut accumulator = G::create();
            elements.iter().for_each(|record| G::add(&mut accumulator, record.clone()));
            function(G::result(&accumulator), context)
        };
        self.add("window-aggregate", Apply::new(apply))
    }

    /// Calls `function` with the elements of a window that are left.
    pub fn apply<Out: Record>(
        self,
        function: impl FnMut(&[T], &mut WindowContext<'_, '_, K, A::Window, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.add("window-apply", Apply::new(function))
    }

    /// Calls `function` with the elements of a window that are left, and with a state for the window.
    pub fn process<P: ProcessWindowFunction<K, T, A::Window>>(self, function: P) -> DataStream<P::Out> {
        self.add("window-process", function)
    }

    fn add<P: ProcessWindowFunction<K, T, A::Window>>(self, name: &str, function: P) -> DataStream<P::Out> {
        let problem = self.evictor.check().err();
        let out = self.windows.add(name, Evicted::new(self.evictor, function));
        match problem {
            Some(problem) => out.rejected(&problem),
            None => out,
        }
    }
}
