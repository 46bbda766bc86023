//! Whole clusters in one thread: the decisions of Highwater among simulated processes, networks and storages.
//!
//! What decides is the real thing: [`JobMaster`](highwater_jobmaster::JobMaster), [`Coordinator`](highwater_checkpoint::Coordinator),
//! [`recovery`](highwater_checkpoint::recovery) and [`Election`](highwater_ha::Election). What acts is simulated: JobManagers that
//! carry the decisions out, TaskManagers with sources, counts and sinks, connections, a storage and the time. Everything that goes
//! wrong, and when, is drawn from a seed, and the same seed gives the same run (I9). After each step the invariants of ARCHITECTURE.md
//! are checked of what the storage holds and of what everybody can see; and a while after the last fault the job must have ended.
//!
//! * `world`: one run;
//! * `job`: what is computed, and its tasks;
//! * `storage`, `network`: what is between the processes;
//! * `engine`: the time, and what is planned;
//! * [`cost`]: what the coordinator costs for many tasks.

pub mod cost;
mod engine;
mod job;
mod network;
mod storage;
mod world;

pub use world::{Seen, Violation, run};
