//! Reads of the writer itself: the active memtable, then the snapshot.

use std::borrow::Cow;

use super::Store;
use crate::codec::hash32;
use crate::entry::Clocks;
use crate::error::Result;
use crate::key::KeyRange;
use crate::view::{Scan, ScanParts, Search, Seen, ValueRef, scan_hints};

impl Store {
    /// The value of `key`, borrowed where it lies: in a memtable or a mapped block. Folds merge operands into a new vector.
    ///
    /// One probe when the key is in the active memtable; else one probe for each memtable in memory, a filter test for each
    /// slice of the key's tile, and a block.
    ///
    /// # Errors
    /// `Damaged` when a run is, `Fix` when the merge rules do not fit what is stored.
    #[inline]
    pub fn get(&self, key: &[u8]) -> Result<Option<ValueRef<'_>>> {
        self.get_by(key, &self.clocks)
    }

    /// As [`Store::get`], for a reader whose clocks these are. Earlier ones than the store's show what has ended since, for as long
    /// as its bytes are there: until a merge drops it, or something is written in its place.
    ///
    /// ```
    /// use bedload_lsm::{ClockId, Clocks, Expiry, Store};
    ///
    /// # let directory = tempfile::tempdir().unwrap();
    /// let mut store = Store::options().open(directory.path())?;
    /// store.put_until(b"session", b"open", Expiry { clock: ClockId(0), at: 1_000 })?;
    /// store.set_clock(ClockId(0), 1_000)?;
    /// assert!(store.get(b"session")?.is_none());
    /// assert!(store.get_by(b"session", &Clocks::default())?.is_some());
    /// # Ok::<(), bedload_lsm::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Store::get`].
    #[inline]
    pub fn get_by<'a>(&'a self, key: &[u8], clocks: &'a Clocks) -> Result<Option<ValueRef<'a>>> {
        Ok(self.search(hash32(key), key, clocks)?.map(|seen| seen.value))
    }

    /// What [`Store::get_by`] finds, with its expiry.
    #[inline]
    pub(super) fn search<'a>(&'a self, hash: u32, key: &[u8], clocks: &'a Clocks) -> Result<Option<Seen<'a>>> {
        let mut search = Search::new(&*self.core.rules, clocks);
        if let Some(entry) = self.active.get(hash, key)
            && search.meet_borrowed(key, entry)?
        {
            return search.finish();
        }
        self.search_older(hash, key, search)
    }

    /// Goes on behind the active memtable's entry of `key`.
    #[inline]
    pub(super) fn search_older<'a>(&'a self, hash: u32, key: &[u8], search: Search<'a>) -> Result<Option<Seen<'a>>> {
        if self.active.ranges().contains(key) {
            return search.finish();
        }
        self.snapshot.get(hash, key, search)
    }

    /// The values of many keys, in their order. Brings the filters of all of them on their way first, then the blocks: waits
    /// for memory overlap, and so do reads from the disk.
    ///
    /// # Errors
    /// As [`Store::get`].
    pub fn multi_get<K: AsRef<[u8]>>(&self, keys: &[K]) -> Result<Vec<Option<ValueRef<'_>>>> {
        let hashes: Vec<u32> = keys.iter().map(|key| hash32(key.as_ref())).collect();
        for (key, hash) in keys.iter().zip(&hashes) {
            self.snapshot.prefetch(*hash, key.as_ref());
        }
        for (key, hash) in keys.iter().zip(&hashes) {
            if self.active.find(*hash, key.as_ref()).is_none() {
                self.snapshot.read_ahead(*hash, key.as_ref());
            }
        }
        let value = |(key, hash): (&K, u32)| Ok(self.search(hash, key.as_ref(), &self.clocks)?.map(|seen| seen.value));
        keys.iter().zip(hashes).map(value).collect()
    }

    /// The entries of a range, in order; see [`Scan`] for both directions.
    ///
    /// Over scanned keys it costs a seek in each memtable and slice. The first scan that meets point keys orders those of
    /// each memtable, some 100 ns an entry.
    ///
    /// # Errors
    /// None yet; errors come with the entries.
    pub fn scan(&self, range: impl Into<KeyRange>) -> Result<Scan<'_>> {
        Ok(self.scan_within(Cow::Owned(range.into()), &self.clocks))
    }

    /// As [`Store::scan`], for a reader whose clocks these are: see [`Store::get_by`].
    ///
    /// # Errors
    /// As [`Store::scan`].
    pub fn scan_by<'a>(&'a self, range: &'a KeyRange, clocks: &'a Clocks) -> Result<Scan<'a>> {
        Ok(self.scan_within(Cow::Borrowed(range), clocks))
    }

    pub(super) fn scan_within<'a>(&'a self, range: Cow<'a, KeyRange>, clocks: &'a Clocks) -> Scan<'a> {
        let (scanned_only, prefix_bytes) = scan_hints(&*self.core.shape, &range);
        let parts = ScanParts {
            snapshot: &self.snapshot,
            active: Some(&self.active),
            rules: &*self.core.rules,
            clocks,
            scanned_only,
            prefix_bytes,
        };
        Scan::new(range, parts)
    }

    /// The entries whose keys start with `prefix`, in order. Runs whose filters know that they do not hold it are left out.
    ///
    /// # Errors
    /// As [`Store::scan`].
    pub fn scan_prefix(&self, prefix: &[u8]) -> Result<Scan<'_>> {
        self.scan(KeyRange::prefix(prefix))
    }

    /// Roughly how many bytes the entries of a range take on disk and in sealed or active memtables, hidden ones included;
    /// 0 only when there is certainly nothing. Reads no entry.
    pub fn bytes_in(&self, range: impl Into<KeyRange>) -> u64 {
        let range = range.into();
        let version = &self.snapshot.version;
        let in_tile = |tile: usize| -> u64 {
            let clip = range.intersect(&version.range_of(tile));
            let slices = version.tiles()[tile].slices.iter();
            slices.filter(|slice| slice.run.overlaps(&clip)).map(|slice| slice.run.stats_in(&clip).bytes.max(1)).sum()
        };
        let on_disk: u64 = version.tiles_in(&range).map(in_tile).sum();
        let unflushed = self.snapshot.memtables.iter().filter(|table| table.seal > version.seal);
        let sealed: u64 =
            unflushed.filter(|table| table.table.may_overlap(&range)).map(|table| table.written_bytes.max(1)).sum();
        let active = if self.active.is_empty() { 0 } else { self.written_bytes.max(1) };
        on_disk + sealed + active
    }
}
