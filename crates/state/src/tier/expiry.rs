//! What has expired in the tier below, which the store drops in its own time, on its own threads.
//!
//! Invariant: from the barrier of a snapshot until the store's part of it is taken, time stands still for the store. Else the
//! snapshot would lack rows that had not expired at the barrier, and a job that goes on from it would miss them.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::KeyedState;
use crate::keyed::ttl::{TtlClocks, TtlTimeCharacteristic};
use crate::spill::RowExpiry;

/// The present as the store sees it, and what a row looks like.
pub(super) struct StoreExpiry<S> {
    clocks: TtlClocks,
    state: PhantomData<fn() -> S>,
}

impl<S> StoreExpiry<S> {
    /// The present is that of `clocks`, and stays it.
    pub fn new(clocks: &TtlClocks) -> Self {
        StoreExpiry { clocks: clocks.detached(), state: PhantomData }
    }

    /// The present is now that of `clocks`.
    pub fn set(&self, clocks: &TtlClocks) {
        self.clocks.set_to(clocks);
    }
}

impl<S> fmt::Debug for StoreExpiry<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreExpiry").field("clocks", &self.clocks).finish()
    }
}

impl<S: KeyedState> RowExpiry for StoreExpiry<S> {
    fn has_expired(&self, mut row: &[u8]) -> bool {
        // What does not decode is told of when its key comes.
        let Ok(mut state) = S::decode(&mut row) else { return false };
        state.follow(&self.clocks);
        state.expire();
        state.is_empty()
    }

    fn longest_ttl(&self) -> Duration {
        let times = [TtlTimeCharacteristic::ProcessingTime, TtlTimeCharacteristic::EventTime];
        let longest = times.into_iter().filter_map(|time| self.clocks.longest_ttl_ms(time)).max();
        Duration::from_millis(longest.unwrap_or(0).unsigned_abs())
    }
}
