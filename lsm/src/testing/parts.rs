//! Parts of the store on their own, to be measured one by one.

use std::sync::Arc;

use super::{ID, Sink};
use crate::cache::BlockCache;
use crate::codec::hash32;
use crate::entry::{Clocks, Entry};
use crate::error::Result;
use crate::key::KeyShape;
use crate::memtable::{ChunkPool, Memtable};
use crate::run::{Run, RunSettings, RunWriter};

/// A memtable that is never full.
pub struct BareMemtable(Memtable);

impl BareMemtable {
    /// An empty one, sized for `expected` entries.
    pub fn new(shape: impl KeyShape, expected: usize) -> BareMemtable {
        let shape: Arc<dyn KeyShape> = Arc::new(shape);
        BareMemtable(Memtable::new(&shape, &ChunkPool::new(256 << 20), expected))
    }

    /// Inserts or replaces a value.
    ///
    /// # Panics
    /// Behind 32 GiB.
    pub fn put(&mut self, key: &[u8], value: &[u8]) {
        self.0.put(hash32(key), key, Entry::value(value, None)).expect("32 GiB of records");
    }

    /// Whether `key` is in: one probe.
    pub fn contains(&self, key: &[u8]) -> bool {
        self.0.find(hash32(key), key).is_some()
    }

    /// Changes the first byte of a value where it lies; false when there is none.
    pub fn change(&mut self, key: &[u8]) -> bool {
        let Some(place) = self.0.find(hash32(key), key) else { return false };
        let first = self.0.value_mut(place).first_mut();
        first.map(|byte| *byte = byte.wrapping_add(1)).is_some()
    }

    /// Removes a key; false when it is not in.
    pub fn remove(&mut self, key: &[u8]) -> bool {
        self.0.remove(hash32(key), key)
    }
}

/// A run that lies in memory.
pub struct BareRun(Run);

impl BareRun {
    /// A run of these keys, which grow, all with one value.
    ///
    /// # Errors
    /// None: it is written to memory.
    pub fn new<K: AsRef<[u8]>>(
        shape: impl KeyShape,
        keys: impl IntoIterator<Item = K>,
        value: &[u8],
    ) -> Result<BareRun> {
        let shape: Arc<dyn KeyShape> = Arc::new(shape);
        let sink = Sink::default();
        let to = Box::new(sink.clone());
        let mut writer = RunWriter::new(to, "bare.run".into(), ID, Arc::clone(&shape), RunSettings::default());
        for key in keys {
            let key = key.as_ref();
            writer.add(key, hash32(key), Entry::value(value, None))?;
        }
        writer.finish(&Clocks::default(), false)?;
        let source = super::Bytes { bytes: sink.take(), mapped: true, path: "bare.run".into() };
        Run::open(Arc::new(source), ID, Arc::new(BlockCache::new(1 << 20)), shape).map(BareRun)
    }

    /// Whether the filter lets `key` through.
    pub fn may_contain(&self, key: &[u8]) -> bool {
        self.0.may_contain(hash32(key), key)
    }

    /// The numbers of section and block that would hold `key`: a search of two indexes.
    ///
    /// # Errors
    /// `Damaged` when an index is.
    pub fn block_of(&self, key: &[u8]) -> Result<Option<(usize, usize)>> {
        self.0.place_of(key)
    }

    /// The length of a key's value: filter, indexes and block.
    ///
    /// # Errors
    /// `Damaged` when something on the way is.
    pub fn get(&self, key: &[u8]) -> Result<Option<usize>> {
        Ok(self.0.get(hash32(key), key)?.map(|found| found.value.as_slice().len()))
    }
}
