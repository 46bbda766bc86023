//! TaskManagers that live, and do not reach each other.
//!
//! The JobManager reaches each of them, so nothing but a failed attempt tells. The rule: two that did not reach each other are kept
//! apart at once where that costs no worker; where it does, after their second failure in a row, as long as the job's minimum is left;
//! else they are tried again, as the restart strategy allows. They are kept apart for a minute, and twice as long with each failure up to
//! an hour, so that a network that was repaired is used again and one that was not is not tried for ever. Of two, the one goes that fails
//! with most others, else the one that the attempt before did not use.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::id::TaskManagerId;

const APART: Duration = Duration::from_secs(60);
const LONGEST_APART: Duration = Duration::from_secs(3600);

/// How sure it is that two do not reach each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// They have failed.
    Once,
    /// They have failed again.
    Again,
}

#[derive(Debug, Default)]
pub(crate) struct Reach {
    broken: BTreeMap<(TaskManagerId, TaskManagerId), Broken>,
}

#[derive(Debug)]
struct Broken {
    failures: u32,
    until: Duration,
}

impl Reach {
    /// These pairs did not reach each other.
    pub(crate) fn failed(&mut self, pairs: &[(TaskManagerId, TaskManagerId)], now: Duration) {
        let pairs: BTreeSet<_> = pairs.iter().filter(|(a, b)| a != b).map(|(a, b)| (*a.min(b), *a.max(b))).collect();
        for pair in pairs {
            let broken = self.broken.entry(pair).or_insert(Broken { failures: 0, until: now });
            let apart = APART.saturating_mul(1 << broken.failures.min(16)).min(LONGEST_APART);
            broken.failures = broken.failures.saturating_add(1);
            broken.until = now.saturating_add(apart);
        }
    }

    /// An attempt of these runs, so they reach each other.
    pub(crate) fn worked(&mut self, members: &BTreeSet<TaskManagerId>) {
        self.broken.retain(|(a, b), _| !(members.contains(a) && members.contains(b)));
    }

    /// Forgets who has not been `known` for longer than anybody is kept apart.
    pub(crate) fn forget(&mut self, now: Duration, known: impl Fn(TaskManagerId) -> bool) {
        self.broken.retain(|(a, b), broken| now < broken.until || (known(*a) && known(*b)));
    }

    /// Whom to leave out of `ranked`, best first, so that nobody is left together with one that it does not reach.
    pub(crate) fn left_out(
        &self,
        ranked: &[TaskManagerId],
        suspicion: Suspicion,
        now: Duration,
    ) -> BTreeSet<TaskManagerId> {
        let least = match suspicion {
            Suspicion::Once => 1,
            Suspicion::Again => 2,
        };
        let is_broken = |broken: &Broken| broken.failures >= least && now < broken.until;
        let mut pairs: Vec<_> =
            self.broken.iter().filter(|(_, broken)| is_broken(broken)).map(|(pair, _)| *pair).collect();
        pairs.retain(|(a, b)| ranked.contains(a) && ranked.contains(b));
        let mut left_out = BTreeSet::new();
        while !pairs.is_empty() {
            let count = |id: TaskManagerId| pairs.iter().filter(|(a, b)| *a == id || *b == id).count();
            // The last of those with most failures.
            let Some((_, worst)) = ranked.iter().enumerate().max_by_key(|(rank, id)| (count(**id), *rank)) else {
                break;
            };
            pairs.retain(|(a, b)| a != worst && b != worst);
            left_out.insert(*worst);
        }
        left_out
    }

    /// When the next pair is no longer kept apart.
    pub(crate) fn next_forgiven(&self, now: Duration) -> Option<Duration> {
        self.broken.values().map(|broken| broken.until).filter(|until| *until > now).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn ids(ids: &[u128]) -> Vec<TaskManagerId> {
        ids.iter().copied().map(TaskManagerId).collect()
    }

    fn pair(a: u128, b: u128) -> (TaskManagerId, TaskManagerId) {
        (TaskManagerId(a), TaskManagerId(b))
    }

    #[test]
    fn who_fails_with_most_is_left_out_else_the_last() {
        let mut reach = Reach::default();
        reach.failed(&[pair(1, 2), pair(2, 1), pair(2, 3)], Duration::ZERO);
        let left_out = |reach: &Reach, ranked: &[u128], suspicion| {
            reach.left_out(&ids(ranked), suspicion, Duration::ZERO).into_iter().map(|id| id.0).collect::<Vec<_>>()
        };
        assert_eq!(left_out(&reach, &[1, 2, 3], Suspicion::Once), [2]);
        assert_eq!(left_out(&reach, &[2, 1], Suspicion::Once), [1], "the attempt before used the other");
        assert_eq!(left_out(&reach, &[1, 3], Suspicion::Once), [0u128; 0]);
        assert_eq!(left_out(&reach, &[1, 2, 3], Suspicion::Again), [0u128; 0], "both directions are one failure");
        reach.failed(&[pair(1, 2)], Duration::ZERO);
        assert_eq!(left_out(&reach, &[1, 2, 3], Suspicion::Again), [2]);
        reach.worked(&ids(&[1, 2]).into_iter().collect());
        assert_eq!(left_out(&reach, &[1, 2, 3], Suspicion::Once), [3]);
    }

    #[test]
    fn they_are_kept_apart_longer_each_time() {
        let mut reach = Reach::default();
        let mut now = Duration::ZERO;
        for minutes in [1, 2, 4, 8, 16, 32, 60, 60] {
            reach.failed(&[pair(1, 2)], now);
            assert_eq!(reach.next_forgiven(now), Some(now + MINUTE * minutes));
            now += MINUTE * minutes;
            assert!(reach.left_out(&ids(&[1, 2]), Suspicion::Once, now).is_empty());
        }
    }
}
