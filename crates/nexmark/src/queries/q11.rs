//! q11: the bids of each person in sessions that ten seconds without a bid end.
//!
//! ```sql
//! SELECT
//!     B.bidder,
//!     count(*) as bid_count,
//!     SESSION_START(B.`dateTime`, INTERVAL '10' SECOND) as starttime,
//!     SESSION_END(B.`dateTime`, INTERVAL '10' SECOND) as endtime
//! FROM bid B
//! GROUP BY B.bidder, SESSION(B.`dateTime`, INTERVAL '10' SECOND);
//! ```

use std::fmt;
use std::time::Duration;

use highwater::DataStream;
use highwater::state::Count;
use highwater::window::{EventTimeSessionWindows, TimeWindow};

use super::{Row, bids};
use crate::calendar::Timestamp;
use crate::event::Event;

const GAP: Duration = Duration::from_secs(10);

/// A session.
#[derive(Clone, Debug)]
pub struct Q11 {
    /// The id of a person.
    pub bidder: u64,
    /// How many bids.
    pub bid_count: u64,
    /// From the first of them to ten seconds after the last.
    pub session: TimeWindow,
}

impl Row for Q11 {}

impl fmt::Display for Q11 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q11 { bidder, bid_count, session: TimeWindow { start_ms, end_ms } } = self;
        write!(f, "{bidder}|{bid_count}|{}|{}", Timestamp(*start_ms), Timestamp(*end_ms))
    }
}

/// The query over `events`.
pub fn q11(events: &DataStream<Event>) -> DataStream<Q11> {
    bids(events, |bid| Some(bid.bidder))
        .key_by(|bidder: &u64| *bidder)
        .window(EventTimeSessionWindows::with_gap(GAP))
        .aggregate_with::<Count<u64>, _>(|bid_count, context| {
            context.collect(Q11 { bidder: *context.key(), bid_count, session: context.window() });
            Ok(())
        })
        .uid("q11-sessions")
}
