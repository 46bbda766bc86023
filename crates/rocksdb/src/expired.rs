//! Compaction drops rows that have expired, as it rewrites files anyway: on RocksDB's threads, at next to no cost.
//!
//! A row is not dropped before compaction comes by. So that it does, files are compacted that are as old as the time-to-live.

use std::ffi::CStr;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use highwater_state::spill::RowExpiry;
use rocksdb::CompactionDecision;
use rocksdb::compaction_filter::CompactionFilter;
use rocksdb::compaction_filter_factory::{CompactionFilterContext, CompactionFilterFactory};

const NAME: &CStr = c"highwater-expired";

/// Files are not rewritten more often than this, however short the time-to-live is: look-ups do not show what has expired.
const SHORTEST_PERIOD: Duration = Duration::from_secs(600);

/// What tells which rows of a store have expired, once it is known.
pub(crate) type Expiry = Arc<OnceLock<Arc<dyn RowExpiry>>>;

/// The age at which a file is compacted, in seconds.
pub(crate) fn period_secs(expiry: &dyn RowExpiry) -> u64 {
    expiry.longest_ttl().max(SHORTEST_PERIOD).as_secs()
}

/// Makes a filter for each compaction.
pub(crate) struct Expired(pub Expiry);

impl CompactionFilterFactory for Expired {
    type Filter = Filter;

    fn create(&mut self, _: CompactionFilterContext) -> Filter {
        Filter(self.0.get().cloned())
    }

    fn name(&self) -> &CStr {
        NAME
    }
}

/// Removes rows that have expired in one compaction.
pub(crate) struct Filter(Option<Arc<dyn RowExpiry>>);

impl CompactionFilter for Filter {
    fn filter(&mut self, _level: u32, _key: &[u8], row: &[u8]) -> CompactionDecision {
        let Some(expiry) = &self.0 else { return CompactionDecision::Keep };
        // A type of the user's decodes here, and a panic must not go through C++: it comes again when the key does.
        match catch_unwind(AssertUnwindSafe(|| expiry.has_expired(row))) {
            Ok(true) => CompactionDecision::Remove,
            Ok(false) => CompactionDecision::Keep,
            Err(_) => {
                // Nor should each row say so.
                self.0 = None;
                CompactionDecision::Keep
            }
        }
    }

    fn name(&self) -> &CStr {
        NAME
    }
}
