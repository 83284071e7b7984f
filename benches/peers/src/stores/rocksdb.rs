//! RocksDB, used as Flink uses it; see [`super::rocksdb_setups`] for its set-ups.
//!
//! * Read-modify-write is a get and a put: the merge operator cannot return the value to the operator.
//! * Lists grow by merge operands.
//! * Timers: a seek to where the last pop ended, so that no tombstones are walked, then deletes.
//! * A checkpoint flushes and hard-links on the caller's thread: it is synchronous in Flink too.
//! * A split links the checkpoint twice and deletes the other half by files and by range tombstone, as Flink's clip does.
//! * A merge opens one half and takes the rows of the other as an ingested file: faster than Flink's write batches. (Flink's
//!   newer way, import of exported column families, has no binding in the Rust crate.)

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rocksdb::checkpoint::Checkpoint;
use rocksdb::{
    DB, FlushOptions, IngestExternalFileOptions, Options, ReadOptions, SstFileWriter, WaitForCompactOptions,
};
use rocksdb::{DBPinnableSlice, WriteOptions};

use super::links::share_directory;
use super::rocksdb_setups;
use crate::data::{Key, QUEUE_PREFIX_BYTES, State, half_of_groups};
use crate::store::{Rest, Setup, Store, Turn};

/// Rows of one ingested file.
const INGESTED_ROWS: usize = 1_000_000;

pub struct RocksDb {
    db: DB,
    options: Options,
    write: WriteOptions,
    point_read: ReadOptions,
    state: State,
    /// Set-ups with a prefix extractor may skip files when they scan.
    has_prefixes: bool,
    scratch: Vec<u8>,
}

impl Store for RocksDb {
    type Turn<'a> = &'a mut RocksDb;
    type Image = PathBuf;

    fn open(setup: &Setup) -> Result<RocksDb> {
        let options = rocksdb_setups::options(setup);
        let db = DB::open_cf_with_opts(&options, &setup.directory, [("default", options.clone())])?;
        let mut write = WriteOptions::default();
        write.disable_wal(true);
        let has_prefixes = setup.state == State::Maps && setup.variant != rocksdb_setups::FLINK;
        let (point_read, scratch) = (ReadOptions::default(), Vec::new());
        Ok(RocksDb { db, options, write, point_read, state: setup.state, has_prefixes, scratch })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut &mut RocksDb) -> Result<T>) -> Result<T> {
        let mut this = self;
        work(&mut this)
    }

    fn checkpoint(&mut self, into: &Path) -> Result<Rest<PathBuf>> {
        // Without a write-ahead log a checkpoint flushes first.
        Checkpoint::new(&self.db)?.create_checkpoint(into)?;
        let image = into.to_owned();
        Ok(Box::new(move || Ok(image)))
    }

    fn settle(&mut self) -> Result<()> {
        let mut flush = FlushOptions::default();
        flush.set_wait(true);
        self.db.flush_opt(&flush)?;
        Ok(self.db.wait_for_compact(&WaitForCompactOptions::default())?)
    }

    fn close(self) -> Result<()> {
        // Without a write-ahead log, what is in memory would be lost.
        self.db.flush()?;
        self.db.cancel_all_background_work(true);
        Ok(())
    }

    fn open_half(image: &PathBuf, half: usize, setup: &Setup) -> Result<RocksDb> {
        share_directory(image, &setup.directory, Self::is_immutable)?;
        let store = RocksDb::open(setup)?;
        let (start, end) = half_of_groups(1 - half);
        let end = end.unwrap_or_else(|| vec![0xff; 8]);
        store.db.delete_file_in_range(&start, &end)?;
        let default = store.db.cf_handle("default").context("every database has it")?;
        store.db.delete_range_cf_opt(default, &start, &end, &store.write)?;
        Ok(store)
    }

    fn merge(images: &[PathBuf; 2], whole: &Setup) -> Result<RocksDb> {
        share_directory(&images[0], &whole.directory, Self::is_immutable)?;
        let store = RocksDb::open(whole)?;
        let other = DB::open(&store.options, &images[1])?;
        let files = whole.directory.with_extension("ingest");
        std::fs::create_dir_all(&files)?;
        let mut read = ReadOptions::default();
        read.set_total_order_seek(true);
        let mut rows = other.raw_iterator_opt(read);
        rows.seek_to_first();
        let mut paths = Vec::new();
        while rows.valid() {
            let path = files.join(format!("{}.sst", paths.len()));
            let mut writer = SstFileWriter::create(&store.options);
            writer.open(&path)?;
            let mut count = 0;
            while let (Some((key, value)), true) = (rows.item(), count < INGESTED_ROWS) {
                writer.put(key, value)?;
                rows.next();
                count += 1;
            }
            writer.finish()?;
            paths.push(path);
        }
        rows.status()?;
        let mut ingest = IngestExternalFileOptions::default();
        ingest.set_move_files(true);
        store.db.ingest_external_file_opts(&ingest, paths)?;
        Ok(store)
    }

    fn is_immutable(file: &Path) -> bool {
        file.extension().is_some_and(|ending| ending == "sst")
    }
}

impl RocksDb {
    fn pinned(&self, key: &[u8]) -> Result<Option<DBPinnableSlice<'_>>> {
        Ok(self.db.get_pinned_opt(key, &self.point_read)?)
    }
}

impl Turn for &mut RocksDb {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        Ok(self.db.put_opt(key, value, &self.write)?)
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        Ok(self.pinned(key)?.map(|value| read(&value)))
    }

    fn get_many(&mut self, keys: &[Key], mut read: impl FnMut(usize, &[u8])) -> Result<()> {
        let default = self.db.cf_handle("default").context("every database has it")?;
        let values = self.db.batched_multi_get_cf_opt(default, keys, false, &self.point_read);
        for (place, value) in values.into_iter().enumerate() {
            if let Some(value) = value? {
                read(place, &value);
            }
        }
        Ok(())
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.pinned(key)?.map(|value| {
            scratch.clear();
            scratch.extend_from_slice(&value);
        });
        if found.is_some() {
            change(&mut scratch);
            self.db.put_opt(key, &scratch, &self.write)?;
        }
        self.scratch = scratch;
        Ok(found.is_some())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        Ok(self.db.delete_opt(key, &self.write)?)
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        Ok(self.db.merge_opt(key, element, &self.write)?)
    }

    fn take_list(&mut self, key: &[u8], mut read: impl FnMut(&[u8])) -> Result<()> {
        if let Some(list) = self.pinned(key)? {
            read(&list);
        }
        Ok(self.db.delete_opt(key, &self.write)?)
    }

    fn scan_prefix(&mut self, prefix: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut read = ReadOptions::default();
        if self.has_prefixes {
            read.set_prefix_same_as_start(true);
        }
        let mut rows = self.db.raw_iterator_opt(read);
        rows.seek(prefix);
        while let Some((key, value)) = rows.item() {
            if !key.starts_with(prefix) {
                break;
            }
            each(key, value);
            rows.next();
        }
        Ok(rows.status()?)
    }

    fn pop_due(&mut self, queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        debug_assert_eq!(queue.len(), QUEUE_PREFIX_BYTES, "a queue is a group of the timers' state");
        debug_assert_eq!(self.state, State::Timers, "only timers are popped");
        let mut read = ReadOptions::default();
        read.set_iterate_upper_bound(until);
        let mut rows = self.db.raw_iterator_opt(read);
        rows.seek(behind);
        while let Some(key) = rows.key() {
            take(key);
            // The iterator reads the state of its creation, so deleting under it is safe.
            self.db.delete_opt(key, &self.write)?;
            rows.next();
        }
        Ok(rows.status()?)
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut read = ReadOptions::default();
        read.set_total_order_seek(true);
        if let Some(end) = end {
            read.set_iterate_upper_bound(end);
        }
        let mut rows = self.db.raw_iterator_opt(read);
        rows.seek(start);
        while let Some((key, value)) = rows.item() {
            each(key, value);
            rows.next();
        }
        Ok(rows.status()?)
    }
}
