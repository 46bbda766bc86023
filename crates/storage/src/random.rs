//! Numbers that nobody can guess and that come once: for names of temporary files, owners of leases, and jitter.
//!
//! The standard library seeds its hashers from the operating system; this is the door for randomness of this crate.

use std::hash::{BuildHasher, Hasher, RandomState};

/// A number that comes once.
pub(crate) fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A name part that comes once.
pub(crate) fn token() -> String {
    format!("{:016x}{:016x}", random(), random())
}
