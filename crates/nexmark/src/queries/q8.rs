//! q8: persons who begin to sell within the ten seconds in which they register.
//!
//! ```sql
//! SELECT P.id, P.name, P.starttime
//! FROM (
//!   SELECT id, name,
//!         window_start AS starttime,
//!         window_end AS endtime
//!   FROM TABLE(
//!             TUMBLE(TABLE person, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
//!   GROUP BY id, name, window_start, window_end
//! ) P
//! JOIN (
//!   SELECT seller,
//!         window_start AS starttime,
//!         window_end AS endtime
//!   FROM TABLE(
//!         TUMBLE(TABLE auction, DESCRIPTOR(`dateTime`), INTERVAL '10' SECOND))
//!   GROUP BY seller, window_start, window_end
//! ) A
//! ON P.id = A.seller AND P.starttime = A.starttime AND P.endtime = A.endtime;
//! ```

use std::fmt;
use std::time::Duration;

use highwater::prelude::*;
use highwater::window::TumblingEventTimeWindows;

use super::Row;
use crate::calendar::Timestamp;
use crate::event::Event;

const SIZE: Duration = Duration::from_secs(10);

/// A person in the window in which they register and sell.
#[derive(Clone, Debug)]
pub struct Q8 {
    /// The id of the person.
    pub id: u64,
    /// Of the person.
    pub name: String,
    /// When the window begins, in ms since the Unix epoch.
    pub starts_ms: i64,
}

impl Row for Q8 {}

impl fmt::Display for Q8 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}", self.id, self.name, Timestamp(self.starts_ms))
    }
}

/// What somebody does.
#[derive(Clone, Debug, Data)]
enum Act {
    Register(String),
    Sell,
}

/// The query over `events`.
pub fn q8(events: &DataStream<Event>) -> DataStream<Q8> {
    let acts = events.flat_map(|event, out| {
        match event {
            Event::Person(person) => out.collect((person.id, Act::Register(person.name))),
            Event::Auction(auction) => out.collect((auction.seller, Act::Sell)),
            Event::Bid(_) => {}
        }
        Ok(())
    });
    acts.key_by(|(person, _): &(u64, Act)| *person)
        .window(TumblingEventTimeWindows::of(SIZE))
        .aggregate_with::<NewSeller, _>(|Seen { names, sells }, context| {
            let (id, starts_ms) = (*context.key(), context.window().start_ms);
            for name in names.into_iter().filter(|_| sells) {
                context.collect(Q8 { id, name, starts_ms });
            }
            Ok(())
        })
        .uid("q8-sellers")
}

/// What was seen of a person in a window.
#[derive(Clone, Debug, Default, Data)]
struct Seen {
    /// The names they registered with, each once.
    names: Vec<String>,
    sells: bool,
}

enum NewSeller {}

impl Aggregate for NewSeller {
    type In = (u64, Act);
    type Accumulator = Seen;
    type Out = Seen;

    fn create() -> Seen {
        Seen::default()
    }

    fn add(seen: &mut Seen, (_, act): (u64, Act)) {
        match act {
            Act::Sell => seen.sells = true,
            Act::Register(name) if seen.names.contains(&name) => {}
            Act::Register(name) => seen.names.push(name),
        }
    }

    fn result(seen: &Seen) -> Seen {
        seen.clone()
    }

    fn merge(seen: &mut Seen, other: Seen) {
        seen.sells |= other.sells;
        for name in other.names {
            if !seen.names.contains(&name) {
                seen.names.push(name);
            }
        }
    }
}
