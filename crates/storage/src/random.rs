//! Numbers that nobody can guess and that come once: for names of temporary files, owners of leases, and jitter.
//!
//! The standard library seeds its hashers from the operating system; this is the door for randomness that nobody replays.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that nobody can guess.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number that comes once.
pub fn draw() -> u128 {
    (u128::from(random()) << 64) | u128::from(random())
}

/// A name part that comes once.
pub(crate) fn token() -> String {
    format!("{:032x}", draw())
}
