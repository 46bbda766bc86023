//! The four phases of a checkpoint and the time each took.
//!
//! `T_checkpoint = T_init + T_prepare + T_confirm + T_complete`, exactly: `PhaseClock` gives every moment between start and
//! end to one phase, so there is no fifth share in which time could hide.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long each of the four phases took. For a checkpoint that failed: up to the failure, and zero for what it did not reach.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointTimes {
    /// From the start until the location is fixed.
    pub init: Duration,
    /// Until the last task has taken the synchronous part of its snapshot.
    pub prepare: Duration,
    /// Until the last task has acknowledged: its part is durable.
    pub confirm: Duration,
    /// Until the metadata is durable and the tasks are notified.
    pub complete: Duration,
}

impl CheckpointTimes {
    /// From start to end.
    pub fn total(&self) -> Duration {
        self.init.saturating_add(self.prepare).saturating_add(self.confirm).saturating_add(self.complete)
    }
}

/// Where a checkpoint stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Init,
    Prepare,
    Confirm,
    Complete,
}

/// Gives the time that passes to the phase it passes in.
#[derive(Clone, Debug)]
pub(crate) struct PhaseClock {
    started: Duration,
    phase: Phase,
    entered: Duration,
    times: CheckpointTimes,
}

impl PhaseClock {
    pub(crate) fn start(now: Duration) -> Self {
        PhaseClock { started: now, phase: Phase::Init, entered: now, times: CheckpointTimes::default() }
    }

    pub(crate) fn started(&self) -> Duration {
        self.started
    }

    pub(crate) fn phase(&self) -> Phase {
        self.phase
    }

    /// Ends the current phase and begins `phase`, which must come after it.
    pub(crate) fn enter(&mut self, phase: Phase, now: Duration) {
        assert!(phase > self.phase, "a checkpoint went from {:?} back to {phase:?}", self.phase);
        self.times = self.times_at(now);
        self.phase = phase;
        self.entered = now;
    }

    /// The times if the checkpoint ended now.
    pub(crate) fn times_at(&self, now: Duration) -> CheckpointTimes {
        let mut times = self.times;
        let share = match self.phase {
            Phase::Init => &mut times.init,
            Phase::Prepare => &mut times.prepare,
            Phase::Confirm => &mut times.confirm,
            Phase::Complete => &mut times.complete,
        };
        *share = now.saturating_sub(self.entered);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_phases_add_up_also_when_one_is_skipped() {
        let ms = Duration::from_millis;
        let mut clock = PhaseClock::start(ms(100));
        clock.enter(Phase::Prepare, ms(103));
        clock.enter(Phase::Complete, ms(110));
        let times = clock.times_at(ms(150));
        assert_eq!((times.init, times.prepare, times.confirm, times.complete), (ms(3), ms(7), ms(0), ms(40)));
        assert_eq!(times.total(), ms(150) - clock.started());
    }

    #[test]
    fn times_read_from_a_hostile_file_still_add_up_to_something() {
        let times = CheckpointTimes { init: Duration::MAX, prepare: Duration::MAX, ..CheckpointTimes::default() };
        assert_eq!(times.total(), Duration::MAX);
    }
}
