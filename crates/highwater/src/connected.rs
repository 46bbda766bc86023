//! Two streams as the inputs of one function: keyed with keyed, and either kind with a broadcast one.
//!
//! The operator aligns both: a checkpoint has what came before its barrier on each of them, and the watermark is the minimum of
//! theirs. A stream whose source has no watermarks holds it back, as a broadcast stream of rules often does; give it watermarks,
//! or use no event time behind it. One that has ended holds nothing back.
//!
//! ```
//! use highwater::prelude::*;
//!
//! /// How much a user may spend.
//! #[derive(OperatorState)]
//! struct Limits {
//!     by_country: BroadcastState<String, u64>,
//! }
//!
//! #[derive(KeyedState)]
//! struct Account {
//!     spent: ValueState<u64>,
//! }
//!
//! #[derive(Clone)]
//! struct Check;
//!
//! impl KeyedBroadcastProcessFunction<String, (String, String, u64), (String, u64)> for Check {
//!     type State = Account;
//!     type Broadcast = Limits;
//!     type Out = String;
//!
//!     fn process(
//!         &mut self,
//!         (user, country, amount): (String, String, u64),
//!         account: &mut Account,
//!         limits: &Limits,
//!         context: &mut Context<'_, String, String>,
//!     ) -> UserResult {
//!         let spent = account.spent.get_or_default() + amount;
//!         account.spent.set(spent);
//!         if limits.by_country.get(&country).is_some_and(|limit| spent > *limit) {
//!             context.collect(format!("{user} is over the limit"));
//!         }
//!         Ok(())
//!     }
//!
//!     fn process_broadcast(
//!         &mut self,
//!         (country, limit): (String, u64),
//!         limits: &mut Limits,
//!         _: &mut KeyedBroadcastContext<'_, String, Account, String>,
//!     ) -> UserResult {
//!         limits.by_country.insert(country, limit);
//!         Ok(())
//!     }
//! }
//!
//! # fn main() -> highwater::Result<()> {
//! let env = StreamExecutionEnvironment::new();
//! let limits = env.from_collection([("ch".to_string(), 100)]);
//! let payments = env.from_collection([("ada".to_string(), "ch".to_string(), 120)]);
//! let output = CollectSink::new();
//! payments
//!     .key_by(|(user, ..): &(String, String, u64)| user.clone())
//!     .connect(&limits.broadcast())
//!     .process(Check)
//!     .uid("check")
//!     .sink_to(output.clone());
//! env.execute("limits")?;
//! // The payment may have been there before the limit was.
//! assert!(output.committed().iter().all(|text| text == "ada is over the limit"));
//! # Ok(())
//! # }
//! ```
//!
//! The keyed side cannot write to broadcast state, since it gets it by a shared reference:
//!
//! ```compile_fail,E0596
//! # use highwater::prelude::*;
//! # #[derive(OperatorState)]
//! # struct Limits { by_country: BroadcastState<String, u64> }
//! # #[derive(KeyedState)]
//! # struct Account { spent: ValueState<u64> }
//! # #[derive(Clone)]
//! # struct Check;
//! # impl KeyedBroadcastProcessFunction<String, String, u64> for Check {
//! #     type State = Account;
//! #     type Broadcast = Limits;
//! #     type Out = String;
//! fn process(&mut self, user: String, _: &mut Account, limits: &Limits, _: &mut Context<'_, String, String>) -> UserResult {
//!     limits.by_country.insert(user, 0);
//!     Ok(())
//! }
//! #     fn process_broadcast(&mut self, _: u64, _: &mut Limits, _: &mut KeyedBroadcastContext<'_, String, Account, String>) -> UserResult { Ok(()) }
//! # }
//! ```

use std::rc::Rc;

use highwater_runtime::{
    Batch, BroadcastProcessFunction, Graph, KeyedBroadcastProcessFunction, KeyedCoProcessFunction, NodeId, Record,
    StreamId,
};
use highwater_state::{Data, Key};

use crate::stream::{DataStream, KeyedStream};
use sealed::InGraph;

/// A stream whose every record goes to every subtask.
pub struct BroadcastStream<T> {
    stream: DataStream<T>,
}

impl<T> Clone for BroadcastStream<T> {
    fn clone(&self) -> Self {
        BroadcastStream { stream: self.stream.clone() }
    }
}

impl<T> BroadcastStream<T> {
    pub(crate) fn new(stream: DataStream<T>) -> Self {
        BroadcastStream { stream }
    }
}

/// What a keyed stream can be connected to: a keyed or a broadcast stream.
#[diagnostic::on_unimplemented(
    message = "a keyed stream cannot be connected to `{Self}`",
    label = "neither keyed nor broadcast",
    note = "key the other stream by the same type with `key_by`, or send it to all subtasks with `broadcast`"
)]
pub trait Connectable: Clone + InGraph {}

impl<T: Data> Connectable for BroadcastStream<T> {}
impl<K: Key, T: Data, F: Clone> Connectable for KeyedStream<K, T, F> {}

mod sealed {
    use crate::stream::{DataStream, KeyedStream, SharedGraph};

    /// A stream knows the graph that it is part of.
    pub trait InGraph {
        fn graph(&self) -> &SharedGraph;
    }

    impl<T> InGraph for DataStream<T> {
        fn graph(&self) -> &SharedGraph {
            &self.graph
        }
    }

    impl<K, T, F> InGraph for KeyedStream<K, T, F> {
        fn graph(&self) -> &SharedGraph {
            &self.stream.graph
        }
    }

    impl<T> InGraph for super::BroadcastStream<T> {
        fn graph(&self) -> &SharedGraph {
            &self.stream.graph
        }
    }
}

/// Two streams that one function will read: see the [module](self).
pub struct ConnectedStreams<A, B> {
    first: A,
    second: B,
}

impl<A: InGraph, B: InGraph> ConnectedStreams<A, B> {
    pub(crate) fn new(first: A, second: B) -> Self {
        assert!(Rc::ptr_eq(first.graph(), second.graph()), "streams of two environments cannot be connected");
        ConnectedStreams { first, second }
    }

    /// The output of the node that `add` makes.
    fn add<Out: Record>(&self, add: impl FnOnce(&mut Graph) -> (NodeId, StreamId<Batch<Out>>)) -> DataStream<Out> {
        let graph = self.first.graph();
        let (node, stream) = add(&mut graph.borrow_mut());
        DataStream::new(Rc::clone(graph), node, stream)
    }
}

impl<K, T, F, U, G> ConnectedStreams<KeyedStream<K, T, F>, KeyedStream<K, U, G>>
where
    K: Key,
    T: Data,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    U: Data,
    G: Fn(&U) -> K + Clone + Send + Sync + 'static,
{
    /// Calls a function with declared state and timers for each record of both streams.
    ///
    /// ```
    /// use highwater::prelude::*;
    ///
    /// #[derive(KeyedState)]
    /// struct Order {
    ///     ordered: ValueState<u32>,
    ///     paid: ValueState<u32>,
    /// }
    ///
    /// /// Says when all of an order is paid, whichever of the two comes first.
    /// #[derive(Clone)]
    /// struct Match;
    ///
    /// impl Match {
    ///     fn look(order: &mut Order, context: &mut Context<'_, u64, u64>) -> UserResult {
    ///         if order.ordered.get().is_some() && order.ordered == order.paid {
    ///             context.collect(*context.key());
    ///         }
    ///         Ok(())
    ///     }
    /// }
    ///
    /// impl KeyedCoProcessFunction<u64, (u64, u32), (u64, u32)> for Match {
    ///     type State = Order;
    ///     type Out = u64;
    ///
    ///     fn process1(&mut self, placed: (u64, u32), order: &mut Order, context: &mut Context<'_, u64, u64>) -> UserResult {
    ///         order.ordered.set(placed.1);
    ///         Self::look(order, context)
    ///     }
    ///
    ///     fn process2(&mut self, payment: (u64, u32), order: &mut Order, context: &mut Context<'_, u64, u64>) -> UserResult {
    ///         order.paid.update(|paid| *paid += payment.1);
    ///         Self::look(order, context)
    ///     }
    /// }
    ///
    /// # fn main() -> highwater::Result<()> {
    /// let (env, paid) = (StreamExecutionEnvironment::new(), CollectSink::new());
    /// let orders = env.from_collection([(1u64, 30u32), (2, 50)]).key_by(|order: &(u64, u32)| order.0);
    /// let payments = env.from_collection([(2u64, 20u32), (1, 30), (2, 20)]).key_by(|payment: &(u64, u32)| payment.0);
    /// orders.connect(&payments).process(Match).uid("match").sink_to(paid.clone());
    /// env.execute("orders")?;
    /// assert_eq!(paid.committed(), [1]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn process<P: KeyedCoProcessFunction<K, T, U>>(&self, function: P) -> DataStream<P::Out> {
        let first = (self.first.stream.stream, self.first.selector.clone());
        let second = (self.second.stream.stream, self.second.selector.clone());
        self.add(|graph| graph.keyed_co_process("co-process", first, second, function))
    }
}

impl<K, T, F, B> ConnectedStreams<KeyedStream<K, T, F>, BroadcastStream<B>>
where
    K: Key,
    T: Data,
    F: Fn(&T) -> K + Clone + Send + Sync + 'static,
    B: Data,
{
    /// Calls a function with keyed and broadcast state for each record of both streams.
    pub fn process<P: KeyedBroadcastProcessFunction<K, T, B>>(&self, function: P) -> DataStream<P::Out> {
        let keyed = (self.first.stream.stream, self.first.selector.clone());
        let broadcast = self.second.stream.stream;
        self.add(|graph| graph.keyed_broadcast_process("broadcast-process", keyed, broadcast, function))
    }
}

impl<T: Record, B: Data> ConnectedStreams<DataStream<T>, BroadcastStream<B>> {
    /// Calls a function with broadcast state for each record of both streams.
    pub fn process<P: BroadcastProcessFunction<T, B>>(&self, function: P) -> DataStream<P::Out> {
        let (input, broadcast) = (self.first.stream, self.second.stream.stream);
        self.add(|graph| graph.broadcast_process("broadcast-process", input, broadcast, function))
    }
}
