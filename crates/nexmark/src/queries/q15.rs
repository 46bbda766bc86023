//! q15: bids, bidders and auctions of each day, by the rank of the price.
//!
//! ```sql
//! SELECT
//!      DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') as `day`,
//!      count(*) AS total_bids,
//!      count(*) filter (where price < 10000) AS rank1_bids,
//!      count(*) filter (where price >= 10000 and price < 1000000) AS rank2_bids,
//!      count(*) filter (where price >= 1000000) AS rank3_bids,
//!      count(distinct bidder) AS total_bidders,
//!      count(distinct bidder) filter (where price < 10000) AS rank1_bidders,
//!      count(distinct bidder) filter (where price >= 10000 and price < 1000000) AS rank2_bidders,
//!      count(distinct bidder) filter (where price >= 1000000) AS rank3_bidders,
//!      count(distinct auction) AS total_auctions,
//!      count(distinct auction) filter (where price < 10000) AS rank1_auctions,
//!      count(distinct auction) filter (where price >= 10000 and price < 1000000) AS rank2_auctions,
//!      count(distinct auction) filter (where price >= 1000000) AS rank3_auctions
//! FROM bid
//! GROUP BY DATE_FORMAT(`dateTime`, 'yyyy-MM-dd');
//! ```

use std::fmt;

use highwater::DataStream;

use super::Row;
use super::tally::{Counts, tallies};
use crate::calendar::{Date, day_of};
use crate::event::Event;

/// A day.
#[derive(Clone, Debug)]
pub struct Q15 {
    /// In days since the Unix epoch.
    pub day: i64,
    /// What was counted.
    pub counts: Counts,
}

impl Row for Q15 {
    fn key(&self) -> Option<String> {
        Some(self.day.to_string())
    }
}

impl fmt::Display for Q15 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", Date(self.day), self.counts)
    }
}

/// The query over `events`.
pub fn q15(events: &DataStream<Event>) -> DataStream<Q15> {
    tallies(events, "q15", |bid| day_of(bid.date_time))
        .stateful_map(|counts: &mut Counts, tally| {
            counts.add(&tally);
            Ok(Q15 { day: tally.group, counts: *counts })
        })
        .uid("q15-counts")
}
