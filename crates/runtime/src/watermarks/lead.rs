//! The bound on timestamps in the future: one bad record must not close all windows.
//!
//! The clock is read only when a timestamp is beyond what an earlier reading allows, and once a batch at most: input that is behind
//! the machine's clock, as nearly all is, costs a comparison a record.

use std::sync::Arc;
use std::time::Duration;

use highwater_core::Clock;

/// Which timestamps may move the watermark.
pub(crate) struct LeadBound {
    clock: Arc<dyn Clock>,
    lead_ms: Option<i64>,
    /// The latest timestamp that was allowed when the clock was last read.
    limit: i64,
    /// Whether it was read for this batch.
    fresh: bool,
    refused: u64,
}

impl LeadBound {
    /// Timestamps up to `lead` ahead of `clock`; all of them without one.
    pub fn new(lead: Option<Duration>, clock: Arc<dyn Clock>) -> Self {
        let lead_ms = lead.map(|lead| i64::try_from(lead.as_millis()).unwrap_or(i64::MAX));
        let limit = if lead_ms.is_some() { i64::MIN } else { i64::MAX };
        LeadBound { clock, lead_ms, limit, fresh: false, refused: 0 }
    }

    /// Another batch begins: how many timestamps were refused in the one before.
    pub fn next_batch(&mut self) -> u64 {
        self.fresh = false;
        std::mem::take(&mut self.refused)
    }

    /// Whether a record with this timestamp may move the watermark.
    #[inline(always)]
    pub fn admits(&mut self, time_ms: i64) -> bool {
        time_ms <= self.limit || self.admits_now(time_ms)
    }

    #[cold]
    #[inline(never)]
    fn admits_now(&mut self, time_ms: i64) -> bool {
        if let Some(lead_ms) = self.lead_ms
            && !self.fresh
        {
            self.limit = self.clock.unix_ms().saturating_add(lead_ms);
            self.fresh = true;
        }
        let admitted = time_ms <= self.limit;
        self.refused += u64::from(!admitted);
        admitted
    }
}
