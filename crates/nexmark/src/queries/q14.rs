//! q14: bids within a range, by the time of day.
//!
//! ```sql
//! SELECT
//!     auction,
//!     bidder,
//!     0.908 * price as price,
//!     CASE
//!         WHEN HOUR(`dateTime`) >= 8 AND HOUR(`dateTime`) <= 18 THEN 'dayTime'
//!         WHEN HOUR(`dateTime`) <= 6 OR HOUR(`dateTime`) >= 20 THEN 'nightTime'
//!         ELSE 'otherTime'
//!     END AS bidTimeType,
//!     `dateTime`,
//!     extra,
//!     count_char(extra, 'c') AS c_counts
//! FROM bid
//! WHERE 0.908 * price > 1000000 AND 0.908 * price < 50000000;
//! ```
//!
//! `count_char` is a user function of the published benchmark: it counts bytes.

use std::fmt;

use highwater::DataStream;
use memchr::memchr_iter;

use super::{Row, bids};
use crate::calendar::{Timestamp, minute_of};
use crate::event::{Event, Text};
use crate::money::Euros;

/// A bid.
#[derive(Clone, Debug)]
pub struct Q14 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// What is bid.
    pub price: Euros,
    /// What part of the day it was made in.
    pub bid_time_type: &'static str,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
    /// How often that has the letter c.
    pub c_counts: usize,
}

impl Row for Q14 {}

impl fmt::Display for Q14 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q14 { auction, bidder, price, bid_time_type, date_time, extra, c_counts } = self;
        write!(f, "{auction}|{bidder}|{price}|{bid_time_type}|{}|{extra}|{c_counts}", Timestamp(*date_time))
    }
}

/// The query over `events`.
pub fn q14(events: &DataStream<Event>) -> DataStream<Q14> {
    bids(events, |bid| {
        let price = Euros::of_dollars(bid.price);
        if price <= Euros::whole(1_000_000) || price >= Euros::whole(50_000_000) {
            return None;
        }
        Some(Q14 {
            auction: bid.auction,
            bidder: bid.bidder,
            price,
            bid_time_type: match minute_of(bid.date_time) / 60 {
                8..=18 => "dayTime",
                ..=6 | 20.. => "nightTime",
                _ => "otherTime",
            },
            date_time: bid.date_time,
            c_counts: memchr_iter(b'c', bid.extra.as_bytes()).count(),
            extra: bid.extra,
        })
    })
}
