//! Exactly-once, proved the hard way: the `visitors` example is killed with SIGKILL at random moments, started again with another
//! number of workers, and in the end its output must be what a plain loop over the log counts.
//!
//! `cargo test` builds the example too; with `--test visitors_kill` alone, run `cargo build --example visitors` before.
//!
//! A moment is found by looking at the checkpoint directory (before the first checkpoint, while one is being written, after one
//! completed) and adding a random delay. A job that has read its input is compared, and the next one starts with another input:
//! so a fast machine needs more jobs for the same number of kills.
//!
//! | variable | meaning |
//! |---|---|
//! | `HIGHWATER_SEED` | the seed of all random choices, printed by every run |
//! | `HIGHWATER_KILLS` | how many times the job is killed, 8 if not set |
//! | `HIGHWATER_ACCESS_LOG` | an access log to read, repeated until it is long enough, instead of a generated one |
#![allow(clippy::disallowed_methods, reason = "the test watches real processes in real time")]
#![allow(dead_code, reason = "the modules are those of other tests too")]

#[path = "visitors_kill/count.rs"]
mod count;
#[path = "visitors_kill/input.rs"]
mod input;
#[path = "visitors_kill/job.rs"]
mod job;
#[path = "visitors_kill/kills.rs"]
mod kills;

use kills::Victim;

#[test]
fn killed_at_any_moment_it_counts_every_request_once() {
    // A debug build reads more slowly.
    let lines = if cfg!(debug_assertions) { 800_000 } else { 3_000_000 };
    kills::kill(&Victim { program: "visitors", lines, clients: 3_000 }, 8, |_| {});
}
