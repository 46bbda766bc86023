//! q2: bids for some auctions.
//!
//! ```sql
//! SELECT auction, price FROM bid WHERE MOD(auction, 123) = 0;
//! ```

use std::fmt;

use highwater::DataStream;

use super::{Row, bids};
use crate::event::Event;

/// A bid.
#[derive(Clone, Debug)]
pub struct Q2 {
    /// The id of the auction.
    pub auction: u64,
    /// In cents.
    pub price: u64,
}

impl Row for Q2 {}

impl fmt::Display for Q2 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.auction, self.price)
    }
}

/// The query over `events`.
pub fn q2(events: &DataStream<Event>) -> DataStream<Q2> {
    bids(events, |bid| bid.auction.is_multiple_of(123).then_some(Q2 { auction: bid.auction, price: bid.price }))
}
