//! q19: the ten highest bids for each auction.
//!
//! ```sql
//! SELECT * FROM
//! (SELECT *, ROW_NUMBER() OVER (PARTITION BY auction ORDER BY price DESC) AS rank_number FROM bid)
//! WHERE rank_number <= 10;
//! ```
//!
//! Of bids of the same price the one that comes first ranks first, as in Flink.

use std::fmt;

use highwater::prelude::*;

use super::{Row, bids, write_bid};
use crate::event::{Bid, Event};

/// How many bids of an auction are shown.
const MOST: usize = 10;

/// A bid.
#[derive(Clone, Debug)]
pub struct Q19 {
    /// The bid.
    pub bid: Bid,
    /// Which of the highest it is, from 1 on.
    pub rank_number: usize,
}

impl Row for Q19 {
    fn key(&self) -> Option<String> {
        Some(format!("{}|{}", self.bid.auction, self.rank_number))
    }
}

impl fmt::Display for Q19 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_bid(&self.bid, f)?;
        write!(f, "|{}", self.rank_number)
    }
}

/// The query over `events`.
pub fn q19(events: &DataStream<Event>) -> DataStream<Q19> {
    bids(events, Some).key_by(|bid: &Bid| bid.auction).process(HighestBids).uid("q19-highest")
}

#[derive(KeyedState)]
struct Highest {
    /// The highest first; of the same price, the one that came first.
    bids: ListState<Bid>,
}

#[derive(Clone)]
struct HighestBids;

impl KeyedProcessFunction<u64, Bid> for HighestBids {
    type State = Highest;
    type Out = Q19;

    fn process(&mut self, bid: Bid, highest: &mut Highest, context: &mut Context<'_, u64, Q19>) -> UserResult {
        let place = highest.bids.iter().take_while(|other| other.price >= bid.price).count();
        if place == MOST {
            return Ok(());
        }
        let mut bids = highest.bids.take();
        bids.truncate(MOST - 1);
        bids.insert(place, bid);
        for (index, bid) in bids.iter().enumerate().skip(place) {
            context.collect(Q19 { bid: bid.clone(), rank_number: index + 1 });
        }
        highest.bids.update(bids);
        Ok(())
    }
}
