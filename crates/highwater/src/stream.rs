//! Streams and what can be done with them. Nothing runs before [`execute`](crate::StreamExecutionEnvironment::execute).

use std::cell::RefCell;
use std::fmt::Display;
use std::marker::PhantomData;
use std::rc::Rc;

use highwater_runtime::sink::Sink;
use highwater_runtime::{
    Batch, Collector, Context, Graph, KeyedProcessFunction, NodeId, OutputTag, ProcessFunction, Record, StreamId,
    UserResult, WatermarkStrategy,
};
use highwater_state::{Data, Key, Plain};

use crate::connected::{BroadcastStream, Connectable, ConnectedStreams};
use crate::connectors::PrintSink;
use crate::window::{
    CoGroup, CountEvictor, CountTrigger, EvictingWindowedStream, GlobalWindows, Join, JoinedStreams, PurgingTrigger,
    WindowAssigner, WindowedStream,
};

pub(crate) type SharedGraph = Rc<RefCell<Graph>>;

/// A stream of records of type `T`: the output of an operator.
///
/// User functions return a `Result`; their error ends the attempt, and the restart strategy decides how the job goes on. Each parallel
/// instance of an operator has a clone of its function.
pub struct DataStream<T> {
    pub(crate) graph: SharedGraph,
    node: NodeId,
    pub(crate) stream: StreamId<Batch<T>>,
}

impl<T> Clone for DataStream<T> {
    fn clone(&self) -> Self {
        DataStream { graph: Rc::clone(&self.graph), node: self.node, stream: self.stream }
    }
}

impl<T: Record> DataStream<T> {
    pub(crate) fn new(graph: SharedGraph, node: NodeId, stream: StreamId<Batch<T>>) -> Self {
        DataStream { graph, node, stream }
    }

    /// Gives the operator that makes this stream a stable name, which ties its state in checkpoints to it.
    #[must_use]
    pub fn uid(self, uid: &str) -> Self {
        self.graph.borrow_mut().set_uid(self.node, uid);
        self
    }

    /// Gives the operator that makes this stream a name for people.
    #[must_use]
    pub fn name(self, name: &str) -> Self {
        self.graph.borrow_mut().set_name(self.node, name);
        self
    }

    /// One record for each record.
    pub fn map<U: Record>(
        &self,
        mut function: impl FnMut(T) -> UserResult<U> + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.transform("map", move |record, out| {
            out.collect(function(record)?);
            Ok(())
        })
    }

    /// The records for which `predicate` holds.
    pub fn filter(
        &self,
        mut predicate: impl FnMut(&T) -> UserResult<bool> + Clone + Send + Sync + 'static,
    ) -> DataStream<T> {
        self.transform("filter", move |record, out| {
            if predicate(&record)? {
                out.collect(record);
            }
            Ok(())
        })
    }

    /// Any number of records for each record, into this stream or into [side outputs](Collector::side_output).
    pub fn flat_map<U: Record>(
        &self,
        function: impl FnMut(T, &mut Collector<'_, U>) -> UserResult + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        self.transform("flat-map", function)
    }

    fn transform<U: Record>(
        &self,
        name: &str,
        function: impl FnMut(T, &mut Collector<'_, U>) -> UserResult + Clone + Send + Sync + 'static,
    ) -> DataStream<U> {
        let (node, stream) = self.graph.borrow_mut().transform(name, self.stream, function);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }

    /// Calls a process function with declared operator state for each record: the state of a subtask, which is dealt out anew when
    /// the parallelism changes.
    ///
    /// ```
    /// use highwater::prelude::*;
    ///
    /// #[derive(OperatorState)]
    /// struct Buffer {
    ///     waiting: SplitList<u64>,
    /// }
    ///
    /// /// Emits the sums of three records each, and of what is left at the end.
    /// #[derive(Clone)]
    /// struct SumThree;
    ///
    /// impl ProcessFunction<u64> for SumThree {
    ///     type State = Buffer;
    ///     type Out = u64;
    ///
    ///     fn process(&mut self, record: u64, buffer: &mut Buffer, context: &mut ProcessContext<'_, u64>) -> UserResult {
    ///         buffer.waiting.add(record);
    ///         if buffer.waiting.len() == 3 {
    ///             context.collect(buffer.waiting.take().into_iter().sum());
    ///         }
    ///         Ok(())
    ///     }
    ///
    ///     fn finish(&mut self, buffer: &mut Buffer, context: &mut ProcessContext<'_, u64>) -> UserResult {
    ///         context.collect(buffer.waiting.take().into_iter().sum());
    ///         Ok(())
    ///     }
    /// }
    ///
    /// # fn main() -> highwater::Result<()> {
    /// let (env, sums) = (StreamExecutionEnvironment::new(), CollectSink::new());
    /// env.set_parallelism(1);
    /// env.from_collection(1..=7u64).process(SumThree).uid("sums").sink_to(sums.clone());
    /// env.execute("sums")?;
    /// assert_eq!(sums.committed(), [6, 15, 7]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn process<P: ProcessFunction<T>>(&self, function: P) -> DataStream<P::Out> {
        let (node, stream) = self.graph.borrow_mut().process("process", self.stream, function);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }

    /// The stream with every record for every subtask of the operator that it is [connected](crate::connected) to.
    pub fn broadcast(&self) -> BroadcastStream<T>
    where
        T: Data,
    {
        BroadcastStream::new(self.clone())
    }

    /// This stream and a broadcast one as the two inputs of one function.
    ///
    /// # Panics
    /// If the other stream is of another environment.
    pub fn connect<B: Data>(&self, other: &BroadcastStream<B>) -> ConnectedStreams<DataStream<T>, BroadcastStream<B>> {
        ConnectedStreams::new(self.clone(), other.clone())
    }

    /// The same records with the event times and watermarks that `strategy` gives them; those they had count no more. Where it can,
    /// a job gives its strategy to the [source](crate::StreamExecutionEnvironment::from_source), which has one for each split.
    pub fn assign_timestamps_and_watermarks(&self, strategy: WatermarkStrategy<T>) -> DataStream<T> {
        let (node, stream) = self.graph.borrow_mut().assign_watermarks(self.stream, strategy);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }

    /// The records of this stream and of others. Streams of other environments cannot be joined in.
    ///
    /// # Panics
    /// If a stream is of another environment.
    pub fn union<'a>(&self, others: impl IntoIterator<Item = &'a DataStream<T>>) -> DataStream<T> {
        let mut streams = vec![self.stream];
        for other in others {
            assert!(Rc::ptr_eq(&self.graph, &other.graph), "union of streams of two environments");
            streams.push(other.stream);
        }
        let (node, stream) = self.graph.borrow_mut().union(streams);
        DataStream::new(Rc::clone(&self.graph), node, stream)
    }

    /// What the operator that makes this stream emits to the side output `tag`.
    pub fn side_output<U: Record>(&self, tag: &OutputTag<U>) -> DataStream<U> {
        let stream = self.graph.borrow_mut().side_output(self.node, tag);
        DataStream::new(Rc::clone(&self.graph), self.node, stream)
    }

    /// The stream partitioned by key: all records of a key go to one subtask, which has its state.
    pub fn key_by<K: Key, F: Fn(&T) -> K + Clone + Send + Sync + 'static>(&self, key: F) -> KeyedStream<K, T, F>
    where
        T: Data,
    {
        KeyedStream { stream: self.clone(), selector: key, key: PhantomData }
    }

    /// All records of the stream divided into windows, which one subtask computes.
    pub fn window_all<A: WindowAssigner<T>>(&self, assigner: A) -> WindowedStream<(), T, fn(&T), A>
    where
        T: Data + Sync,
    {
        let all: fn(&T) = |_| ();
        self.key_by(all).window(assigner)
    }

    /// Has the job refused because of the settings of the operator that makes this stream.
    pub(crate) fn rejected(self, problem: &str) -> Self {
        self.graph.borrow_mut().reject(self.node, problem);
        self
    }

    /// Sends the records to a sink.
    pub fn sink_to<S: Sink<Record = T>>(&self, sink: S) -> DataStreamSink {
        let node = self.graph.borrow_mut().sink("sink", self.stream, sink);
        DataStreamSink { graph: Rc::clone(&self.graph), node }
    }

    /// Prints the records to standard output, one a line, as they come.
    pub fn print(&self) -> DataStreamSink
    where
        T: Display,
    {
        self.sink_to(PrintSink::new()).name("print")
    }
}

/// A stream partitioned by key.
pub struct KeyedStream<K, T, F> {
    pub(crate) stream: DataStream<T>,
    pub(crate) selector: F,
    key: PhantomData<fn() -> K>,
}

impl<K, T, F: Clone> Clone for KeyedStream<K, T, F> {
    fn clone(&self) -> Self {
        KeyedStream { stream: self.stream.clone(), selector: self.selector.clone(), key: PhantomData }
    }
}

impl<K: Key, T: Data, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeyedStream<K, T, F> {
    /// Calls a process function with declared state and timers for each record.
    pub fn process<P: KeyedProcessFunction<K, T>>(&self, function: P) -> DataStream<P::Out> {
        self.add("process", function)
    }

    /// This stream and another as the two inputs of one function: a stream keyed by the same type, whose records of a key come to
    /// the same state, or a [broadcast](DataStream::broadcast) one.
    ///
    /// # Panics
    /// If the other stream is of another environment.
    pub fn connect<S: Connectable>(&self, other: &S) -> ConnectedStreams<Self, S> {
        ConnectedStreams::new(self.clone(), other.clone())
    }

    /// The records of each key divided into windows.
    pub fn window<A: WindowAssigner<T>>(&self, assigner: A) -> WindowedStream<K, T, F, A>
    where
        T: Sync,
    {
        WindowedStream::new(self.clone(), assigner)
    }

    /// Windows of `count` records of a key; what is left at the end of the stream makes none.
    pub fn count_window(&self, count: u64) -> WindowedStream<K, T, F, GlobalWindows, PurgingTrigger<CountTrigger>>
    where
        T: Sync,
    {
        self.window(GlobalWindows).trigger(PurgingTrigger::of(CountTrigger::of(count)))
    }

    /// After each `slide` records of a key the last `count` of them.
    pub fn sliding_count_window(
        &self,
        count: usize,
        slide: u64,
    ) -> EvictingWindowedStream<K, T, F, GlobalWindows, CountTrigger, CountEvictor>
    where
        T: Sync,
    {
        self.window(GlobalWindows).trigger(CountTrigger::of(slide)).evictor(CountEvictor::of(count))
    }

    /// The records of this stream, each with each record of `other` that has the same key and is in the same window.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use highwater::prelude::*;
    /// use highwater::window::TumblingEventTimeWindows;
    ///
    /// # fn main() -> highwater::Result<()> {
    /// let (env, matches) = (StreamExecutionEnvironment::new(), CollectSink::new());
    /// let in_order = || WatermarkStrategy::for_monotonous_timestamps(|(_, at_ms): &(u64, i64)| *at_ms);
    /// let orders = CollectionSource::new(vec![(1u64, 1_000i64), (2, 2_000), (3, 61_000)]);
    /// let payments = CollectionSource::new(vec![(2u64, 50_000i64), (3, 59_000), (1, 59_500)]);
    /// let orders = env.from_source(orders, in_order(), "orders").key_by(|order| order.0);
    /// let payments = env.from_source(payments, in_order(), "payments").key_by(|payment| payment.0);
    /// orders
    ///     .join(&payments)
    ///     .window(TumblingEventTimeWindows::of(Duration::from_secs(60)))
    ///     .apply(|order, payment, context| {
    ///         context.collect((order.0, payment.1 - order.1));
    ///         Ok(())
    ///     })
    ///     .uid("matches")
    ///     .sink_to(matches.clone());
    /// env.execute("matches")?;
    /// let mut matches = matches.committed();
    /// matches.sort();
    /// assert_eq!(matches, [(1, 58_500), (2, 48_000)]);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Panics
    /// If the other stream is of another environment: when the windows get their function.
    pub fn join<U, G: Clone>(&self, other: &KeyedStream<K, U, G>) -> JoinedStreams<K, T, F, U, G, Join> {
        JoinedStreams::new(self.clone(), other.clone())
    }

    /// The records of this stream together with those of `other` that have the same key and are in the same window, also where one
    /// of the two has none: so outer joins can be made of it.
    ///
    /// # Panics
    /// If the other stream is of another environment: when the windows get their function.
    pub fn co_group<U, G: Clone>(&self, other: &KeyedStream<K, U, G>) -> JoinedStreams<K, T, F, U, G, CoGroup> {
        JoinedStreams::new(self.clone(), other.clone())
    }

    /// Calls `function` with the plain state of the record's key, which starts as `S::default()` and is checkpointed.
    pub fn stateful_map<S, U>(
        &self,
        function: impl FnMut(&mut S, T) -> UserResult<U> + Clone + Send + Sync + 'static,
    ) -> DataStream<U>
    where
        S: Data + Default,
        U: Record,
    {
        self.add("stateful-map", StatefulMap { function, types: PhantomData })
    }

    pub(crate) fn add<P: KeyedProcessFunction<K, T>>(&self, name: &str, function: P) -> DataStream<P::Out> {
        let graph = &self.stream.graph;
        let (node, stream) =
            graph.borrow_mut().keyed_process(name, self.stream.stream, self.selector.clone(), function);
        DataStream::new(Rc::clone(graph), node, stream)
    }
}

/// A closure over one plain state as a process function.
struct StatefulMap<G, S, U> {
    function: G,
    types: PhantomData<fn() -> (S, U)>,
}

impl<G: Clone, S, U> Clone for StatefulMap<G, S, U> {
    fn clone(&self) -> Self {
        StatefulMap { function: self.function.clone(), types: PhantomData }
    }
}

impl<K, T, G, S, U> KeyedProcessFunction<K, T> for StatefulMap<G, S, U>
where
    K: Key,
    G: FnMut(&mut S, T) -> UserResult<U> + Clone + Send + Sync + 'static,
    S: Data + Default,
    U: Record,
{
    type State = Plain<S>;
    type Out = U;

    #[inline]
    fn process(&mut self, record: T, state: &mut Plain<S>, context: &mut Context<'_, K, U>) -> UserResult {
        context.collect((self.function)(&mut state.0, record)?);
        Ok(())
    }
}

/// A sink at the end of a stream.
pub struct DataStreamSink {
    graph: SharedGraph,
    node: NodeId,
}

impl DataStreamSink {
    /// Gives the sink a stable name, which ties its state in checkpoints to it.
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "the sink is in the graph already")]
    pub fn uid(self, uid: &str) -> Self {
        self.graph.borrow_mut().set_uid(self.node, uid);
        self
    }

    /// Gives the sink a name for people.
    #[allow(clippy::must_use_candidate, clippy::return_self_not_must_use, reason = "the sink is in the graph already")]
    pub fn name(self, name: &str) -> Self {
        self.graph.borrow_mut().set_name(self.node, name);
        self
    }
}
