//! q13: bids with what a table says of their auctions.
//!
//! ```sql
//! SELECT
//!     B.auction,
//!     B.bidder,
//!     B.price,
//!     B.`dateTime`,
//!     S.`value`
//! FROM (SELECT *, PROCTIME() as p_time FROM bid) B
//! JOIN side_input FOR SYSTEM_TIME AS OF B.p_time AS S
//! ON mod(B.auction, 10000) = S.key;
//! ```
//!
//! The side input is that of the published `side_input_gen.sh`: 10,000 rows, whose value is their key as text. It never changes, so
//! which version of it a bid sees does not matter, and each process holds it in memory.

use std::fmt;
use std::sync::LazyLock;

use highwater::DataStream;

use super::{Row, bids};
use crate::calendar::Timestamp;
use crate::event::{Event, Text};

/// Rows of the side input.
const ROWS: usize = 10_000;

/// A bid with a value of the side input.
#[derive(Clone, Debug)]
pub struct Q13 {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// What the side input has.
    pub value: Text,
}

impl Row for Q13 {}

impl fmt::Display for Q13 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q13 { auction, bidder, price, date_time, value } = self;
        write!(f, "{auction}|{bidder}|{price}|{}|{value}", Timestamp(*date_time))
    }
}

/// The values by their keys.
fn side_input() -> &'static [String] {
    static ROWS_BY_KEY: LazyLock<Vec<String>> = LazyLock::new(|| (0..ROWS).map(|key| key.to_string()).collect());
    &ROWS_BY_KEY
}

/// The query over `events`.
pub fn q13(events: &DataStream<Event>) -> DataStream<Q13> {
    let side_input = side_input();
    bids(events, |bid| {
        let value = Text::Borrowed(side_input.get((bid.auction % 10_000) as usize)?);
        let (auction, bidder, price, date_time) = (bid.auction, bid.bidder, bid.price, bid.date_time);
        Some(Q13 { auction, bidder, price, date_time, value })
    })
}
