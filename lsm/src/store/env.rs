//! What stores of one process share: workers, block cache, one memory budget, IO rate, file system, time, randomness.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::cache::BlockCache;
use crate::error::{Error, Result};
use crate::fs::{DiskFs, Fs};
use crate::options::{SystemTime, Time};
use crate::worker::{IoRate, Pool};

/// The memory of a store that is opened without saying how much: 256 MiB.
const MEMORY_BYTES_USUAL: usize = 256 << 20;
/// The least memory that makes sense.
const MEMORY_BYTES_MIN: usize = 64 << 10;

/// What several stores of one process share. Cheap to clone; lives as long as the last store.
///
/// ```
/// use bedload_lsm::{Env, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let env = Env::builder().memory(64 << 20).build()?;
/// let left = Store::options().env(&env).open(directory.path().join("left"))?;
/// let right = Store::options().env(&env).open(directory.path().join("right"))?;
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
#[derive(Clone)]
pub struct Env {
    pub(super) inner: Arc<EnvInner>,
}

pub(super) struct EnvInner {
    pub fs: Arc<dyn Fs>,
    pub time: Arc<dyn Time>,
    pub cache: Arc<BlockCache>,
    pub rate: IoRate,
    /// Bytes for memtables and block cache of all stores.
    pub memory: usize,
    random: Box<dyn Fn() -> u64 + Send + Sync>,
    pub pool: Pool,
}

/// Puts an [`Env`] together.
///
/// In a test, without threads: what happens in the background, and when, is the test's choice.
///
/// ```
/// use bedload_lsm::{Env, Store};
///
/// # let directory = tempfile::tempdir().unwrap();
/// let env = Env::builder().memory(1 << 20).threads(0).build()?;
/// let mut store = Store::options().env(&env).open(directory.path())?;
/// store.put(b"a", b"1")?;
/// let frozen = store.freeze()?;
/// assert_eq!(store.stats().runs, 0);
/// let mut random = || 4; // which work comes first
/// while env.step_background(&mut random) {}
/// assert_eq!(store.stats().runs, 1);
/// # Ok::<(), bedload_lsm::Error>(())
/// ```
pub struct EnvBuilder {
    fs: Option<Arc<dyn Fs>>,
    time: Option<Arc<dyn Time>>,
    random: Option<Box<dyn Fn() -> u64 + Send + Sync>>,
    memory: usize,
    threads: Option<usize>,
    merge_bytes_per_second: u64,
}

impl Env {
    /// Starts from the defaults: the real disk and clock, 256 MiB, one worker thread for two cores.
    pub fn builder() -> EnvBuilder {
        let memory = MEMORY_BYTES_USUAL;
        EnvBuilder { fs: None, time: None, random: None, memory, threads: None, merge_bytes_per_second: 0 }
    }

    /// Bytes that memtables and block cache of all stores may hold together.
    pub fn memory(&self) -> usize {
        self.inner.memory
    }

    /// The file system of its stores.
    pub fn fs(&self) -> &Arc<dyn Fs> {
        &self.inner.fs
    }

    /// What its stores measure time by.
    pub fn time(&self) -> &Arc<dyn Time> {
        &self.inner.time
    }

    /// Does one piece of background work on this thread, chosen by `random`; false when there was none.
    ///
    /// Only for an environment without threads ([`EnvBuilder::threads`] 0): all that happens is then decided by the caller.
    pub fn step_background(&self, random: &mut dyn FnMut() -> u64) -> bool {
        self.inner.pool.step(random)
    }
}

impl EnvInner {
    /// Memory for memtables: what the block cache leaves.
    pub fn memtable_budget(&self) -> usize {
        self.memory - self.memory / 4
    }

    pub fn random(&self) -> u64 {
        (self.random)()
    }
}

impl fmt::Debug for Env {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Env").field("memory", &self.inner.memory).field("fs", &self.inner.fs).finish_non_exhaustive()
    }
}

impl EnvBuilder {
    /// Bytes for memtables and block cache of all stores together (default 256 MiB, at least 64 KiB).
    pub fn memory(mut self, bytes: usize) -> EnvBuilder {
        self.memory = bytes.max(MEMORY_BYTES_MIN);
        self
    }

    /// Worker threads (default: half the cores, at least one). With 0, work happens only in [`Env::step_background`] and
    /// where a writer has to wait for it.
    pub fn threads(mut self, threads: usize) -> EnvBuilder {
        self.threads = Some(threads);
        self
    }

    /// The disk (default: the real one).
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> EnvBuilder {
        self.fs = Some(fs);
        self
    }

    /// Monotonic time, for rates and measured waits (default: the system's).
    pub fn time(mut self, time: Arc<dyn Time>) -> EnvBuilder {
        self.time = Some(time);
        self
    }

    /// Where the random half of a run's name comes from (default: the system's randomness). Must not repeat itself over the
    /// openings of a store.
    pub fn random(mut self, random: impl Fn() -> u64 + Send + Sync + 'static) -> EnvBuilder {
        self.random = Some(Box::new(random));
        self
    }

    /// Bytes a second that merges of all stores may write (default 0: unlimited).
    pub fn merge_bytes_per_second(mut self, bytes: u64) -> EnvBuilder {
        self.merge_bytes_per_second = bytes;
        self
    }

    /// Starts the workers.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn build(self) -> Result<Env> {
        let time = self.time.unwrap_or_else(|| Arc::new(SystemTime::default()));
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
        let pool = match self.threads.unwrap_or((cores / 2).max(1)) {
            0 => Pool::stepped(),
            threads => Pool::start(threads).map_err(|error| Error::io("start worker", "threads", error))?,
        };
        let inner = EnvInner {
            fs: self.fs.unwrap_or_else(|| Arc::new(DiskFs)),
            cache: Arc::new(BlockCache::new(self.memory / 4)),
            rate: IoRate::new(self.merge_bytes_per_second, Arc::clone(&time)),
            time,
            memory: self.memory,
            random: self.random.unwrap_or_else(|| Box::new(system_random)),
            pool,
        };
        Ok(Env { inner: Arc::new(inner) })
    }
}

/// Sixty-four bits that no other opening of a store gets.
fn system_random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    static CALLS: AtomicU64 = AtomicU64::new(0);
    // RandomState is keyed by the operating system's randomness; the counter sets calls of one thread apart.
    RandomState::new().hash_one(CALLS.fetch_add(1, Ordering::Relaxed))
}
