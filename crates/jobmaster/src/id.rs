//! TaskManagers and attempts, by number.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Names a TaskManager. The process draws it at its start and keeps it over all its connections: one that is started again is
/// another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TaskManagerId(pub u128);

impl fmt::Display for TaskManagerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Names an attempt: greater than that of every attempt before it, whichever leader deployed it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AttemptToken(pub u64);

/// Bits of a token that count the attempts of one leader. The others hold that leader's token, which may be a time in ms.
const ATTEMPTS: u32 = 20;

impl AttemptToken {
    /// The first attempt that the leader with this fencing token deploys. Each leader has room for a million of them.
    pub fn first_of(leader: u64) -> Self {
        AttemptToken(leader.saturating_mul(1 << ATTEMPTS))
    }

    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        AttemptToken(self.0 + 1)
    }
}

impl fmt::Display for AttemptToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.0 >> ATTEMPTS, self.0 & ((1 << ATTEMPTS) - 1))
    }
}
