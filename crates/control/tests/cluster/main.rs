//! JobManagers, TaskManagers and clients that talk to each other over the loopback.
#![allow(clippy::disallowed_methods, reason = "the tests watch real connections in real time")]

mod clients;
mod peers;
mod proxy;
mod sessions;
mod silence;
