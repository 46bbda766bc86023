//! Time-to-live of declared state: single stories, and random ones against a naive model.

mod model;
mod stories;
