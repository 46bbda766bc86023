//! The winning bid of each auction so far, which q4, q6 and q9 are about.
//!
//! A bid counts if it was made while its auction was open, both ends included. The highest wins; of the same price the earliest, and
//! of these the one that came first. A bid can come before its auction, and waits for it.

use highwater::prelude::*;

use crate::event::{Auction, Bid};

/// An auction or a bid.
#[derive(Clone, Debug, Data)]
pub(super) enum Entry<A, B> {
    Lot(Lot<A>),
    Tender(Tender<B>),
}

/// What an auction is about, and when it is open.
#[derive(Clone, Debug, Data)]
pub(super) struct Lot<A> {
    pub id: u64,
    pub opens: i64,
    pub expires: i64,
    pub about: A,
}

impl<A> Lot<A> {
    pub fn of(auction: &Auction, about: A) -> Self {
        Lot { id: auction.id, opens: auction.date_time, expires: auction.expires, about }
    }
}

/// A bid for an auction.
#[derive(Clone, Debug, Data)]
pub(super) struct Tender<B> {
    auction: u64,
    pub price: u64,
    pub date_time: i64,
    pub about: B,
}

impl<B> Tender<B> {
    pub fn of(bid: &Bid, about: B) -> Self {
        Tender { auction: bid.auction, price: bid.price, date_time: bid.date_time, about }
    }

    fn is_within<A>(&self, lot: &Lot<A>) -> bool {
        (lot.opens..=lot.expires).contains(&self.date_time)
    }

    fn beats(&self, other: &Self) -> bool {
        self.price > other.price || (self.price == other.price && self.date_time < other.date_time)
    }
}

/// An auction has another winning bid.
#[derive(Clone, Debug, Data)]
pub(super) struct Winning<A, B> {
    pub lot: Lot<A>,
    pub best: Tender<B>,
    /// The price of the bid that was winning before.
    pub instead_of: Option<u64>,
}

/// The winning bids as they change, of auctions with unique ids.
pub(super) fn winning_bids<A: Data, B: Data>(entries: &DataStream<Entry<A, B>>) -> DataStream<Winning<A, B>> {
    let auction = |entry: &Entry<A, B>| match entry {
        Entry::Lot(lot) => lot.id,
        Entry::Tender(tender) => tender.auction,
    };
    entries.key_by(auction).process(WinningBids)
}

#[derive(KeyedState)]
struct Tenders<A: Data, B: Data> {
    lot: ValueState<Lot<A>>,
    best: ValueState<Tender<B>>,
    /// Bids that came before their auction.
    early: ListState<Tender<B>>,
}

#[derive(Clone)]
struct WinningBids;

impl<A: Data, B: Data> KeyedProcessFunction<u64, Entry<A, B>> for WinningBids {
    type State = Tenders<A, B>;
    type Out = Winning<A, B>;

    fn process(
        &mut self,
        entry: Entry<A, B>,
        tenders: &mut Tenders<A, B>,
        context: &mut Context<'_, u64, Winning<A, B>>,
    ) -> UserResult {
        match entry {
            Entry::Lot(lot) => {
                let within = tenders.early.take().into_iter().filter(|tender| tender.is_within(&lot));
                let best = within.reduce(|best, tender| if tender.beats(&best) { tender } else { best });
                if let Some(best) = best {
                    tenders.best.set(best.clone());
                    context.collect(Winning { lot: lot.clone(), best, instead_of: None });
                }
                tenders.lot.set(lot);
            }
            Entry::Tender(tender) => match tenders.lot.get() {
                None => tenders.early.add(tender),
                Some(lot) if tender.is_within(lot) => {
                    let best = tenders.best.get();
                    if best.is_none_or(|best| tender.beats(best)) {
                        let instead_of = best.map(|best| best.price);
                        context.collect(Winning { lot: lot.clone(), best: tender.clone(), instead_of });
                        tenders.best.set(tender);
                    }
                }
                Some(_) => {}
            },
        }
        Ok(())
    }
}
