//! How long a storage behind a network tries.

use std::time::Duration;

/// Limits of time. Each can be set in the URI; see [`open_uri`](crate::open_uri).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// For an operation, all its attempts and the pauses between them.
    pub(crate) operation: Duration,
    /// For one attempt: a server that does not answer is asked again.
    pub(crate) attempt: Duration,
    /// For the first contact. Shorter, because what fails there is mostly an address or a permission that is wrong.
    pub(crate) open: Duration,
    /// How long a lease holds without being renewed, and so how long a run waits for one that was killed.
    pub(crate) lease: Duration,
}

impl Default for Limits {
    /// 60 s an operation; 15 s to open, and a lease of 15 s, as Flink's leader election has
    /// (`high-availability.kubernetes.leader-election.lease-duration`).
    fn default() -> Self {
        Limits::of(Duration::from_secs(60), Duration::from_secs(15))
    }
}

impl Limits {
    /// The limits for what renews the lease: three of its operations fit into the time the lease holds, each of which is
    /// one attempt if there is no answer.
    pub(crate) fn for_renewal(self) -> Self {
        let operation = self.lease / 3;
        Limits { operation, attempt: operation, ..self }
    }

    /// The limits that follow from these two.
    pub(crate) fn of(operation: Duration, lease: Duration) -> Self {
        let open = (operation / 4).max(Duration::from_secs(5)).min(operation);
        Limits { operation, attempt: operation / 3, open, lease }
    }
}
