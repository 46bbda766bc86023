//! What happens at the auction site.

use std::borrow::Cow;
use std::fmt;

use highwater::state::Data;

/// Text of an event: borrowed from what was drawn once for the process, until it has been stored or sent to another.
pub type Text = Cow<'static, str>;

/// Somebody registers, to sell or to bid.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub struct Person {
    /// Unique, from 1000 on.
    pub id: u64,
    /// First and last name.
    pub name: String,
    /// Not a valid one.
    pub email_address: String,
    /// Four groups of four digits.
    pub credit_card: String,
    /// Where they live.
    pub city: Text,
    /// Two letters; not always the state of the city.
    pub state: Text,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

/// Something is offered for sale.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub struct Auction {
    /// Unique, from 1000 on.
    pub id: u64,
    /// What is sold.
    pub item_name: String,
    /// More about it.
    pub description: String,
    /// In cents.
    pub initial_bid: u64,
    /// Below this it is not sold; in cents.
    pub reserve: u64,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// The end of the auction, in ms since the Unix epoch.
    pub expires: i64,
    /// The id of the person who sells.
    pub seller: u64,
    /// One of five, from 10 on.
    pub category: u64,
    /// Filler.
    pub extra: Text,
}

/// A bid for something that is, or will be, offered.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub struct Bid {
    /// The id of the auction.
    pub auction: u64,
    /// The id of a person.
    pub bidder: u64,
    /// In cents.
    pub price: u64,
    /// Where the bid was made.
    pub channel: Text,
    /// The address of that.
    pub url: Text,
    /// When, in ms since the Unix epoch.
    pub date_time: i64,
    /// Filler.
    pub extra: Text,
}

/// One event of the stream, displayed as a line of its canonical text.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub enum Event {
    /// Somebody registers.
    Person(Person),
    /// Something is offered for sale.
    Auction(Auction),
    /// Somebody bids.
    Bid(Bid),
}

impl Event {
    /// The event time, in ms since the Unix epoch.
    #[inline]
    pub fn date_time(&self) -> i64 {
        match self {
            Event::Person(person) => person.date_time,
            Event::Auction(auction) => auction.date_time,
            Event::Bid(bid) => bid.date_time,
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Event::Person(Person { id, name, email_address, credit_card, city, state, date_time, extra }) => {
                write!(f, "P|{id}|{name}|{email_address}|{credit_card}|{city}|{state}|{date_time}|{extra}")
            }
            Event::Auction(auction) => {
                let Auction { id, item_name, description, initial_bid, reserve, date_time, .. } = auction;
                let Auction { expires, seller, category, extra, .. } = auction;
                write!(f, "A|{id}|{item_name}|{description}|{initial_bid}|{reserve}|{date_time}|")?;
                write!(f, "{expires}|{seller}|{category}|{extra}")
            }
            Event::Bid(Bid { auction, bidder, price, channel, url, date_time, extra }) => {
                write!(f, "B|{auction}|{bidder}|{price}|{channel}|{url}|{date_time}|{extra}")
            }
        }
    }
}
