//! Which key groups a checkpoint writes in full, and of which only what changed.
//!
//! Deltas alone would make the lineage longer and longer: its space, and the time of a restore, would grow with the age of the
//! job. So a key group is written in full again
//!
//! * when its changes since have reached about the size of all its rows: then each byte of change costs about one more byte
//!   written, and the lineage holds at most two and a half times the state;
//! * when the task has since written `STALE` times its whole state, so that groups that hardly change do not hold on to old
//!   files for ever.
//!
//! The threshold of the first rule differs from group to group, so that groups that change alike do not come due all at once.
//! A state that is small is always written in full.

use highwater_core::{KeyGroup, KeyGroupRange};

/// Up to this many bytes of state a delta is not worth its bookkeeping: the state fits in the metadata anyway.
const SMALL: u64 = 16 << 10;

/// A group is due at the latest when so many times the bytes of the whole state were written since.
const STALE: u64 = 4;

/// The sizes that the decision rests on, of one keyed state of one task.
#[derive(Clone, Debug)]
pub struct Rebase {
    range: KeyGroupRange,
    groups: Vec<Sizes>,
    /// Bytes written so far.
    written: u64,
}

#[derive(Clone, Copy, Debug, Default)]
struct Sizes {
    /// Bytes of the group when it was last written in full; `None` if it never was.
    full: Option<u64>,
    /// Bytes of changes since.
    changed: u64,
    /// [`Rebase::written`] at that time.
    since: u64,
}

impl Rebase {
    /// Nothing was written yet.
    pub fn new(range: KeyGroupRange) -> Self {
        Rebase { range, groups: vec![Sizes::default(); range.count()], written: 0 }
    }

    /// Decides for each key group of the range, in order, whether the checkpoint that begins now has to write it in full, and
    /// counts on that being done.
    pub fn begin(&mut self) -> Vec<bool> {
        let total: u64 = self.groups.iter().map(|group| group.full.unwrap_or(0) + group.changed).sum();
        let (start, written) = (self.range.start(), self.written);
        let is_due = |(index, group): (usize, &Sizes)| match group.full {
            None => true,
            Some(full) => {
                total <= SMALL
                    || group.changed > threshold(start + index as u32, full)
                    || written - group.since > STALE * total
            }
        };
        let due: Vec<bool> = self.groups.iter().enumerate().map(is_due).collect();
        for (group, _) in self.groups.iter_mut().zip(&due).filter(|(_, due)| **due) {
            *group = Sizes { full: Some(0), changed: 0, since: written };
        }
        due
    }

    /// `bytes` were written of a group, in full or as changes.
    ///
    /// # Panics
    /// If the group is not in the range.
    pub fn wrote(&mut self, group: KeyGroup, is_full: bool, bytes: u64) {
        self.written += bytes;
        let sizes = &mut self.groups[self.range.index_of(group)];
        match &mut sizes.full {
            Some(full) if is_full => *full += bytes,
            none if is_full => *none = Some(bytes),
            _ => sizes.changed += bytes,
        }
    }

    /// What was written may not be there: everything has to be written in full.
    pub fn forget(&mut self) {
        self.groups.fill(Sizes::default());
    }
}

/// From a half to one and a half of `full`, by the golden section of the group's number: neighbours are far apart.
fn threshold(group: u32, full: u64) -> u64 {
    let share = u64::from(group.wrapping_mul(0x9E37_79B9) >> 24);
    full / 2 + full * share / 256
}

#[cfg(test)]
mod tests {
    use super::*;

    const GROUPS: u32 = 64;

    fn run(rebase: &mut Rebase, full: u64, changed: impl Fn(u32) -> u64) -> (usize, u64) {
        let due = rebase.begin();
        let before = rebase.written;
        for (group, due) in (0..).zip(&due) {
            rebase.wrote(KeyGroup(group as u16), *due, if *due { full } else { changed(group) });
        }
        (due.iter().filter(|due| **due).count(), rebase.written - before)
    }

    #[test]
    fn the_first_is_full_and_the_second_is_not() {
        let mut rebase = Rebase::new(KeyGroupRange::new(0..GROUPS));
        assert_eq!(run(&mut rebase, 1_000, |_| 10).0, GROUPS as usize);
        assert_eq!(run(&mut rebase, 1_000, |_| 10), (0, 10 * u64::from(GROUPS)));
        rebase.forget();
        assert_eq!(run(&mut rebase, 1_000, |_| 10).0, GROUPS as usize);
    }

    #[test]
    fn small_state_is_always_full() {
        let mut rebase = Rebase::new(KeyGroupRange::new(0..GROUPS));
        for _ in 0..10 {
            assert_eq!(run(&mut rebase, SMALL / u64::from(GROUPS), |_| 1).0, GROUPS as usize);
        }
    }

    /// With evenly distributed changes the groups come due a few at a time, and no checkpoint writes much more than another.
    #[test]
    fn work_is_spread_over_checkpoints() {
        let mut rebase = Rebase::new(KeyGroupRange::new(0..GROUPS));
        run(&mut rebase, 10_000, |_| 500);
        let runs: Vec<(usize, u64)> = (0..400).map(|_| run(&mut rebase, 10_000, |_| 500)).collect();
        let most = runs[40..].iter().map(|(due, _)| *due).max().unwrap();
        assert!(most <= GROUPS as usize / 2, "{most} groups at once");
        let changed = 500 * u64::from(GROUPS);
        let mean = runs.iter().map(|(_, bytes)| bytes).sum::<u64>() / runs.len() as u64;
        assert!(mean < 5 * changed / 2, "{mean} bytes written for {changed} that changed");
    }

    #[test]
    fn a_group_that_never_changes_is_written_again_in_the_end() {
        let mut rebase = Rebase::new(KeyGroupRange::new(0..GROUPS));
        let cold = |group| if group == 0 { 0 } else { 900 };
        run(&mut rebase, 1_000, cold);
        let mut checkpoints = 0;
        while rebase.groups[0].since == 0 {
            run(&mut rebase, 1_000, cold);
            checkpoints += 1;
            assert!(checkpoints < 20, "an old file is kept for ever");
        }
        assert!(checkpoints > 3);
    }
}
