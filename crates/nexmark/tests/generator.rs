//! The stream is that of the reference: hashes of its canonical text, of the filler and of the channels, and what it consists of.

use std::collections::BTreeSet;
use std::fmt::Write;

use highwater_nexmark::{Auction, BASE_TIME_MS, Bid, Event, Generator, Person};
use sha2::{Digest, Sha256};

/// The hash of the first `events` events, one a line.
struct Hashed {
    sha: Sha256,
    line: String,
}

impl Hashed {
    fn new() -> Self {
        Hashed { sha: Sha256::new(), line: String::new() }
    }

    fn add(&mut self, event: &Event) {
        self.line.clear();
        writeln!(self.line, "{event}").unwrap();
        self.sha.update(&self.line);
    }

    fn hex(&self) -> String {
        self.sha.clone().finalize().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
    }
}

#[test]
fn a_million_events_and_each_beginning_of_them_hash_as_those_of_the_reference() {
    let expected = [
        (1, "28173391526db05f9f6a7a14723169d5c20f2eace14b57ac6a3f271fba6d0b98"),
        (100, "e339e6977dfcc71de6bf865823b07cd940a8f10fb29f9d47abc9e5359c816f66"),
        (1_000, "413eb6487a800fefef96fe32fad6ea3ec36d4e48b6417c1cf1baba60993b35b7"),
        (20_000, "c0ea55943b842f404a3bd86b60bf76c54f443bc0fe969e6df5f47204526a3980"),
        (100_000, "000569ee2a1efc8903714997b1222e1ed54624a99e199fc5ad48b8d2af6407c9"),
        (1_000_000, "22791e737857a229336a836f53aafaf07c2029baee6b36e17ebd4b983125779d"),
    ];
    let (mut generator, mut hashed, mut emitted) = (Generator::new(1_000_000), Hashed::new(), 0);
    for (count, hash) in expected {
        for event in generator.by_ref().take(count - emitted) {
            hashed.add(&event);
        }
        emitted = count;
        assert_eq!(hashed.hex(), hash, "the first {count} events");
    }
    assert_eq!(generator.next(), None);
}

#[test]
fn the_stream_begins_in_the_middle_of_a_cycle_and_ten_events_share_a_millisecond() {
    let events: Vec<Event> = Generator::new(100_000).collect();
    let kind = |event: &Event| match event {
        Event::Person(_) => 'P',
        Event::Auction(_) => 'A',
        Event::Bid(_) => 'B',
    };
    let first_cycle: String = events[..52].iter().map(kind).collect();
    assert_eq!(first_cycle, format!("AA{}PAAA", "B".repeat(46)));
    for (index, event) in events.iter().enumerate() {
        assert_eq!(event.date_time(), BASE_TIME_MS + (index as i64 + 1) / 10, "event {index}");
    }
}

#[test]
fn kinds_come_in_their_proportion_and_fields_are_in_their_ranges() {
    let (mut persons, mut auctions, mut bids) = (0, 0, 0);
    for event in Generator::new(100_000) {
        match event {
            Event::Person(Person { id, name, credit_card, state, .. }) => {
                persons += 1;
                assert_eq!(id, 1000 + persons, "ids of persons have no gap, and 1000 never comes");
                assert_eq!((name.split(' ').count(), credit_card.len(), state.len()), (2, 19, 2));
            }
            Event::Auction(Auction { id, initial_bid, reserve, date_time, expires, category, .. }) => {
                auctions += 1;
                assert_eq!(id, 1000 + auctions, "ids of auctions have no gap, and 1000 never comes");
                assert!(reserve > initial_bid && (10..15).contains(&category), "auction {id}");
                assert!((1..=2 * 167).contains(&(expires - date_time)), "auction {id}");
            }
            Event::Bid(Bid { bidder, price, channel, url, extra, .. }) => {
                bids += 1;
                assert!(bidder >= 2000 && (100..=100_000_000).contains(&price));
                assert!((54..82).contains(&extra.len()), "{extra}");
                let hot = ["Google", "Facebook", "Baidu", "Apple"].contains(&&*channel);
                assert!(hot || channel.starts_with("channel-"), "{channel}");
                assert!(!(hot && url.contains("channel_id")), "{url}");
            }
        }
    }
    assert_eq!((persons, auctions, bids), (2_000, 6_000, 92_000));
}

#[test]
fn references_between_events_dangle_as_often_as_in_the_reference() {
    let (mut persons, mut auctions) = (BTreeSet::new(), BTreeSet::new());
    let (mut bids, mut sellers, mut early) = (Vec::new(), Vec::new(), 0);
    for event in Generator::new(100_000) {
        match event {
            Event::Person(person) => drop(persons.insert(person.id)),
            Event::Auction(auction) => {
                sellers.push(auction.seller);
                auctions.insert(auction.id);
            }
            Event::Bid(bid) => {
                early += usize::from(!auctions.contains(&bid.auction));
                bids.push(bid);
            }
        }
    }
    let never = bids.iter().filter(|bid| !auctions.contains(&bid.auction)).count();
    assert_eq!((never, early - never), (785, 4_210), "bids whose auction never comes, or comes later");
    assert_eq!(bids.iter().filter(|bid| !persons.contains(&bid.bidder)).count(), 40_269);
    assert_eq!(sellers.iter().filter(|seller| !persons.contains(seller)).count(), 227);
    assert_eq!(bids.iter().filter(|bid| bid.extra.contains('\\')).count(), 65_033);
    assert_eq!(bids.iter().filter(|bid| !bid.url.contains("&channel_id=")).count(), 50_573);
}

/// What of an event does not depend on what is drawn.
fn outline(event: &Event) -> (char, u64, i64) {
    match event {
        Event::Person(person) => ('P', person.id, person.date_time),
        Event::Auction(auction) => ('A', auction.id, auction.date_time),
        Event::Bid(bid) => ('B', 0, bid.date_time),
    }
}

#[test]
fn several_generators_share_the_ids_and_each_runs_through_all_of_the_time() {
    let whole: Vec<Event> = Generator::new(10_007).collect();
    let parts = Generator::split(10_007, 3);
    assert_eq!(parts.len(), 3);
    let parts: Vec<Vec<Event>> = parts.into_iter().map(Iterator::collect).collect();
    // What does not go by three is with the last one.
    assert_eq!(parts.iter().map(Vec::len).collect::<Vec<_>>(), [3335, 3335, 3337]);
    let ids = |events: &mut dyn Iterator<Item = &Event>| {
        let outlines = events.map(outline).map(|(kind, id, _)| (kind, id));
        let mut ids: Vec<(char, u64)> = outlines.collect();
        ids.sort_unstable();
        ids
    };
    assert_eq!(ids(&mut parts.iter().flatten()), ids(&mut whole.iter()));
    for part in &parts {
        for (index, event) in part.iter().enumerate() {
            assert_eq!(event.date_time(), BASE_TIME_MS + (index as i64 + 1) * 300 / 1000);
        }
    }
    assert_eq!(Generator::split(10_007, 1), [Generator::new(10_007)]);
}
