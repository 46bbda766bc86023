//! q0: bids as they are: what it costs to pass them on.
//!
//! ```sql
//! SELECT auction, bidder, price, `dateTime`, extra FROM bid;
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::calendar::Timestamp;
use crate::event::{Event, Text};

/// A bid.
#[derive(Clone, Debug)]
pub struct Q0 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

impl Row for Q0 {}

impl fmt::Display for Q0 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q0 { auction, bidder, price, date_time, extra } = self;
        write!(f, "{auction}|{bidder}|{price}|{}|{extra}", Timestamp(*date_time))
    }
}

/// The query over `events`.
pub fn q0(events: &DataStream<Event>) -> DataStream<Q0> {
    bids(events, |bid| {
        let (auction, bidder, price, date_time) = (bid.auction, bid.bidder, bid.price, bid.date_time);
        Some(Q0 { auction, bidder, price, date_time, extra: bid.extra })
    })
}
