//! q16: bids, bidders and auctions of each channel and day, by the rank of the price.
//!
//! ```sql
//! SELECT
//!     channel,
//!     DATE_FORMAT(`dateTime`, 'yyyy-MM-dd') as `day`,
//!     max(DATE_FORMAT(`dateTime`, 'HH:mm')) as `minute`,
//!     count(*) AS total_bids,
//!     count(*) filter (where price < 10000) AS rank1_bids,
//!     count(*) filter (where price >= 10000 and price < 1000000) AS rank2_bids,
//!     count(*) filter (where price >= 1000000) AS rank3_bids,
//!     count(distinct bidder) AS total_bidders,
//!     count(distinct bidder) filter (where price < 10000) AS rank1_bidders,
//!     count(distinct bidder) filter (where price >= 10000 and price < 1000000) AS rank2_bidders,
//!     count(distinct bidder) filter (where price >= 1000000) AS rank3_bidders,
//!     count(distinct auction) AS total_auctions,
//!     count(distinct auction) filter (where price < 10000) AS rank1_auctions,
//!     count(distinct auction) filter (where price >= 10000 and price < 1000000) AS rank2_auctions,
//!     count(distinct auction) filter (where price >= 1000000) AS rank3_auctions
//! FROM bid
//! GROUP BY channel, DATE_FORMAT(`dateTime`, 'yyyy-MM-dd');
//! ```

use std::fmt;

use highwater::DataStream;

use super::Row;
use super::tally::{Counts, tallies};
use crate::calendar::{Date, TimeOfDay, day_of};
use crate::event::{Event, Text};

/// A channel on a day.
#[derive(Clone, Debug)]
pub struct Q16 {
    /// The name of the channel.
    pub channel: Text,
    /// In days since the Unix epoch.
    pub day: i64,
    /// The latest minute of the day that has a bid.
    pub minute: u16,
    /// What was counted.
    pub counts: Counts,
}

impl Row for Q16 {
    fn key(&self) -> Option<String> {
        Some(format!("{}|{}", self.channel, self.day))
    }
}

impl fmt::Display for Q16 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q16 { channel, day, minute, counts } = self;
        write!(f, "{channel}|{}|{}|{counts}", Date(*day), TimeOfDay(*minute))
    }
}

/// The query over `events`.
pub fn q16(events: &DataStream<Event>) -> DataStream<Q16> {
    tallies(events, "q16", |bid| (bid.channel.clone(), day_of(bid.date_time)))
        .stateful_map(|(latest, counts): &mut (u16, Counts), tally| {
            *latest = tally.minute.max(*latest);
            counts.add(&tally);
            let (channel, day) = tally.group;
            Ok(Q16 { channel, day, minute: *latest, counts: *counts })
        })
        .uid("q16-counts")
}
