//! q10: bids, written to files by the minute.
//!
//! ```sql
//! SELECT auction, bidder, price, `dateTime`, extra, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd'), DATE_FORMAT(`dateTime`, 'HH:mm')
//! FROM bid;
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::calendar::{Date, TimeOfDay, Timestamp, day_of, minute_of};
use crate::event::{Event, Text};

/// A bid, in the partition of its minute.
#[derive(Clone, Debug)]
pub struct Q10 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When, in ms since the Unix epoch; day and minute of it are the last two columns.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

impl Row for Q10 {}

impl fmt::Display for Q10 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q10 { auction, bidder, price, date_time, extra } = self;
        let (day, minute) = (Date(day_of(*date_time)), TimeOfDay(minute_of(*date_time)));
        write!(f, "{auction}|{bidder}|{price}|{}|{extra}|{day}|{minute}", Timestamp(*date_time))
    }
}

/// The query over `events`; [`MinuteFiles`](crate::MinuteFiles) writes its rows.
pub fn q10(events: &DataStream<Event>) -> DataStream<Q10> {
    bids(events, |bid| {
        let (auction, bidder, price, date_time) = (bid.auction, bid.bidder, bid.price, bid.date_time);
        Some(Q10 { auction, bidder, price, date_time, extra: bid.extra })
    })
}
