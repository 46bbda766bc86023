//! Which checkpoint to restore when a job starts again, and which id to go on with.
//!
//! A candidate is a folder with a `_metadata`: without one there is no checkpoint (I3). The newest that verifies is restored.
//! One that does not is passed over with its name and the reason, never silently, and only after a second look ([`Damaged`]); and where
//! none verifies, starting without state is nobody's decision but the user's.
//!
//! A savepoint that the job has ended with is a candidate too, and never passed over: it is its user's, who may have moved it,
//! and what it holds has been committed, so that an older checkpoint would show it again (I4).

use std::collections::BTreeMap;

use highwater_core::{CheckpointId, Error, ErrorKind, Result};

/// No id is above this: far more than any job can use, and far from where adding one would overflow.
pub(crate) const MAX_ID: CheckpointId = CheckpointId(1 << 62);

/// A checkpoint, or a savepoint that one of its folders names, found in the checkpoint directory, and whether it verifies.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its id.
    pub id: CheckpointId,
    /// Where it is.
    pub path: String,
    /// Whether it is a savepoint that the job has ended with.
    pub is_savepoint: bool,
    /// What is wrong with it, if anything.
    pub verdict: Result<(), String>,
}

/// A checkpoint that would have been restored, were it not damaged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PassedOver {
    /// Where it is.
    pub path: String,
    /// What is wrong with it.
    pub reason: String,
}

/// What to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// There is no checkpoint: begin without state.
    Begin,
    /// Restore this one.
    Restore {
        /// Its id.
        id: CheckpointId,
        /// Where it is.
        path: String,
        /// The newer ones, newest first. To be told to people.
        passed_over: Vec<PassedOver>,
    },
    /// There are checkpoints, and none of them verifies: do not start, unless a fresh start is asked for.
    Refuse {
        /// All of them, newest first.
        passed_over: Vec<PassedOver>,
    },
    /// The job has ended with a savepoint that cannot be used: do not start, unless its user says from what.
    SavepointLost {
        /// The savepoint.
        lost: PassedOver,
    },
}

/// Chooses the newest candidate that verifies. The verdict on one older than the choice does not matter.
pub fn choose(mut candidates: Vec<Candidate>) -> Choice {
    if candidates.is_empty() {
        return Choice::Begin;
    }
    // By path where ids are equal, so that the choice does not depend on the order of a directory listing.
    candidates.sort_by(|a, b| b.id.cmp(&a.id).then_with(|| a.path.cmp(&b.path)));
    let mut passed_over = Vec::new();
    for Candidate { id, path, is_savepoint, verdict } in candidates {
        match verdict {
            Ok(()) => return Choice::Restore { id, path, passed_over },
            Err(reason) if is_savepoint => return Choice::SavepointLost { lost: PassedOver { path, reason } },
            Err(reason) => passed_over.push(PassedOver { path, reason }),
        }
    }
    Choice::Refuse { passed_over }
}

/// Checkpoints of which a part did not verify while it was loaded.
///
/// One is given up only when it was loaded twice in vain: what came wrong once may be whole where it is stored, and an older checkpoint
/// shows again what was committed since.
#[derive(Clone, Debug, Default)]
pub struct Damaged {
    found: BTreeMap<CheckpointId, Found>,
}

#[derive(Clone, Debug)]
struct Found {
    reason: String,
    is_second: bool,
}

impl Damaged {
    /// Something of a checkpoint did not verify; whether it is given up.
    pub fn found(&mut self, id: CheckpointId, reason: String) -> bool {
        let is_second = self.found.contains_key(&id);
        self.found.insert(id, Found { reason, is_second });
        is_second
    }

    /// Whether a checkpoint may still be restored.
    ///
    /// # Errors
    /// What is wrong with it, if it is given up.
    pub fn verdict(&self, id: CheckpointId) -> Result<(), String> {
        self.found.get(&id).filter(|found| found.is_second).map_or(Ok(()), |found| Err(found.reason.clone()))
    }
}

/// The id after every one that was ever `seen`, completed or not: 1 if there was none.
///
/// # Errors
/// [`ErrorKind::Corrupt`] if one is so large that no job can have counted up to it.
pub fn next_id(seen: impl IntoIterator<Item = CheckpointId>) -> Result<CheckpointId> {
    match seen.into_iter().max() {
        None => Ok(CheckpointId(1)),
        Some(id) if id < MAX_ID => Ok(id.next()),
        Some(id) => Err(Error::new(
            ErrorKind::Corrupt,
            format!("checkpoint id {id} is out of bounds: something other than this job has named it, remove it"),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(id: u64, verdict: Result<(), &str>) -> Candidate {
        let verdict = verdict.map_err(str::to_owned);
        Candidate { id: CheckpointId(id), path: format!("chk-{id}"), is_savepoint: false, verdict }
    }

    fn savepoint(id: u64, verdict: Result<(), &str>) -> Candidate {
        Candidate { is_savepoint: true, ..candidate(id, verdict) }
    }

    fn passed_over(id: u64, reason: &str) -> PassedOver {
        PassedOver { path: format!("chk-{id}"), reason: reason.to_owned() }
    }

    #[test]
    fn the_newest_that_verifies_is_restored_and_newer_ones_are_named() {
        let choice = choose(vec![
            candidate(8, Ok(())),
            candidate(10, Err("bad checksum")),
            candidate(7, Err("cut off")),
            candidate(9, Err("no file a")),
        ]);
        let passed_over = vec![passed_over(10, "bad checksum"), passed_over(9, "no file a")];
        assert_eq!(choice, Choice::Restore { id: CheckpointId(8), path: "chk-8".into(), passed_over });
    }

    #[test]
    fn a_job_with_only_damaged_checkpoints_does_not_begin_anew() {
        let choice = choose(vec![candidate(1, Err("cut off")), candidate(2, Err("bad checksum"))]);
        let passed_over = vec![passed_over(2, "bad checksum"), passed_over(1, "cut off")];
        assert_eq!(choice, Choice::Refuse { passed_over });
        assert_eq!(choose(vec![]), Choice::Begin);
    }

    #[test]
    fn a_savepoint_that_the_job_has_ended_with_is_never_passed_over() {
        let choice = choose(vec![candidate(8, Ok(())), savepoint(9, Ok(())), candidate(10, Err("cut off"))]);
        let passed = vec![passed_over(10, "cut off")];
        assert_eq!(choice, Choice::Restore { id: CheckpointId(9), path: "chk-9".into(), passed_over: passed });
        let choice = choose(vec![candidate(8, Ok(())), savepoint(9, Err("gone")), candidate(10, Err("cut off"))]);
        assert_eq!(choice, Choice::SavepointLost { lost: passed_over(9, "gone") });
        let choice = choose(vec![savepoint(9, Err("gone")), candidate(10, Ok(()))]);
        assert_eq!(choice, Choice::Restore { id: CheckpointId(10), path: "chk-10".into(), passed_over: vec![] });
    }

    #[test]
    fn a_checkpoint_is_given_up_when_it_did_not_verify_twice() {
        let mut damaged = Damaged::default();
        assert!(!damaged.found(CheckpointId(3), "bad checksum".into()));
        assert_eq!(damaged.verdict(CheckpointId(3)), Ok(()));
        assert!(!damaged.found(CheckpointId(2), "cut off".into()), "each on its own");
        assert!(damaged.found(CheckpointId(3), "still a bad checksum".into()));
        assert_eq!(damaged.verdict(CheckpointId(3)), Err("still a bad checksum".to_owned()));
        assert_eq!(damaged.verdict(CheckpointId(2)), Ok(()));
    }

    #[test]
    fn ids_go_on_after_the_highest_ever_seen() {
        assert_eq!(next_id([]).unwrap(), CheckpointId(1));
        assert_eq!(next_id([4, 9, 2].map(CheckpointId)).unwrap(), CheckpointId(10));
        assert_eq!(next_id([CheckpointId(u64::MAX)]).unwrap_err().kind(), ErrorKind::Corrupt);
    }
}
