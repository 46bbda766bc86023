//! q7: the highest bids of every ten seconds.
//!
//! ```sql
//! SELECT B.auction, B.price, B.bidder, B.`dateTime`, B.extra
//! from bid B
//! JOIN (
//!   SELECT MAX(price) AS maxprice, window_end as `dateTime`
//!   FROM TABLE(
//!           TUMBLE(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
//!   GROUP BY window_start, window_end
//! ) B1
//! ON B.price = B1.maxprice
//! WHERE B.`dateTime` BETWEEN B1.`dateTime`  - INTERVAL '10' SECOND AND B1.`dateTime`;
//! ```
//!
//! Both ends of `BETWEEN` are included: a bid at the very end of a window, which is the beginning of the next one, is a row of it if it
//! has the same price. And the columns are inserted by position: what the published result table calls `bidder` is the price, and the
//! other way round.

use std::cmp::Ordering;
use std::fmt;
use std::time::Duration;

use highwater::prelude::*;
use highwater::window::TumblingEventTimeWindows;

use super::Row;
use crate::calendar::Timestamp;
use crate::event::{Event, Text};

const SIZE: Duration = Duration::from_secs(10);

/// How many keys the bids of a window are spread over.
const PARTS: u64 = 64;

/// A bid that none is higher than, in one window.
#[derive(Clone, Debug, Data)]
pub struct Q7 {
    /// The id of the auction.
    pub auction: u64,
    /// In cents.
    pub price: u64,
    /// The id of a person.
    pub bidder: u64,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

impl Row for Q7 {}

impl fmt::Display for Q7 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q7 { auction, price, bidder, date_time, extra } = self;
        write!(f, "{auction}|{price}|{bidder}|{}|{extra}", Timestamp(*date_time))
    }
}

/// A bid in a window.
#[derive(Clone, Debug, Data)]
enum Contender {
    Within(Q7),
    /// It is made when the window ends, so the highest price does not depend on it.
    AtEnd(Q7),
}

impl Contender {
    fn bid(&self) -> &Q7 {
        match self {
            Contender::Within(bid) | Contender::AtEnd(bid) => bid,
        }
    }
}

/// The query over `events`.
pub fn q7(events: &DataStream<Event>) -> DataStream<Q7> {
    let contenders = events.flat_map(|event, out| {
        let Event::Bid(bid) = event else { return Ok(()) };
        let (auction, price, bidder, date_time) = (bid.auction, bid.price, bid.bidder, bid.date_time);
        let bid = Q7 { auction, price, bidder, date_time, extra: bid.extra };
        if date_time % SIZE.as_millis() as i64 == 0 {
            out.collect_at(Contender::AtEnd(bid.clone()), date_time - 1);
        }
        out.collect(Contender::Within(bid));
        Ok(())
    });
    // First the highest of each part, so that the work is shared; then of them the highest of all.
    contenders
        .key_by(|contender: &Contender| contender.bid().price % PARTS)
        .window(TumblingEventTimeWindows::of(SIZE))
        .aggregate::<Highest>()
        .uid("q7-parts")
        .window_all(TumblingEventTimeWindows::of(SIZE))
        .reduce_with(
            |highest, other| {
                highest.take_in(other);
                Ok(())
            },
            |highest, context| {
                highest.rows().for_each(|bid| context.collect(bid));
                Ok(())
            },
        )
        .uid("q7-highest")
}

/// The highest bids of a window so far.
#[derive(Clone, Debug, Default, Data)]
struct Highest {
    /// All of the same price.
    within: Vec<Q7>,
    /// Those that are made when it ends, whatever they are worth.
    at_end: Vec<Q7>,
}

impl Highest {
    fn price(&self) -> Option<u64> {
        self.within.first().map(|bid| bid.price)
    }

    fn take_in(&mut self, mut other: Highest) {
        match self.price().cmp(&other.price()) {
            Ordering::Less => self.within = other.within,
            Ordering::Equal => self.within.append(&mut other.within),
            Ordering::Greater => {}
        }
        self.at_end.append(&mut other.at_end);
    }

    fn rows(self) -> impl Iterator<Item = Q7> {
        let price = self.price();
        let at_end = self.at_end.into_iter().filter(move |bid| Some(bid.price) == price);
        self.within.into_iter().chain(at_end)
    }
}

impl Aggregate for Highest {
    type In = Contender;
    type Accumulator = Highest;
    type Out = Highest;

    fn create() -> Highest {
        Highest::default()
    }

    fn add(highest: &mut Highest, contender: Contender) {
        match contender {
            Contender::AtEnd(bid) => highest.at_end.push(bid),
            Contender::Within(bid) => {
                let price = Some(bid.price);
                if price > highest.price() {
                    highest.within.clear();
                }
                if price >= highest.price() {
                    highest.within.push(bid);
                }
            }
        }
    }

    fn result(highest: &Highest) -> Highest {
        highest.clone()
    }

    fn merge(highest: &mut Highest, other: Highest) {
        highest.take_in(other);
    }
}
