//! The coordinator, as stories with an expected end, as every run up to a depth, and as long random runs.

mod choices;
mod exhaustive;
mod job;
mod ledger;
mod random;
mod savepoints;
mod stories;
mod story;
mod world;
