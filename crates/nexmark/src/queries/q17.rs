//! q17: the bids for each auction on each day.
//!
//! ```sql
//! SELECT
//!      auction,
//!      DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') as `day`,
//!      count(*) AS total_bids,
//!      count(*) filter (where price < 10000) AS rank1_bids,
//!      count(*) filter (where price >= 10000 and price < 1000000) AS rank2_bids,
//!      count(*) filter (where price >= 1000000) AS rank3_bids,
//!      min(price) AS min_price,
//!      max(price) AS max_price,
//!      avg(price) AS avg_price,
//!      sum(price) AS sum_price
//! FROM bid
//! GROUP BY auction, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd');
//! ```

use std::fmt;

use highwater::DataStream;
use highwater::state::Data;

use super::tally::rank;
use super::{Row, bids};
use crate::calendar::{Date, day_of};
use crate::event::Event;

/// An auction on a day.
#[derive(Clone, Debug)]
pub struct Q17 {
    /// The id of the auction.
    pub auction: u64,
    /// In days since the Unix epoch.
    pub day: i64,
    /// The bids for it.
    pub prices: Prices,
}

/// Prices that were bid, in cents.
#[derive(Clone, Copy, Debug, Default, Data)]
pub struct Prices {
    /// How many.
    pub count: u64,
    /// How many of each rank.
    pub ranks: [u64; 3],
    /// The lowest.
    pub min: u64,
    /// The highest.
    pub max: u64,
    /// All together.
    pub sum: u64,
}

impl Prices {
    fn add(&mut self, price: u64) {
        self.min = if self.count == 0 { price } else { price.min(self.min) };
        self.max = price.max(self.max);
        self.count += 1;
        self.ranks[rank(price)] += 1;
        self.sum += price;
    }
}

impl Row for Q17 {
    fn key(&self) -> Option<String> {
        Some(format!("{}|{}", self.auction, self.day))
    }
}

impl fmt::Display for Q17 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q17 { auction, day, prices: Prices { count, ranks: [rank1, rank2, rank3], min, max, sum } } = self;
        let average = sum / count.max(&1);
        write!(f, "{auction}|{}|{count}|{rank1}|{rank2}|{rank3}|{min}|{max}|{average}|{sum}", Date(*day))
    }
}

/// The query over `events`.
pub fn q17(events: &DataStream<Event>) -> DataStream<Q17> {
    bids(events, |bid| Some((bid.auction, day_of(bid.date_time), bid.price)))
        .key_by(|(auction, day, _): &(u64, i64, u64)| (*auction, *day))
        .stateful_map(|prices: &mut Prices, (auction, day, price)| {
            prices.add(price);
            Ok(Q17 { auction, day, prices: *prices })
        })
        .uid("q17-prices")
}
