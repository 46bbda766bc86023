//! Snapshots with rows in stores on local disk, which only some builds of this command can read.

use std::sync::Arc;

use highwater_core::Result;
use highwater_snapshot::Snapshot;
use highwater_state::spill::StoreReader;

/// Opens the snapshot at a path, to read its rows.
///
/// # Errors
/// As [`Snapshot::at_path`].
pub fn open(path: &str) -> Result<Snapshot> {
    Ok(Snapshot::at_path(path)?.with_stores(reader()))
}

#[cfg(feature = "rocksdb")]
fn reader() -> Arc<dyn StoreReader> {
    Arc::new(highwater_rocksdb::RocksDBReader::new(std::env::temp_dir().join("highwater-rocksdb")))
}

#[cfg(not(feature = "rocksdb"))]
fn reader() -> Arc<dyn StoreReader> {
    Arc::new(without::NotBuilt)
}

#[cfg(not(feature = "rocksdb"))]
mod without {
    use std::path::Path;

    use highwater_core::{Error, Result};
    use highwater_state::spill::{StoreReader, StoredRows};

    /// Says what to build.
    #[derive(Debug)]
    pub struct NotBuilt;

    impl StoreReader for NotBuilt {
        fn kind(&self) -> &'static str {
            "rocksdb"
        }

        fn open(&self, _: &mut dyn FnMut(&Path) -> Result<()>) -> Result<Box<dyn StoredRows>> {
            Err(Error::settings(
                "rows lie in RocksDB, which this command was built without: install it with \
                 `cargo install highwater-cli --features rocksdb`, or look into a savepoint",
            ))
        }
    }
}
