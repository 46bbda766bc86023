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

use highwater::DataStream;
use highwater::change::Change;
use highwater::top_n::Ranked;

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
    pub rank_number: u64,
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
    let highest =
        bids(events, Some).key_by(|bid: &Bid| bid.auction).top_n_ranked(MOST, |bid| bid.price).uid("q19-highest");
    highest.flat_map(|change, out| {
        // A rank that was taken is only ever taken by another bid, whose row takes the place of this one.
        if let Change::Insert(Ranked { rank, record }) = change {
            out.collect(Q19 { bid: record, rank_number: rank });
        }
        Ok(())
    })
}
