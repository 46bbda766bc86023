//! q18: the last bid of each person for each auction.
//!
//! ```sql
//! SELECT auction, bidder, price, channel, url, `dateTime`, extra
//!  FROM (SELECT *, ROW_NUMBER() OVER (PARTITION BY bidder, auction ORDER BY `dateTime` DESC) AS rank_number
//!        FROM bid)
//!  WHERE rank_number <= 1;
//! ```
//!
//! Of bids at the same time the one that comes last is the last, as in Flink. A row takes the place of the one before, so what has to be
//! kept of a bid is its time.

use std::fmt;

use highwater::prelude::*;

use super::{Row, bids, write_bid};
use crate::event::{Bid, Event};

/// A bid.
#[derive(Clone, Debug)]
pub struct Q18 {
    /// The bid.
    pub bid: Bid,
}

impl Row for Q18 {
    fn key(&self) -> Option<String> {
        Some(format!("{}|{}", self.bid.bidder, self.bid.auction))
    }
}

impl fmt::Display for Q18 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bid(&self.bid, f)
    }
}

/// The query over `events`.
pub fn q18(events: &DataStream<Event>) -> DataStream<Q18> {
    bids(events, Some).key_by(|bid: &Bid| (bid.bidder, bid.auction)).process(LastBid).uid("q18-last")
}

#[derive(KeyedState)]
struct Last {
    /// When the last bid was made.
    date_time: ValueState<i64>,
}

#[derive(Clone)]
struct LastBid;

impl KeyedProcessFunction<(u64, u64), Bid> for LastBid {
    type State = Last;
    type Out = Q18;

    fn process(&mut self, bid: Bid, last: &mut Last, context: &mut Context<'_, (u64, u64), Q18>) -> UserResult {
        if last.date_time.get().is_none_or(|latest| *latest <= bid.date_time) {
            last.date_time.set(bid.date_time);
            context.collect(Q18 { bid });
        }
        Ok(())
    }
}
