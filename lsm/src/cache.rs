//! The block cache: verified, decompressed blocks and parts of runs, shared by all stores of an environment.
//!
//! Runs that are mapped and not compressed never come here. A key is the run's ordinal, drawn at each opening of a run, and
//! the offset of the part in its file; so what a dropped run leaves behind is never found again and is evicted in time.
//!
//! Any thread may call everything; each call holds the lock of one shard for a moment, none over IO. Two threads that miss
//! the same block both read it: waiting for each other would cost more than the second read of a cached page.

use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use quick_cache::Weighter;
use quick_cache::sync::{Cache, DefaultLifecycle};

/// What an item is thought to weigh before any is known: sizes the tables.
const ITEM_BYTES_USUAL: u64 = 16 << 10;

/// What an item costs beside its bytes: key, counters, table slot.
const ITEM_BYTES_EXTRA: u64 = 96;

/// A cache of bytes, bounded by their sum.
pub(crate) struct BlockCache {
    cache: Cache<(u64, u64), Arc<[u8]>, ByBytes, BuildHasherDefault<Mix>>,
    ordinals: AtomicU64,
    hits: AtomicU64,
    misses: AtomicU64,
}

#[derive(Clone)]
struct ByBytes;

impl Weighter<(u64, u64), Arc<[u8]>> for ByBytes {
    fn weight(&self, _key: &(u64, u64), bytes: &Arc<[u8]>) -> u64 {
        bytes.len() as u64 + ITEM_BYTES_EXTRA
    }
}

/// Hashes ordinals and offsets, which nobody chooses to collide: two multiplications.
#[derive(Default)]
struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        let product = u128::from(self.0 ^ number ^ 0x5851_f42d_4c95_7f2d) * 0x9e37_79b9_7f4a_7c15;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    #[inline]
    fn finish(&self) -> u64 {
        self.0
    }
}

impl BlockCache {
    /// An empty cache that holds up to `bytes`.
    pub fn new(bytes: usize) -> BlockCache {
        let items = (bytes as u64 / ITEM_BYTES_USUAL).clamp(16, 1 << 20) as usize;
        BlockCache {
            cache: Cache::with(items, bytes as u64, ByBytes, BuildHasherDefault::new(), DefaultLifecycle::default()),
            ordinals: AtomicU64::new(0),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// A number that no other run of this cache has.
    pub fn next_ordinal(&self) -> u64 {
        self.ordinals.fetch_add(1, Relaxed)
    }

    /// The part of run `ordinal` at `offset`; counts as hit or miss.
    pub fn get(&self, ordinal: u64, offset: u64) -> Option<Arc<[u8]>> {
        let found = self.cache.get(&(ordinal, offset));
        let counter = if found.is_some() { &self.hits } else { &self.misses };
        counter.fetch_add(1, Relaxed);
        found
    }

    /// Like [`BlockCache::get`], and leaves no trace: for readers that pass by once.
    pub fn peek(&self, ordinal: u64, offset: u64) -> Option<Arc<[u8]>> {
        self.cache.peek(&(ordinal, offset))
    }

    /// Puts a part in, evicting others where needed.
    pub fn insert(&self, ordinal: u64, offset: u64, bytes: Arc<[u8]>) {
        self.cache.insert((ordinal, offset), bytes);
    }

    /// The bytes held now.
    pub fn used_bytes(&self) -> u64 {
        self.cache.weight()
    }

    /// How often [`BlockCache::get`] found something.
    pub fn hits(&self) -> u64 {
        self.hits.load(Relaxed)
    }

    /// How often it did not.
    pub fn misses(&self) -> u64 {
        self.misses.load(Relaxed)
    }
}

impl fmt::Debug for BlockCache {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("BlockCache").field("used_bytes", &self.used_bytes()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cache_keeps_its_bound() {
        let cache = BlockCache::new(1 << 20);
        for offset in 0..200 {
            cache.insert(0, offset, vec![1; 16 << 10].into());
        }
        assert!(cache.used_bytes() > 256 << 10 && cache.used_bytes() <= 1 << 20, "holds {}", cache.used_bytes());
    }

    #[test]
    fn hits_and_misses_are_counted_and_runs_kept_apart() {
        let cache = BlockCache::new(1 << 20);
        let (one, two) = (cache.next_ordinal(), cache.next_ordinal());
        cache.insert(one, 7, vec![1, 2].into());
        assert_eq!(cache.get(one, 7).as_deref(), Some(&[1, 2][..]));
        assert_eq!(cache.get(two, 7), None);
        assert_eq!(cache.peek(two, 7), None);
        assert_eq!((cache.hits(), cache.misses()), (1, 1));
    }
}
