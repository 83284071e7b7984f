//! A store as a table that a person can read.

use std::fmt;
use std::time::Duration;

use super::Store;
use crate::key::KeyRange;
use crate::metrics::Metrics;

/// What a store holds and has done. `Display` prints it as a table.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?;
/// println!("{}", store.stats());
/// assert_eq!(store.stats().runs, 1);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Stats {
    /// Each tile, in key order.
    pub tiles: Vec<TileStats>,
    /// Run files on disk, pinned ones included.
    pub runs: usize,
    /// Their bytes.
    pub run_bytes: u64,
    /// Bytes of entries that slices show (hidden ones included).
    pub reached_bytes: u64,
    /// Bytes of runs pinned for checkpoints only as deltas, and how many runs.
    pub delta_bytes: u64,
    /// How many deltas are pinned.
    pub deltas: usize,
    /// Memtables in memory beside the active one.
    pub memtables: usize,
    /// Bytes they hold.
    pub memtable_bytes: usize,
    /// Bytes of the active memtable.
    pub active_bytes: usize,
    /// Bytes in the block cache of the environment.
    pub cache_bytes: u64,
    /// Hits and misses of that cache.
    pub cache_hits: (u64, u64),
    /// Bytes written to disk for each byte written by the user.
    pub write_amplification: f64,
    /// See [`Store::pressure`].
    pub pressure: f64,
    /// Bytes that the user wrote, as far as sealed and flushed.
    pub written_bytes: u64,
    /// Flushes done, and bytes they wrote.
    pub flushes: (u64, u64),
    /// Merges done, and bytes they wrote.
    pub merges: (u64, u64),
    /// Blocks that merges copied as they were.
    pub copied_blocks: u64,
    /// Slices dropped unread.
    pub dropped_slices: u64,
    /// Background work that failed.
    pub failures: u64,
    /// The last of them, in words.
    pub last_failure: Option<String>,
    /// Seals: how many, and how long the longest took.
    pub seals: (u64, Duration),
    /// Waits for memory: how many, and how long all took.
    pub waits: (u64, Duration),
}

/// A tile and its stack.
///
/// ```
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = bedload_lsm::Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?;
/// let stats = store.stats();
/// let tile = &stats.tiles[0];
/// assert_eq!((stats.tiles.len(), tile.slices, tile.entries), (1, 1, 1));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct TileStats {
    /// Its keys.
    pub range: KeyRange,
    /// How many slices its stack has.
    pub slices: usize,
    /// Bytes of all slices' entries.
    pub bytes: u64,
    /// Bytes of the oldest slice's.
    pub oldest_bytes: u64,
    /// Entries of all slices.
    pub entries: u64,
    /// Tombstones among them.
    pub tombstones: u64,
}

impl Store {
    /// The counters and histograms behind [`Store::stats`].
    pub fn metrics(&self) -> &Metrics {
        &self.core.board.metrics
    }

    /// Counts what the store holds now. Costs a look at every tile's stack.
    pub fn stats(&self) -> Stats {
        let board = &self.core.board;
        let (snapshot, _) = board.snapshot();
        let version = &snapshot.version;
        let tile = |(index, tile): (usize, &std::sync::Arc<crate::version::Tile>)| TileStats {
            range: version.range_of(index),
            slices: tile.slices.len(),
            bytes: tile.bytes(),
            oldest_bytes: tile.slices.last().map_or(0, |slice| slice.bytes),
            entries: tile.slices.iter().map(|slice| slice.entries).sum(),
            tombstones: tile.slices.iter().map(|slice| slice.tombstones).sum(),
        };
        let metrics = &board.metrics;
        let (delta_bytes, deltas) = board.deltas();
        Stats {
            tiles: version.tiles().iter().enumerate().map(tile).collect(),
            runs: board.pins.count(),
            run_bytes: board.pins.bytes(),
            reached_bytes: version.reached_bytes(),
            delta_bytes,
            deltas,
            memtables: snapshot.memtables.len(),
            memtable_bytes: snapshot.memtables.iter().map(|table| table.table.used_bytes()).sum(),
            active_bytes: self.active.used_bytes(),
            cache_bytes: self.core.env.cache.used_bytes(),
            cache_hits: (self.core.env.cache.hits(), self.core.env.cache.misses()),
            write_amplification: metrics.write_amplification(),
            pressure: self.pressure(),
            written_bytes: metrics.written_bytes.get(),
            flushes: (metrics.flushes.get(), metrics.flush_bytes.get()),
            merges: (metrics.merges.get(), metrics.merge_bytes.get()),
            copied_blocks: metrics.copied_blocks.get(),
            dropped_slices: metrics.dropped_slices.get(),
            failures: metrics.failures.get(),
            last_failure: board.last_failure().map(|error| error.to_string()),
            seals: (metrics.seal_time.count(), metrics.seal_time.max()),
            waits: (metrics.wait_time.count(), metrics.wait_time.total()),
        }
    }
}

/// How many tiles a table shows before it sums up the rest.
const TILES_SHOWN: usize = 12;

impl fmt::Display for Stats {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(out, "tile                          slices      bytes     oldest    entries  tombstones")?;
        for tile in self.tiles.iter().take(TILES_SHOWN) {
            let mut start = format!("{}", tile.range.start.escape_ascii());
            if start.len() > 28 {
                start.truncate(27);
                start.push('…');
            }
            let (bytes, oldest) = (Bytes(tile.bytes), Bytes(tile.oldest_bytes));
            let (slices, entries, tombstones) = (tile.slices, tile.entries, tile.tombstones);
            writeln!(out, "{start:<28}  {slices:>6} {bytes:>10} {oldest:>10} {entries:>10}  {tombstones:>10}")?;
        }
        if self.tiles.len() > TILES_SHOWN {
            let rest = &self.tiles[TILES_SHOWN..];
            let slices: usize = rest.iter().map(|tile| tile.slices).sum();
            let bytes = Bytes(rest.iter().map(|tile| tile.bytes).sum());
            writeln!(out, "and {:<24}  {slices:>6} {bytes:>10}", format!("{} more", rest.len()))?;
        }
        let (flushes, flushed) = self.flushes;
        let (merges, merged) = self.merges;
        let (seals, longest) = self.seals;
        let (waits, waited) = self.waits;
        writeln!(
            out,
            "disk      {} in {} runs; {} reached",
            Bytes(self.run_bytes),
            self.runs,
            Bytes(self.reached_bytes)
        )?;
        writeln!(out, "pinned    {} in {} deltas", Bytes(self.delta_bytes), self.deltas)?;
        write!(out, "memory    {} active, ", Bytes(self.active_bytes as u64))?;
        writeln!(
            out,
            "{} in {} sealed, {} cached",
            Bytes(self.memtable_bytes as u64),
            self.memtables,
            Bytes(self.cache_bytes)
        )?;
        write!(out, "written   {} by the user; {flushes} flushes {}, ", Bytes(self.written_bytes), Bytes(flushed))?;
        writeln!(out, "{merges} merges {}: amplification {:.2}", Bytes(merged), self.write_amplification)?;
        write!(out, "          {} blocks copied, {} slices dropped unread, ", self.copied_blocks, self.dropped_slices)?;
        writeln!(out, "{} failures", self.failures)?;
        if let Some(failure) = &self.last_failure {
            writeln!(out, "          last failure: {failure}")?;
        }
        write!(out, "writer    {seals} seals, longest {longest:.1?}; {waits} waits, {waited:.1?} in all; ")?;
        writeln!(out, "pressure {:.2}", self.pressure)
    }
}

/// Bytes for people.
struct Bytes(u64);

impl fmt::Display for Bytes {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units = ["B", "KiB", "MiB", "GiB", "TiB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 1024.0 && unit + 1 < units.len() {
            value /= 1024.0;
            unit += 1;
        }
        let decimals = usize::from(unit > 0);
        out.pad(&format!("{value:.decimals$} {}", units[unit]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_written_for_people() {
        assert_eq!(Bytes(812).to_string(), "812 B");
        assert_eq!(Bytes(3 << 20).to_string(), "3.0 MiB");
        assert_eq!(format!("{:>8}", Bytes(1 << 10)), " 1.0 KiB");
    }
}
