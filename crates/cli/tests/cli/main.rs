//! Every command, on the checkpoints of a small job that really ran.

mod checkpoint;
mod cluster;
mod job;
mod run;
mod running;
mod state;
mod stores;
mod upgrade;
