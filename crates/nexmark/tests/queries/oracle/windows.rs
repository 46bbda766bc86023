//! The rows of the queries with windows, each window by itself.

use std::collections::{BTreeMap, BTreeSet};

use highwater_nexmark::{Auction, Bid, Person};

use super::grouped;
use crate::time::timestamp;

const SECOND: i64 = 1000;

/// The beginnings of all windows of `size` and every `slide` that one of `times` is in.
fn windows(times: impl Iterator<Item = i64>, size: i64, slide: i64) -> BTreeSet<i64> {
    let mut begins = BTreeSet::new();
    for time in times {
        let mut begin = time / slide * slide;
        while begin + size > time {
            begins.insert(begin);
            begin -= slide;
        }
    }
    begins
}

fn of_bids(bids: &[&Bid], size: i64, slide: i64) -> BTreeSet<i64> {
    windows(bids.iter().map(|bid| bid.date_time), size, slide)
}

fn within<'a>(bids: &[&'a Bid], from: i64, to: i64) -> Vec<&'a Bid> {
    let first = bids.partition_point(|bid| bid.date_time < from);
    bids[first..].iter().take_while(|bid| bid.date_time < to).copied().collect()
}

pub fn most_bids(bids: &[&Bid]) -> Vec<String> {
    let mut rows = Vec::new();
    for begin in of_bids(bids, 10 * SECOND, 2 * SECOND) {
        let counts = grouped(&within(bids, begin, begin + 10 * SECOND), |bid| bid.auction);
        let most = counts.values().map(Vec::len).max();
        let winners = counts.iter().filter(|(_, bids)| Some(bids.len()) == most);
        rows.extend(winners.map(|(auction, bids)| format!("{auction}|{}", bids.len())));
    }
    rows
}

pub fn highest_bids(bids: &[&Bid]) -> Vec<String> {
    let mut rows = Vec::new();
    for begin in of_bids(bids, 10 * SECOND, 10 * SECOND) {
        let end = begin + 10 * SECOND;
        let highest = within(bids, begin, end).iter().map(|bid| bid.price).max();
        let joined = within(bids, begin, end + 1).into_iter().filter(|bid| Some(bid.price) == highest);
        rows.extend(joined.map(|Bid { auction, price, bidder, date_time, extra, .. }| {
            format!("{auction}|{price}|{bidder}|{}|{extra}", timestamp(*date_time))
        }));
    }
    rows
}

pub fn new_sellers(persons: &[&Person], auctions: &[&Auction]) -> Vec<String> {
    let window = |time: i64| time / (10 * SECOND) * (10 * SECOND);
    let sellers: BTreeSet<_> = auctions.iter().map(|auction| (auction.seller, window(auction.date_time))).collect();
    let registered: BTreeSet<_> =
        persons.iter().map(|person| (person.id, &person.name, window(person.date_time))).collect();
    let both = registered.into_iter().filter(|(id, _, begin)| sellers.contains(&(*id, *begin)));
    both.map(|(id, name, begin)| format!("{id}|{name}|{}", timestamp(begin))).collect()
}

pub fn sessions(bids: &[&Bid]) -> Vec<String> {
    let mut rows = Vec::new();
    for (bidder, bids) in grouped(bids, |bid| bid.bidder) {
        let (mut begin, mut last, mut count) = (bids[0].date_time, bids[0].date_time, 0);
        let row = |begin, last: i64, count| {
            format!("{bidder}|{count}|{}|{}", timestamp(begin), timestamp(last + 10 * SECOND))
        };
        for bid in bids {
            if bid.date_time - last > 10 * SECOND {
                rows.push(row(begin, last, count));
                (begin, count) = (bid.date_time, 0);
            }
            (last, count) = (bid.date_time, count + 1);
        }
        rows.push(row(begin, last, count));
    }
    rows
}

pub fn counts(bids: &[&Bid]) -> Vec<String> {
    let mut counts = BTreeMap::<(u64, i64), u64>::new();
    for bid in bids {
        *counts.entry((bid.bidder, bid.date_time / (10 * SECOND))).or_default() += 1;
    }
    let row = |((bidder, window), count): ((u64, i64), u64)| {
        let begin = window * 10 * SECOND;
        format!("{bidder}|{count}|{}|{}", timestamp(begin), timestamp(begin + 10 * SECOND))
    };
    counts.into_iter().map(row).collect()
}
