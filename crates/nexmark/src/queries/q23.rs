//! q23: bids with the persons who made them, and with what these sell.
//!
//! ```sql
//! SELECT bidder,
//!        price,
//!        channel,
//!        url,
//!        B.extra    AS bid_extra,
//!
//!        P.id       AS person_id,
//!        name,
//!        emailAddress,
//!        creditCard,
//!        city,
//!        state,
//!        P.extra    AS person_extra,
//!        itemName,
//!
//!        description,
//!        initialBid,
//!        reserve,
//!        A.dateTime AS auction_dateTime,
//!        expires,
//!        seller,
//!        category,
//!        A.extra    AS auction_extra
//! FROM bid B
//!          JOIN
//!      person P ON P.id = B.bidder
//!          JOIN
//!      auction A ON A.seller = B.bidder;
//! ```
//!
//! Both joins are over the same id, so they are one: by the id of the person who registers, bids and sells.

use std::fmt;
use std::sync::Arc;

use highwater::prelude::*;

use super::Row;
use crate::calendar::Timestamp;
use crate::event::{Auction, Bid, Event, Person};

/// A bid with who made it, and with something that they sell.
#[derive(Clone, Debug)]
pub struct Q23 {
    /// The bid.
    pub bid: Bid,
    /// Who made it.
    pub person: Arc<Person>,
    /// What they sell.
    pub auction: Arc<Auction>,
}

impl Row for Q23 {}

impl fmt::Display for Q23 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Bid { bidder, price, channel, url, extra, .. } = &self.bid;
        write!(f, "{bidder}|{price}|{channel}|{url}|{extra}|")?;
        let Person { id, name, email_address, credit_card, city, state, extra, .. } = &*self.person;
        write!(f, "{id}|{name}|{email_address}|{credit_card}|{city}|{state}|{extra}|")?;
        let Auction { item_name, description, initial_bid, reserve, date_time, .. } = &*self.auction;
        let Auction { expires, seller, category, extra, .. } = &*self.auction;
        let [date_time, expires] = [date_time, expires].map(|ms| Timestamp(*ms));
        write!(f, "{item_name}|{description}|{initial_bid}|{reserve}|{date_time}|{expires}|{seller}|{category}|{extra}")
    }
}

/// What a person does, or who they are.
#[derive(Clone, Debug, Data)]
enum Act {
    Register(Arc<Person>),
    Sell(Arc<Auction>),
    Bid(Bid),
}

/// The query over `events`.
pub fn q23(events: &DataStream<Event>) -> DataStream<Q23> {
    let acts = events.map(|event| {
        Ok(match event {
            Event::Person(person) => (person.id, Act::Register(Arc::new(person))),
            Event::Auction(auction) => (auction.seller, Act::Sell(Arc::new(auction))),
            Event::Bid(bid) => (bid.bidder, Act::Bid(bid)),
        })
    });
    acts.key_by(|(person, _): &(u64, Act)| *person).process(JoinThree).uid("q23-join")
}

#[derive(KeyedState)]
struct Acts {
    persons: ListState<Arc<Person>>,
    sold: ListState<Arc<Auction>>,
    bids: ListState<Bid>,
}

#[derive(Clone)]
struct JoinThree;

impl KeyedProcessFunction<u64, (u64, Act)> for JoinThree {
    type State = Acts;
    type Out = Q23;

    fn process(&mut self, (_, act): (u64, Act), acts: &mut Acts, context: &mut Context<'_, u64, Q23>) -> UserResult {
        let mut emit = |bid: &Bid, person: &Arc<Person>, auction: &Arc<Auction>| {
            context.collect(Q23 { bid: bid.clone(), person: Arc::clone(person), auction: Arc::clone(auction) });
        };
        match act {
            Act::Register(person) => {
                for bid in acts.bids.iter() {
                    acts.sold.iter().for_each(|auction| emit(bid, &person, auction));
                }
                acts.persons.add(person);
            }
            Act::Sell(auction) => {
                for bid in acts.bids.iter() {
                    acts.persons.iter().for_each(|person| emit(bid, person, &auction));
                }
                acts.sold.add(auction);
            }
            Act::Bid(bid) => {
                for person in acts.persons.iter() {
                    acts.sold.iter().for_each(|auction| emit(&bid, person, auction));
                }
                acts.bids.add(bid);
            }
        }
        Ok(())
    }
}
