//! Fault injection and harnesses for testing jobs and storages.
//!
//! * [`clock`]: a clock whose time of day is set by hand;
//! * [`disk`]: a file system in memory that can lose power at any sync;
//! * [`every_state`]: a job with every kind of state, rescaled while everything is pending;
//! * [`faults`]: a checkpoint storage whose calls fail on request, with all four outcomes a remote call can have;
//! * [`harness`]: runs a job through the real runtime with a snapshot and a restore between every two records;
//! * [`hooks`]: a checkpoint storage that lets a test look on;
//! * [`proxy`]: a network between a client and a server that loses, cuts and garbles.
//!
//! What is drawn comes from [`Random`], so that a run is replayed from its seed.

pub mod clock;
pub mod disk;
pub mod every_state;
pub mod faults;
pub mod harness;
pub mod hooks;
pub mod proxy;

pub use clock::HandSetClock;
pub use disk::{SimulatedDisk, SyncEffect};
pub use faults::{Call, Fate, FaultyStorage};
pub use highwater_core::Random;
pub use hooks::HookedStorage;
pub use proxy::{Fault, Proxy};
