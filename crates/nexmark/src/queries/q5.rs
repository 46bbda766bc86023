//! q5: the auctions with the most bids, over the last ten seconds, every two seconds.
//!
//! ```sql
//! SELECT AuctionBids.auction, AuctionBids.num
//!  FROM (
//!    SELECT
//!      auction,
//!      count(*) AS num,
//!      window_start AS starttime,
//!      window_end AS endtime
//!      FROM TABLE(
//!              HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
//!      GROUP BY auction, window_start, window_end
//!  ) AS AuctionBids
//!  JOIN (
//!    SELECT
//!      max(CountBids.num) AS maxn,
//!      CountBids.starttime,
//!      CountBids.endtime
//!    FROM (
//!      SELECT
//!        count(*) AS num,
//!        window_start AS starttime,
//!        window_end AS endtime
//!      FROM TABLE(
//!                 HOP(TABLE bid, DESCRIPTOR(`dateTime`), INTERVAL '2' SECOND, INTERVAL '10' SECOND))
//!      GROUP BY auction, window_start, window_end
//!      ) AS CountBids
//!    GROUP BY CountBids.starttime, CountBids.endtime
//!  ) AS MaxBids
//!  ON AuctionBids.starttime = MaxBids.starttime AND
//!     AuctionBids.endtime = MaxBids.endtime AND
//!     AuctionBids.num >= MaxBids.maxn;
//! ```

use std::fmt;
use std::time::Duration;

use highwater::prelude::*;
use highwater::state::Count;
use highwater::window::{SlidingEventTimeWindows, TumblingEventTimeWindows};

use super::{Row, bids};
use crate::event::Event;

const SIZE: Duration = Duration::from_secs(10);
const SLIDE: Duration = Duration::from_secs(2);

/// An auction that no other has more bids than, in one window.
#[derive(Clone, Debug)]
pub struct Q5 {
    /// The id of the auction.
    pub auction: u64,
    /// How many bids.
    pub num: u64,
}

impl Row for Q5 {}

impl fmt::Display for Q5 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}|{}", self.auction, self.num)
    }
}

/// The bids for an auction in the window that ends then.
#[derive(Clone, Debug, Data)]
struct AuctionBids {
    ends_ms: i64,
    auction: u64,
    num: u64,
}

/// The query over `events`.
pub fn q5(events: &DataStream<Event>) -> DataStream<Q5> {
    let counts = bids(events, |bid| Some(bid.auction))
        .key_by(|auction: &u64| *auction)
        .window(SlidingEventTimeWindows::of(SIZE, SLIDE))
        .aggregate_with::<Count<u64>, _>(|num, context| {
            context.collect(AuctionBids { ends_ms: context.window().end_ms, auction: *context.key(), num });
            Ok(())
        })
        .uid("q5-counts");
    // Counts have the last time of their window, so those of one window, and of no other, meet in the slide that it ends with.
    counts
        .key_by(|counted: &AuctionBids| counted.ends_ms)
        .window(TumblingEventTimeWindows::of(SLIDE))
        .aggregate_with::<MostBids, _>(|(num, auctions), context| {
            auctions.into_iter().for_each(|auction| context.collect(Q5 { auction, num }));
            Ok(())
        })
        .uid("q5-most")
}

/// The highest count, and whose it is.
enum MostBids {}

impl Aggregate for MostBids {
    type In = AuctionBids;
    type Accumulator = (u64, Vec<u64>);
    type Out = (u64, Vec<u64>);

    fn create() -> (u64, Vec<u64>) {
        (0, Vec::new())
    }

    fn add((most, auctions): &mut (u64, Vec<u64>), AuctionBids { auction, num, .. }: AuctionBids) {
        if num > *most {
            *most = num;
            auctions.clear();
        }
        if num == *most {
            auctions.push(auction);
        }
    }

    fn result(most: &(u64, Vec<u64>)) -> (u64, Vec<u64>) {
        most.clone()
    }

    fn merge((most, auctions): &mut (u64, Vec<u64>), (num, others): (u64, Vec<u64>)) {
        if num > *most {
            *most = num;
            auctions.clear();
        }
        if num == *most {
            auctions.extend(others);
        }
    }
}
