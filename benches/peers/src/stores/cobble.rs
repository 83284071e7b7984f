//! Cobble: an LSM in Rust, made for stream processing; 128 key groups are its 128 buckets.
//!
//! Set-up, as its documentation advises for working state: two memtables of a quarter of the budget, half of the budget for
//! the block cache, filters of 10 bits a key (off by default), no write-ahead log (its default), two compaction threads for
//! two cores, everything else at its default. Keys are passed without the group in front, which is the bucket.
//!
//! Lists use its default merge operator, which concatenates. Timers use its truncation cursors: one moves behind what was
//! popped, and no entry is deleted. A checkpoint is a snapshot: the call is the synchronous part, and its manifest is waited
//! for elsewhere. A split opens the snapshot anew and shrinks; a merge opens one half and expands by the other.
//!
//! Its directory names its own place, so it cannot be copied: each run fills anew.

use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::channel;
use std::time::Duration;

use anyhow::{Context, Result};
use cobble::{Config, Db, DbBuilder, ReadOptions, VolumeDescriptor};

use crate::data::{GROUPS, KEY_BYTES, Key};
use crate::measure::cpu_seconds;
use crate::store::{Image, Rest, Setup, Store, Turn};

/// The only column.
const COLUMN: u16 = 0;
const FAMILY: &str = "default";
/// Names the snapshot to open again.
const RESUME: &str = "resume";
/// It tells nobody whether it compacts, so it counts as settled when the process hardly used a processor for so long.
const REST: Duration = Duration::from_secs(1);
/// What hardly is, as a share of one processor.
const IDLE_SHARE: f64 = 0.02;

pub struct Cobble {
    db: Db,
    setup: Setup,
    scratch: Vec<u8>,
    before: Option<u64>,
}

/// A finished snapshot.
pub struct CobbleImage {
    database: String,
    snapshot: u64,
    /// The directory that its files stay in.
    directory: PathBuf,
    shipped_bytes: u64,
}

impl Image for CobbleImage {
    fn shipped_bytes(&self) -> Option<u64> {
        Some(self.shipped_bytes)
    }
}

impl Store for Cobble {
    type Turn<'a> = &'a mut Cobble;
    type Image = CobbleImage;

    const CAN_BE_COPIED: bool = false;

    fn open(setup: &Setup) -> Result<Cobble> {
        let builder = DbBuilder::new(config(setup, &setup.directory)?);
        let resume = std::fs::read_to_string(setup.directory.join(RESUME)).ok();
        let db = match resume.as_deref().and_then(|text| text.split_once(' ')) {
            Some((database, snapshot)) => {
                let snapshot = snapshot.parse().context("the file names a snapshot")?;
                builder.db_id(database).resume_from_snapshot(snapshot)?
            }
            None => builder.bucket_ranges(vec![0..=GROUPS - 1]).open()?,
        };
        Ok(Cobble { db, setup: setup.clone(), scratch: Vec::new(), before: None })
    }

    fn turn<T>(&mut self, work: impl FnOnce(&mut &mut Cobble) -> Result<T>) -> Result<T> {
        let mut this = self;
        work(&mut this)
    }

    fn checkpoint(&mut self, _into: &Path) -> Result<Rest<CobbleImage>> {
        let (sender, receiver) = channel();
        let sender = Mutex::new(sender);
        self.db.snapshot_with_callback(move |result| {
            let sender = sender.lock().expect("no sender panics");
            // Nobody waits for it any more when a run has failed.
            sender.send(result).ok();
        })?;
        let directory = self.setup.directory.clone();
        Ok(Box::new(move || {
            let done = receiver.recv().context("the snapshot's callback is called")??;
            let (database, snapshot) = (done.db_id, done.snapshot_id);
            Ok(CobbleImage { database, snapshot, directory, shipped_bytes: done.incremental_data_size_bytes })
        }))
    }

    fn confirm(&mut self, image: &CobbleImage) -> Result<()> {
        if let Some(before) = self.before.replace(image.snapshot) {
            self.db.expire_snapshot(before)?;
        }
        Ok(())
    }

    fn settle(&mut self) -> Result<()> {
        // A snapshot flushes.
        let image = self.checkpoint(Path::new(""))?()?;
        self.db.expire_snapshot(image.snapshot)?;
        let mut before = f64::NEG_INFINITY;
        while cpu_seconds() - before > REST.as_secs_f64() * IDLE_SHARE {
            before = cpu_seconds();
            std::thread::park_timeout(REST);
        }
        Ok(())
    }

    fn close(mut self) -> Result<()> {
        let image = self.checkpoint(Path::new(""))?()?;
        std::fs::write(self.setup.directory.join(RESUME), format!("{} {}", image.database, image.snapshot))?;
        Ok(self.db.close()?)
    }

    fn open_half(image: &CobbleImage, half: usize, setup: &Setup) -> Result<Cobble> {
        let builder = DbBuilder::new(config(setup, &image.directory)?);
        let db = builder.open_new_with_snapshot(image.snapshot, &image.database)?;
        db.shrink_bucket(vec![buckets(1 - half)])?;
        // Its files stay where the source has them, as on a shared volume.
        Ok(Cobble { db, setup: setup.at(&image.directory), scratch: Vec::new(), before: None })
    }

    fn merge(images: &[CobbleImage; 2], whole: &Setup) -> Result<Cobble> {
        let builder = DbBuilder::new(config(whole, &images[0].directory)?);
        let db = builder.open_new_with_snapshot(images[0].snapshot, &images[0].database)?;
        db.expand_bucket(images[1].database.clone(), Some(images[1].snapshot), Some(vec![buckets(1)]))?;
        Ok(Cobble { db, setup: whole.at(&images[0].directory), scratch: Vec::new(), before: None })
    }
}

fn buckets(half: usize) -> RangeInclusive<u16> {
    let middle = GROUPS / 2;
    if half == 0 { 0..=middle - 1 } else { middle..=GROUPS - 1 }
}

fn config(setup: &Setup, directory: &Path) -> Result<Config> {
    let directory = directory.canonicalize()?;
    let mut config = Config {
        volumes: VolumeDescriptor::single_volume(format!("file://{}", directory.display())),
        total_buckets: u32::from(GROUPS),
        num_columns: 1,
        sst_bloom_filter_enabled: true,
        compaction_threads: 2,
        ..Config::default()
    };
    let mib = |bytes: usize| format!("{}MiB", (bytes >> 20).max(1));
    config.memtable_capacity = mib(setup.memory_bytes / 4).parse().map_err(anyhow::Error::msg)?;
    config.block_cache_size = mib(setup.memory_bytes / 2).parse().map_err(anyhow::Error::msg)?;
    Ok(config)
}

/// A key as it is passed: its bucket, and the bytes behind.
fn bucketed(key: &[u8]) -> (u16, &[u8]) {
    (u16::from_be_bytes([key[0], key[1]]), &key[2..])
}

impl Cobble {
    /// Lends the rows of one bucket in a range.
    fn rows(&self, bucket: u16, range: std::ops::Range<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let mut rows = self.db.scan(bucket, range)?;
        let mut whole = [0; KEY_BYTES];
        whole[..2].copy_from_slice(&bucket.to_be_bytes());
        loop {
            let row = rows.consume_next_row(|key, columns| {
                whole[2..].copy_from_slice(key);
                if let Some(Some(value)) = columns.first() {
                    each(&whole, value);
                }
                Ok(())
            })?;
            if row.is_none() {
                return Ok(());
            }
        }
    }
}

impl Turn for &mut Cobble {
    fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        let (bucket, key) = bucketed(key);
        Ok(self.db.put(bucket, key, COLUMN, value)?)
    }

    fn get<T>(&mut self, key: &[u8], read: impl FnOnce(&[u8]) -> T) -> Result<Option<T>> {
        let (bucket, key) = bucketed(key);
        let columns = self.db.get_with_options(bucket, key, &ReadOptions::default())?;
        Ok(columns.and_then(|columns| columns.into_iter().next().flatten()).map(|value| read(&value)))
    }

    fn update(&mut self, key: &[u8], change: impl FnOnce(&mut [u8])) -> Result<bool> {
        let mut scratch = std::mem::take(&mut self.scratch);
        let found = self.get(key, |value| {
            scratch.clear();
            scratch.extend_from_slice(value);
        })?;
        if found.is_some() {
            change(&mut scratch);
            self.put(key, &scratch)?;
        }
        self.scratch = scratch;
        Ok(found.is_some())
    }

    fn get_many(&mut self, keys: &[Key], mut read: impl FnMut(usize, &[u8])) -> Result<()> {
        let bucketed: Vec<(u16, &[u8])> = keys.iter().map(|key| bucketed(key)).collect();
        for (place, columns) in self.db.multi_get(&bucketed)?.into_iter().enumerate() {
            if let Some(value) = columns.and_then(|columns| columns.into_iter().next().flatten()) {
                read(place, &value);
            }
        }
        Ok(())
    }

    fn delete(&mut self, key: &[u8]) -> Result<()> {
        let (bucket, key) = bucketed(key);
        Ok(self.db.delete(bucket, key, COLUMN)?)
    }

    fn append(&mut self, key: &[u8], element: &[u8]) -> Result<()> {
        let (bucket, key) = bucketed(key);
        Ok(self.db.merge(bucket, key, COLUMN, element)?)
    }

    fn take_list(&mut self, key: &[u8], read: impl FnMut(&[u8])) -> Result<()> {
        self.get(key, read)?;
        self.delete(key)
    }

    fn scan_prefix(&mut self, prefix: &[u8], each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        let (bucket, prefix) = bucketed(prefix);
        let mut end = prefix.to_vec();
        while let Some(0xff) = end.last() {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        self.rows(bucket, prefix..&end, each)
    }

    fn pop_due(&mut self, _queue: &[u8], behind: &[u8], until: &[u8], mut take: impl FnMut(&[u8])) -> Result<()> {
        let (bucket, behind) = bucketed(behind);
        let mut last = None;
        self.rows(bucket, behind..&until[2..], |key, _| {
            take(key);
            last = Some(key[2..].to_vec());
        })?;
        if let Some(last) = last {
            // The cursor takes the key it stands at with it.
            self.db.advance_truncation_cursor(bucket, FAMILY, &last)?;
        }
        Ok(())
    }

    fn scan_range(&mut self, start: &[u8], end: Option<&[u8]>, mut each: impl FnMut(&[u8], &[u8])) -> Result<()> {
        // Ranges are those of whole groups.
        let group = |bound: &[u8]| bound.first_chunk().map(|group| u16::from_be_bytes(*group));
        for bucket in group(start).unwrap_or(0)..end.and_then(group).unwrap_or(GROUPS) {
            self.rows(bucket, &[]..&[0xff; KEY_BYTES], &mut each)?;
        }
        Ok(())
    }
}
