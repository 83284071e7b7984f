//! Settings: plain data with unit, default, range, and when to change it.

use std::time::Duration;

/// How the blocks of new runs are compressed. Runs of all kinds may stand in one store.
///
/// ```
/// use bedload_lsm::{Codec, Store, Tuning};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut tuning = Tuning::default();
/// assert_eq!(tuning.codec, Codec::None);
/// # #[cfg(feature = "lz4")]
/// # {
/// tuning.codec = Codec::Lz4; // for state that the disk is too small for
/// # }
/// let store = Store::options().tuning(tuning).open(directory.path())?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Codec {
    /// Not at all: a point get reads straight from the map. The default for working state.
    #[default]
    None,
    /// LZ4: about 1.4 times smaller; each block touched is decompressed into the cache.
    #[cfg(feature = "lz4")]
    Lz4,
    /// zstd, level 1: about 1.7 times smaller, slower than LZ4. Builds C.
    #[cfg(feature = "zstd")]
    Zstd,
}

/// What the store itself makes durable.
///
/// ```
/// use bedload_lsm::{Durability, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut store = Store::options().durability(Durability::Synced).open(directory.path())?;
/// store.put(b"a", b"1")?;
/// store.flush()?; // survives a power loss from here on
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Durability {
    /// Nothing is synced: working state survives the process, not the machine. Checkpoints are what survives that.
    #[default]
    Disposable,
    /// Each flush syncs its run, its directory, then the version: what was flushed survives a power loss.
    Synced,
}

/// Knobs. The defaults are right for state of up to some hundred GB on a local SSD; change one only for a reason.
///
/// It may get more fields, so it is made from the default:
///
/// ```
/// use bedload_lsm::{Store, Tuning};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let mut tuning = Tuning::default();
/// tuning.filter_bits = 14;
/// tuning.memtable_bytes = 16 << 20;
/// let store = Store::options().tuning(tuning).open(directory.path())?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct Tuning {
    /// Bytes of one memtable (default 0, 0 to 16 GiB); 0: half of what memtables may take, at most 256 MiB, so that one half is
    /// written to while the other is flushed. Larger: fewer, longer flushes.
    pub memtable_bytes: usize,
    /// Target bytes of a block, before compression (default 16 KiB, 512 to 60,000; a block also ends at 255 entries, so small
    /// entries make smaller ones). Smaller: cheaper cold gets, larger indexes.
    pub block_bytes: usize,
    /// Target bytes of a section of a run (default 1 MiB, 512 B to 512 MiB): the grain of counts, filters and cuts. A section
    /// ends between two partitions, or within one that is four times as large.
    pub section_bytes: usize,
    /// Filter bits per key (default 10, 0 to 32): about 1 % false positives.
    pub filter_bits: usize,
    /// How new runs are compressed (default: not at all).
    pub codec: Codec,
    /// Young slices of a similar size that are merged together (default 4, 2 to 32).
    pub fan_in: usize,
    /// Young bytes of a tile, as a share of its oldest slice, that lead to a rebase (default 0.4, 0.1 to 4). Smaller: less
    /// space, more writing.
    pub rebase_ratio: f64,
    /// Slices of a tile that lead to a merge (default 16, 2 to 64).
    pub stack_max: usize,
    /// A tile above this is split (default 128 MiB, from 1 KiB on). Smaller: shorter merges, more files.
    pub tile_bytes_max: u64,
    /// Bytes a second that merges may write; 0 (the default) is unlimited. Flushes are never slowed. Not together with
    /// [`StoreOptions::env`](crate::StoreOptions::env), whose [`EnvBuilder`](crate::EnvBuilder) has the rate of all stores.
    pub merge_bytes_per_second: u64,
    /// Whether a flushed memtable stays in memory as the cache of its run while the budget allows (default: yes).
    pub keep_flushed: bool,
}

impl Default for Tuning {
    fn default() -> Tuning {
        Tuning {
            memtable_bytes: 0,
            block_bytes: 16 << 10,
            section_bytes: 1 << 20,
            filter_bits: 10,
            codec: Codec::None,
            fan_in: 4,
            rebase_ratio: 0.4,
            stack_max: 16,
            tile_bytes_max: 128 << 20,
            merge_bytes_per_second: 0,
            keep_flushed: true,
        }
    }
}

impl Tuning {
    /// The largest memtable that is chosen without being asked for.
    pub const MEMTABLE_BYTES_USUAL: usize = 256 << 20;

    /// Names the first setting that is out of its range.
    pub(crate) fn check(&self) -> Result<(), String> {
        let checks = [
            ("block_bytes", self.block_bytes as u64, 512, 60_000),
            ("section_bytes", self.section_bytes as u64, 512, 512 << 20),
            ("filter_bits", self.filter_bits as u64, 0, 32),
            ("fan_in", self.fan_in as u64, 2, 32),
            ("stack_max", self.stack_max as u64, 2, 64),
            ("tile_bytes_max", self.tile_bytes_max, 1 << 10, u64::MAX),
            ("memtable_bytes", self.memtable_bytes as u64, 0, 16 << 30),
        ];
        for (name, value, least, most) in checks {
            if !(least..=most).contains(&value) {
                return Err(format!("tuning.{name} is {value}, expected {least} to {most}"));
            }
        }
        if !(0.1..=4.0).contains(&self.rebase_ratio) {
            return Err(format!("tuning.rebase_ratio is {}, expected 0.1 to 4", self.rebase_ratio));
        }
        Ok(())
    }
}

/// Where monotonic time comes from; only waits and rates are measured with it.
///
/// ```
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
/// use std::time::Duration;
/// use bedload_lsm::{Env, Time};
///
/// /// Stands still until a test moves it.
/// #[derive(Default)]
/// struct Manual(AtomicU64);
/// impl Time for Manual {
///     fn now(&self) -> Duration {
///         Duration::from_millis(self.0.load(Ordering::Relaxed))
///     }
/// }
///
/// let time = Arc::new(Manual::default());
/// let env = Env::builder().time(time.clone()).build()?;
/// time.0.store(5_000, Ordering::Relaxed);
/// assert_eq!(time.now(), Duration::from_secs(5));
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub trait Time: Send + Sync + 'static {
    /// Time since some fixed moment.
    fn now(&self) -> Duration;
}

/// The time of the operating system.
///
/// ```
/// use bedload_lsm::{SystemTime, Time};
///
/// let time = SystemTime::default(); // what an Env takes unless it is given another
/// let before = time.now();
/// assert!(time.now() >= before);
/// ```
#[derive(Debug)]
pub struct SystemTime {
    start: std::time::Instant,
}

impl Default for SystemTime {
    #[expect(clippy::disallowed_methods, reason = "this is the one place where time comes in")]
    fn default() -> SystemTime {
        SystemTime { start: std::time::Instant::now() }
    }
}

impl Time for SystemTime {
    fn now(&self) -> Duration {
        self.start.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn defaults_are_in_range_and_errors_name_the_setting() {
        assert_eq!(Tuning::default().check(), Ok(()));
        let message = Tuning { fan_in: 1, ..Tuning::default() }.check().unwrap_err();
        assert_eq!(message, "tuning.fan_in is 1, expected 2 to 32");
    }
}
