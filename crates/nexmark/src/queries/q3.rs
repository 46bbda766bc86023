//! q3: who sells in one category, in three states.
//!
//! ```sql
//! SELECT
//!     P.name, P.city, P.state, A.id
//! FROM
//!     auction AS A INNER JOIN person AS P on A.seller = P.id
//! WHERE
//!     A.category = 10 and (P.state = 'OR' OR P.state = 'ID' OR P.state = 'CA');
//! ```

use std::fmt;

use highwater::DataStream;
use highwater::state::Data;

use super::Row;
use super::join::{Join, Side};
use crate::event::{Event, Text};

/// An auction with who sells.
#[derive(Clone, Debug)]
pub struct Q3 {
    /// Of the person.
    pub name: String,
    /// Of the person.
    pub city: Text,
    /// Of the person.
    pub state: Text,
    /// The id of the auction.
    pub id: u64,
}

impl Row for Q3 {}

impl fmt::Display for Q3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}|{}|{}", self.name, self.city, self.state, self.id)
    }
}

#[derive(Clone, Debug, Data)]
struct Seller {
    name: String,
    city: Text,
    state: Text,
}

/// The id of a person, with what there is of them: themselves, or the id of an auction.
type Entry = (u64, Side<Seller, u64>);

/// The query over `events`.
pub fn q3(events: &DataStream<Event>) -> DataStream<Q3> {
    let entries = events.flat_map(|event, out| {
        match event {
            Event::Person(person) if matches!(&*person.state, "OR" | "ID" | "CA") => {
                let seller = Seller { name: person.name, city: person.city, state: person.state };
                out.collect((person.id, Side::Left(seller)));
            }
            Event::Auction(auction) if auction.category == 10 => {
                out.collect((auction.seller, Side::Right(auction.id)));
            }
            Event::Person(_) | Event::Auction(_) | Event::Bid(_) => {}
        }
        Ok(())
    });
    let row = |Seller { name, city, state }: &Seller, id: &u64| Q3 {
        name: name.clone(),
        city: city.clone(),
        state: state.clone(),
        id: *id,
    };
    entries.key_by(|(person, _): &Entry| *person).process(Join::new(row)).uid("q3-join")
}
