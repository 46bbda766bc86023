//! Nexmark: an auction site as a stream of persons, auctions and bids, and the queries that the field measures itself by.
//!
//! The stream is that of the public implementation for Flink with fixed seeds, byte for byte, so that the results of queries
//! can be compared row by row with those of others. [`Event`] displays as one line of the canonical text of the stream.
//!
//! [`NexmarkSource`] brings it into a job, and [`queries`] has the queries; [`Query`] names them.

mod calendar;
mod channels;
mod event;
mod generator;
mod minute_files;
mod money;
mod pace;
pub mod queries;
mod random;
mod source;
mod text;

pub use event::{Auction, Bid, Event, Person, Text};
pub use generator::{BASE_TIME_MS, Generator};
pub use minute_files::{Minute, MinuteFiles, MinuteWriter};
pub use money::Euros;
pub use pace::Pace;
pub use queries::{Output, Query, Row};
pub use source::{NexmarkReader, NexmarkSource, watermarks};
