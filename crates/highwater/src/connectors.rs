//! Sources and sinks that come with Highwater.
//!
//! | connector | splits | after a restore |
//! |---|---|---|
//! | [`FileSource`] | ranges of files | goes on at the next line: exactly-once |
//! | [`Generator`], [`CollectionSource`] | every n-th index | goes on at the next index: exactly-once |
//! | [`SocketSource`] | the one connection | connects again: at-most-once |
//! | [`FileSink`] | | output appears when its checkpoint completes: exactly-once |
//! | [`CollectSink`] | | the same, in memory, for tests |
//! | [`PrintSink`] | | output appears at once: at-least-once |
//!
//! They keep the contracts of [`source`](crate::source) and [`sink`](crate::sink) and use nothing that a connector of your own
//! could not use.

mod collect_sink;
mod collection;
mod file_sink;
mod file_source;
mod generator;
mod index_split;
mod lines;
mod print;
mod socket;

pub use collect_sink::{CollectSink, CollectWriter, Collected};
pub use collection::{CollectionReader, CollectionSource};
pub use file_sink::{FileSink, FileWriter, PartFile};
pub use file_source::{FileReader, FileSource, FileSplit};
pub use generator::{Generator, GeneratorReader};
pub use index_split::IndexSplit;
pub use print::{PrintSink, PrintWriter};
pub use socket::{SocketReader, SocketSource, SocketSplit};
