//! Windows: a keyed stream divided into parts, each of which is computed by itself.
//!
//! A [`WindowAssigner`] says which windows a record belongs to, a [`Trigger`] when the result of a window is computed, and a function
//! what it is. What is kept of a window until then is keyed state like any other: checkpointed, and dealt out anew when the
//! parallelism changes.
//!
//! ```
//! use std::time::Duration;
//!
//! use highwater::prelude::*;
//! use highwater::window::TumblingEventTimeWindows;
//!
//! # fn main() -> highwater::Result<()> {
//! let env = StreamExecutionEnvironment::new();
//! let totals = CollectSink::new();
//! // Who, how much, when.
//! let payments = [("ada", 3u64, 1_000i64), ("eve", 4, 2_000), ("ada", 5, 59_000), ("ada", 7, 61_000)];
//! let source = CollectionSource::new(payments.map(|(who, amount, at_ms)| (who.to_string(), amount, at_ms)).to_vec());
//! let in_order = WatermarkStrategy::for_monotonous_timestamps(|payment: &(String, u64, i64)| payment.2);
//! env.from_source(source, in_order, "payments")
//!     .key_by(|payment: &(String, u64, i64)| payment.0.clone())
//!     .window(TumblingEventTimeWindows::of(Duration::from_secs(60)))
//!     .reduce(|total, payment| {
//!         total.1 += payment.1;
//!         Ok(())
//!     })
//!     .uid("totals")
//!     .map(|(who, total, _)| Ok((who, total)))
//!     .sink_to(totals.clone());
//! env.execute("totals")?;
//! let mut totals = totals.committed();
//! totals.sort();
//! assert_eq!(totals, [("ada".to_string(), 7), ("ada".to_string(), 8), ("eve".to_string(), 4)]);
//! # Ok(())
//! # }
//! ```
//!
//! * **When windows fire.** By default when the watermark reaches their end; a record that is late, but within the
//!   [allowed lateness](WindowedStream::allowed_lateness), has them fire again. Later ones go to a side output, or are dropped and
//!   counted (`highwater_late_records_dropped`).
//! * **Sliding windows** whose slide is larger than their size have gaps between them: records in a gap are in no window, and are
//!   dropped. A slide that does not divide the size is fine.
//! * **Two streams** are put into windows together by [`join`](crate::KeyedStream::join) and
//!   [`co_group`](crate::KeyedStream::co_group).
//! * **After a restore** the watermark starts anew, as in Flink. Until it is back, a key with windows goes on from when they fired last:
//!   a late record fires those that are still there again. For a key without windows no record is late meanwhile.
//! * **Event times** can be before 1970. One of a record beyond the years that can be computed with is taken as the last of those.
//! * **Changing** the kind of window or trigger of an operator changes its state: give it another uid, or expect a restore to say so.

mod assigner;
mod contents;
mod evictor;
mod join;
mod operator;
mod panes;
mod setup;
mod short;
mod stream;
mod time;
mod trigger;

pub use assigner::{
    DynamicGap, EventTimeSessionWindows, FixedGap, GlobalWindows, ProcessingTimeSessionWindows, SessionGap, Slices,
    SlidingEventTimeWindows, SlidingProcessingTimeWindows, TumblingEventTimeWindows, TumblingProcessingTimeWindows,
    WindowAssigner,
};
pub use contents::{ProcessWindowFunction, WindowContext};
pub use evictor::{CountEvictor, DeltaEvictor, Evictor, TimeEvictor, Timed};
pub use join::{CoGroup, Join, JoinedStreams, TaggedUnion, WindowedJoin};
pub use stream::{EvictingWindowedStream, WindowedStream};
pub use time::{GlobalWindow, TimeWindow, Window};
pub use trigger::{
    ContinuousEventTimeTrigger, ContinuousProcessingTimeTrigger, CountTrigger, DeltaTrigger, EventTimeTrigger,
    NeverTrigger, ProcessingTimeTrigger, PurgingTrigger, Trigger, TriggerContext, TriggerResult,
};
