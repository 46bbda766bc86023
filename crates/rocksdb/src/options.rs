//! How RocksDB is set up: for look-ups of single rows, in large sorted batches, within a budget of memory.
//!
//! The memory of all stores of a process is one LRU cache. Blocks of data, indexes and filters live in it, and the
//! write buffers are charged to it, so its capacity is the budget. What it cannot hold back are blocks that are in use,
//! so look-ups come in parts ([`LOOK_UP_KEYS`]); a cache with a strict limit would fail them instead. Outside of it
//! are the readers of open files, of which there are few ([`OPEN_FILES`]), without their indexes.
//!
//! With state many times the budget, filters and indexes of all files would not fit the cache, and each look-up would
//! read one of a megabyte for a row of a few bytes. So the last level, nine tenths of the rows, has no filters, files are
//! small, and the cache is in few parts. Of 10 M rows above a cache of 8 MiB, a look-up then reads 4 KiB instead of 40.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, LogLevel, LruCacheOptions,
    Options, ReadOptions, WriteBufferManager, WriteOptions,
};

/// Keys that are looked up in one call: so many blocks at most are pinned in the cache beyond its capacity.
pub(crate) const LOOK_UP_KEYS: usize = 256;

/// Files that a store keeps open.
const OPEN_FILES: i32 = 512;

/// The least a process gives to its stores: below that RocksDB writes files of a few rows.
pub(crate) const LEAST_BYTES: usize = 8 << 20;

/// Write buffers larger than this only make snapshots flush longer.
const MOST_WRITE_BUFFER_BYTES: usize = 64 << 20;

/// The sizes of a file.
const FILE_BYTES: std::ops::RangeInclusive<usize> = 2 << 20..=32 << 20;

/// How many times larger files are from one level to the next, below the first two: state of terabytes is to have
/// thousands of files, not a million.
const FILE_GROWTH: i32 = 4;

/// What a compaction reads of a file at once.
const COMPACTION_READ_BYTES: usize = 512 << 10;

/// A part of the cache with a lock of its own is to hold the indexes of some files.
const CACHE_PART_BYTES: usize = 32 << 20;

/// What the stores of a process share.
pub(crate) struct Shared {
    pub cache: Cache,
    pub write_buffers: WriteBufferManager,
    bytes: usize,
    background_jobs: i32,
}

impl Shared {
    /// A budget of `bytes` for all stores; background work on at most `cores` threads. A quarter is for what is in no cache: open
    /// files, buffers of compactions, and what lies unused between blocks.
    pub fn new(bytes: usize, cores: usize) -> Self {
        let bytes = bytes.max(LEAST_BYTES) / 4 * 3;
        let mut lru = LruCacheOptions::default();
        lru.set_capacity(bytes);
        lru.set_num_shard_bits((bytes / CACHE_PART_BYTES).clamp(1, 64).ilog2() as i32);
        let cache = Cache::new_lru_cache_opts(&lru);
        // No stalls: with several stores the one that is stalled need not be the one that holds the memory. Instead who
        // writes makes room first, see `is_short_of_write_buffers`.
        let write_buffers = WriteBufferManager::new_write_buffer_manager_with_cache(bytes / 2, false, cache.clone());
        Shared { cache, write_buffers, bytes, background_jobs: cores.clamp(2, 8) as i32 }
    }

    /// Whether a store that writes has to flush first, if it is among those that hold this much: background threads may
    /// not keep up.
    pub fn is_short_of_write_buffers(&self) -> bool {
        self.write_buffers.get_usage() > self.bytes / 2
    }

    /// The size at which a store's write buffer is flushed.
    pub fn write_buffer_bytes(&self) -> usize {
        (self.bytes / 8).min(MOST_WRITE_BUFFER_BYTES)
    }

    /// The options of a store.
    pub fn options(&self) -> Options {
        let mut options = Options::default();
        options.create_if_missing(true);
        options.set_block_based_table_factory(&self.table_options());
        options.set_write_buffer_manager(&self.write_buffers);
        options.set_write_buffer_size(self.write_buffer_bytes());
        options.set_max_write_buffer_number(3);
        // Half of the look-ups are for keys that are nowhere: the newest rows are filtered too.
        options.set_memtable_prefix_bloom_ratio(0.02);
        options.set_memtable_whole_key_filtering(true);
        options.set_allow_concurrent_memtable_write(false);
        options.set_level_compaction_dynamic_level_bytes(true);
        // What leaves memory at a time is of a few key groups. Compaction merges it with the files that overlap it: if they
        // are small, with little else. They are also what a checkpoint uploads for the same change.
        let file_bytes = self.write_buffer_bytes().clamp(*FILE_BYTES.start(), *FILE_BYTES.end());
        options.set_target_file_size_base(file_bytes as u64);
        options.set_target_file_size_multiplier(FILE_GROWTH);
        // Buffers of a compaction, one for each file it reads, are outside of the cache.
        options.set_compaction_readahead_size(COMPACTION_READ_BYTES);
        // A key that is nowhere then costs the block that it would be in, as much as one that is there.
        options.set_optimize_filters_for_hits(true);
        options.set_compression_type(DBCompressionType::None);
        options.set_max_background_jobs(self.background_jobs);
        options.set_max_open_files(OPEN_FILES);
        options.set_keep_log_file_num(1);
        options.set_log_level(LogLevel::Warn);
        options.set_stats_dump_period_sec(0);
        options.set_skip_stats_update_on_db_open(true);
        options
    }

    fn table_options(&self) -> BlockBasedOptions {
        let mut table = BlockBasedOptions::default();
        table.set_block_cache(&self.cache);
        table.set_cache_index_and_filter_blocks(true);
        // The indexes of all files do not fit in the cache beside a large state. In parts of a block each, one that is not
        // there costs a block to read instead of that of a whole file, a hundred times as much.
        table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        table.set_partition_filters(true);
        table.set_metadata_block_size(4 << 10);
        table.set_pin_top_level_index_and_filter(true);
        table.set_pin_l0_filter_and_index_blocks_in_cache(true);
        table.set_bloom_filter(10.0, false);
        // Finds a row in its block by hash instead of by bisection.
        table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
        table.set_format_version(5);
        table
    }
}

/// Writes go to memory and, sorted, to files; nothing is logged.
pub(crate) fn write_options() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.disable_wal(true);
    options
}

/// A scan leaves the cache to the look-ups.
pub(crate) fn scan_options() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options.set_readahead_size(1 << 20);
    options
}
