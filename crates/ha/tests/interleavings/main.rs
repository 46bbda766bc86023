//! Every course of two JobManagers over one log: every order in which their requests reach the store, every fate of a
//! request, every moment at which one crashes or stands still, with clocks that have nothing to do with each other.
//!
//! Each kind of misfortune has a budget; within it nothing is left out.

mod world;

use std::collections::HashSet;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};

use world::{Budget, Seen, World};

/// Visits every state that can be reached within one of the budgets, each once.
fn explore(budgets: &[Budget]) {
    let mut seen = Seen::default();
    for budget in budgets {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let (mut visited, mut open) = (HashSet::new(), vec![World::new(*budget)]);
        while let Some(world) = open.pop() {
            for choice in world.choices() {
                let mut next = world.clone();
                next.act(choice);
                next.check(&mut seen);
                if visited.insert(hasher.hash_one(&next)) {
                    open.push(next);
                }
            }
        }
        println!("{} states within {budget:?}", visited.len());
    }
    // Else the invariants held because nothing has happened.
    assert!(seen.recorded && seen.fenced && seen.in_doubt && seen.in_doubt_that_counts, "{seen:?}");
    assert!(seen.late_in_an_empty_place && seen.two_leaders, "{seen:?}");
}

const NONE: Budget = Budget { faults: 0, crashes: 0, jumps: 0, wakes: 0, appends: 0 };

#[test]
fn with_requests_that_are_lost_or_late() {
    explore(&[Budget { faults: 2, jumps: 2, appends: 1, ..NONE }, Budget { faults: 1, jumps: 1, appends: 2, ..NONE }]);
}

#[test]
fn with_crashes() {
    explore(&[
        Budget { crashes: 1, faults: 1, jumps: 1, appends: 1, ..NONE },
        Budget { crashes: 2, jumps: 1, appends: 1, ..NONE },
    ]);
}

#[test]
fn with_clocks_that_jump() {
    explore(&[Budget { jumps: 3, appends: 2, ..NONE }, Budget { jumps: 2, wakes: 1, appends: 1, ..NONE }]);
}
