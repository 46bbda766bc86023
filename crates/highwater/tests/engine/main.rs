//! The promises of the engine, each shown by a small job that runs through the real runtime.

mod backends;
mod broadcast;
mod changes;
mod checkpoints;
mod commits;
mod ended_with_savepoint;
mod event_time;
mod every_state;
mod evolution;
mod failures;
mod fixtures;
mod incremental;
mod interval_join;
mod operator_state;
mod operators;
mod pressure;
mod processes;
mod recovery;
mod restarts;
mod savepoints;
mod spilling;
mod stopping;
mod storage_faults;
mod support;
mod time_to_live;
mod two_inputs;
