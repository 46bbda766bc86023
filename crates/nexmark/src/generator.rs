//! The stream: which event comes when, and what is drawn for it.
//!
//! Events come in cycles of fifty: a person, three auctions and 46 bids. Ids follow from an event's number alone; all else
//! is drawn, in an order that is part of the format.

use highwater::state::Data;

use crate::channels::{CHANNELS, Channels};
use crate::event::{Auction, Bid, Event, Person, Text};
use crate::random::Random;
use crate::text::{extra, string};

/// The time of event number 0, in ms since the Unix epoch: 2015-07-15 00:00 UTC.
pub const BASE_TIME_MS: i64 = 1_436_918_400_000;

/// The seed of the first generator; each further one has the next.
const SEED: u64 = 3;

/// Events per second of event time.
pub(crate) const EVENTS_PER_SECOND: u64 = 10_000;

/// Events in a cycle: a person, then auctions, then bids.
const CYCLE: u64 = 50;
const AUCTIONS_PER_CYCLE: u64 = 3;

const FIRST_PERSON: u64 = 1000;
const FIRST_AUCTION: u64 = 1000;
const FIRST_CATEGORY: u64 = 10;
const CATEGORIES: u32 = 5;

/// How many of the newest persons do anything, and how many auctions are bid for.
const ACTIVE_PEOPLE: u64 = 1000;
const AUCTIONS_IN_FLIGHT: u64 = 100;
/// Ids that may come soon are bid for, and bid, already.
const ID_LEAD: u64 = 10;

/// One id in so many is hot, and drawn for all but one of `HOT_.._RATIO` events.
const HOT_BATCH: u64 = 100;
const HOT_AUCTION_RATIO: u32 = 2;
const HOT_SELLER_RATIO: u32 = 4;
const HOT_BIDDER_RATIO: u32 = 4;
const HOT_CHANNEL_RATIO: u32 = 2;

/// Average sizes in bytes, which the filler makes up for.
const PERSON_BYTES: usize = 200;
const AUCTION_BYTES: usize = 500;
const BID_BYTES: usize = 100;

const FIRST_NAMES: [&str; 11] =
    ["Peter", "Paul", "Luke", "John", "Saul", "Vicky", "Kate", "Julie", "Sarah", "Deiter", "Walter"];
const LAST_NAMES: [&str; 9] = ["Shultz", "Abrams", "Spencer", "White", "Bartels", "Walton", "Smith", "Jones", "Noris"];
const CITIES: [&str; 10] =
    ["Phoenix", "Los Angeles", "San Francisco", "Boise", "Portland", "Bend", "Redmond", "Seattle", "Kent", "Cheyenne"];
const STATES: [&str; 6] = ["AZ", "CA", "ID", "OR", "WA", "WY"];

/// One generator of the stream, at a position in it: an iterator over what is left.
///
/// With one generator the stream is that of the reference. Several share it as those of the public implementation do: each has a
/// range of the ids of its own, and all run through the same event time, each with its part of the rate.
#[derive(Clone, Debug, PartialEq, Eq, Data)]
pub struct Generator {
    /// The id before that of its first event.
    before: u64,
    events: u64,
    emitted: u64,
    us_per_event: u64,
    random: Random,
}

impl Generator {
    /// The first `events` of the stream.
    pub fn new(events: u64) -> Self {
        Generator::part(1, events, 1, SEED)
    }

    /// As many events of as many generators.
    pub fn split(events: u64, generators: u32) -> Vec<Self> {
        let (generators, mut before) = (u64::from(generators.max(1)), 1);
        let share = events / generators;
        let parts = (0..generators).map(|index| {
            let mine = if index + 1 == generators { events - share * index } else { share };
            let part = Generator::part(before, mine, generators, SEED + index);
            before += mine;
            part
        });
        parts.collect()
    }

    fn part(before: u64, events: u64, generators: u64, seed: u64) -> Self {
        let us_per_event = 1_000_000 / EVENTS_PER_SECOND * generators;
        Generator { before, events, emitted: 0, us_per_event, random: Random::new(seed) }
    }

    /// How many events are left.
    pub fn left(&self) -> u64 {
        self.events - self.emitted
    }

    /// The event time of the next event, or of what would be next.
    pub fn date_time(&self) -> i64 {
        self.time_of(self.emitted + 1)
    }

    fn time_of(&self, number: u64) -> i64 {
        BASE_TIME_MS + (number * self.us_per_event / 1000) as i64
    }

    fn person(&mut self, id: u64, date_time: i64) -> Person {
        let random = &mut self.random;
        let name = format!("{} {}", one_of(random, &FIRST_NAMES), one_of(random, &LAST_NAMES));
        let email_address = format!("{}@{}.com", string(random, 7, ' '), string(random, 5, ' '));
        let mut group = || random.below(10_000);
        let credit_card = format!("{:04} {:04} {:04} {:04}", group(), group(), group(), group());
        let (city, state) = (one_of(random, &CITIES), one_of(random, &STATES));
        let current = 8 + name.len() + email_address.len() + credit_card.len() + city.len() + state.len();
        Person {
            id: FIRST_PERSON + last_person(id),
            name,
            email_address,
            credit_card,
            city: Text::Borrowed(city),
            state: Text::Borrowed(state),
            date_time,
            extra: extra(random, current, PERSON_BYTES),
        }
    }

    fn auction(&mut self, id: u64, date_time: i64) -> Auction {
        // As long as it takes until so many auctions are in flight.
        let ahead = AUCTIONS_IN_FLIGHT * CYCLE / AUCTIONS_PER_CYCLE;
        let horizon = (self.time_of(self.emitted + ahead) - date_time) as u32;
        let random = &mut self.random;
        let seller = if random.below(HOT_SELLER_RATIO) > 0 { hot(last_person(id)) } else { any_person(random, id) };
        let category = FIRST_CATEGORY + u64::from(random.below(CATEGORIES));
        let initial_bid = price(random);
        let expires = date_time + 1 + i64::from(random.below((2 * horizon).max(1)));
        let (item_name, description) = (string(random, 20, ' '), string(random, 100, ' '));
        let reserve = initial_bid + price(random);
        let current = 48 + item_name.len() + description.len();
        Auction {
            id: FIRST_AUCTION + last_auction(id),
            item_name,
            description,
            initial_bid,
            reserve,
            date_time,
            expires,
            seller: FIRST_PERSON + seller,
            category,
            extra: extra(random, current, AUCTION_BYTES),
        }
    }

    fn bid(&mut self, id: u64, date_time: i64) -> Bid {
        let random = &mut self.random;
        let newest = last_auction(id);
        let auction = if random.below(HOT_AUCTION_RATIO) > 0 {
            hot(newest)
        } else {
            let oldest = newest.saturating_sub(AUCTIONS_IN_FLIGHT);
            oldest + u64::from(random.below((newest - oldest + 1 + ID_LEAD) as u32))
        };
        let bidder = if random.below(HOT_BIDDER_RATIO) > 0 { hot(last_person(id)) + 1 } else { any_person(random, id) };
        let price = price(random);
        let channel = if random.below(HOT_CHANNEL_RATIO) > 0 {
            Channels::get().hot[random.below(4) as usize]
        } else {
            Channels::get().others[random.below(CHANNELS) as usize]
        };
        Bid {
            auction: FIRST_AUCTION + auction,
            // The reference adds the first id twice.
            bidder: 2 * FIRST_PERSON + bidder,
            price,
            channel: Text::Borrowed(channel.name),
            url: Text::Borrowed(channel.url),
            date_time,
            extra: extra(random, 32, BID_BYTES),
        }
    }
}

impl Iterator for Generator {
    type Item = Event;

    #[inline]
    fn next(&mut self) -> Option<Event> {
        if self.emitted == self.events {
            return None;
        }
        self.emitted += 1;
        // Event numbers begin with 1, in each generator.
        let (id, time) = (self.before + self.emitted, self.time_of(self.emitted));
        Some(match id % CYCLE {
            0 => Event::Person(self.person(id, time)),
            1..=AUCTIONS_PER_CYCLE => Event::Auction(self.auction(id, time)),
            _ => Event::Bid(self.bid(id, time)),
        })
    }
}

fn last_person(id: u64) -> u64 {
    id / CYCLE
}

/// The newest auction when event `id` comes, from the first one on.
fn last_auction(id: u64) -> u64 {
    let (cycle, place) = (id / CYCLE, id % CYCLE);
    // Events start at id 2, so that the first cycle's person never comes; without it there would be no auction yet.
    cycle * AUCTIONS_PER_CYCLE + place.min(AUCTIONS_PER_CYCLE) - 1
}

/// The hot one among the ids up to `newest`.
fn hot(newest: u64) -> u64 {
    newest / HOT_BATCH * HOT_BATCH
}

fn any_person(random: &mut Random, id: u64) -> u64 {
    let people = last_person(id) + 1;
    let active = people.min(ACTIVE_PEOPLE);
    people - active + u64::from(random.below((active + ID_LEAD) as u32))
}

/// In cents: from 100 to 100,000,000, each order of magnitude as likely as the others.
fn price(random: &mut Random) -> u64 {
    (10f64.powf(random.unit() * 6.0) * 100.0 + 0.5).floor() as u64
}

fn one_of<'a>(random: &mut Random, choices: &[&'a str]) -> &'a str {
    choices[random.below(choices.len() as u32) as usize]
}
