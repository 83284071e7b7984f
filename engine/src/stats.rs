//! What an engine holds and has done, as plain data: for logs, for a page of a dashboard, for tests.
//!
//! Units stand in the names: `bytes`, `us` (microseconds); names without one count. The guide has the list, beside the metrics that come
//! from it. Names stay; new ones may come.

use bedload_lsm::Store;
use bedload_snapshot::{Progress, ShipReport};
use serde::Serialize;

/// What an engine holds and has done since it was opened. Given by [`Engine::stats`](crate::Engine::stats).
///
/// ```
/// # use bedload::{Engine, Reducing, Spec, Start};
/// # const FLIGHTS: Spec<Reducing<i64>> = Reducing::sum("flights");
/// # tokio::runtime::Runtime::new().unwrap().block_on(async {
/// # let directory = tempfile::tempdir().unwrap();
/// let mut engine = Engine::builder(directory.path()).start(Start::Empty).open().await?;
/// let flights = engine.state(FLIGHTS)?;
/// engine.with_key("N14228")?.add(&flights, 1)?;
/// let stats = engine.stats();
/// println!("{}", serde_json::to_string_pretty(&stats).unwrap());
/// assert!(stats.store.unwrap().active_bytes > 0);
/// # Ok::<(), bedload::Error>(()) }).unwrap();
/// ```
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Stats {
    /// The job; empty without a repo.
    pub job: String,
    /// The worker, as in claims.
    pub worker: String,
    /// The first of its key groups.
    pub first_group: u16,
    /// The last of its key groups.
    pub last_group: u16,
    /// Its part of checkpoints.
    pub checkpoints: CheckpointStats,
    /// How often a [merge function](crate::MergeFunction) refused two operands, which then both stayed.
    pub refused_merges: u64,
    /// How far a lazy restore is; none where there was none.
    pub restore: Option<RestoreStats>,
    /// The store; none when the state lies in memory.
    pub store: Option<StoreStats>,
    /// The heap; none when the state lies on the disk.
    pub heap: Option<HeapStats>,
}

/// What a worker did for checkpoints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct CheckpointStats {
    /// States frozen for a checkpoint.
    pub begun: u64,
    /// Of these, shipped and claimed.
    pub shipped: u64,
    /// Of these, not shipped for an error.
    pub failed: u64,
    /// Heard to exist.
    pub confirmed: u64,
    /// Heard to have been given up.
    pub aborted: u64,
    /// Runs uploaded.
    pub uploaded_runs: u64,
    /// Their bytes, before compression.
    pub uploaded_bytes: u64,
    /// Bytes of their parcels: what went over the network.
    pub uploaded_parcel_bytes: u64,
    /// Bytes that claims name and that were in the repo already, before compression.
    pub reused_bytes: u64,
    /// Bytes of all runs that the last claim names: what a restore takes.
    pub claimed_bytes: u64,
    /// What the operator waited for the last one.
    pub pause_us: u64,
    /// What it waited for the one that took longest.
    pub pause_us_max: u64,
    /// How long the last flush took.
    pub flush_us: u64,
    /// How long the last linking of the copy on this machine took.
    pub link_us: u64,
    /// How long the last upload took.
    pub upload_us: u64,
    /// How long looking at the last upload took.
    pub verify_us: u64,
}

impl CheckpointStats {
    /// Counts a part that was shipped, or that failed.
    pub(crate) fn shipped(&mut self, report: Option<&ShipReport>) {
        let Some(report) = report else {
            self.failed += 1;
            return;
        };
        self.shipped += 1;
        self.uploaded_runs += report.uploaded_runs as u64;
        self.uploaded_bytes += report.uploaded_bytes;
        self.uploaded_parcel_bytes += report.uploaded_parcel_bytes;
        self.reused_bytes += report.claimed_bytes.saturating_sub(report.uploaded_bytes);
        self.claimed_bytes = report.claimed_bytes;
        self.pause_us = report.timings.pause_us;
        self.pause_us_max = self.pause_us_max.max(report.timings.pause_us);
        self.flush_us = report.timings.flush_us;
        self.link_us = report.timings.link_us;
        self.upload_us = report.timings.upload_us;
        self.verify_us = report.timings.verify_us;
    }
}

/// How far a lazy restore is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct RestoreStats {
    /// Bytes of all runs that were not here at the opening.
    pub total_bytes: u64,
    /// How many of them are here.
    pub here_bytes: u64,
    /// Bytes that went over the network.
    pub fetched_parcel_bytes: u64,
    /// How often the background failed, paused, and went on.
    pub failures: u64,
    /// Why it failed last.
    pub last_failure: Option<String>,
}

impl RestoreStats {
    pub(crate) fn new(progress: &Progress) -> RestoreStats {
        RestoreStats {
            total_bytes: progress.total_bytes(),
            here_bytes: progress.here_bytes(),
            fetched_parcel_bytes: progress.fetched_parcel_bytes(),
            failures: progress.failures(),
            last_failure: progress.last_failure().map(|error| error.to_string()),
        }
    }
}

/// What a store holds and has done.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[non_exhaustive]
pub struct StoreStats {
    /// Tiles.
    pub tiles: u64,
    /// Slices of all tiles.
    pub slices: u64,
    /// Slices of the tile that has most: what a read may have to look into.
    pub slices_of_a_tile_max: u64,
    /// Entries that slices show, hidden ones included.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
    /// Their bytes.
    pub reached_bytes: u64,
    /// Run files on the disk.
    pub runs: u64,
    /// Their bytes: what the store takes on the disk.
    pub run_bytes: u64,
    /// Runs that are kept for the next checkpoint alone.
    pub deltas: u64,
    /// Their bytes.
    pub delta_bytes: u64,
    /// Bytes of the memtable that is written to.
    pub active_bytes: u64,
    /// Sealed memtables in memory.
    pub memtables: u64,
    /// Their bytes.
    pub memtable_bytes: u64,
    /// Bytes of the block cache, which all stores of an environment share.
    pub cache_bytes: u64,
    /// Blocks found in it.
    pub cache_hits: u64,
    /// Blocks not found in it.
    pub cache_misses: u64,
    /// Bytes that memtables and block cache may take, of all stores of the environment.
    pub memory_bytes_max: u64,
    /// How near the store is to make its writer wait: 1 is there.
    pub pressure: f64,
    /// Bytes that the operator wrote, as far as sealed and flushed.
    pub written_bytes: u64,
    /// Memtables sealed: by checkpoints, and for being full.
    pub seals: u64,
    /// How long the longest took.
    pub seal_us_max: u64,
    /// Flushes.
    pub flushes: u64,
    /// Bytes that they wrote.
    pub flush_bytes: u64,
    /// Merges.
    pub merges: u64,
    /// Bytes that they read.
    pub merge_read_bytes: u64,
    /// Bytes that they wrote.
    pub merge_bytes: u64,
    /// Slices that were dropped unread, for all in them had ended.
    pub dropped_slices: u64,
    /// Waits of the operator for memory.
    pub stalls: u64,
    /// How long all of them took.
    pub stall_us: u64,
    /// Work in the background that failed and is tried again.
    pub failures: u64,
    /// The last of them.
    pub last_failure: Option<String>,
}

impl StoreStats {
    pub(crate) fn new(store: &Store, memory_bytes_max: usize) -> StoreStats {
        let (stats, metrics) = (store.stats(), store.metrics());
        let us = |took: std::time::Duration| u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        StoreStats {
            tiles: stats.tiles.len() as u64,
            slices: stats.tiles.iter().map(|tile| tile.slices as u64).sum(),
            slices_of_a_tile_max: stats.tiles.iter().map(|tile| tile.slices as u64).max().unwrap_or(0),
            entries: stats.tiles.iter().map(|tile| tile.entries).sum(),
            tombstones: stats.tiles.iter().map(|tile| tile.tombstones).sum(),
            reached_bytes: stats.reached_bytes,
            runs: stats.runs as u64,
            run_bytes: stats.run_bytes,
            deltas: stats.deltas as u64,
            delta_bytes: stats.delta_bytes,
            active_bytes: stats.active_bytes as u64,
            memtables: stats.memtables as u64,
            memtable_bytes: stats.memtable_bytes as u64,
            cache_bytes: stats.cache_bytes,
            cache_hits: stats.cache_hits.0,
            cache_misses: stats.cache_hits.1,
            memory_bytes_max: memory_bytes_max as u64,
            pressure: stats.pressure,
            written_bytes: stats.written_bytes,
            seals: stats.seals.0,
            seal_us_max: us(stats.seals.1),
            flushes: stats.flushes.0,
            flush_bytes: stats.flushes.1,
            merges: stats.merges.0,
            merge_read_bytes: metrics.merge_read_bytes.get(),
            merge_bytes: stats.merges.1,
            dropped_slices: stats.dropped_slices,
            stalls: stats.waits.0,
            stall_us: us(stats.waits.1),
            failures: stats.failures,
            last_failure: stats.last_failure,
        }
    }
}

/// What a heap holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HeapStats {
    /// Entries.
    pub entries: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}
