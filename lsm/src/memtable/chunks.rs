//! Memory for records and their indexes: chunks of one size, on huge pages where the system has them, used again and again.
//!
//! A record is found through a hash, so each look at one is a miss of the translation buffer too, unless pages are large:
//! random reads of 2 GiB took 220 ns on huge pages and 380 on small ones (a virtual machine, Linux 6.18), and 300 against
//! 2,500 while other threads were busy. And memory that is fresh costs a fault for each page: chunks come back when their
//! memtable goes, and workers touch the first ones before the writer needs them.

use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

#[cfg(not(miri))]
type Memory = memmap2::MmapMut;
#[cfg(miri)]
type Memory = Vec<u8>;

const CHUNK_BYTES_MIN: usize = 4 << 10;
/// A huge page.
const CHUNK_BYTES_MAX: usize = 2 << 20;
/// A memtable takes about this many chunks, or more.
const CHUNKS_OF_MEMTABLE: usize = 16;
/// How many chunks wait for the writer, touched.
const READY: usize = 4;
const PAGE_BYTES: usize = 4 << 10;

/// Some memory of fixed length.
pub(super) struct Chunk {
    memory: Memory,
}

impl Chunk {
    /// # Panics
    /// When the system has no memory.
    pub fn new(bytes: usize) -> Chunk {
        #[cfg(not(miri))]
        {
            let memory = Memory::map_anon(bytes).unwrap_or_else(|cause| panic!("no memory for {bytes} bytes: {cause}"));
            #[cfg(target_os = "linux")]
            if bytes >= CHUNK_BYTES_MAX {
                // Where the system refuses, pages are small.
                memory.advise(memmap2::Advice::HugePage).ok();
            }
            Chunk { memory }
        }
        #[cfg(miri)]
        Chunk { memory: vec![0; bytes] }
    }

    /// Lets the system find the memory now.
    pub fn touch(&mut self) {
        for page in self.memory.chunks_mut(PAGE_BYTES) {
            page[0] = 0;
        }
    }
}

impl Deref for Chunk {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        &self.memory
    }
}

impl DerefMut for Chunk {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8] {
        &mut self.memory
    }
}

/// The chunks of one store's memtables. Any thread.
pub(crate) struct ChunkPool {
    chunk_bytes: usize,
    state: Mutex<State>,
}

struct State {
    free: Vec<Chunk>,
    /// Chunks that exist, free ones included.
    count: usize,
    /// How many may exist before those that come back are given to the system.
    count_max: usize,
}

impl ChunkPool {
    /// For memtables of `memtable_bytes`.
    pub fn new(memtable_bytes: usize) -> Arc<ChunkPool> {
        let chunk_bytes = (memtable_bytes / CHUNKS_OF_MEMTABLE).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        ChunkPool::of(chunk_bytes.next_power_of_two())
    }

    /// Of chunks of this many bytes, a power of two.
    pub(super) fn of(chunk_bytes: usize) -> Arc<ChunkPool> {
        let state = State { free: Vec::new(), count: 0, count_max: 0 };
        Arc::new(ChunkPool { chunk_bytes, state: Mutex::new(state) })
    }

    /// Bytes of a chunk.
    pub fn chunk_bytes(&self) -> usize {
        self.chunk_bytes
    }

    /// Bytes of a memtable's first chunk; mostly it comes from no pool.
    pub(super) fn first_bytes(&self) -> usize {
        (self.chunk_bytes / CHUNKS_OF_MEMTABLE).max(CHUNK_BYTES_MIN.min(self.chunk_bytes))
    }

    /// Keeps chunks of up to `bytes` together, in use or free.
    pub fn limit(&self, bytes: usize) {
        self.lock().count_max = bytes / self.chunk_bytes;
    }

    /// Whether [`ChunkPool::prepare`] has something to do.
    pub fn is_low(&self) -> bool {
        self.lock().is_low()
    }

    /// Makes some chunks that the writer will need, and touches them. A worker's.
    pub fn prepare(&self) {
        while self.is_low() {
            let mut chunk = Chunk::new(self.chunk_bytes);
            chunk.touch();
            let mut state = self.lock();
            state.count += 1;
            state.free.push(chunk);
        }
    }

    pub(super) fn take(&self) -> Chunk {
        let mut state = self.lock();
        if let Some(chunk) = state.free.pop() {
            return chunk;
        }
        state.count += 1;
        drop(state);
        Chunk::new(self.chunk_bytes)
    }

    /// Some memory of this many bytes: one of the pool's chunks when that is their size.
    pub(super) fn take_bytes(&self, bytes: usize) -> Chunk {
        if bytes == self.chunk_bytes { self.take() } else { Chunk::new(bytes) }
    }

    /// Takes chunks back; others than those of the pool's size go to the system.
    pub(super) fn give(&self, chunks: Vec<Chunk>) {
        let mut state = self.lock();
        let mut surplus = Vec::new();
        for chunk in chunks {
            let mine = chunk.len() == self.chunk_bytes;
            if mine && state.count <= state.count_max {
                state.free.push(chunk);
            } else {
                state.count -= usize::from(mine);
                surplus.push(chunk);
            }
        }
        drop(state);
        drop(surplus);
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_low(&self) -> bool {
        self.free.len() < READY && self.count < self.count_max
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn free_and_all(pool: &ChunkPool) -> (usize, usize) {
        let state = pool.lock();
        (state.free.len(), state.count)
    }

    #[test]
    fn chunks_come_back_up_to_the_limit() {
        let pool = ChunkPool::of(4096);
        pool.limit(3 * 4096);
        let taken: Vec<Chunk> = (0..5).map(|_| pool.take()).collect();
        assert!(!pool.is_low(), "the limit is reached");
        pool.give(taken);
        assert_eq!(free_and_all(&pool), (3, 3));
        pool.give(vec![Chunk::new(5000)]);
        assert_eq!(free_and_all(&pool), (3, 3));
    }

    #[test]
    fn chunks_are_prepared_within_the_limit() {
        let pool = ChunkPool::new(1 << 20);
        pool.limit(3 << 16);
        pool.prepare();
        assert_eq!((pool.chunk_bytes(), free_and_all(&pool)), (1 << 16, (3, 3)));
    }
}
