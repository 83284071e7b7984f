//! Plain counters and histograms: no registry, no labels; whoever exports them reads them.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// A number that only grows.
///
/// ```
/// use bedload_lsm::Store;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?;
/// assert_eq!(store.metrics().flushes.get(), 1);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `count`.
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    /// The sum so far.
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// How long something took, each time: counts by power of two of nanoseconds.
///
/// ```
/// use bedload_lsm::Store;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?;
/// let seals = &store.metrics().seal_time;
/// assert_eq!(seals.count(), 1);
/// assert!(seals.quantile(0.99) <= seals.max());
/// println!("{seals}"); // count, median, 99 %, longest
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; 64],
    total_ns: AtomicU64,
    max_ns: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { buckets: [const { AtomicU64::new(0) }; 64], total_ns: AtomicU64::new(0), max_ns: AtomicU64::new(0) }
    }
}

impl Histogram {
    /// Adds one duration.
    pub(crate) fn record(&self, took: Duration) {
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let bucket = 63 - (ns | 1).leading_zeros() as usize;
        self.buckets[bucket].fetch_add(1, Relaxed);
        self.total_ns.fetch_add(ns, Relaxed);
        self.max_ns.fetch_max(ns, Relaxed);
    }

    /// How many were recorded.
    pub fn count(&self) -> u64 {
        self.buckets.iter().map(|bucket| bucket.load(Relaxed)).sum()
    }

    /// The sum of all.
    pub fn total(&self) -> Duration {
        Duration::from_nanos(self.total_ns.load(Relaxed))
    }

    /// The longest.
    pub fn max(&self) -> Duration {
        Duration::from_nanos(self.max_ns.load(Relaxed))
    }

    /// A duration that `share` of all did not exceed; right to a factor of two.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut left = (self.count() as f64 * share).ceil() as u64;
        for (bucket, count) in self.buckets.iter().enumerate() {
            let count = count.load(Relaxed);
            if left <= count {
                return Duration::from_nanos(2u64.saturating_pow(bucket as u32 + 1)).min(self.max());
            }
            left -= count;
        }
        self.max()
    }
}

impl fmt::Display for Histogram {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (half, most, max) = (self.quantile(0.5), self.quantile(0.99), self.max());
        write!(out, "{} × (p50 {half:.1?}, p99 {most:.1?}, max {max:.1?})", self.count())
    }
}

/// What a store has done since it was opened.
///
/// ```
/// use bedload_lsm::Store;
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?;
/// let metrics = store.metrics();
/// assert_eq!(metrics.written_bytes.get(), 2);
/// println!("each byte was written {:.1} times", metrics.write_amplification());
/// assert_eq!(metrics.failures.get(), 0); // else a disk is full or failing, or a run is damaged
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Debug, Default)]
pub struct Metrics {
    /// Keys and values that the writer wrote, in bytes; counted as memtables are sealed.
    pub written_bytes: Counter,
    /// Memtables flushed.
    pub flushes: Counter,
    /// Bytes of runs that flushes wrote.
    pub flush_bytes: Counter,
    /// Merges done, of any kind.
    pub merges: Counter,
    /// Bytes that merges read.
    pub merge_read_bytes: Counter,
    /// Bytes of runs that merges wrote.
    pub merge_bytes: Counter,
    /// Blocks that merges copied without decoding them.
    pub copied_blocks: Counter,
    /// Slices that left unread because all in them had expired.
    pub dropped_slices: Counter,
    /// Bytes of versions written.
    pub version_bytes: Counter,
    /// Background work that failed and is tried again.
    pub failures: Counter,
    /// The synchronous part of seals and freezes.
    pub seal_time: Histogram,
    /// The writer's waits for memory.
    pub wait_time: Histogram,
    /// Flushes, from start to installation.
    pub flush_time: Histogram,
    /// Merges, from start to installation.
    pub merge_time: Histogram,
}

impl Metrics {
    /// Bytes written to disk for each byte the writer wrote; 0 before the first flush.
    pub fn write_amplification(&self) -> f64 {
        let disk = self.flush_bytes.get() + self.merge_bytes.get() + self.version_bytes.get();
        let written = self.written_bytes.get();
        if written == 0 { 0.0 } else { disk as f64 / written as f64 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_right_to_a_factor_of_two() {
        let histogram = Histogram::default();
        for us in 1..=1000 {
            histogram.record(Duration::from_micros(us));
        }
        let half = histogram.quantile(0.5).as_micros();
        assert!((500..=1000).contains(&half), "{half}");
        assert_eq!(histogram.max(), Duration::from_millis(1));
        assert_eq!(histogram.count(), 1000);
    }
}
