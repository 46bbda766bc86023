//! The mark: checkpoint barrier and watermark in one partially ordered timestamp.
//!
//! Every batch travels under a [`Mark`]. What timely calls the frontier of an input then answers both questions that a
//! streaming task asks: *has the barrier of checkpoint `e` arrived on every input?* (the smallest epoch in the frontier is past
//! `e`) and *what is the watermark?* (the smallest watermark in the frontier). There is no barrier object and no watermark
//! message.
//!
//! The order is the *product* order. With one source at `(e, 100)` and another already at `(e + 1, 90)` a lexicographic minimum
//! would be `(e, 100)`, and a window would close 10 ms too early; the product's frontier is `{(e, 100), (e + 1, 90)}`: epoch `e`
//! still open, watermark 90.
//!
//! Invariant I5: marks never go back. Timely panics on a capability that would, and [`Frontier::of`] is the only reading of one.

use serde::{Deserialize, Serialize};
use timely::PartialOrder;
use timely::progress::timestamp::Refines;
use timely::progress::{PathSummary, Timestamp};

/// The watermark before any event time is known.
pub const NO_WATERMARK: i64 = i64::MIN;

/// The watermark after the last record: every event-time timer fires.
pub const MAX_WATERMARK: i64 = i64::MAX;

/// Timestamp of the dataflow: the checkpoint a batch belongs to, and the event time that has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Mark {
    /// The checkpoint that will contain this batch.
    pub epoch: u64,
    /// Milliseconds since the Unix epoch: no record at or before it is expected any more.
    pub watermark: i64,
}

impl Mark {
    /// A mark in `epoch` at `watermark`.
    pub fn new(epoch: u64, watermark: i64) -> Self {
        Mark { epoch, watermark }
    }
}

impl PartialOrder for Mark {
    fn less_equal(&self, other: &Self) -> bool {
        self.epoch <= other.epoch && self.watermark <= other.watermark
    }
}

impl Timestamp for Mark {
    // Marks change only inside operators that hold a capability, never along an edge.
    type Summary = ();

    fn minimum() -> Self {
        Mark { epoch: 0, watermark: NO_WATERMARK }
    }
}

impl PathSummary<Mark> for () {
    fn results_in(&self, mark: &Mark) -> Option<Mark> {
        Some(*mark)
    }

    fn followed_by(&self, (): &()) -> Option<()> {
        Some(())
    }
}

impl Refines<()> for Mark {
    fn to_inner((): ()) -> Self {
        Mark::minimum()
    }

    fn to_outer(self) {}

    fn summarize((): ()) {}
}

/// What the input frontier of a task says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frontier {
    /// Batches may still come.
    Open {
        /// The oldest epoch that may still come: the barriers of all older ones have arrived.
        epoch: u64,
        /// The minimum watermark over all upstream subtasks.
        watermark: i64,
    },
    /// No batch can come any more.
    Closed,
}

impl Frontier {
    /// Reads the marks of an input frontier.
    pub fn of<'a>(marks: impl IntoIterator<Item = &'a Mark>) -> Self {
        let open = |mark: &Mark| Frontier::Open { epoch: mark.epoch, watermark: mark.watermark };
        marks.into_iter().map(open).fold(Frontier::Closed, Frontier::and)
    }

    /// The frontier of two inputs together.
    #[must_use]
    pub fn and(self, other: Frontier) -> Self {
        match (self, other) {
            (Frontier::Closed, open) | (open, Frontier::Closed) => open,
            (Frontier::Open { epoch, watermark }, Frontier::Open { epoch: e, watermark: w }) => {
                Frontier::Open { epoch: epoch.min(e), watermark: watermark.min(w) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frontier_during_a_barrier_keeps_the_lower_watermark() {
        let marks = [Mark::new(7, 100), Mark::new(8, 90)];
        assert!(!marks[0].less_equal(&marks[1]) && !marks[1].less_equal(&marks[0]));
        assert_eq!(Frontier::of(&marks), Frontier::Open { epoch: 7, watermark: 90 });
        assert_eq!(Frontier::of(&[]), Frontier::Closed);
    }

    #[test]
    fn ord_is_compatible_with_the_partial_order() {
        let marks: Vec<_> =
            (0..3).flat_map(|epoch| (-1..2).map(move |watermark| Mark::new(epoch, watermark))).collect();
        for a in &marks {
            for b in &marks {
                assert!(!a.less_equal(b) || a <= b, "{a:?} {b:?}");
            }
        }
    }
}
