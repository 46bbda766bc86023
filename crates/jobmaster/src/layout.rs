//! Which TaskManagers an attempt uses, and how many workers in each.
//!
//! Timely wants the same number of workers in every process. So a layout is a number `w` and some TaskManagers with at least `w`
//! slots, such that there are as many workers as possible up to a ceiling. Of layouts with as many workers, the one is taken that keeps
//! most processes of the attempt before, for the state that they have at hand; then the one with the fewest processes.
//!
//! Invariants: `workers * members` is at most the ceiling; no member has fewer slots than `workers`; a process of the attempt before
//! keeps its index, if that is still there.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use crate::id::TaskManagerId;

/// A TaskManager that may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Offer {
    /// Which one.
    pub id: TaskManagerId,
    /// How many workers it can have.
    pub slots: u32,
}

/// Who takes part in an attempt, with how many workers each.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Layout {
    /// In the order of the process index.
    pub members: Vec<TaskManagerId>,
    /// In each process.
    pub workers: u32,
}

impl Layout {
    /// How many workers in all: 0 if there is no slot.
    pub fn parallelism(&self) -> u32 {
        self.workers * self.members.len() as u32
    }
}

/// The best layout with at most `ceiling` workers. `previous` are the processes of the attempt before, by their index.
pub fn choose(offers: &[Offer], ceiling: u32, previous: &[TaskManagerId]) -> Layout {
    let kept: BTreeSet<TaskManagerId> = previous.iter().copied().collect();
    let mut ranked: Vec<Offer> = offers.iter().copied().filter(|offer| offer.slots > 0).collect();
    ranked.sort_by_key(|offer| (!kept.contains(&offer.id), Reverse(offer.slots), offer.id));
    let most = ranked.iter().map(|offer| offer.slots).max().unwrap_or(0).min(ceiling);
    let layouts = (1..=most).map(|workers| {
        let fitting = ranked.iter().filter(|offer| offer.slots >= workers);
        let members: Vec<TaskManagerId> = fitting.take((ceiling / workers) as usize).map(|offer| offer.id).collect();
        Layout { members, workers }
    });
    let rank = |layout: &Layout| {
        let known = layout.members.iter().filter(|id| kept.contains(id)).count();
        (layout.parallelism(), known, Reverse(layout.members.len()))
    };
    let best = layouts.max_by_key(rank).unwrap_or_default();
    Layout { members: in_place(best.members, previous), workers: best.workers }
}

/// Puts who was there before where it was, as far as that place is still there, and the others into the gaps.
fn in_place(members: Vec<TaskManagerId>, previous: &[TaskManagerId]) -> Vec<TaskManagerId> {
    let place = |id: &TaskManagerId| previous.iter().position(|known| known == id).filter(|at| *at < members.len());
    let mut places: Vec<Option<TaskManagerId>> = vec![None; members.len()];
    let (staying, others): (Vec<_>, Vec<_>) = members.iter().copied().partition(|id| place(id).is_some());
    for id in staying {
        if let Some(at) = place(&id) {
            places[at] = Some(id);
        }
    }
    let mut others = others.into_iter();
    places.into_iter().filter_map(|taken| taken.or_else(|| others.next())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(ids: &[u128]) -> Vec<TaskManagerId> {
        ids.iter().copied().map(TaskManagerId).collect()
    }

    fn layout(slots: &[u32], ceiling: u32, previous: &[u128]) -> (u32, Vec<u128>) {
        let offers = slots.iter().zip(1..).map(|(slots, id)| Offer { id: TaskManagerId(id), slots: *slots });
        let chosen = choose(&offers.collect::<Vec<_>>(), ceiling, &ids(previous));
        (chosen.workers, chosen.members.iter().map(|id| id.0).collect())
    }

    #[test]
    fn there_are_as_many_workers_as_equal_processes_allow() {
        assert_eq!(layout(&[2, 2, 2], 100, &[]), (2, vec![1, 2, 3]));
        assert_eq!(layout(&[4, 1, 1], 100, &[]), (4, vec![1]), "three times one is less");
        assert_eq!(layout(&[4, 3, 3], 100, &[]), (3, vec![1, 2, 3]), "one slot stays unused");
        assert_eq!(layout(&[], 100, &[]), (0, vec![]));
        assert_eq!(layout(&[0], 100, &[]), (0, vec![]));
    }

    #[test]
    fn the_ceiling_holds_and_few_processes_are_better_than_many() {
        assert_eq!(layout(&[4, 4], 4, &[]), (4, vec![1]));
        assert_eq!(layout(&[3, 3], 4, &[]), (2, vec![1, 2]));
        assert_eq!(layout(&[2, 2, 2], 5, &[]), (2, vec![1, 2]), "five cannot be had");
        assert_eq!(layout(&[u32::MAX], 3, &[]), (3, vec![1]));
    }

    #[test]
    fn processes_of_the_attempt_before_keep_their_place() {
        assert_eq!(layout(&[2, 2, 2], 4, &[3, 2]), (2, vec![3, 2]));
        assert_eq!(layout(&[2, 2, 2], 4, &[9, 3]), (2, vec![1, 3]), "the newcomer takes the place of the lost one");
        assert_eq!(layout(&[4, 4], 4, &[2, 1]), (2, vec![2, 1]), "two that know the state are better than one");
        assert_eq!(layout(&[2, 2], 2, &[9, 9, 2]), (2, vec![2]), "its old place is gone");
    }
}
