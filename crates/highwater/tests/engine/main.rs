//! The promises of the engine, each shown by a small job that runs through the real runtime.

mod failures;
mod operators;
mod support;
