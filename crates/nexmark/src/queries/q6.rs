//! q6: the average selling price of the last ten auctions of each seller.
//!
//! ```sql
//! SELECT
//!     Q.seller,
//!     AVG(Q.price) OVER
//!         (PARTITION BY Q.seller ORDER BY Q.`dateTime` ROWS BETWEEN 10 PRECEDING AND CURRENT ROW)
//! FROM (
//!     SELECT *, ROW_NUMBER() OVER (PARTITION BY A.id, A.seller ORDER BY B.price DESC) AS rownum
//!     FROM (SELECT A.id, A.seller, B.price, B.`dateTime`
//!         FROM auction AS A,
//!             bid AS B
//!         WHERE A.id = B.auction
//!             and B.`dateTime` between A.`dateTime` and A.expires)
//!     WHERE rownum <= 1
//! ) AS Q;
//! ```
//!
//! Flink does not support this text. What is computed here is what the query was published for (Tucker et al., "NEXMark: A Benchmark for
//! Queries over Data Streams", 2002): the average over the *last ten* auctions of a seller, where the text has ten and the current one.
//! There is one row for each auction that was sold, once event time has passed its end: its seller, and the average of the winning
//! bids of the last ten auctions of that seller that were sold, itself included; fewer if there are no ten yet. Auctions of a seller
//! follow each other by their ends, and by their ids if those are the same. The winning bid is that of q9.

use std::fmt;

use highwater::prelude::*;

use super::Row;
use super::winning::{Entry, Lot, Tender, Winning, winning_bids};
use crate::event::Event;

/// How many auctions an average is over, at most.
const AUCTIONS: usize = 10;

/// A seller at the end of an auction.
#[derive(Clone, Debug)]
pub struct Q6 {
    /// The id of a person.
    pub seller: u64,
    /// In cents, rounded down.
    pub avg_price: u64,
}

impl Row for Q6 {}

impl fmt::Display for Q6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.seller, self.avg_price)
    }
}

/// The query over `events`.
pub fn q6(events: &DataStream<Event>) -> DataStream<Q6> {
    let entries = events.flat_map(|event, out| {
        match event {
            Event::Auction(auction) => out.collect(Entry::Lot(Lot::of(&auction, auction.seller))),
            Event::Bid(bid) => out.collect(Entry::Tender(Tender::of(&bid, ()))),
            Event::Person(_) => {}
        }
        Ok(())
    });
    winning_bids(&entries)
        .uid("q6-winning")
        .key_by(|winning: &Winning<u64, ()>| winning.lot.about)
        .process(LastAuctions)
        .uid("q6-average")
}

#[derive(KeyedState)]
struct Seller {
    /// Prices of auctions that go on, by their end and id.
    open: MapState<(i64, u64), u64>,
    /// Prices of the last auctions that ended, the newest last.
    ended: ListState<u64>,
}

#[derive(Clone)]
struct LastAuctions;

impl KeyedProcessFunction<u64, Winning<u64, ()>> for LastAuctions {
    type State = Seller;
    type Out = Q6;

    fn process(
        &mut self,
        winning: Winning<u64, ()>,
        seller: &mut Seller,
        context: &mut Context<'_, u64, Q6>,
    ) -> UserResult {
        let Winning { lot, best, .. } = winning;
        if seller.open.insert((lot.expires, lot.id), best.price).is_none() {
            context.register_event_time_timer(lot.expires);
        }
        Ok(())
    }

    fn on_timer(&mut self, timer: Timer, seller: &mut Seller, context: &mut Context<'_, u64, Q6>) -> UserResult {
        let over: Vec<_> = seller.open.range(..=(timer.time_ms, u64::MAX)).map(|(at, price)| (*at, *price)).collect();
        let mut ended = seller.ended.take();
        for (at, price) in over {
            seller.open.remove(&at);
            if ended.len() == AUCTIONS {
                ended.remove(0);
            }
            ended.push(price);
            let avg_price = ended.iter().sum::<u64>() / ended.len() as u64;
            context.collect(Q6 { seller: *context.key(), avg_price });
        }
        seller.ended.update(ended);
        Ok(())
    }
}
