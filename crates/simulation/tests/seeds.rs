//! Three hundred seeds. One that fails is printed with the command that replays it.

use std::ops::Range;

use highwater_simulation::{Seen, run};

/// What was seen in all runs, and what did not hold in some.
fn run_all(seeds: Range<u64>) -> (Seen, Vec<String>) {
    let (mut seen, mut wrong) = (Seen::default(), Vec::new());
    for seed in seeds {
        match run(seed, false) {
            Ok(one) => seen += one,
            Err(violation) => wrong.push(violation.to_string()),
        }
    }
    (seen, wrong)
}

#[test]
fn the_invariants_hold_and_the_job_ends_with_any_seed() {
    let (mut seen, mut wrong) = (Seen::default(), Vec::new());
    std::thread::scope(|scope| {
        let parts = [0..75, 75..150, 150..225, 225..300].map(|seeds| scope.spawn(|| run_all(seeds)));
        for part in parts {
            let (seen_there, wrong_there) = part.join().unwrap();
            seen += seen_there;
            wrong.extend(wrong_there);
        }
    });
    println!("{seen:?}");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let Seen { attached, rescaled, taken_to_redeploy, not_recorded, stashed, held_back, misread, .. } = seen;
    let Seen { left, dropped_alone, savepoints, stopped, cancelled, never_ran, .. } = seen;
    for (what, count) in [
        ("attempts attached", attached),
        ("jobs rescaled", rescaled),
        ("checkpoints to redeploy", taken_to_redeploy),
        ("checkpoints that were not recorded", not_recorded),
        ("records in a stash", stashed),
        ("sources held back", held_back),
        ("checkpoints that were damaged on their way", misread),
        ("TaskManagers that were let go", left),
        ("parts dropped without a leader", dropped_alone),
        ("savepoints", savepoints),
        ("jobs stopped", stopped),
        ("jobs cancelled", cancelled),
    ] {
        assert!(count > 0, "no {what}: nothing is shown of them");
    }
    assert!(never_ran <= 5, "{never_ran} jobs never ran");
}

#[test]
fn a_seed_gives_the_same_run_again() {
    for seed in 0..5 {
        assert_eq!(run(seed, false).ok(), run(seed, false).ok());
    }
}
