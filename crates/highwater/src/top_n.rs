//! The largest records of each key, kept up to date: Flink SQL's `ROW_NUMBER() OVER (PARTITION BY .. ORDER BY .. DESC) <= n`.
//!
//! What comes out are the [changes](crate::change) of the table of all keys' top records. Of records that are equal in the order the
//! one that came first ranks higher. Nothing is taken back from the input: it only grows.
//!
//! ```
//! use highwater::change::table;
//! use highwater::prelude::*;
//! use highwater::top_n::Ranked;
//!
//! # fn main() -> highwater::Result<()> {
//! let (env, top) = (StreamExecutionEnvironment::new(), CollectSink::new());
//! // Auction and price.
//! env.from_collection([(1u64, 30u64), (2, 8), (1, 10), (1, 20), (1, 50)])
//!     .key_by(|bid: &(u64, u64)| bid.0)
//!     .top_n_ranked(2, |bid| bid.1)
//!     .uid("top")
//!     .sink_to(top.clone());
//! env.execute("bids")?;
//! let expected = [(1, (1, 50)), (1, (2, 8)), (2, (1, 30))].map(|(rank, record)| Ranked { rank, record });
//! assert_eq!(table(top.committed()), expected);
//! # Ok(())
//! # }
//! ```

use std::marker::PhantomData;

use highwater_runtime::{Context, KeyedProcessFunction, UserResult};
use highwater_state::{Data, Key, KeyedState, ValueState};

use crate::change::Change;
use crate::stream::{DataStream, KeyedStream};

impl<K: Key, T: Data, F: Fn(&T) -> K + Clone + Send + Sync + 'static> KeyedStream<K, T, F> {
    /// The `n` records of each key with the largest `order`; for the smallest put [`Reverse`](std::cmp::Reverse) around it. See
    /// [`top_n`](crate::top_n).
    pub fn top_n<O: Ord>(
        &self,
        n: usize,
        order: impl Fn(&T) -> O + Clone + Send + Sync + 'static,
    ) -> DataStream<Change<T>> {
        self.add_top_n::<O, Unranked>(n, order)
    }

    /// As [`top_n`](Self::top_n), and each record with its rank. A new one changes the ranks of all below it: of a large `n` the
    /// ranks cost much more than the records.
    pub fn top_n_ranked<O: Ord>(
        &self,
        n: usize,
        order: impl Fn(&T) -> O + Clone + Send + Sync + 'static,
    ) -> DataStream<Change<Ranked<T>>> {
        self.add_top_n::<O, ByRank>(n, order)
    }

    fn add_top_n<O: Ord, E: Emit>(
        &self,
        n: usize,
        order: impl Fn(&T) -> O + Clone + Send + Sync + 'static,
    ) -> DataStream<Change<E::Out<T>>> {
        let out = self.add("top-n", TopN { n, order, emit: PhantomData::<fn() -> E> });
        if n == 0 {
            return out.rejected("a top-n of no records has no result: ask for one record at least");
        }
        out
    }
}

/// A record with its place among those of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Data)]
#[data(crate = "highwater_state")]
pub struct Ranked<T> {
    /// 1 for the largest.
    pub rank: u64,
    /// The record.
    pub record: T,
}

/// The top of a key.
#[derive(KeyedState)]
#[state(crate = "highwater_state")]
struct Top<T: Data> {
    /// The largest first.
    records: ValueState<Vec<T>>,
}

struct TopN<G, E> {
    n: usize,
    order: G,
    emit: PhantomData<fn() -> E>,
}

impl<G: Clone, E> Clone for TopN<G, E> {
    fn clone(&self) -> Self {
        TopN { n: self.n, order: self.order.clone(), emit: PhantomData }
    }
}

impl<K, T, O, G, E> KeyedProcessFunction<K, T> for TopN<G, E>
where
    K: Key,
    T: Data,
    O: Ord,
    G: Fn(&T) -> O + Clone + Send + Sync + 'static,
    E: Emit,
{
    type State = Top<T>;
    type Out = Change<E::Out<T>>;

    fn process(&mut self, record: T, top: &mut Top<T>, context: &mut Context<'_, K, Self::Out>) -> UserResult {
        let order = (self.order)(&record);
        let before = top.records.get().map_or(&[][..], Vec::as_slice);
        let index = before.partition_point(|other| (self.order)(other) >= order);
        if index < self.n {
            top.records.update(|records| {
                records.insert(index, record);
                E::emit(records, index, self.n, |change| context.collect(change));
                records.truncate(self.n);
            });
        }
        Ok(())
    }
}

/// What comes out when a record has come in.
trait Emit: 'static {
    type Out<T: Data>: Data;

    /// `records` has a new one at `index`, which is below `n`; those from `n` on are about to go.
    fn emit<T: Data>(records: &[T], index: usize, n: usize, emit: impl FnMut(Change<Self::Out<T>>));
}

struct Unranked;

impl Emit for Unranked {
    type Out<T: Data> = T;

    fn emit<T: Data>(records: &[T], index: usize, n: usize, mut emit: impl FnMut(Change<T>)) {
        records.iter().skip(n).for_each(|record| emit(Change::Delete(record.clone())));
        emit(Change::Insert(records[index].clone()));
    }
}

struct ByRank;

impl Emit for ByRank {
    type Out<T: Data> = Ranked<T>;

    fn emit<T: Data>(records: &[T], index: usize, n: usize, mut emit: impl FnMut(Change<Ranked<T>>)) {
        for (rank, place) in (index as u64 + 1..).zip(index..records.len()) {
            // Before, each of those behind the new one was one place further up.
            if let Some(before) = records.get(place + 1) {
                emit(Change::Delete(Ranked { rank, record: before.clone() }));
            }
            if place < n {
                emit(Change::Insert(Ranked { rank, record: records[place].clone() }));
            }
        }
    }
}
