//! Joins of two keyed streams by event time: a left record with each right one whose time is within bounds relative to its own.
//!
//! ```
//! use highwater::prelude::*;
//!
//! # fn main() -> highwater::Result<()> {
//! let (env, paid) = (StreamExecutionEnvironment::new(), CollectSink::new());
//! let in_order = || WatermarkStrategy::for_monotonous_timestamps(|record: &(u64, i64)| record.1);
//! // Number of the order, and when.
//! let orders = CollectionSource::new(vec![(1u64, 1_000i64), (2, 2_000), (3, 9_000)]);
//! let payments = CollectionSource::new(vec![(2u64, 2_500i64), (1, 5_000), (3, 70_000)]);
//! let orders = env.from_source(orders, in_order(), "orders").key_by(|order: &(u64, i64)| order.0);
//! let payments = env.from_source(payments, in_order(), "payments").key_by(|payment: &(u64, i64)| payment.0);
//! orders
//!     .interval_join(&payments)
//!     .between(0, 60_000)
//!     .process_left_outer(|order, payment, context| {
//!         context.collect((order.0, payment.map(|payment| payment.1 - order.1)));
//!         Ok(())
//!     })
//!     .uid("paid")
//!     .sink_to(paid.clone());
//! env.execute("orders")?;
//! let mut paid = paid.committed();
//! paid.sort();
//! assert_eq!(paid, [(1, Some(4_000)), (2, Some(500)), (3, None)]);
//! # Ok(())
//! # }
//! ```
//!
//! Invariants:
//! * two records that match are joined exactly once if neither was late when it came: whichever came first, and wherever the
//!   watermark was;
//! * a record is late if the watermark is past its event time; one with the very time of the watermark is not;
//! * what waits is kept while a record that is not late can still match it, and is gone when the watermark has passed the last such
//!   time. That is when an outer join emits it, if it was not joined.
//!
//! Flink's DataStream API has the inner join only; the outer ones are those of its SQL.

mod operator;

use std::marker::PhantomData;
use std::rc::Rc;

use highwater_runtime::{OutputTag, Record, UserResult};
use highwater_state::{Data, Key};

use crate::stream::{DataStream, KeyedStream};
pub use operator::JoinContext;
use operator::{Bounds, JoinFunction, Operator, Unmatched};

impl<K: Key, L: Data, F: Fn(&L) -> K + Clone + Send + Sync + 'static> KeyedStream<K, L, F> {
    /// Joins each record of this stream, the left one, with those of `right` that have its key and an event time near its own: see
    /// [`interval_join`](crate::interval_join).
    ///
    /// # Panics
    /// If the other stream is of another environment.
    pub fn interval_join<R, G>(&self, right: &KeyedStream<K, R, G>) -> IntervalJoin<K, L, R, F, G>
    where
        R: Data,
        G: Fn(&R) -> K + Clone + Send + Sync + 'static,
    {
        assert!(Rc::ptr_eq(&self.stream.graph, &right.stream.graph), "streams of two environments cannot be joined");
        IntervalJoin { left: self.clone(), right: right.clone() }
    }
}

/// Two keyed streams that are to be joined.
pub struct IntervalJoin<K, L, R, F, G> {
    left: KeyedStream<K, L, F>,
    right: KeyedStream<K, R, G>,
}

impl<K, L, R, F, G> IntervalJoin<K, L, R, F, G> {
    /// A left record at time `t` matches right ones from `t + lower_ms` to `t + upper_ms`, both included; either can be negative.
    pub fn between(self, lower_ms: i64, upper_ms: i64) -> IntervalJoined<K, L, R, F, G> {
        let IntervalJoin { left, right } = self;
        let bounds = Bounds { lower_ms, upper_ms };
        IntervalJoined { left, right, bounds, is_exclusive: [false; 2], late_left: None, late_right: None }
    }
}

/// Two keyed streams joined within bounds.
pub struct IntervalJoined<K, L, R, F, G> {
    left: KeyedStream<K, L, F>,
    right: KeyedStream<K, R, G>,
    bounds: Bounds,
    /// Whether the lower bound is, and the upper one.
    is_exclusive: [bool; 2],
    late_left: Option<OutputTag<L>>,
    late_right: Option<OutputTag<R>>,
}

impl<K, L, R, F, G> IntervalJoined<K, L, R, F, G>
where
    K: Key,
    L: Data,
    R: Data,
    F: Fn(&L) -> K + Clone + Send + Sync + 'static,
    G: Fn(&R) -> K + Clone + Send + Sync + 'static,
{
    /// The lower bound itself does not match.
    #[must_use]
    pub fn lower_bound_exclusive(mut self) -> Self {
        self.is_exclusive[0] = true;
        self
    }

    /// The upper bound itself does not match.
    #[must_use]
    pub fn upper_bound_exclusive(mut self) -> Self {
        self.is_exclusive[1] = true;
        self
    }

    /// Sends left records that are late to a side output, instead of dropping and counting them.
    #[must_use]
    pub fn side_output_left_late_data(mut self, tag: &OutputTag<L>) -> Self {
        self.late_left = Some(tag.clone());
        self
    }

    /// Sends right records that are late to a side output, instead of dropping and counting them.
    #[must_use]
    pub fn side_output_right_late_data(mut self, tag: &OutputTag<R>) -> Self {
        self.late_right = Some(tag.clone());
        self
    }

    /// Calls `function` for each two records that match.
    pub fn process<Out: Record>(
        self,
        mut function: impl FnMut(&L, &R, &mut JoinContext<'_, '_, K, Out>) -> UserResult + Clone + Send + Sync + 'static,
    ) -> DataStream<Out> {
        self.add("interval-join", Unmatched { left: false, right: false }, move |left, right, context| {
            match (left, right) {
                (Some(left), Some(right)) => function(left, right, context),
                _ => Ok(()),
            }
        })
    }

    /// Calls `function` for each two records that match, and for each left record that none has matched.
    pub fn process_left_outer<Out: Record>(
        self,
        mut function: impl FnMut(&L, Option<&R>, &mut JoinContext<'_, '_, K, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.add("interval-left-join", Unmatched { left: true, right: false }, move |left, right, context| {
            left.map_or(Ok(()), |left| function(left, right, context))
        })
    }

    /// Calls `function` for each two records that match, and for each right record that none has matched.
    pub fn process_right_outer<Out: Record>(
        self,
        mut function: impl FnMut(Option<&L>, &R, &mut JoinContext<'_, '_, K, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.add("interval-right-join", Unmatched { left: false, right: true }, move |left, right, context| {
            right.map_or(Ok(()), |right| function(left, right, context))
        })
    }

    /// Calls `function` for each two records that match, and for each record of either stream that none has matched.
    pub fn process_full_outer<Out: Record>(
        self,
        function: impl FnMut(Option<&L>, Option<&R>, &mut JoinContext<'_, '_, K, Out>) -> UserResult
        + Clone
        + Send
        + Sync
        + 'static,
    ) -> DataStream<Out> {
        self.add("interval-full-join", Unmatched { left: true, right: true }, function)
    }

    fn add<Out: Record, J: JoinFunction<K, L, R, Out>>(
        self,
        name: &str,
        emits: Unmatched,
        function: J,
    ) -> DataStream<Out> {
        let IntervalJoined { left, right, bounds, is_exclusive: [lower, upper], late_left, late_right } = self;
        let bounds = Bounds {
            lower_ms: bounds.lower_ms.saturating_add(lower.into()),
            upper_ms: bounds.upper_ms.saturating_sub(upper.into()),
        };
        let graph = &left.stream.graph;
        let operator = Operator { bounds, emits, function, late_left, late_right, out: PhantomData };
        let (node, stream) = graph.borrow_mut().keyed_co_process(
            name,
            (left.stream.stream, left.selector.clone()),
            (right.stream.stream, right.selector.clone()),
            operator,
        );
        let out = DataStream::new(Rc::clone(graph), node, stream);
        match bounds.check() {
            Ok(()) => out,
            Err(problem) => out.rejected(&problem),
        }
    }
}
