//! q1: prices in euros.
//!
//! ```sql
//! SELECT
//!     auction,
//!     bidder,
//!     0.908 * price as price, -- convert dollar to euro
//!     `dateTime`,
//!     extra
//! FROM bid;
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::calendar::Timestamp;
use crate::event::{Event, Text};
use crate::money::Euros;

/// A bid, in euros.
#[derive(Clone, Debug)]
pub struct Q1 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// What is bid.
    pub price: Euros,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

impl Row for Q1 {}

impl fmt::Display for Q1 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q1 { auction, bidder, price, date_time, extra } = self;
        write!(f, "{auction}|{bidder}|{price}|{}|{extra}", Timestamp(*date_time))
    }
}

/// The query over `events`.
pub fn q1(events: &DataStream<Event>) -> DataStream<Q1> {
    bids(events, |bid| {
        let (auction, bidder, date_time) = (bid.auction, bid.bidder, bid.date_time);
        Some(Q1 { auction, bidder, price: Euros::of_dollars(bid.price), date_time, extra: bid.extra })
    })
}
