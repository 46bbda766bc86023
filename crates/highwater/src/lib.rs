//! Stateful stream processing for Rust.
