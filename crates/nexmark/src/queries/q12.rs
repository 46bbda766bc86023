//! q12: the bids of each person in every ten seconds.
//!
//! ```sql
//! CREATE VIEW B AS SELECT *, PROCTIME() as p_time FROM bid;
//!
//! SELECT
//!     bidder,
//!     count(*) as bid_count,
//!     window_start AS starttime,
//!     window_end AS endtime
//! FROM TABLE(
//!         TUMBLE(TABLE B, DESCRIPTOR(p_time), INTERVAL '10' SECOND))
//! GROUP BY bidder, window_start, window_end;
//! ```
//!
//! In processing time, as it was published, the result depends on how fast the stream goes. So there are two: `q12` does the same in
//! event time, whose result can be compared, and `q12-processing-time` is the published one, in which a window that is still open when
//! the stream ends has no rows.

use std::fmt;
use std::time::Duration;

use highwater::DataStream;
use highwater::state::Count;
use highwater::window::{TimeWindow, TumblingEventTimeWindows, TumblingProcessingTimeWindows, WindowAssigner};

use super::{Row, bids};
use crate::calendar::Timestamp;
use crate::event::Event;

const SIZE: Duration = Duration::from_secs(10);

/// A person in a window.
#[derive(Clone, Debug)]
pub struct Q12 {
    /// The id of the person.
    pub bidder: u64,
    /// How many bids.
    pub bid_count: u64,
    /// The window.
    pub window: TimeWindow,
}

impl Row for Q12 {}

impl fmt::Display for Q12 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Q12 { bidder, bid_count, window: TimeWindow { start_ms, end_ms } } = self;
        write!(f, "{bidder}|{bid_count}|{}|{}", Timestamp(*start_ms), Timestamp(*end_ms))
    }
}

/// The query over `events`, in event time.
pub fn q12(events: &DataStream<Event>) -> DataStream<Q12> {
    counted(events, TumblingEventTimeWindows::of(SIZE))
}

/// The query over `events` as it was published, in processing time.
pub fn q12_processing_time(events: &DataStream<Event>) -> DataStream<Q12> {
    counted(events, TumblingProcessingTimeWindows::of(SIZE))
}

fn counted(events: &DataStream<Event>, windows: impl WindowAssigner<u64, Window = TimeWindow>) -> DataStream<Q12> {
    bids(events, |bid| Some(bid.bidder))
        .key_by(|bidder: &u64| *bidder)
        .window(windows)
        .aggregate_with::<Count<u64>, _>(|bid_count, context| {
            context.collect(Q12 { bidder: *context.key(), bid_count, window: context.window() });
            Ok(())
        })
        .uid("q12-counts")
}
