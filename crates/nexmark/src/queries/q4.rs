//! q4: the average of the winning bids of each category.
//!
//! ```sql
//! SELECT
//!     Q.category,
//!     AVG(Q.final)
//! FROM (
//!     SELECT MAX(B.price) AS final, A.category
//!     FROM auction A, bid B
//!     WHERE A.id = B.auction AND B.`dateTime` BETWEEN A.`dateTime` AND A.expires
//!     GROUP BY A.id, A.category
//! ) Q
//! GROUP BY Q.category;
//! ```

use std::fmt;

use highwater::DataStream;

use super::Row;
use super::winning::{Entry, Lot, Tender, Winning, winning_bids};
use crate::event::Event;

/// A category with the average of its winning bids.
#[derive(Clone, Debug)]
pub struct Q4 {
    /// The category.
    pub id: u64,
    /// In cents, rounded down.
    pub average: u64,
}

impl Row for Q4 {
    fn key(&self) -> Option<String> {
        Some(self.id.to_string())
    }
}

impl fmt::Display for Q4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.id, self.average)
    }
}

/// The query over `events`.
pub fn q4(events: &DataStream<Event>) -> DataStream<Q4> {
    let entries = events.flat_map(|event, out| {
        match event {
            Event::Auction(auction) => out.collect(Entry::Lot(Lot::of(&auction, auction.category))),
            Event::Bid(bid) => out.collect(Entry::Tender(Tender::of(&bid, ()))),
            Event::Person(_) => {}
        }
        Ok(())
    });
    winning_bids(&entries)
        .uid("q4-winning")
        .key_by(|winning: &Winning<u64, ()>| winning.lot.about)
        .stateful_map(|(sum, count): &mut (u64, u64), winning| {
            match winning.instead_of {
                Some(price) => *sum -= price,
                None => *count += 1,
            }
            *sum += winning.best.price;
            Ok(Q4 { id: winning.lot.about, average: *sum / *count })
        })
        .uid("q4-average")
}
