//! Snapshots written by hand: what is damaged in them is found and named, and what is in them is read.

mod read;
mod support;
mod verify;
