//! Counts of bids, and of distinct bidders and auctions, by the rank of the price: what q15 and q16 are about.
//!
//! To count what is distinct, each group would have to keep all its bidders and auctions under one key. Here every pair of a group
//! and a bidder is a key of its own, which knows the ranks that it has been seen in, and so is every pair of a group and an
//! auction; what a bid is the first of then travels on to the group, which only adds up. So the work is shared among all subtasks
//! however few groups there are, and checkpoints write the pairs that are new.

use std::fmt;

use highwater::state::{Data, Key};
use highwater::{DataStream, KeyedStream};

use super::bids;
use crate::calendar::minute_of;
use crate::event::{Bid, Event};

/// The rank of a price in cents, from 0 on.
pub(super) fn rank(price: u64) -> usize {
    match price {
        ..10_000 => 0,
        10_000..1_000_000 => 1,
        1_000_000.. => 2,
    }
}

/// Which of the four counts of something go up: bit 0 for the total, and one bit for each rank.
type Columns = u8;

/// How many: in all, and of each rank.
type Ranks = [u64; 4];

/// A bid, as far as it is counted.
#[derive(Clone, Debug, Data)]
pub(super) struct Tally<G> {
    pub group: G,
    pub minute: u16,
    bidder: u64,
    auction: u64,
    columns: Columns,
    /// Those in which it is the first of its bidder in its group.
    new_bidder: Columns,
    /// Those in which it is the first for its auction in its group.
    new_auction: Columns,
}

impl<G> Tally<G> {
    fn of(bid: &Bid, group: G) -> Self {
        Tally {
            group,
            minute: minute_of(bid.date_time),
            bidder: bid.bidder,
            auction: bid.auction,
            columns: 1 | 2 << rank(bid.price),
            new_bidder: 0,
            new_auction: 0,
        }
    }
}

/// The bids, by group, with what each of them is the first of. `uid` begins the uids of the operators.
pub(super) fn tallies<G: Key>(
    events: &DataStream<Event>,
    uid: &str,
    group: impl Fn(&Bid) -> G + Clone + Send + Sync + 'static,
) -> KeyedStream<G, Tally<G>, impl Fn(&Tally<G>) -> G + Clone + Send + Sync + 'static> {
    bids(events, move |bid| Some(Tally::of(&bid, group(&bid))))
        .key_by(|tally: &Tally<G>| (tally.group.clone(), tally.bidder))
        .stateful_map(|seen: &mut Columns, mut tally| {
            tally.new_bidder = tally.columns & !*seen;
            *seen |= tally.columns;
            Ok(tally)
        })
        .uid(&format!("{uid}-bidders"))
        .key_by(|tally: &Tally<G>| (tally.group.clone(), tally.auction))
        .stateful_map(|seen: &mut Columns, mut tally| {
            tally.new_auction = tally.columns & !*seen;
            *seen |= tally.columns;
            Ok(tally)
        })
        .uid(&format!("{uid}-auctions"))
        .key_by(|tally: &Tally<G>| tally.group.clone())
}

/// What was counted, displayed as twelve columns.
#[derive(Clone, Copy, Debug, Default, Data)]
pub struct Counts {
    bids: Ranks,
    bidders: Ranks,
    auctions: Ranks,
}

impl Counts {
    pub(super) fn add<G>(&mut self, tally: &Tally<G>) {
        let counted = [
            (&mut self.bids, tally.columns),
            (&mut self.bidders, tally.new_bidder),
            (&mut self.auctions, tally.new_auction),
        ];
        for (counts, columns) in counted {
            counts.iter_mut().enumerate().for_each(|(index, count)| *count += u64::from(columns >> index & 1));
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, count) in [self.bids, self.bidders, self.auctions].iter().flatten().enumerate() {
            write!(f, "{}{count}", if index == 0 { "" } else { "|" })?;
        }
        Ok(())
    }
}
