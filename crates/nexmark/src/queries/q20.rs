//! q20: bids for auctions of one category, with the auctions.
//!
//! ```sql
//! SELECT
//!     auction, bidder, price, channel, url, B.`dateTime`, B.extra,
//!     itemName, description, initialBid, reserve, A.`dateTime`, expires, seller, category, A.extra
//! FROM
//!     bid AS B INNER JOIN auction AS A on B.auction = A.id
//! WHERE A.category = 10;
//! ```

use std::fmt;
use std::sync::Arc;

use highwater::DataStream;

use super::join::{Join, Side};
use super::{Row, write_bid};
use crate::calendar::Timestamp;
use crate::event::{Auction, Bid, Event};

/// A bid with its auction.
#[derive(Clone, Debug)]
pub struct Q20 {
    /// The bid.
    pub bid: Bid,
    /// What it is for.
    pub auction: Arc<Auction>,
}

impl Row for Q20 {}

impl fmt::Display for Q20 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Auction { item_name, description, initial_bid, reserve, date_time, .. } = &*self.auction;
        let Auction { expires, seller, category, extra, .. } = &*self.auction;
        let [date_time, expires] = [date_time, expires].map(|ms| Timestamp(*ms));
        write_bid(&self.bid, f)?;
        write!(
            f,
            "|{item_name}|{description}|{initial_bid}|{reserve}|{date_time}|{expires}|{seller}|{category}|{extra}"
        )
    }
}

/// The id of an auction, with what there is of it.
type Entry = (u64, Side<Bid, Arc<Auction>>);

/// The query over `events`.
pub fn q20(events: &DataStream<Event>) -> DataStream<Q20> {
    let entries = events.flat_map(|event, out| {
        match event {
            Event::Bid(bid) => out.collect((bid.auction, Side::Left(bid))),
            Event::Auction(auction) if auction.category == 10 => {
                out.collect((auction.id, Side::Right(Arc::new(auction))));
            }
            Event::Auction(_) | Event::Person(_) => {}
        }
        Ok(())
    });
    let row = |bid: &Bid, auction: &Arc<Auction>| Q20 { bid: bid.clone(), auction: Arc::clone(auction) };
    entries.key_by(|(auction, _): &Entry| *auction).process(Join::new(row)).uid("q20-join")
}
