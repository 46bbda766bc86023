//! The rows of each query, computed over the whole stream at once.

mod windows;

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use highwater_nexmark::{Auction, Bid, Event, Person, Query};

use crate::time::{day, hour, minute, timestamp};

/// The stream by kinds, in its order.
struct Stream<'a> {
    persons: Vec<&'a Person>,
    auctions: Vec<&'a Auction>,
    bids: Vec<&'a Bid>,
}

/// The rows of `query` over `events`; `None` if they do not follow from the events alone.
pub fn rows(query: Query, events: &[Event]) -> Option<Vec<String>> {
    let mut stream = Stream { persons: Vec::new(), auctions: Vec::new(), bids: Vec::new() };
    for event in events {
        match event {
            Event::Person(person) => stream.persons.push(person),
            Event::Auction(auction) => stream.auctions.push(auction),
            Event::Bid(bid) => stream.bids.push(bid),
        }
    }
    let Stream { bids, .. } = &stream;
    Some(match query {
        Query::Q0 => bids.iter().map(|bid| narrow(bid, &bid.price.to_string(), &bid.extra)).collect(),
        Query::Q1 => bids.iter().map(|bid| narrow(bid, &euros(bid), &bid.extra)).collect(),
        Query::Q2 => by_auction_number(bids),
        Query::Q3 => stream.sellers_of_category_10(),
        Query::Q4 => stream.averages_by_category(),
        Query::Q5 => windows::most_bids(bids),
        Query::Q6 => stream.averages_by_seller(),
        Query::Q7 => windows::highest_bids(bids),
        Query::Q8 => windows::new_sellers(&stream.persons, &stream.auctions),
        Query::Q9 => stream.winners(),
        Query::Q10 => bids.iter().map(|bid| partitioned(bid)).collect(),
        Query::Q11 => windows::sessions(bids),
        Query::Q12 => windows::counts(bids),
        Query::Q12ProcessingTime => return None,
        Query::Q13 => {
            bids.iter().map(|bid| narrow(bid, &bid.price.to_string(), &(bid.auction % 10_000).to_string())).collect()
        }
        Query::Q14 => bids.iter().filter_map(|bid| in_range(bid)).collect(),
        Query::Q15 => counted(bids, |bid| day(bid.date_time), |_| String::new()),
        Query::Q16 => counted(bids, |bid| format!("{}|{}", bid.channel, day(bid.date_time)), latest_minute),
        Query::Q17 => prices(bids),
        Query::Q18 => last_bids(bids),
        Query::Q19 => highest_bids(bids),
        Query::Q20 => stream.bids_with_auctions(),
        Query::Q21 => bids.iter().filter_map(|bid| with_channel_id(bid)).collect(),
        Query::Q22 => bids.iter().map(|bid| with_folders(bid)).collect(),
        Query::Q23 => stream.bids_with_persons_and_auctions(),
    })
}

fn narrow(bid: &Bid, price: &str, last: &str) -> String {
    format!("{}|{}|{price}|{}|{last}", bid.auction, bid.bidder, timestamp(bid.date_time))
}

fn wide(bid: &Bid) -> String {
    let Bid { auction, bidder, price, channel, url, extra, .. } = bid;
    format!("{auction}|{bidder}|{price}|{channel}|{url}|{}|{extra}", timestamp(bid.date_time))
}

fn described(auction: &Auction) -> String {
    let Auction { item_name, description, initial_bid, reserve, seller, category, extra, .. } = auction;
    let (from, to) = (timestamp(auction.date_time), timestamp(auction.expires));
    format!("{item_name}|{description}|{initial_bid}|{reserve}|{from}|{to}|{seller}|{category}|{extra}")
}

/// 0.908 times the price, by the digits.
fn euros(bid: &Bid) -> String {
    let digits = format!("{:04}", bid.price * 908);
    let (whole, thousandths) = digits.split_at(digits.len() - 3);
    format!("{whole}.{thousandths}")
}

fn by_auction_number(bids: &[&Bid]) -> Vec<String> {
    let some = bids.iter().filter(|bid| bid.auction % 123 == 0);
    some.map(|bid| format!("{}|{}", bid.auction, bid.price)).collect()
}

fn partitioned(bid: &Bid) -> String {
    format!("{}|{}|{}", narrow(bid, &bid.price.to_string(), &bid.extra), day(bid.date_time), minute(bid.date_time))
}

fn in_range(bid: &Bid) -> Option<String> {
    let thousandths = bid.price * 908;
    let part_of_day = match hour(bid.date_time) {
        hour if (8..=18).contains(&hour) => "dayTime",
        hour if hour <= 6 || hour >= 20 => "nightTime",
        _ => "otherTime",
    };
    let (price, time, c) = (euros(bid), timestamp(bid.date_time), bid.extra.matches('c').count());
    let row = format!("{}|{}|{price}|{part_of_day}|{time}|{}|{c}", bid.auction, bid.bidder, bid.extra);
    (thousandths > 1_000_000_000 && thousandths < 50_000_000_000).then_some(row)
}

fn grouped<'a, K: Ord>(bids: &[&'a Bid], key: impl Fn(&Bid) -> K) -> BTreeMap<K, Vec<&'a Bid>> {
    let mut groups = BTreeMap::<K, Vec<&Bid>>::new();
    bids.iter().for_each(|bid| groups.entry(key(bid)).or_default().push(bid));
    groups
}

/// Whether a price is of the total, and of each rank.
const RANKS: [fn(u64) -> bool; 4] =
    [|_| true, |price| price < 10_000, |price| (10_000..1_000_000).contains(&price), |price| price >= 1_000_000];

fn counted(bids: &[&Bid], group: fn(&Bid) -> String, beside: fn(&[&Bid]) -> String) -> Vec<String> {
    let groups = grouped(bids, group).into_iter();
    let rows = groups.map(|(group, bids)| {
        let of = |is_in: fn(u64) -> bool| bids.iter().filter(move |bid| is_in(bid.price));
        let mut columns: Vec<usize> = RANKS.iter().map(|rank| of(*rank).count()).collect();
        columns.extend(RANKS.iter().map(|rank| of(*rank).map(|bid| bid.bidder).collect::<BTreeSet<_>>().len()));
        columns.extend(RANKS.iter().map(|rank| of(*rank).map(|bid| bid.auction).collect::<BTreeSet<_>>().len()));
        let columns: Vec<String> = columns.iter().map(usize::to_string).collect();
        format!("{group}|{}{}", beside(&bids), columns.join("|"))
    });
    rows.collect()
}

fn latest_minute(bids: &[&Bid]) -> String {
    bids.iter().map(|bid| minute(bid.date_time) + "|").max().unwrap_or_default()
}

fn prices(bids: &[&Bid]) -> Vec<String> {
    let groups = grouped(bids, |bid| (bid.auction, day(bid.date_time))).into_iter();
    let rows = groups.map(|((auction, day), bids)| {
        let prices: Vec<u64> = bids.iter().map(|bid| bid.price).collect();
        let [all, low, middle, high] = RANKS.map(|rank| prices.iter().filter(|price| rank(**price)).count());
        let (min, max, sum) = (prices.iter().min().unwrap(), prices.iter().max().unwrap(), prices.iter().sum::<u64>());
        format!("{auction}|{day}|{all}|{low}|{middle}|{high}|{min}|{max}|{}|{sum}", sum / all as u64)
    });
    rows.collect()
}

fn last_bids(bids: &[&Bid]) -> Vec<String> {
    let groups = grouped(bids, |bid| (bid.bidder, bid.auction)).into_values();
    // The last one of those that are equal.
    groups.filter_map(|bids| bids.into_iter().max_by_key(|bid| bid.date_time).map(wide)).collect()
}

fn highest_bids(bids: &[&Bid]) -> Vec<String> {
    let groups = grouped(bids, |bid| bid.auction).into_values();
    let rows = groups.flat_map(|mut bids| {
        bids.sort_by_key(|bid| Reverse(bid.price));
        bids.into_iter().take(10).zip(1..).map(|(bid, rank)| format!("{}|{rank}", wide(bid)))
    });
    rows.collect()
}

fn with_channel_id(bid: &Bid) -> Option<String> {
    let in_url = bid.url.split_once("&channel_id=").map(|(_, rest)| rest.split('&').next().unwrap_or("").to_owned());
    let id = match bid.channel.to_lowercase().as_str() {
        "apple" => Some("0".to_owned()),
        "google" => Some("1".to_owned()),
        "facebook" => Some("2".to_owned()),
        "baidu" => Some("3".to_owned()),
        _ => in_url,
    };
    id.map(|id| format!("{}|{}|{}|{}|{id}", bid.auction, bid.bidder, bid.price, bid.channel))
}

fn with_folders(bid: &Bid) -> String {
    let parts: Vec<&str> = bid.url.split('/').collect();
    let Bid { auction, bidder, price, channel, .. } = bid;
    format!("{auction}|{bidder}|{price}|{channel}|{}|{}|{}", parts[3], parts[4], parts[5])
}

impl<'a> Stream<'a> {
    fn sellers_of_category_10(&self) -> Vec<String> {
        let mut rows = Vec::new();
        for auction in self.auctions.iter().filter(|auction| auction.category == 10) {
            for Person { name, city, state, .. } in self.persons.iter().filter(|person| person.id == auction.seller) {
                if ["OR", "ID", "CA"].contains(&&**state) {
                    rows.push(format!("{name}|{city}|{state}|{}", auction.id));
                }
            }
        }
        rows
    }

    /// Each auction that has bids while it is open, with the best of them.
    fn won(&self) -> Vec<(&'a Auction, &'a Bid)> {
        let bids = grouped(&self.bids, |bid| bid.auction);
        let best = |auction: &&'a Auction| {
            let open = auction.date_time..=auction.expires;
            let within = bids.get(&auction.id)?.iter().filter(|bid| open.contains(&bid.date_time));
            within.min_by_key(|bid| (Reverse(bid.price), bid.date_time)).map(|bid| (*auction, *bid))
        };
        self.auctions.iter().filter_map(best).collect()
    }

    fn averages_by_category(&self) -> Vec<String> {
        let mut prices = BTreeMap::<u64, Vec<u64>>::new();
        self.won().iter().for_each(|(auction, bid)| prices.entry(auction.category).or_default().push(bid.price));
        let average = |prices: Vec<u64>| prices.iter().sum::<u64>() / prices.len() as u64;
        prices.into_iter().map(|(category, prices)| format!("{category}|{}", average(prices))).collect()
    }

    fn averages_by_seller(&self) -> Vec<String> {
        let mut sold = BTreeMap::<u64, BTreeMap<(i64, u64), u64>>::new();
        for (auction, bid) in self.won() {
            sold.entry(auction.seller).or_default().insert((auction.expires, auction.id), bid.price);
        }
        let rows = sold.into_iter().flat_map(|(seller, sold)| {
            let prices: Vec<u64> = sold.into_values().collect();
            let last = |end: usize| prices[end.saturating_sub(10)..end].to_vec();
            let averages: Vec<u64> =
                (1..=prices.len()).map(|end| last(end).iter().sum::<u64>() / last(end).len() as u64).collect();
            averages.into_iter().map(move |average| format!("{seller}|{average}"))
        });
        rows.collect()
    }

    fn winners(&self) -> Vec<String> {
        let row = |(auction, bid): (&Auction, &Bid)| {
            let Bid { auction: id, bidder, price, extra, .. } = bid;
            format!("{id}|{}|{id}|{bidder}|{price}|{}|{extra}", described(auction), timestamp(bid.date_time))
        };
        self.won().into_iter().map(row).collect()
    }

    fn bids_with_auctions(&self) -> Vec<String> {
        let bids = grouped(&self.bids, |bid| bid.auction);
        let auctions = self.auctions.iter().filter(|auction| auction.category == 10);
        let rows = auctions.flat_map(|auction| {
            let bids = bids.get(&auction.id).into_iter().flatten();
            bids.map(|bid| format!("{}|{}", wide(bid), described(auction)))
        });
        rows.collect()
    }

    fn bids_with_persons_and_auctions(&self) -> Vec<String> {
        let bids = grouped(&self.bids, |bid| bid.bidder);
        let mut rows = Vec::new();
        for person in &self.persons {
            let Person { id, name, email_address, credit_card, city, state, extra, .. } = person;
            let who = format!("{id}|{name}|{email_address}|{credit_card}|{city}|{state}|{extra}");
            for auction in self.auctions.iter().filter(|auction| auction.seller == *id) {
                for Bid { bidder, price, channel, url, extra, .. } in bids.get(id).into_iter().flatten() {
                    rows.push(format!("{bidder}|{price}|{channel}|{url}|{extra}|{who}|{}", described(auction)));
                }
            }
        }
        rows
    }
}
