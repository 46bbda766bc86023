//! RocksDB as the second tier of working state: the rows that do not fit in memory.
//!
//! * [`backend`]: what a job sets to use it, the feature of this name, on by default;
//! * [`reader`]: looks into the stores of a checkpoint;
//! * [`stores`]: opens the stores of a process, and what they share: memory, threads, a working directory;
//! * [`store`]: one store, the rows of one subtask in a RocksDB of its own;
//! * `view`: the rows of a snapshot, as a RocksDB that is only read;
//! * `expired`: how rows go whose time-to-live is over;
//! * `options`: how RocksDB is set up, and why;
//! * `working_dir`: where its files are while the process runs.
//!
//! What is in RocksDB is working state. It is written without a log: durability is the checkpoint's, which keeps the
//! files of a store's snapshot. Files of a process that was killed are removed when the next one starts.

#[cfg(feature = "backend")]
pub mod backend;
mod expired;
mod load;
mod options;
pub mod reader;
pub mod store;
pub mod stores;
mod view;
mod working_dir;

#[cfg(feature = "backend")]
pub use backend::RocksDBStateBackend;
pub use reader::RocksDBReader;
pub use store::RocksDBRowStore;
pub use stores::RocksDBRowStores;
