//! How RocksDB is set up: four ways, so that each row is held against the one that does best there.
//!
//! All: no write-ahead log (the operator replays its input), leveled compaction, a bloom filter of 10 bits a key (Flink has
//! none by default, which loses every row), two background jobs for two cores, and a merge operator for lists.
//!
//! | set-up | memory of a budget of M | blocks | index and filter |
//! |---|---|---|---|
//! | flink | write buffers ⅓ M, charged to a cache of ⅚ M: Flink's own division | LZ4 | in the cache, pinned for level 0 |
//! | tuned | write buffers ½ M, charged to a cache of M | LZ4, hash index | partitioned, top level pinned |
//! | outside | write buffers ½ M, cache ½ M | LZ4, hash index | in memory beside the budget |
//! | plain | write buffers ¾ M, cache ¼ M | uncompressed, mapped, hash index | in memory beside the budget |
//!
//! `plain` spends what ours spends: no compression, page cache instead of block cache, and three quarters for memtables.

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DBCompressionType, DataBlockIndexType, MergeOperands, Options,
    SliceTransform, WriteBufferManager,
};

use crate::data::{MAP_PREFIX_BYTES, State};
use crate::store::Setup;

pub const FLINK: u8 = 0;
pub const TUNED: u8 = 1;
pub const OUTSIDE: u8 = 2;
pub const PLAIN: u8 = 3;

/// The options of a set-up.
pub fn options(setup: &Setup) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    // Two cores: one flush and one compaction at a time, as Flink's default and what fits beside a writer.
    options.set_max_background_jobs(2);
    // Every file stays open: no lookup goes through opening one.
    options.set_max_open_files(-1);
    // Flink's write buffers; smaller for budgets that two of them would not fit in.
    options.set_write_buffer_size((setup.memory_bytes / 4).min(64 << 20));
    options.set_max_write_buffer_number(2);
    // Statistics are dumped into the log otherwise.
    options.set_stats_dump_period_sec(0);
    options.set_merge_operator_associative("append", append);
    match setup.variant {
        FLINK => flink(&mut options, setup.memory_bytes),
        TUNED => tuned(&mut options, setup),
        OUTSIDE => outside(&mut options, setup),
        _ => plain(&mut options, setup),
    }
    options
}

/// As Flink sets it up with managed memory: its `RocksDBMemoryControllerUtils` computes these shares for its default, a
/// write-buffer ratio of one half.
fn flink(options: &mut Options, memory: usize) {
    let cache = Cache::new_lru_cache(memory * 5 / 6);
    let manager = WriteBufferManager::new_write_buffer_manager_with_cache(memory / 3, false, cache.clone());
    options.set_write_buffer_manager(&manager);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_level_compaction_dynamic_level_bytes(false);
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(&cache);
    table.set_bloom_filter(10.0, false);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    options.set_block_based_table_factory(&table);
}

/// What the tuning guide advises beyond that, with everything still inside the budget.
fn tuned(options: &mut Options, setup: &Setup) {
    let cache = Cache::new_lru_cache(setup.memory_bytes);
    let manager = WriteBufferManager::new_write_buffer_manager_with_cache(setup.memory_bytes / 2, false, cache.clone());
    options.set_write_buffer_manager(&manager);
    options.set_compression_type(DBCompressionType::Lz4);
    let mut table = better_table();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(true);
    table.set_cache_index_and_filter_blocks_with_high_priority(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // Only the parts of index and filter that are in use compete with data for the cache.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(4096);
    table.set_pin_top_level_index_and_filter(true);
    options.set_block_based_table_factory(&table);
    better_writes(options, setup.state);
}

/// Index and filter live outside of cache and budget: what they take comes on top of it.
fn outside(options: &mut Options, setup: &Setup) {
    let cache = Cache::new_lru_cache(setup.memory_bytes / 2);
    let manager = WriteBufferManager::new_write_buffer_manager(setup.memory_bytes / 2, false);
    options.set_write_buffer_manager(&manager);
    options.set_compression_type(DBCompressionType::Lz4);
    let mut table = better_table();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(false);
    options.set_block_based_table_factory(&table);
    better_writes(options, setup.state);
}

/// No decompression and no block cache: blocks are read where the page cache has them.
fn plain(options: &mut Options, setup: &Setup) {
    let cache = Cache::new_lru_cache(setup.memory_bytes / 4);
    let manager = WriteBufferManager::new_write_buffer_manager(setup.memory_bytes * 3 / 4, false);
    options.set_write_buffer_manager(&manager);
    options.set_max_write_buffer_number(3);
    options.set_compression_type(DBCompressionType::None);
    options.set_allow_mmap_reads(true);
    let mut table = better_table();
    table.set_block_cache(&cache);
    table.set_cache_index_and_filter_blocks(false);
    options.set_block_based_table_factory(&table);
    better_writes(options, setup.state);
}

/// A block's hash index finds a key without a binary search; format 5 has the faster filters.
fn better_table() -> BlockBasedOptions {
    let mut table = BlockBasedOptions::default();
    table.set_bloom_filter(10.0, false);
    table.set_format_version(5);
    table.set_data_block_index_type(DataBlockIndexType::BinaryAndHash);
    table.set_data_block_hash_ratio(0.75);
    table
}

/// For one writer thread and this kind of state.
fn better_writes(options: &mut Options, state: State) {
    options.set_level_compaction_dynamic_level_bytes(true);
    // A get that misses the memtable learns it from a bloom filter instead of the skiplist.
    options.set_memtable_whole_key_filtering(true);
    options.set_memtable_prefix_bloom_ratio(0.1);
    // There is one writer: the skiplist needs no atomic insert.
    options.set_allow_concurrent_memtable_write(false);
    if state == State::Maps {
        // A scan of one map passes by the files without it.
        options.set_prefix_extractor(SliceTransform::create_fixed_prefix(MAP_PREFIX_BYTES));
    }
}

/// Joins list elements, older first, as Flink's `StringAppendTESTOperator` does (without its delimiter).
fn append(_key: &[u8], existing: Option<&[u8]>, operands: &MergeOperands) -> Option<Vec<u8>> {
    let existing = existing.unwrap_or_default();
    let bytes = existing.len() + operands.iter().map(<[u8]>::len).sum::<usize>();
    let mut joined = Vec::with_capacity(bytes);
    joined.extend_from_slice(existing);
    for operand in operands {
        joined.extend_from_slice(operand);
    }
    Some(joined)
}
