//! q9: each auction with its winning bid.
//!
//! ```sql
//! SELECT
//!     id, itemName, description, initialBid, reserve, `dateTime`, expires, seller, category, extra,
//!     auction, bidder, price, bid_dateTime, bid_extra
//! FROM (
//!    SELECT A.*, B.auction, B.bidder, B.price, B.`dateTime` AS bid_dateTime, B.extra AS bid_extra,
//!      ROW_NUMBER() OVER (PARTITION BY A.id ORDER BY B.price DESC, B.`dateTime` ASC) AS rownum
//!    FROM auction A, bid B
//!    WHERE A.id = B.auction AND B.`dateTime` BETWEEN A.`dateTime` AND A.expires
//! )
//! WHERE rownum <= 1;
//! ```

use std::fmt;
use std::sync::Arc;

use highwater::DataStream;

use super::Row;
use super::winning::{Entry, Lot, Tender, winning_bids};
use crate::calendar::Timestamp;
use crate::event::{Auction, Event, Text};

/// An auction with its winning bid.
#[derive(Clone, Debug)]
pub struct Q9 {
    /// The auction.
    pub auction: Arc<Auction>,
    /// The id of the person who won it.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// When the bid was made, in ms since the Unix epoch.
    pub bid_date_time: i64,
    /// Filler of the bid.
    pub bid_extra: Text,
}

impl Row for Q9 {
    fn key(&self) -> Option<String> {
        Some(self.auction.id.to_string())
    }
}

impl fmt::Display for Q9 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q9 { auction, bidder, price, bid_date_time, bid_extra } = self;
        let Auction { id, item_name, description, initial_bid, reserve, date_time, .. } = &**auction;
        let Auction { expires, seller, category, extra, .. } = &**auction;
        let [date_time, expires, bid_date_time] = [date_time, expires, bid_date_time].map(|ms| Timestamp(*ms));
        write!(
            f,
            "{id}|{item_name}|{description}|{initial_bid}|{reserve}|{date_time}|{expires}|{seller}|{category}|{extra}|"
        )?;
        write!(f, "{id}|{bidder}|{price}|{bid_date_time}|{bid_extra}")
    }
}

/// The query over `events`.
pub fn q9(events: &DataStream<Event>) -> DataStream<Q9> {
    let entries = events.flat_map(|event, out| {
        match event {
            Event::Auction(auction) => {
                let auction = Arc::new(auction);
                out.collect(Entry::Lot(Lot::of(&auction, Arc::clone(&auction))));
            }
            Event::Bid(bid) => {
                out.collect(Entry::Tender(Tender::of(&bid, (bid.bidder, bid.extra.clone()))));
            }
            Event::Person(_) => {}
        }
        Ok(())
    });
    winning_bids(&entries).uid("q9-winning").map(|winning| {
        let (bidder, bid_extra) = winning.best.about;
        let (price, bid_date_time) = (winning.best.price, winning.best.date_time);
        Ok(Q9 { auction: winning.lot.about, bidder, price, bid_date_time, bid_extra })
    })
}
