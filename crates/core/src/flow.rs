//! Flow control by counted credit: how much may be on the way from a sender to a target, which says how much it has consumed.
//!
//! Rows are counted *per pair of sender and target*. What a target has received and not consumed, whatever it waits for, counts as on
//! the way. Credit is cumulative, so a repeated or late message does no harm.
//!
//! Invariant I6: what is on the way over a pair is less than the most rows of its [`Limits`], plus what is sent at once.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long what is on the way should take to consume.
const WINDOW_TIME: Duration = Duration::from_millis(100);

/// How many rows may be on the way over one pair.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Before the target has said what it consumes.
    pub first: u64,
    /// However slow the target, so that a sender can gather rows while others are processed.
    pub min: u64,
    /// However fast the target, so that memory stays bounded.
    pub max: u64,
}

/// What a target tells a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// How many of its rows it has consumed so far.
    pub consumed: u64,
    /// How many may be on the way from now on.
    pub window: u64,
}

/// One pair as its sender sees it.
#[derive(Clone, Debug)]
pub struct Outgoing {
    sent: u64,
    consumed: u64,
    window: u64,
}

impl Outgoing {
    /// A pair over which nothing was sent.
    pub fn new(limits: Limits) -> Self {
        Outgoing { sent: 0, consumed: 0, window: limits.first }
    }

    /// Whether more may be sent.
    #[inline]
    pub fn has_room(&self) -> bool {
        self.sent - self.consumed < self.window
    }

    /// These rows are on their way.
    pub fn sent(&mut self, rows: usize) {
        self.sent += rows as u64;
    }

    /// The target has said this.
    pub fn credited(&mut self, credit: Credit) {
        self.consumed = self.consumed.max(credit.consumed);
        self.window = credit.window;
    }
}

/// One pair as its target sees it, with the window that follows the target's pace.
#[derive(Clone, Debug)]
pub struct Incoming {
    limits: Limits,
    consumed: u64,
    reported: u64,
    window: u64,
    /// When the pace was last measured, and `consumed` then.
    measured: Option<(Duration, u64)>,
}

impl Incoming {
    /// A pair over which nothing has come.
    pub fn new(limits: Limits) -> Self {
        Incoming { limits, consumed: 0, reported: 0, window: limits.first, measured: None }
    }

    /// These rows are dealt with; what the sender is to be told, if it is time for that. `now` is monotonic time.
    pub fn consumed(&mut self, rows: usize, now: impl FnOnce() -> Duration) -> Option<Credit> {
        self.consumed += rows as u64;
        // Before the window is used up.
        if self.consumed - self.reported < self.window / 4 {
            return None;
        }
        self.follow_pace(now());
        self.reported = self.consumed;
        Some(Credit { consumed: self.consumed, window: self.window })
    }

    /// Half the old window, half what is consumed in [`WINDOW_TIME`].
    fn follow_pace(&mut self, now: Duration) {
        let Some((then, consumed)) = self.measured else {
            self.measured = Some((now, self.consumed));
            return;
        };
        let elapsed = now.saturating_sub(then).max(Duration::from_micros(100));
        let pace = (self.consumed - consumed) as f64 / elapsed.as_secs_f64();
        let wanted = (pace * WINDOW_TIME.as_secs_f64()) as u64;
        self.window = ((self.window + wanted) / 2).clamp(self.limits.min, self.limits.max);
        self.measured = Some((now, self.consumed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { first: 32_000, min: 2_000, max: 256_000 };

    #[test]
    fn the_window_follows_the_pace_of_the_target() {
        let mut pair = Incoming::new(LIMITS);
        let mut now = Duration::ZERO;
        let mut told = None;
        for _ in 0..1000 {
            now += Duration::from_millis(100);
            told = pair.consumed(100, || now).or(told);
        }
        assert_eq!(told.map(|credit| credit.window), Some(LIMITS.min), "1000 rows/s get the smallest window");
        for _ in 0..20 {
            now += Duration::from_millis(10);
            told = pair.consumed(1_000_000, || now);
        }
        assert_eq!(told, Some(Credit { consumed: 20_100_000, window: LIMITS.max }));
    }

    #[test]
    fn credit_is_returned_before_the_window_is_used_up() {
        let mut pair = Incoming::new(LIMITS);
        let quarter = LIMITS.first as usize / 4;
        assert_eq!(pair.consumed(quarter - 1, || Duration::ZERO), None);
        assert_eq!(pair.consumed(1, || Duration::ZERO), Some(Credit { consumed: 8_000, window: LIMITS.first }));
    }

    #[test]
    fn a_sender_has_room_again_as_its_rows_are_consumed() {
        let mut pair = Outgoing::new(LIMITS);
        pair.sent(LIMITS.first as usize - 1);
        assert!(pair.has_room());
        pair.sent(1);
        assert!(!pair.has_room());
        pair.credited(Credit { consumed: 10_000, window: LIMITS.first });
        assert!(pair.has_room());
        // A late one takes nothing back but the window that it names.
        pair.credited(Credit { consumed: 5_000, window: 22_000 });
        assert!(!pair.has_room());
    }
}
